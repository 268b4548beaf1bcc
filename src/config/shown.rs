//! The configuration as operators see it: every key that stands there once, as text.

use super::checked::Config;
use super::keys::{self, Key, Kind};
use super::written::{Entry, Node, Table};

/// What stands for a secret.
const STARS: &str = "***";

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `section.key`.
    pub key: String,
    /// Its value; of a secret, stars.
    pub value: String,
    /// Its default.
    pub default: String,
    /// Whether it can be changed while the proxy runs.
    pub is_changeable: bool,
    /// Compared, never shown.
    fingerprint: u64,
}

/// All keys of a configuration.
pub(super) fn list(root: &Table) -> Vec<Shown> {
    let mut list = Vec::new();
    for section in keys::SECTIONS {
        let table = match root.get(section.name).map(|entry| &entry.node) {
            Some(Node::Table(table)) => Some(table),
            _ => None,
        };
        for key in section.keys {
            let entry = table.and_then(|table| table.get(key.name));
            list.push(shown(section.name, key, entry));
        }
    }
    list
}

fn shown(section: &str, key: &Key, entry: Option<&Entry>) -> Shown {
    let default = key.default.unwrap_or_default().trim_matches('"').to_owned();
    let written = entry.map_or_else(|| default.clone(), |entry| text(&entry.node));
    let fingerprint = fingerprint(&written);
    let is_hidden = key.kind == Kind::Secret && !written.is_empty();
    Shown {
        key: format!("{section}.{}", key.name),
        value: if is_hidden { STARS.to_owned() } else { written },
        default,
        is_changeable: keys::is_changeable(section, key.name),
        fingerprint,
    }
}

fn text(node: &Node) -> String {
    match node {
        Node::Text(text) | Node::Other(text) => text.clone(),
        Node::Flag(flag) => flag.to_string(),
        Node::Integer(number) => number.to_string(),
        Node::List(entries) => {
            let items: Vec<_> =
                entries.iter().map(|entry| format!("{:?}", text(&entry.node))).collect();
            format!("[{}]", items.join(", "))
        }
        Node::Table(_) => String::new(),
    }
}

fn fingerprint(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Config {
    /// What is read at the start only stays as it is in the running one. Gives the keys that would change.
    pub fn keep_fixed(&mut self, running: &Self) -> Vec<String> {
        self.listen = running.listen;
        self.admin_listen = running.admin_listen;
        self.handover.clone_from(&running.handover);
        self.workers = running.workers;
        self.auth.mock_key = running.auth.mock_key;
        self.net.backlog = running.net.backlog;
        self.log.format = running.log.format;
        self.limits.notification_bytes = running.limits.notification_bytes;
        self.prepared = running.prepared.clone();
        let mut kept = Vec::new();
        for (new, old) in self.shown.iter_mut().zip(&running.shown) {
            if !new.is_changeable && new.fingerprint != old.fingerprint {
                kept.push(new.key.clone());
                *new = old.clone();
            }
        }
        kept
    }
}
