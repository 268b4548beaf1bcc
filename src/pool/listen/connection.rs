//! The conversation on a hub's server connection: queries out, their ends and notifications in.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::Channel;
use crate::ids::WorkerId;
use crate::net::Stream;
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::{ServerError, message, writer};

/// Longest message: names and payloads are shorter than 8,000 bytes, errors not much longer.
const MESSAGE_MAX: usize = 1024 * 1024;

/// What a query is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// LISTEN; the number tells which of several for the same channel.
    Listen(Channel, u64),
    Unlisten,
    /// This worker wants to know when it has been told all that was sent before.
    Ping(WorkerId),
    /// Whether the server is still there.
    Heartbeat,
}

/// What the server says.
pub(super) enum Said {
    /// The query in front is done; the error, if it has failed.
    Done(Purpose, Option<String>),
    /// A notification: its channel and the whole message.
    Notified(Vec<u8>, Arc<[u8]>),
}

/// A connection. Cancel safe: what is read or not yet written is in here.
pub(super) struct Connection {
    input: ReadHalf<Stream>,
    output: WriteHalf<Stream>,
    received: Vec<u8>,
    to_send: Vec<u8>,
    owed: VecDeque<(Purpose, Instant)>,
    error: Option<String>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        let (input, output) = tokio::io::split(stream);
        Self {
            input,
            output,
            received: Vec::new(),
            to_send: Vec::new(),
            owed: VecDeque::new(),
            error: None,
        }
    }

    /// Asks the server. It is sent by [`Self::progress`].
    pub(super) fn ask(&mut self, query: impl AsRef<[u8]>, purpose: Purpose) {
        writer::query(&mut self.to_send, query);
        self.owed.push_back((purpose, Instant::now()));
    }

    /// Since when the server owes an answer.
    pub(super) fn owes_since(&self) -> Option<Instant> {
        self.owed.front().map(|(_, since)| *since)
    }

    /// What was asked and will not be answered.
    pub(super) fn into_owed(self) -> impl Iterator<Item = Purpose> {
        self.owed.into_iter().map(|(purpose, _)| purpose)
    }

    /// Sends and receives until the server has said something. Cancel safe.
    pub(super) async fn progress(&mut self) -> io::Result<Vec<Said>> {
        loop {
            let received = tokio::select! {
                received = self.input.read_buf(&mut self.received) => received?,
                sent = self.output.write(&self.to_send), if !self.to_send.is_empty() => {
                    self.to_send.drain(..sent?);
                    continue;
                }
            };
            if received == 0 {
                let why = self.error.take().unwrap_or_else(|| "the server closed it".to_owned());
                return Err(io::Error::other(why));
            }
            let said = self.said()?;
            if !said.is_empty() {
                return Ok(said);
            }
        }
    }

    fn said(&mut self) -> io::Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.received.get(at..)
            && let Some(header) = server_header(rest).map_err(io::Error::other)?
        {
            if header.bytes > MESSAGE_MAX {
                return Err(io::Error::other("a message too long for a listener"));
            }
            let Some(frame) = rest.get(..header.bytes) else { break };
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            match header.tag {
                b'A' => {
                    let channel = message::notification_channel(body).unwrap_or_default();
                    said.push(Said::Notified(channel.to_vec(), frame.into()));
                }
                b'E' => self.error = Some(ServerError::new(body).message()),
                b'Z' => {
                    let (purpose, _) = self
                        .owed
                        .pop_front()
                        .ok_or_else(|| io::Error::other("more replies than owed"))?;
                    said.push(Said::Done(purpose, self.error.take()));
                }
                _ => {}
            }
            at += header.bytes;
        }
        self.received.drain(..at);
        Ok(said)
    }
}
