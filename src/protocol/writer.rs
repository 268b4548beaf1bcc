//! Messages that the proxy says itself, to clients and to servers.

use std::fmt;

use super::message::TransactionStatus;
use super::sqlstate::SqlState;

/// A whole frame around `body`.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    put_frame(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

/// Appends a frame whose body `fill` writes.
pub fn put_frame(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_counted(out, fill);
}

/// Appends a length that counts itself, and what `fill` writes.
fn put_counted(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    // Our own messages are far below 4 GiB.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().copied().filter(|byte| *byte != 0));
    out.push(0);
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status.as_byte()]);
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put_frame(out, b'S', |out| {
        put_string(out, name);
        put_string(out, value);
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    put_frame(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
}

/// AuthenticationSASL with the one mechanism that is offered.
pub fn authentication_sasl(out: &mut Vec<u8>) {
    put_frame(out, b'R', |out| {
        out.extend_from_slice(&10_i32.to_be_bytes());
        out.extend_from_slice(b"SCRAM-SHA-256\0\0");
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    put_frame(out, b'R', |out| {
        out.extend_from_slice(&11_i32.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    put_frame(out, b'R', |out| {
        out.extend_from_slice(&12_i32.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// NegotiateProtocolVersion: the newest minor version spoken, and the options that are not known.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unknown: &[Vec<u8>]) {
    put_frame(out, b'v', |out| {
        out.extend_from_slice(&(0x0003_0000 | u32::from(minor)).to_be_bytes());
        out.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(0).to_be_bytes());
        for name in unknown {
            put_string(out, name);
        }
    });
}

/// A startup packet of protocol 3.0, for a server.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    put_counted(out, |out| {
        out.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
        for (name, value) in parameters {
            put_string(out, name);
            put_string(out, value);
        }
        out.push(0);
    });
}

/// A CancelRequest, for a server.
pub fn cancel_request(pid: i32, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + key.len());
    put_counted(&mut out, |out| {
        out.extend_from_slice(&80_877_102_u32.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
    out
}

/// A simple Query, for a server.
pub fn query(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    put_frame(out, b'Q', |out| put_string(out, text.as_ref()));
}

/// A name as SQL has it, in double quotes.
pub fn quoted(name: &[u8]) -> Vec<u8> {
    let mut sql = Vec::with_capacity(name.len() + 2);
    sql.push(b'"');
    for byte in name {
        if *byte == b'"' {
            sql.push(b'"');
        }
        sql.push(*byte);
    }
    sql.push(b'"');
    sql
}

/// Close of the unnamed statement.
pub const CLOSE_UNNAMED: &[u8] = b"C\0\0\0\x06S\0";

/// Sync.
pub const SYNC: &[u8] = b"S\0\0\0\x04";

/// Flush.
pub const FLUSH: &[u8] = b"H\0\0\0\x04";

/// ParseComplete.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

/// Parse. `types`: their number, and the types.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], types: &[u8]) {
    put_frame(out, b'P', |out| {
        put_string(out, name);
        put_string(out, text);
        out.extend_from_slice(types);
    });
}

/// Close of a statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    put_frame(out, b'C', |out| {
        out.push(b'S');
        put_string(out, name);
    });
}

/// Describe of a statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    put_frame(out, b'D', |out| {
        out.push(b'S');
        put_string(out, name);
    });
}

/// The front of a Bind whose frame has `bytes` in all: up to the statement's name.
pub fn bind_front(out: &mut Vec<u8>, bytes: usize, portal: &[u8], statement: &[u8]) {
    out.push(b'B');
    // No longer than the client's own, but for the name.
    let length = u32::try_from(bytes - 1).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    put_string(out, portal);
    put_string(out, statement);
}

/// A Bind of the unnamed portal to a statement, without parameters.
pub fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    put_frame(out, b'B', |out| {
        put_string(out, portal);
        put_string(out, statement);
        out.extend_from_slice(&[0; 6]);
    });
}

/// Execute of a portal, without a row limit.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    put_frame(out, b'E', |out| {
        put_string(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}

/// What PostgreSQL says when a prepared statement would give other columns than it did
/// (`RevalidateCachedQuery`; drivers look at the routine's name).
pub fn cached_plan_changed(out: &mut Vec<u8>) {
    put_frame(out, b'E', |out| {
        out.extend_from_slice(
            b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0\
Fplancache.c\0RRevalidateCachedQuery\0\0",
        );
    });
}

/// A NOTICE.
pub fn notice(message: &str) -> Vec<u8> {
    let body = format!("SNOTICE\0VNOTICE\0C00000\0M{message}\0\0");
    frame(b'N', body.as_bytes())
}

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

/// An error that the proxy raises itself: it looks like PostgreSQL's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalError {
    /// Whether the session ends.
    pub severity: Severity,
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message.
    pub message: String,
    /// Detail.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl LocalError {
    /// An error after which the session goes on.
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), detail: None, hint: None }
    }

    /// An error that ends the session.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(code, message) }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error as one that ends the session.
    #[must_use]
    pub fn into_fatal(mut self) -> Self {
        self.severity = Severity::Fatal;
        self
    }

    /// Appends the ErrorResponse.
    pub fn write(&self, out: &mut Vec<u8>) {
        let severity: &[u8] = match self.severity {
            Severity::Error => b"ERROR",
            Severity::Fatal => b"FATAL",
        };
        put_frame(out, b'E', |out| {
            for (kind, value) in [
                (b'S', Some(severity)),
                (b'V', Some(severity)),
                (b'C', Some(&self.code.0[..])),
                (b'M', Some(self.message.as_bytes())),
                (b'D', self.detail.as_deref().map(str::as_bytes)),
                (b'H', self.hint.as_deref().map(str::as_bytes)),
            ] {
                if let Some(value) = value {
                    out.push(kind);
                    put_string(out, value);
                }
            }
            out.push(0);
        });
    }

    /// The ErrorResponse alone.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::ServerError;

    #[test]
    fn an_error_has_postgresqls_fields() {
        let mut out = Vec::new();
        LocalError::fatal(SqlState::UNDEFINED_DATABASE, "no\0pe").hint("try").write(&mut out);
        let error = ServerError::new(&out[5..]);
        assert!(error.is_fatal());
        assert_eq!(error.field(b'M'), Some(&b"nope"[..]));
        assert_eq!(error.field(b'H'), Some(&b"try"[..]));
        assert_eq!(error.field(b'D'), None);
        assert_eq!(out[1..5], u32::try_from(out.len() - 1).unwrap().to_be_bytes());
    }

    #[test]
    fn a_cancel_request_is_sixteen_bytes_with_a_short_key() {
        assert_eq!(cancel_request(1, &[0; 4]).len(), 16);
    }
}
