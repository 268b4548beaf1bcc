//! The few messages that are looked at in place.

use std::hash::Hasher;

use super::reader::Reader;
use super::sqlstate::SqlState;

/// What ReadyForQuery says of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction is open.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that has failed.
    Failed,
}

impl TransactionStatus {
    /// From the byte of ReadyForQuery.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte of ReadyForQuery.
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// Name and text of a Parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Statement name; empty: the unnamed one.
    pub name: &'a [u8],
    /// SQL text.
    pub text: &'a [u8],
}

impl<'a> Parse<'a> {
    /// From the body; `None` where PostgreSQL would find the message malformed.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self { name: reader.string()?, text: reader.string()? })
    }
}

/// Whether the body of a Query is one string and nothing else. PostgreSQL refuses any other before it looks
/// at the text.
pub fn is_query_sound(body: &[u8]) -> bool {
    memchr::memchr(0, body).is_some_and(|end| end + 1 == body.len())
}

/// Whether the body of a Parse is two strings and as many types as it says: see [`is_query_sound`].
pub fn is_parse_sound(body: &[u8]) -> bool {
    let Some(parse) = Parse::read(body) else { return false };
    let strings = parse.name.len() + parse.text.len() + 2;
    let types = body.get(strings..).unwrap_or_default();
    let Some((count, types)) = types.split_first_chunk::<2>() else { return false };
    usize::from(u16::from_be_bytes(*count)) * 4 == types.len()
}

/// What a Bind names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindNames<'a> {
    /// Portal name.
    pub portal: &'a [u8],
    /// Statement name.
    pub statement: &'a [u8],
}

impl<'a> BindNames<'a> {
    /// From as much of the body as is there; `None`: not enough of it.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self { portal: reader.string()?, statement: reader.string()? })
    }

    /// Bytes of the body that they take.
    pub fn bytes(&self) -> usize {
        self.portal.len() + self.statement.len() + 2
    }
}

/// How many rows an Execute asks for; 0: all. `None`: malformed.
pub fn row_limit(execute: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(execute);
    reader.string()?;
    reader.rest().try_into().ok().map(u32::from_be_bytes)
}

/// The statement that a Describe or Close names; `None`: a portal, or malformed.
pub fn statement_named(body: &[u8]) -> Option<&[u8]> {
    let (name, end) = body.strip_prefix(b"S")?.split_last_chunk::<1>()?;
    (*end == [0] && !name.contains(&0)).then_some(name)
}

/// The portal that a Describe or Close names; `None`: a statement, or malformed.
pub fn portal_named(body: &[u8]) -> Option<&[u8]> {
    let (name, end) = body.strip_prefix(b"P")?.split_last_chunk::<1>()?;
    (*end == [0] && !name.contains(&0)).then_some(name)
}

/// A hash of what must not change of a RowDescription while clients remember it: names, types and type
/// modifiers, as `equalTupleDescs` compares them. NoData is a description without columns.
pub fn columns_hash(body: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    let mut reader = Reader::new(body.get(2..).unwrap_or_default());
    while let Some(name) = reader.string() {
        // Table, column, type, length, type modifier, format.
        let Some((fields, _)) = reader.rest().split_first_chunk::<18>() else { break };
        hasher.write(name);
        hasher.write_u8(0);
        hasher.write(&fields[6..10]);
        hasher.write(&fields[12..16]);
        reader = Reader::new(reader.rest().get(18..).unwrap_or_default());
    }
    hasher.finish()
}

/// Text of a simple Query: its body without the terminator.
pub fn query_text(body: &[u8]) -> &[u8] {
    Reader::new(body).string().unwrap_or(body)
}

/// Function OID of a FunctionCall.
pub fn function_oid(body: &[u8]) -> Option<u32> {
    Reader::new(body).int32().map(i32::cast_unsigned)
}

/// Name and value of a ParameterStatus.
pub fn parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(body);
    Some((reader.string()?, reader.string()?))
}

/// The channel of a NotificationResponse.
pub fn notification_channel(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    reader.int32()?;
    reader.string()
}

/// Process ID and cancel key of a BackendKeyData.
pub fn backend_key(body: &[u8]) -> Option<(i32, &[u8])> {
    let mut reader = Reader::new(body);
    Some((reader.int32()?, reader.rest()))
}

/// A parameter's value in the body of a Bind, counted from 0; `None`: there is none, or it is NULL.
pub fn parameter(bind: &[u8], number: u16) -> Option<&[u8]> {
    let mut reader = Reader::new(bind);
    reader.string()?;
    reader.string()?;
    for _ in 0..reader.uint16()? {
        reader.uint16()?;
    }
    let count = reader.uint16()?;
    let mut value = None;
    for _ in 0..=number.min(count.checked_sub(1)?) {
        value = match usize::try_from(reader.int32()?) {
            Ok(bytes) => Some(reader.bytes(bytes)?),
            Err(_null) => None,
        };
    }
    value.filter(|_| number < count)
}

/// Fields of an ErrorResponse or NoticeResponse, looked at in place.
#[derive(Clone, Copy, Debug)]
pub struct ServerError<'a> {
    body: &'a [u8],
}

impl<'a> ServerError<'a> {
    /// Over a body, or the front of one.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// A field by its type (`C`, `M`, ...), if it is whole.
    pub fn field(&self, kind: u8) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.body);
        loop {
            let found = reader.byte()?;
            if found == 0 {
                return None;
            }
            let value = reader.string()?;
            if found == kind {
                return Some(value);
            }
        }
    }

    /// Whether the server closes the connection after it (FATAL or PANIC).
    /// `V` is never translated; servers before 9.6 have `S` alone.
    pub fn is_fatal(&self) -> bool {
        let severity = self.field(b'V').or_else(|| self.field(b'S'));
        matches!(severity, Some(b"FATAL" | b"PANIC"))
    }

    /// SQLSTATE.
    pub fn code(&self) -> Option<SqlState> {
        self.field(b'C')?.try_into().ok().map(SqlState)
    }

    /// Whether a prepared statement would give other columns than it did. The SQLSTATE is shared with others.
    pub fn is_changed_plan(&self) -> bool {
        self.field(b'R') == Some(b"RevalidateCachedQuery") && self.field(b'C') == Some(b"0A000")
    }

    /// Primary message, for the log.
    pub fn message(&self) -> String {
        String::from_utf8_lossy(self.field(b'M').unwrap_or_default()).into_owned()
    }

    /// The same error as a frame that does not end the session: severity ERROR, all else as it was.
    pub fn downgraded(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body.len() + 16);
        let mut reader = Reader::new(self.body);
        while let Some(kind) = reader.byte().filter(|kind| *kind != 0) {
            let Some(value) = reader.string() else { break };
            body.push(kind);
            body.extend_from_slice(if matches!(kind, b'S' | b'V') { b"ERROR" } else { value });
            body.push(0);
        }
        body.push(0);
        super::writer::frame(b'E', &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_is_read_in_place() {
        let error = ServerError::new(b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0");
        assert!(error.is_fatal());
        assert_eq!(error.code(), Some(SqlState::ADMIN_SHUTDOWN));
        assert_eq!(error.field(b'H'), None);
        assert_eq!(
            error.downgraded(),
            super::super::writer::frame(b'E', b"SERROR\0VERROR\0C57P01\0Mterminating\0\0")
        );
    }

    #[test]
    fn malformed_bodies_are_told_apart() {
        assert!(is_query_sound(b"SELECT 1\0") && is_query_sound(b"\0"));
        for body in [&b""[..], b"SELECT 1", b"SELECT 1\0\0"] {
            assert!(!is_query_sound(body));
        }
        assert!(is_parse_sound(b"\0SELECT 1\0\0\x01\0\0\0\x17"));
        for body in [&b""[..], b"\0SELECT 1\0", b"\0SELECT 1\0\0\x01", b"\0S\0\0\0x"] {
            assert!(!is_parse_sound(body));
        }
    }

    #[test]
    fn a_bind_may_be_seen_in_part() {
        let names = BindNames { portal: b"p", statement: b"stmt" };
        assert_eq!(BindNames::read(b"p\0stmt\0\0\x01"), Some(names));
        assert_eq!(names.bytes(), 7);
        assert_eq!(BindNames::read(b"portal\0stm"), None);
    }

    #[test]
    fn a_statement_is_told_from_a_portal() {
        assert_eq!(statement_named(b"Sa\0"), Some(&b"a"[..]));
        assert_eq!(statement_named(b"S\0"), Some(&b""[..]));
        for body in [&b""[..], b"S", b"Sa", b"Pa\0", b"Sa\0b\0"] {
            assert_eq!(statement_named(body), None);
        }
    }

    #[test]
    fn a_table_made_anew_looks_the_same() {
        let column = |table: u8, kind: u8, format: u8| {
            let mut body = b"\0\x01name\0".to_vec();
            body.extend_from_slice(&[0, 0, 0, table, 0, 1, 0, 0, 0, kind, 0, 4]);
            body.extend_from_slice(&[255, 255, 255, 255, 0, format]);
            columns_hash(&body)
        };
        assert_eq!(column(1, 23, 0), column(2, 23, 1));
        assert_ne!(column(1, 23, 0), column(1, 25, 0));
        assert_ne!(column(1, 23, 0), columns_hash(b"\0\0"));
    }

    proptest! {
        #[test]
        fn any_body_reads_or_not(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Parse::read(&body);
            let _ = (BindNames::read(&body), statement_named(&body), columns_hash(&body));
            let _ = function_oid(&body);
            let _ = parameter_status(&body);
            let _ = backend_key(&body);
            let _ = (query_text(&body), is_query_sound(&body), is_parse_sound(&body));
            let error = ServerError::new(&body);
            let _ = (error.is_fatal(), error.code(), error.message(), error.downgraded());
        }
    }
}
