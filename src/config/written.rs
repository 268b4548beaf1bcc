//! The configuration as written: a tree of values that know where they are from.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Faults;

/// Names in the path of a `--set`: databases.NAME.key is the longest that there is, and a NAME may have dots.
const PATH_MAX: usize = 8;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A line of the file, from 1.
    Line(String, usize),
    /// The whole configuration.
    Whole(String),
    /// An argument of the command line.
    Argument(String),
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) origin: Origin,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Integer(i64),
    Flag(bool),
    Table(Table),
    List(Vec<Entry>),
    /// What no key takes (a date, a fraction).
    Other(String),
}

/// Values by name.
pub(super) type Table = BTreeMap<String, Entry>;

impl Node {
    /// As it would be written.
    pub(super) fn describe(&self) -> String {
        match self {
            // Its words are not repeated: it may be a secret under the wrong key.
            Self::Text(_) => "a text".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Table(_) => "a table".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(what) => what.clone(),
        }
    }
}

/// Reads a file's text. What can't be read is a fault; the rest is kept.
pub(super) fn parse(file: &str, text: &str, faults: &mut Faults) -> Table {
    let lines = Lines { file, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        faults.add(&lines.origin(at), error.message());
    }
    lines.table(table.get_ref())
}

/// Sets the value of a `--set section.key=value`.
pub(super) fn set(root: &mut Table, assignment: &str, faults: &mut Faults) {
    let origin = Origin::Argument(format!("--set {}", assignment.split('=').next().unwrap_or("")));
    let Some((path, value)) = assignment.split_once('=') else {
        faults.add(&origin, "expected section.key=value");
        return;
    };
    let names: Vec<&str> = path.trim().split('.').collect();
    if !(2..=PATH_MAX).contains(&names.len()) || names.iter().any(|name| name.is_empty()) {
        faults.add(&origin, "expected section.key=value, e.g. pool.size=3");
        return;
    }
    let entry = Entry { node: literal(value.trim()), origin: origin.clone() };
    match names.as_slice() {
        // A database's name may have dots of its own.
        ["databases", name @ .., key] if name.len() > 1 => {
            put(root, &["databases", unquoted(&name.join(".")), key], entry);
        }
        ["databases", name, key] => put(root, &["databases", unquoted(name), key], entry),
        names => put(root, names, entry),
    }
}

/// Puts an entry at a path, through tables that are made as needed.
pub(super) fn put(root: &mut Table, path: &[&str], entry: Entry) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        root.insert((*first).to_owned(), entry);
        return;
    }
    let origin = entry.origin.clone();
    let inner = root
        .entry((*first).to_owned())
        .or_insert_with(|| Entry { node: Node::Table(Table::new()), origin });
    if !matches!(inner.node, Node::Table(_)) {
        inner.node = Node::Table(Table::new());
    }
    if let Node::Table(table) = &mut inner.node {
        put(table, rest, entry);
    }
}

/// A value of the command line: as in TOML, or a text without its quotes.
pub(super) fn literal(value: &str) -> Node {
    if let Some(items) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = items.split(',').map(str::trim).filter(|item| !item.is_empty());
        let entry =
            |item| Entry { node: literal(item), origin: Origin::Argument("--set".to_owned()) };
        return Node::List(items.map(entry).collect());
    }
    match value {
        "true" => Node::Flag(true),
        "false" => Node::Flag(false),
        _ => match value.parse() {
            Ok(number) => Node::Integer(number),
            Err(_) => Node::Text(unquoted(value).to_owned()),
        },
    }
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

/// A file's text, to find the lines of what was read from it.
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        Origin::Line(self.file.to_owned(), 1 + memchr::memchr_iter(b'\n', before).count())
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            (name.to_string(), self.entry(value))
        };
        table.iter().map(entry).collect()
    }

    fn entry(&self, value: &Spanned<DeValue<'_>>) -> Entry {
        Entry { node: self.node(value.get_ref()), origin: self.origin(value.span().start) }
    }

    fn node(&self, value: &DeValue<'_>) -> Node {
        match value {
            DeValue::String(text) => Node::Text(text.to_string()),
            DeValue::Boolean(flag) => Node::Flag(*flag),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_large| Node::Other(number.to_string()), Node::Integer),
            DeValue::Float(number) => Node::Other(number.as_str().to_owned()),
            DeValue::Datetime(_) => Node::Other("a date".to_owned()),
            DeValue::Array(list) => Node::List(list.iter().map(|item| self.entry(item)).collect()),
            DeValue::Table(table) => Node::Table(self.table(table)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Whole(what) | Self::Argument(what) => f.write_str(what),
        }
    }
}
