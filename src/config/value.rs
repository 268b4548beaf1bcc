//! Values: what is written, held against what its key must be.

use std::net::SocketAddr;
use std::time::Duration;

use super::keys::{Key, Kind};
use super::units;
use super::written::{Entry, Node};

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Integer(i64),
    SocketAddress(Option<SocketAddr>),
    Duration(Option<Duration>),
    Size(usize),
}

impl Value {
    pub(super) fn read(key: &Key, node: &Node) -> Result<Self, String> {
        match (key.kind, node) {
            (Kind::Text | Kind::Secret, Node::Text(text)) => Ok(Self::Text(text.clone())),
            (Kind::Secret, _) => Err("expected a text in quotes".to_owned()),
            (Kind::Flag, Node::Flag(flag)) => Ok(Self::Flag(*flag)),
            (Kind::Integer(min, max), Node::Integer(number)) if (min..=max).contains(number) => {
                Ok(Self::Integer(*number))
            }
            (Kind::SocketAddressOrOff, Node::Text(text)) if text == "off" => {
                Ok(Self::SocketAddress(None))
            }
            (Kind::SocketAddress | Kind::SocketAddressOrOff, Node::Text(text)) => {
                text.parse().map(|address| Self::SocketAddress(Some(address))).map_err(|_not_one| {
                    format!("\"{text}\" is not an address with a port, like \"127.0.0.1:6432\"")
                })
            }
            (Kind::Names, Node::List(entries)) => {
                let name = |entry: &Entry| match &entry.node {
                    Node::Text(name) => Ok(name.clone()),
                    node => {
                        Err(format!("expected {}, not {}", key.kind.describe(), node.describe()))
                    }
                };
                entries.iter().map(name).collect::<Result<_, _>>().map(Self::List)
            }
            // As `--set` gives them.
            (Kind::Names, Node::Text(names)) => Ok(Self::List(
                names
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )),
            (Kind::DurationOrOff, Node::Text(text)) if text == "off" => Ok(Self::Duration(None)),
            (Kind::Duration | Kind::DurationOrOff, Node::Text(text)) => {
                units::duration(text).map(|duration| Self::Duration(Some(duration)))
            }
            (Kind::Duration | Kind::DurationOrOff, Node::Integer(number)) => {
                units::duration(&number.to_string()).map(|duration| Self::Duration(Some(duration)))
            }
            (Kind::Size, Node::Text(text)) => units::size(text).map(Self::Size),
            (Kind::Size, Node::Integer(number)) => units::size(&number.to_string()).map(Self::Size),
            (Kind::Choice(choices), Node::Text(text)) if choices.contains(&text.as_str()) => {
                Ok(Self::Text(text.clone()))
            }
            (kind @ Kind::Choice(_), Node::Text(text)) => {
                Err(format!("expected {}, not \"{text}\"", kind.describe()))
            }
            (kind, node) => Err(format!("expected {}, not {}", kind.describe(), node.describe())),
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl Kind {
    /// What a value must be, in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Text => "a text in quotes".to_owned(),
            Self::Secret => "a secret text in quotes".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Self::SocketAddress => "an address with a port".to_owned(),
            Self::SocketAddressOrOff => "an address with a port or \"off\"".to_owned(),
            Self::Names => "a list of names".to_owned(),
            Self::Duration => "a duration (ms, s, min, h, d)".to_owned(),
            Self::DurationOrOff => "a duration (ms, s, min, h, d) or \"off\"".to_owned(),
            Self::Size => "a size (B, KiB, MiB, GiB)".to_owned(),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
        }
    }
}
