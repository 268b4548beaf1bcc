//! From the client to the server.

use super::Splice;
use super::deeds::done;
use crate::analysis::fastpath::function_call_effects;
use crate::client_state::{Body, ClientState};
use crate::config::{Limits, PoolMode};
use crate::pool::{Deed, Exchange, Owed, Preparation, Statements};
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{self, BindNames};
use crate::protocol::{FrameError, Header, TransactionStatus, writer};
use crate::telemetry::metrics::PoolCounter;

/// How much of a chunk was dealt with, and why not more.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the chunk.
    pub bytes: usize,
    /// Why the walk stopped there.
    pub stop: Stop,
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The next frame is not whole, or there is none.
    More,
    /// The next frame begins a request, and no server connection is held.
    NeedServer,
    /// The next frame makes the client listen on channels that the shared listener has not granted yet:
    /// [`Channels::wanted`](crate::client_state::Channels::wanted).
    NeedListener,
    /// The next frame may keep the server connection with the client: its pool has to allow that.
    NeedPin,
    /// The server connection owes as many replies as it may, or one of them decides what the next frame means.
    Full,
    /// The client says good-bye.
    Terminate,
    /// Not the protocol: the client is out of step for good.
    Violation(FrameError),
}

/// What to do with the frame in front.
pub(super) enum Step {
    /// Its bytes go on.
    Pass,
    /// So many bytes of it were replaced; the others go on.
    Replaced(usize),
    /// Its bytes are dropped.
    Drop,
    /// Something is known now that wasn't before: once more.
    Again,
    Stop(Stop),
}

/// Walks the frames of `chunk`. `to_server` gets what goes on, `to_client` what is answered here.
pub fn from_client(
    state: &mut ClientState,
    mut exchange: Option<&mut Exchange>,
    limits: &Limits,
    shared: &Statements,
    chunk: &[u8],
    to_server: &mut Splice<'_>,
    to_client: &mut Vec<u8>,
) -> Taken {
    let mut at = 0;
    loop {
        let rest = chunk.get(at..).unwrap_or_default();
        if let Some((forward, bytes)) = state.body.take(rest.len()) {
            if forward {
                to_server.pass(at..at + bytes);
            }
            at += bytes;
            if state.body == Body::None {
                continue;
            }
            return Taken { bytes: at, stop: Stop::More };
        }
        let header = match client_header(rest) {
            Ok(Some(header)) => header,
            Ok(None) => {
                return Taken { bytes: at, stop: Stop::More };
            }
            Err(fault) => {
                return Taken { bytes: at, stop: Stop::Violation(fault) };
            }
        };
        let front = Front {
            header,
            bytes: rest.get(..header.bytes).unwrap_or(rest),
            is_too_long: header.bytes > limits.statement_bytes,
        };
        let step = match &mut exchange {
            _ if state.skip_to_sync => skip(state, &front, to_client),
            Some(exchange) => {
                let next = rest.get(header.bytes..).unwrap_or_default();
                let (statements, limits) = (shared, limits);
                let sending = &mut Sending {
                    state,
                    exchange,
                    limits,
                    statements,
                    next,
                    to_server,
                    to_client,
                };
                sending.forward(&front)
            }
            None => without_server(state, limits, &front, to_client),
        };
        let pass = match step {
            Step::Pass => {
                to_server.pass(at..at + front.bytes.len());
                true
            }
            Step::Replaced(bytes) => {
                to_server.pass(at + bytes..at + front.bytes.len());
                true
            }
            Step::Drop => false,
            Step::Again => continue,
            Step::Stop(why) => {
                return Taken { bytes: at, stop: why };
            }
        };
        state.body = Body::rest(pass, header.bytes - front.bytes.len());
        at += front.bytes.len();
    }
}

/// The frame in front: what is there of it.
pub(super) struct Front<'a> {
    pub(super) header: Header,
    pub(super) bytes: &'a [u8],
    /// Too long to be held: what is made of it must not depend on how much of it is there.
    pub(super) is_too_long: bool,
}

/// A client's message on its way to the server connection that the client holds.
pub(super) struct Sending<'a, 'c> {
    pub(super) state: &'a mut ClientState,
    pub(super) exchange: &'a mut Exchange,
    pub(super) limits: &'a Limits,
    pub(super) statements: &'a Statements,
    /// What follows the message in the chunk.
    pub(super) next: &'a [u8],
    pub(super) to_server: &'a mut Splice<'c>,
    pub(super) to_client: &'a mut Vec<u8>,
}

impl Front<'_> {
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.header.bytes
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// After a local error: PostgreSQL ignores everything up to Sync, so does the proxy.
fn skip(state: &mut ClientState, front: &Front<'_>, to_client: &mut Vec<u8>) -> Step {
    match front.header.tag {
        b'S' => {
            state.skip_to_sync = false;
            writer::ready_for_query(to_client, TransactionStatus::Idle);
            Step::Drop
        }
        b'X' => Step::Stop(Stop::Terminate),
        _ => Step::Drop,
    }
}

/// No server connection is held: outside of a transaction, nothing under way.
fn without_server(
    state: &ClientState,
    limits: &Limits,
    front: &Front<'_>,
    to_client: &mut Vec<u8>,
) -> Step {
    match front.header.tag {
        // A Sync alone is a ping. One with a body is malformed: let PostgreSQL say so.
        b'S' if front.header.bytes == HEADER_BYTES => {
            writer::ready_for_query(to_client, TransactionStatus::Idle);
            Step::Drop
        }
        // Nothing to flush, unless it is malformed too.
        b'H' if front.header.bytes == HEADER_BYTES => Step::Drop,
        // Data of a copy that has failed is ignored.
        b'd' | b'c' | b'f' => Step::Drop,
        b'X' => Step::Stop(Stop::Terminate),
        // A server connection is not kept waiting for the rest of a statement.
        _ if !is_seen_enough(state, limits, front) => Step::Stop(Stop::More),
        _ => Step::Stop(Stop::NeedServer),
    }
}

// === impl Sending ===

impl Sending<'_, '_> {
    fn forward(&mut self, front: &Front<'_>) -> Step {
        if self.exchange.ledger.len() >= self.limits.pipeline_depth {
            return Step::Stop(Stop::Full);
        }
        if !is_seen_enough(self.state, self.limits, front) {
            return Step::Stop(Stop::More);
        }
        if self.exchange.attempt.has_failed() {
            // It comes first.
            return Step::Stop(Stop::Full);
        }
        if self.exchange.inquiry.is_awaited() {
            return Step::Stop(Stop::Full);
        }
        match self.exchange.preparation {
            Preparation::None | Preparation::Shared(_) => {}
            Preparation::Awaited(_) => return Step::Stop(Stop::Full),
            Preparation::Done => self.exchange.preparation = Preparation::None,
        }
        let step = self.send(front);
        if !matches!(step, Step::Stop(_) | Step::Again) {
            self.count(front.header.tag);
        }
        if self.exchange.attempt.is_under_way() && !matches!(step, Step::Stop(_) | Step::Again) {
            self.exchange.attempt.add(front.header.tag, front.bytes, front.is_whole());
        }
        step
    }

    #[inline]
    fn count(&mut self, tag: u8) {
        let cells = &self.exchange.cells;
        match tag {
            b'P' => cells.count(PoolCounter::ClientParses),
            b'B' => cells.count(PoolCounter::Binds),
            _ => return,
        }
        cells.add(PoolCounter::ServerParses, self.exchange.ledger.take_parses_sent());
    }

    fn send(&mut self, front: &Front<'_>) -> Step {
        match front.header.tag {
            b'Q' => self.query(front),
            b'P' => self.parse(front),
            b'B' => self.bind(front),
            b'D' => self.describe(front),
            b'C' => self.close(front),
            b'E' => self.execute(front),
            b'H' => self.flush(front),
            b'S' => self.pass(Owed::Sync),
            b'F' => {
                let effects = message::function_oid(front.body()).map(function_call_effects);
                self.state.session.note(effects.unwrap_or_default(), None, |_| None);
                self.pass(Owed::Function)
            }
            b'c' | b'f' => self.pass(Owed::CopyEnd),
            b'X' => Step::Stop(Stop::Terminate),
            b'd' => self.pass(Owed::CopyData),
            // No other message passes `client_header`.
            _ => Step::Pass,
        }
    }

    /// The message goes on as it is, and does nothing that has to be remembered.
    pub(super) fn pass(&mut self, owed: Owed) -> Step {
        self.pass_with(owed, Deed::None)
    }

    /// The message goes on as it is.
    pub(super) fn pass_with(&mut self, owed: Owed, deed: Deed) -> Step {
        self.exchange.ledger.sent(owed, deed);
        Step::Pass
    }

    fn execute(&mut self, front: &Front<'_>) -> Step {
        self.exchange.has_limited |= message::row_limit(front.body()) != Some(0);
        self.pass(Owed::Execute)
    }

    fn flush(&mut self, front: &Front<'_>) -> Step {
        if front.header.bytes != HEADER_BYTES {
            // Malformed, it is answered: by an error, up to the next Sync.
            return self.pass(Owed::Execute);
        }
        self.tell_made_up();
        self.pass(Owed::Flush)
    }

    /// Tells the client the made-up replies whose turn it is; whether there were any.
    pub(super) fn tell_made_up(&mut self) -> bool {
        let mut told = false;
        while let Some(deed) = self.exchange.ledger.take_made_up() {
            self.to_client.extend_from_slice(writer::PARSE_COMPLETE);
            done(self.state, self.exchange, deed);
            told = true;
        }
        told
    }
}

/// Whether as much of the frame is there as must be looked at.
fn is_seen_enough(state: &ClientState, limits: &Limits, front: &Front<'_>) -> bool {
    if front.is_whole() {
        return true;
    }
    match front.header.tag {
        b'd' | b'H' => true,
        b'Q' => state.mode == PoolMode::Session || front.is_too_long,
        // The first byte tells whether it has a name.
        b'P' => state.mode == PoolMode::Session || (front.is_too_long && !front.body().is_empty()),
        b'B' => {
            BindNames::read(front.body()).is_some() || front.bytes.len() > limits.statement_bytes
        }
        b'F' => message::function_oid(front.body()).is_some(),
        _ => false,
    }
}
