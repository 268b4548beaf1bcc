//! A logged-in client connection that keeps all that it was sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::{Frame, Wire, frames};

/// A connection, direct or through the proxy.
pub(crate) struct Connection {
    stream: TcpStream,
    /// All that came since [`Connection::begin`].
    pub(crate) replies: Vec<u8>,
    /// The peer has closed.
    pub(crate) ended: bool,
}

impl Connection {
    pub(crate) fn open(port: u16, database: &str) -> Self {
        let wire = Wire::login(port, "postgres", database);
        let stream = wire.stream().try_clone().expect("one more file");
        Self { stream, replies: Vec::new(), ended: false }
    }

    /// Forgets what came so far.
    pub(crate) fn begin(&mut self) {
        self.replies.clear();
    }

    /// Sends; that the peer may have closed shows at the next read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes in both directions: what still comes is answered with a reset.
    pub(crate) fn hang_up(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.ended = true;
    }

    /// Reads once; `false`: nothing came within `timeout`, or the stream has ended.
    pub(crate) fn read(&mut self, timeout: Duration) -> bool {
        self.stream.set_read_timeout(Some(timeout)).expect("a timeout above zero");
        self.read_once()
    }

    /// Takes what is there already.
    pub(crate) fn read_ready(&mut self) {
        self.stream.set_nonblocking(true).expect("an open socket");
        while self.read_once() {}
        self.stream.set_nonblocking(false).expect("an open socket");
    }

    fn read_once(&mut self) -> bool {
        let mut chunk = vec![0; 32 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(bytes) => {
                self.replies.extend_from_slice(&chunk[..bytes]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.ended = true,
        }
        false
    }

    /// Runs a query of the harness itself, outside of a sequence.
    pub(crate) fn run(&mut self, sql: &str) {
        self.begin();
        self.send(&frames::query(sql));
        while !self.ended && tags(&self.replies).last() != Some(&b'Z') {
            self.read(Duration::from_secs(10));
        }
        self.begin();
    }
}

/// The whole frames at the front of `bytes`.
pub(crate) fn cut(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((tag, body)) = front(bytes) {
        frames.push(Frame { tag, body: body.to_vec() });
        bytes = &bytes[5 + body.len()..];
    }
    frames
}

/// The types of the whole frames; a `?` at the end if there is a part of one more.
pub(crate) fn tags(mut bytes: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    while let Some((tag, body)) = front(bytes) {
        tags.push(tag);
        bytes = &bytes[5 + body.len()..];
    }
    if !bytes.is_empty() {
        tags.push(b'?');
    }
    tags
}

/// Number of the whole frames.
pub(crate) fn count(bytes: &[u8]) -> usize {
    tags(&bytes[..whole(bytes)]).len()
}

/// Bytes of the whole frames.
pub(crate) fn whole(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some((_, body)) = front(&bytes[at..]) {
        at += 5 + body.len();
    }
    at
}

fn front(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&[tag, a, b, c, d], rest) = bytes.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    Some((tag, rest.get(..length.checked_sub(4)?)?))
}
