//! From the server to the client.

use super::Splice;
use crate::client_state::{Body, ClientState};
use crate::pool::{Exchange, Fatal, OutOfStep, Owed, Skipped, Verdict};
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::{FrameError, Header, ServerError};

use thiserror::Error;

/// So much of an ErrorResponse is looked at: severity and SQLSTATE come first.
pub(super) const ERROR_SEEN_BYTES: usize = 256;

/// Why a server's bytes can't be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerFault {
    /// Not the protocol.
    #[error("the server's stream is broken: {0}")]
    Frame(#[from] FrameError),
    /// A reply that nothing owes.
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
}

/// Walks the frames of `chunk`; `to_client` gets what goes on. Gives the bytes dealt with: the rest (less
/// than [`ERROR_SEEN_BYTES`]) must come again in front of the next chunk.
pub fn from_server(
    state: &mut ClientState,
    exchange: &mut Exchange,
    chunk: &[u8],
    to_client: &mut Splice<'_>,
) -> Result<usize, ServerFault> {
    let mut at = 0;
    loop {
        let rest = chunk.get(at..).unwrap_or_default();
        if let Some((forward, bytes)) = exchange.body.take(rest.len()) {
            if forward {
                to_client.pass(at..at + bytes);
            }
            at += bytes;
            if exchange.body == Body::None {
                continue;
            }
            return Ok(at);
        }
        let Some(header) = server_header(rest)? else {
            return Ok(at);
        };
        let front = rest.get(..header.bytes).unwrap_or(rest);
        if !is_seen_enough(header, front) {
            return Ok(at);
        }
        let forward = judge(state, exchange, header.tag, front)?;
        if forward {
            to_client.pass(at..at + front.len());
        }
        exchange.body = Body::rest(forward, header.bytes - front.len());
        at += front.len();
        if rest.len() == front.len() {
            return Ok(at);
        }
    }
}

fn is_seen_enough(header: Header, front: &[u8]) -> bool {
    match header.tag {
        b'Z' => front.len() >= header.bytes.min(HEADER_BYTES + 1),
        b'E' => front.len() >= header.bytes.min(ERROR_SEEN_BYTES),
        _ => true,
    }
}

/// Holds a reply against the ledger; whether it goes on to the client.
fn judge(
    state: &mut ClientState,
    exchange: &mut Exchange,
    tag: u8,
    front: &[u8],
) -> Result<bool, OutOfStep> {
    let status = front.get(HEADER_BYTES).copied().unwrap_or_default();
    match exchange.ledger.received(tag, status)? {
        Verdict::Forward => Ok(true),
        Verdict::Swallow => Ok(false),
        Verdict::Unnamed(owed) => {
            state.unnamed_settled(owed == Owed::ParseUnnamed);
            Ok(true)
        }
        Verdict::Ready(status, owed) => {
            exchange.ready = Some(status);
            if owed == Owed::Query {
                state.unnamed_settled(false);
            }
            Ok(true)
        }
        Verdict::Failed(skipped) => {
            failed(state, exchange, skipped, front);
            Ok(true)
        }
    }
}

fn failed(state: &mut ClientState, exchange: &mut Exchange, skipped: Skipped, front: &[u8]) {
    let error = ServerError::new(front.get(HEADER_BYTES..).unwrap_or_default());
    if error.is_fatal() {
        exchange.fatal = Some(Fatal { code: error.code() });
    }
    state.unnamed_skipped(skipped.messages, skipped.has_failed);
}
