//! A client's socket during login: whole messages in, whole messages out.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{Peer, Stream};
use crate::protocol::frame::{HEADER_BYTES, login_header};
use crate::protocol::startup::packet_length;

/// The socket and what was read ahead.
pub(super) struct Wire {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    /// Read and not used yet.
    pub(super) received: Vec<u8>,
}

/// Why there is no message.
pub(super) enum Missing {
    /// The client is gone.
    Gone,
    /// What it sent is no such message.
    Malformed(String),
}

impl From<io::Error> for Missing {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, peer: Peer) -> Self {
        Self { stream, peer, received: Vec::new() }
    }

    /// The next packet without a tag, its length included.
    pub(super) async fn packet(&mut self) -> Result<Vec<u8>, Missing> {
        loop {
            let length = packet_length(&self.received)
                .map_err(|error| Missing::Malformed(error.to_string()))?;
            if let Some(length) = length.filter(|length| self.received.len() >= *length) {
                return Ok(self.received.drain(..length).collect());
            }
            self.more().await?;
        }
    }

    /// The body of the next password message.
    pub(super) async fn password_message(&mut self) -> Result<Vec<u8>, Missing> {
        loop {
            let header = login_header(&self.received)
                .map_err(|error| Missing::Malformed(error.to_string()))?;
            if let Some(header) = header.filter(|header| self.received.len() >= header.bytes) {
                return Ok(self.received.drain(..header.bytes).skip(HEADER_BYTES).collect());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Missing> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(Missing::Gone),
            _ => Ok(()),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}
