//! One message of a client: as bytes, and as a reader of a failure wants to see it.

use std::fmt;

use crate::support::frames;

/// A message, valid or not.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Query(String),
    Parse {
        name: &'static str,
        sql: String,
    },
    Bind {
        portal: &'static str,
        statement: &'static str,
        parameters: Vec<Option<&'static str>>,
    },
    Describe {
        kind: u8,
        name: &'static str,
    },
    Execute {
        portal: &'static str,
        rows: i32,
    },
    Close {
        kind: u8,
        name: &'static str,
    },
    Flush,
    Sync,
    Function {
        oid: u32,
        arguments: Vec<Option<&'static str>>,
    },
    CopyData(String),
    CopyDone,
    CopyFail,
    Terminate,
    /// With a body (or a tag, or a length) that is none of the above.
    Malformed {
        tag: u8,
        body: Vec<u8>,
        length: Option<i32>,
    },
}

impl Message {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => frames::query(sql),
            Self::Parse { name, sql } => frames::parse(name, sql, &[]),
            Self::Bind { portal, statement, parameters } => {
                frames::bind(portal, statement, parameters)
            }
            Self::Describe { kind, name } => frames::describe(*kind, name),
            Self::Execute { portal, rows } => frames::execute(portal, *rows),
            Self::Close { kind, name } => frames::close(*kind, name),
            Self::Flush => frames::flush(),
            Self::Sync => frames::sync(),
            Self::Function { oid, arguments } => frames::function_call(*oid, arguments),
            Self::CopyData(data) => frames::copy_data(data.as_bytes()),
            Self::CopyDone => frames::copy_done(),
            Self::CopyFail => frames::copy_fail("enough"),
            Self::Terminate => frames::terminate(),
            Self::Malformed { tag, body, length: None } => frames::frame(*tag, body),
            Self::Malformed { tag, body, length: Some(length) } => {
                frames::frame_with_length(*tag, *length, body)
            }
        }
    }

    /// Whether PostgreSQL ends it with a ReadyForQuery, if it does not skip it.
    pub(crate) fn asks_for_ready(&self) -> bool {
        let tag = self.tag();
        matches!(tag, b'Q' | b'S' | b'F')
    }

    /// Whether it belongs to the extended protocol: an error skips what follows it up to a Sync.
    pub(crate) fn is_extended(&self) -> bool {
        matches!(self.tag(), b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
    }

    /// Whether its tag is none that a client may send: then PostgreSQL says so and closes.
    pub(crate) fn has_unknown_tag(&self) -> bool {
        !b"QPBDECHSFdcfX".contains(&self.tag())
    }

    pub(crate) fn tag(&self) -> u8 {
        match self {
            Self::Query(_) => b'Q',
            Self::Parse { .. } => b'P',
            Self::Bind { .. } => b'B',
            Self::Describe { .. } => b'D',
            Self::Execute { .. } => b'E',
            Self::Close { .. } => b'C',
            Self::Flush => b'H',
            Self::Sync => b'S',
            Self::Function { .. } => b'F',
            Self::CopyData(_) => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail => b'f',
            Self::Terminate => b'X',
            Self::Malformed { tag, .. } => *tag,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(sql) => write!(f, "Query {sql:?}"),
            Self::Parse { name, sql } => write!(f, "Parse {name:?} {sql:?}"),
            Self::Bind { portal, statement, parameters } => {
                write!(f, "Bind portal {portal:?} statement {statement:?} {parameters:?}")
            }
            Self::Describe { kind, name } => write!(f, "Describe {} {name:?}", char::from(*kind)),
            Self::Execute { portal, rows } => write!(f, "Execute {portal:?} rows {rows}"),
            Self::Close { kind, name } => write!(f, "Close {} {name:?}", char::from(*kind)),
            Self::Function { oid, arguments } => write!(f, "FunctionCall {oid} {arguments:?}"),
            Self::CopyData(data) => write!(f, "CopyData {data:?}"),
            Self::Flush | Self::Sync | Self::CopyDone | Self::CopyFail | Self::Terminate => {
                write!(f, "{self:?}")
            }
            Self::Malformed { tag, body, length } => {
                let tag = char::from(*tag);
                write!(f, "malformed {tag:?} body \"{}\" length {length:?}", body.escape_ascii())
            }
        }
    }
}
