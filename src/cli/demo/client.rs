//! A small blocking client: simple queries, one at a time.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::message::backend_key;
use crate::protocol::reader::Reader;
use crate::protocol::{ServerError, writer};

/// A session; dropped, it says good-bye.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    cancel: CancelKey,
}

/// What cancels the statement of one session.
#[derive(Clone, Debug)]
pub(super) struct CancelKey {
    address: SocketAddr,
    pid: i32,
    key: Vec<u8>,
}

/// Rows of the last statement that had some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// Why there is no answer, or a bad one.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// The connection.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// An ErrorResponse.
    #[error("{message} (SQLSTATE {code})")]
    Server {
        /// SQLSTATE.
        code: String,
        /// Primary message.
        message: String,
    },
    /// Something that this client does not understand.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
}

/// Longest wait for the next bytes.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest message that is taken in.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Bytes of a field in RowDescription after its name: table OID, column, type OID, size, modifier, format.
const FIELD_BYTES: usize = 4 + 2 + 4 + 2 + 4 + 2;

// === impl Client ===

impl Client {
    /// Logs in as `postgres`.
    pub(super) fn connect(address: SocketAddr, database: &str) -> Result<Self, ClientError> {
        Self::connect_with(address, &[("user", "postgres"), ("database", database)])
    }

    /// Logs in with these startup parameters.
    pub(super) fn connect_with(
        address: SocketAddr,
        parameters: &[(&str, &str)],
    ) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let cancel = CancelKey { address, pid: 0, key: Vec::new() };
        let mut client = Self { stream: BufReader::new(stream), cancel };
        let mut hello = Vec::new();
        writer::startup(
            &mut hello,
            parameters.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        );
        client.send(&hello)?;
        client.log_in()?;
        Ok(client)
    }

    /// Runs SQL; the rows of its last statement that had some, or its first error.
    pub(super) fn query(&mut self, sql: &str) -> Result<Table, ClientError> {
        let mut message = Vec::new();
        writer::query(&mut message, sql);
        self.send(&message)?;
        let mut table = Table::default();
        let mut failed = None;
        loop {
            let (tag, body) = match self.receive() {
                Ok(frame) => frame,
                // A FATAL error says more than the end of the connection.
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            match tag {
                b'T' => table = Table::described(&body)?,
                b'D' => table.push(&body)?,
                b'E' => failed = failed.or_else(|| Some(ClientError::server(&body))),
                b'Z' => return failed.map_or(Ok(table), Err),
                _ => {}
            }
        }
    }

    /// The first field of the first row.
    pub(super) fn value(&mut self, sql: &str) -> Result<String, ClientError> {
        let field = self.query(sql)?.rows.into_iter().flatten().flatten().next();
        field.ok_or(ClientError::Unexpected("lack of rows"))
    }

    /// The first field of the first row, a number.
    pub(super) fn number(&mut self, sql: &str) -> Result<i64, ClientError> {
        self.value(sql)?.parse().or(Err(ClientError::Unexpected("text for a number")))
    }

    /// What cancels this session's statement.
    pub(super) fn cancel_key(&self) -> CancelKey {
        self.cancel.clone()
    }

    /// Closes the connection without good-bye, as a client that crashes does.
    pub(super) fn vanish(self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }

    fn log_in(&mut self) -> Result<(), ClientError> {
        loop {
            let (tag, body) = self.receive()?;
            match tag {
                b'R' if Reader::new(&body).int32() != Some(0) => {
                    return Err(ClientError::Unexpected("request for a password"));
                }
                b'K' => {
                    let key = backend_key(&body);
                    let (pid, key) = key.ok_or(ClientError::Unexpected("BackendKeyData"))?;
                    (self.cancel.pid, self.cancel.key) = (pid, key.to_vec());
                }
                b'E' => return Err(ClientError::server(&body)),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Tag and body of the next message.
    fn receive(&mut self) -> Result<(u8, Vec<u8>), ClientError> {
        let mut front = [0; HEADER_BYTES];
        self.stream.read_exact(&mut front)?;
        let header = server_header(&front).ok().flatten();
        let header = header.filter(|header| header.bytes <= FRAME_BYTES_MAX);
        let header = header.ok_or(ClientError::Unexpected("length of a message"))?;
        let mut body = vec![0; header.bytes - HEADER_BYTES];
        self.stream.read_exact(&mut body)?;
        Ok((header.tag, body))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Terminate.
        let _ = self.send(&writer::frame(b'X', b""));
    }
}

// === impl CancelKey ===

impl CancelKey {
    /// Asks to cancel, and waits until the request has been dealt with.
    pub(super) fn cancel(&self) -> Result<(), ClientError> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&writer::cancel_request(self.pid, &self.key))?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

// === impl Table ===

impl Table {
    /// An empty one, from a RowDescription.
    fn described(body: &[u8]) -> Result<Self, ClientError> {
        let malformed = || ClientError::Unexpected("RowDescription");
        let mut reader = Reader::new(body);
        let count = int16(&mut reader).ok_or_else(malformed)?;
        let mut names = Vec::new();
        for _ in 0..count {
            let name = reader.string().ok_or_else(malformed)?;
            names.push(String::from_utf8_lossy(name).into_owned());
            reader = Reader::new(reader.rest().get(FIELD_BYTES..).ok_or_else(malformed)?);
        }
        Ok(Self { names, rows: Vec::new() })
    }

    /// Adds a DataRow.
    fn push(&mut self, body: &[u8]) -> Result<(), ClientError> {
        self.rows.push(data_row(body).ok_or(ClientError::Unexpected("DataRow"))?);
        Ok(())
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl fmt::Display for Table {
    /// As psql shows it; numbers to the right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |field: &Option<String>| field.clone().unwrap_or_default();
        let mut heading = Vec::new();
        let mut lines = vec![Vec::new(); self.rows.len()];
        for (column, name) in self.names.iter().enumerate() {
            let cells = || self.rows.iter().filter_map(|row| row.get(column)).map(cell);
            let numeric = cells().all(|cell| cell.parse::<f64>().is_ok());
            let lengths = cells().map(|cell| cell.chars().count());
            let width = lengths.chain([name.chars().count()]).max().unwrap_or_default();
            heading.push(format!("{name:^width$}"));
            for (line, cell) in lines.iter_mut().zip(cells()) {
                line.push(if numeric {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                });
            }
        }
        let rule: Vec<_> = heading.iter().map(|name| "-".repeat(name.chars().count())).collect();
        write!(f, " {}\n-{}-", heading.join(" | ").trim_end(), rule.join("-+-"))?;
        lines.iter().try_for_each(|line| write!(f, "\n {}", line.join(" | ").trim_end()))
    }
}

// === impl ClientError ===

impl ClientError {
    fn server(body: &[u8]) -> Self {
        let error = ServerError::new(body);
        let code = error.field(b'C').unwrap_or_default();
        Self::Server { code: String::from_utf8_lossy(code).into_owned(), message: error.message() }
    }

    /// SQLSTATE, if the server (or the proxy) has answered with an error.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Io(_) | Self::Unexpected(_) => None,
        }
    }
}

// === helpers ===

fn data_row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let mut reader = Reader::new(body);
    let count = int16(&mut reader)?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let Ok(length) = usize::try_from(reader.int32()?) else {
            fields.push(None); // -1: NULL
            continue;
        };
        let (field, rest) = reader.rest().split_at_checked(length)?;
        fields.push(Some(String::from_utf8_lossy(field).into_owned()));
        reader = Reader::new(rest);
    }
    Some(fields)
}

fn int16(reader: &mut Reader<'_>) -> Option<u16> {
    Some(u16::from_be_bytes([reader.byte()?, reader.byte()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_shown() {
        let field = [&b"n\0"[..], &[0; FIELD_BYTES]].concat();
        let mut table = Table::described(&[&[0, 1][..], &field].concat()).unwrap();
        table.push(b"\0\x01\0\0\0\x0212").unwrap();
        table.push(b"\0\x01\0\0\0\x013").unwrap();
        assert_eq!(table.to_string(), " n\n----\n 12\n  3");
        assert!(table.push(b"\0\x01\0\0\0\x09short").is_err());
        assert!(Table::described(b"\0\x01n\0").is_err());
    }
}
