//! What PostgreSQL is asked of a session's state, and what the answer says.
//!
//! One Query with one row, sent between two transactions of the client: it changes nothing but the server's unnamed
//! statement. Every name is qualified, so that no search path leads anywhere else.

use std::fmt::Write as _;

use super::settings::ROLE;
use crate::analysis::session_effects::{Effect, Effects};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Settings, and whether each may be the one that the session began with.
    names: Vec<(Box<[u8]>, bool)>,
    /// What may be gone.
    pins: Effects,
    /// All settings that the session has set are asked for, by name.
    asks_for_all: bool,
    /// Afterwards the session listens on no channel.
    pub unlistens: bool,
}

/// What a session began with.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// Its role.
    pub role: &'a [u8],
    /// Its user.
    pub user: &'a [u8],
    /// What the server reports of it: names and values.
    pub reported: &'a [(Vec<u8>, Vec<u8>)],
}

impl Base<'_> {
    /// The value of a setting, if the server reports it.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let reported = self.reported.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        reported.map(|(_, value)| &**value)
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The settings' values; `None`: that which the session began with.
    pub values: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// Settings that the session has set, and that were not asked for.
    pub unasked: Vec<&'a [u8]>,
    /// The channels that the session listened on, if that was asked.
    pub channels: Option<Vec<Vec<u8>>>,
    /// What is gone.
    pub pins_gone: Effects,
    /// The session's user is the one that it began with.
    pub is_own_user: bool,
}

const USER: &[u8] = b"session_authorization";

/// What keeps a server connection, and how to find out whether it still does.
const CHECKS: [(Effect, &str); 5] = [
    (
        Effect::Listen,
        "(SELECT pg_catalog.string_agg(pg_catalog.replace(pg_catalog.replace(c, '~', '~0'), ',', '~1'), ',') \
            FROM pg_catalog.pg_listening_channels() c)",
    ),
    (
        Effect::Temporary,
        "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
            AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
    ),
    (
        Effect::AdvisoryLock,
        "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
            AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (Effect::HoldCursor, "EXISTS (SELECT FROM pg_catalog.pg_cursors)"),
    // The last one: `Question::answer` looks at the user for it.
    (Effect::Setting, "false"),
];

impl Question {
    /// About these.
    pub fn new(names: Vec<(Box<[u8]>, bool)>, pins: Effects, asks_for_all: bool) -> Self {
        let mut names = names;
        let asks_for_user = names.iter().any(|(name, _)| **name == *USER);
        if pins.contains(Effect::Setting) && !asks_for_user {
            names.push((USER.into(), false));
        }
        Self { names, pins, asks_for_all, unlistens: false }
    }

    /// The pins whose end can be found out.
    pub fn pins() -> Effects {
        CHECKS.iter().map(|(effect, _)| *effect).collect()
    }

    /// Whether it asks nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.pins.is_empty() && !self.asks_for_all
    }

    /// The settings that it asks for.
    pub fn names(&self) -> &[(Box<[u8]>, bool)] {
        &self.names
    }

    /// As a statement.
    pub fn sql(&self) -> String {
        let mut sql = String::from("SELECT ");
        for (name, _) in &self.names {
            // Names are plain letters: see `setting_changes::is_name`.
            let name = String::from_utf8_lossy(name);
            let _ = write!(sql, "pg_catalog.current_setting('{name}', true), ");
        }
        for (_, check) in self.checks() {
            sql.push_str(check);
            sql.push_str(", ");
        }
        sql.push_str(if self.asks_where_from() {
            "(SELECT pg_catalog.string_agg(pg_catalog.lower(name), ',') FROM pg_catalog.pg_settings \
                WHERE source OPERATOR(pg_catalog.=) 'session')"
        } else {
            "NULL"
        });
        if self.unlistens {
            sql.push_str("; UNLISTEN *");
        }
        sql
    }

    /// What a DataRow says; `None`: it is not the answer.
    pub fn answer<'a>(&'a self, row: &'a [u8], base: &Base<'_>) -> Option<Answer<'a>> {
        let mut columns = columns(row)?.into_iter();
        let values: Vec<_> = self.names.iter().map(|_| columns.next()).collect::<Option<_>>()?;
        let mut pins_gone = Effects::NONE;
        let mut channels = None;
        for (effect, _) in self.checks() {
            let column = columns.next()?;
            let is_gone = match effect {
                Effect::Listen => {
                    channels = Some(column.map(listed).unwrap_or_default());
                    column.is_none() || self.unlistens
                }
                _ => column == Some(b"f"),
            };
            if is_gone {
                pins_gone = pins_gone.union((*effect).into());
            }
        }
        let of_session = columns.next()?.unwrap_or_default();
        let of_session: Vec<_> = of_session.split(|byte| *byte == b',').collect();
        let user_at = self.names.iter().position(|(name, _)| **name == *USER);
        let user = user_at.and_then(|at| values.get(at).copied().flatten());
        let pairs = self.names.iter().zip(&values);
        let values = pairs.filter(|((name, _), _)| **name != *USER);
        let values = values.map(|((name, may_be_reset), value)| {
            let is_set = match &**name {
                ROLE => *value != Some(base.role),
                name => !may_be_reset || name.contains(&b'.') || of_session.contains(&name),
            };
            (&**name, value.filter(|_| is_set))
        });
        let values = values.collect();
        let is_asked = |name: &&[u8]| self.names.iter().any(|(asked, _)| **asked == **name);
        let unasked = of_session.into_iter().filter(|name| {
            self.asks_for_all && !name.is_empty() && !is_asked(name) && !is_untrackable(name)
        });
        let unasked = unasked.collect();
        Some(Answer {
            values,
            unasked,
            channels,
            pins_gone,
            is_own_user: user.is_none_or(|user| user == base.user),
        })
    }

    fn checks(&self) -> impl Iterator<Item = &'static (Effect, &'static str)> + '_ {
        CHECKS.iter().filter(|(effect, _)| self.pins.contains(*effect))
    }

    /// Whether it has to be asked which settings the session has set: that takes PostgreSQL a millisecond.
    fn asks_where_from(&self) -> bool {
        let is_doubtful = |(name, may_be_reset): &(Box<[u8]>, bool)| {
            *may_be_reset && !name.contains(&b'.') && **name != *ROLE && **name != *USER
        };
        self.asks_for_all || self.names.iter().any(is_doubtful)
    }
}

/// Settings that are listed as the session's own and that nobody can set for a session.
fn is_untrackable(name: &[u8]) -> bool {
    name.starts_with(b"transaction_") || matches!(name, b"is_superuser" | b"seed")
}

/// The channels in a list of them.
fn listed(list: &[u8]) -> Vec<Vec<u8>> {
    let unescaped = |name: &[u8]| {
        let mut bytes = name.iter();
        let mut unescaped = Vec::with_capacity(name.len());
        while let Some(byte) = bytes.next() {
            unescaped.push(match byte {
                b'~' if bytes.next() == Some(&b'1') => b',',
                byte => *byte,
            });
        }
        unescaped
    };
    list.split(|byte| *byte == b',').map(unescaped).collect()
}

/// The columns of a DataRow.
fn columns(row: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = row.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (bytes, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        let column = match usize::try_from(i32::from_be_bytes(*bytes)) {
            Ok(bytes) => {
                let (column, behind) = rest.split_at_checked(bytes)?;
                rest = behind;
                Some(column)
            }
            Err(_negative) => None,
        };
        columns.push(column);
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&str>]) -> Vec<u8> {
        let mut row = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
        for column in columns {
            let bytes = column.map_or(-1, |column| i32::try_from(column.len()).unwrap());
            row.extend(bytes.to_be_bytes());
            row.extend(column.unwrap_or_default().as_bytes());
        }
        row
    }

    const BASE: Base<'_> = Base { role: b"none", user: b"bob", reported: &[] };

    fn named(names: &[(&str, bool)]) -> Vec<(Box<[u8]>, bool)> {
        names.iter().map(|(name, reset)| (name.as_bytes().into(), *reset)).collect()
    }

    #[test]
    fn values_are_the_sessions_or_the_first_ones() {
        let names = named(&[("app.x", true), ("jit", true), ("role", true), ("work_mem", false)]);
        let question = Question::new(names, Effects::NONE, false);
        assert!(question.sql().contains("pg_settings"));
        let row = row(&[Some(""), Some("off"), Some("none"), Some("4MB"), Some("work_mem")]);
        let answer = question.answer(&row, &BASE).unwrap();
        let expected: [(&[u8], Option<&[u8]>); 4] =
            [(b"app.x", Some(b"")), (b"jit", None), (b"role", None), (b"work_mem", Some(b"4MB"))];
        assert_eq!(answer.values, expected);
        assert!(answer.is_own_user && answer.unasked.is_empty());
    }

    #[test]
    fn pins_are_gone_or_not() {
        let pins = Effects::from(Effect::AdvisoryLock).union(Effect::Temporary.into());
        let question = Question::new(Vec::new(), pins, false);
        let row = row(&[Some("f"), Some("t"), None]);
        let answer = question.answer(&row, &BASE).unwrap();
        assert_eq!(answer.pins_gone, Effect::Temporary.into());
    }

    #[test]
    fn channels_are_listed() {
        let mut question = Question::new(Vec::new(), Effect::Listen.into(), false);
        let some = row(&[Some("news,a~1b~0,~01"), None]);
        let answer = question.answer(&some, &BASE).unwrap();
        let expected = ["news", "a,b~", "~1"].map(|name| name.as_bytes().to_vec());
        assert_eq!(answer.channels.as_deref(), Some(&expected[..]));
        assert_eq!(answer.pins_gone, Effects::NONE);
        let none = question.answer(&row(&[None, None]), &BASE).unwrap().pins_gone;
        assert_eq!(none, Effect::Listen.into());
        question.unlistens = true;
        assert_eq!(question.answer(&some, &BASE).unwrap().pins_gone, Effect::Listen.into());
    }

    #[test]
    fn another_user_is_noticed() {
        let question =
            Question::new(named(&[("session_authorization", true)]), Effects::NONE, true);
        let row = row(&[Some("eve"), Some("jit,transaction_isolation")]);
        let answer = question.answer(&row, &BASE).unwrap();
        assert!(!answer.is_own_user && answer.values.is_empty());
        assert_eq!(answer.unasked, [b"jit"]);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let question = Question::new(named(&[("jit", false)]), Effects::NONE, false);
        for row in [&b""[..], b"\0\x01", b"\0\x01\0\0\0\x09ab", &row(&[Some("on")])] {
            assert_eq!(question.answer(row, &BASE), None);
        }
    }
}
