//! From the client to the server.

use super::Splice;
use crate::analysis::fastpath::function_call_effects;
use crate::analysis::session_effects::{Effect, footprint};
use crate::client_state::{Body, ClientState, Statement};
use crate::config::{Limits, PoolMode};
use crate::pool::{Exchange, Owed};
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{self, Parse};
use crate::protocol::{FrameError, Header, TransactionStatus, writer};

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
    /// The server connection owes as many replies as it may.
    Full,
    /// The client says good-bye.
    Terminate,
    /// Not the protocol: the client is out of step for good.
    Violation(FrameError),
}

/// What to do with the frame in front.
enum Step {
    /// Its bytes go on.
    Pass,
    /// Its bytes are dropped.
    Drop,
    Stop(Stop),
}

/// Walks the frames of `chunk`. `to_server` gets what goes on, `to_client` what is answered here.
pub fn from_client(
    state: &mut ClientState,
    mut exchange: Option<&mut Exchange>,
    limits: &Limits,
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
            Some(exchange) => forward(state, exchange, limits, &front, to_server),
            None => without_server(state, limits, &front, to_client),
        };
        let pass = match step {
            Step::Pass => true,
            Step::Drop => false,
            Step::Stop(why) => {
                return Taken { bytes: at, stop: why };
            }
        };
        if pass {
            to_server.pass(at..at + front.bytes.len());
        }
        state.body = Body::rest(pass, header.bytes - front.bytes.len());
        at += front.bytes.len();
    }
}

/// The frame in front: what is there of it.
struct Front<'a> {
    header: Header,
    bytes: &'a [u8],
    /// Too long to be held: what is made of it must not depend on how much of it is there.
    is_too_long: bool,
}

impl Front<'_> {
    fn is_whole(&self) -> bool {
        self.bytes.len() == self.header.bytes
    }

    fn body(&self) -> &[u8] {
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

fn forward(
    state: &mut ClientState,
    exchange: &mut Exchange,
    limits: &Limits,
    front: &Front<'_>,
    to_server: &mut Splice<'_>,
) -> Step {
    if exchange.ledger.len() >= limits.pipeline_depth {
        return Step::Stop(Stop::Full);
    }
    if !is_seen_enough(state, limits, front) {
        return Step::Stop(Stop::More);
    }
    if !exchange.unnamed_ready {
        own_unnamed(state, exchange, front, to_server);
    }
    let owed = match front.header.tag {
        b'Q' => query(state, exchange, front),
        b'P' => parse(state, exchange, front),
        b'B' => Owed::Bind,
        b'D' => Owed::Describe,
        b'C' => close(state, exchange, front),
        b'E' => Owed::Execute,
        // A malformed Flush is answered: by an error, up to the next Sync.
        b'H' if front.header.bytes != HEADER_BYTES => Owed::Execute,
        b'H' => Owed::Flush,
        b'S' => Owed::Sync,
        b'F' => {
            let effects = message::function_oid(front.body()).map(function_call_effects);
            state.pins = state.pins.union(effects.unwrap_or_default());
            Owed::Function
        }
        b'c' | b'f' => Owed::CopyEnd,
        b'X' => return Step::Stop(Stop::Terminate),
        b'd' => Owed::CopyData,
        // No other message passes `client_header`.
        _ => return Step::Pass,
    };
    exchange.ledger.sent(owed);
    Step::Pass
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
            message::bind_statement(front.body()).is_some()
                || front.bytes.len() > limits.statement_bytes
        }
        b'F' => message::function_oid(front.body()).is_some(),
        _ => false,
    }
}

fn query(state: &mut ClientState, exchange: &mut Exchange, front: &Front<'_>) -> Owed {
    scan(state, front, message::query_text(front.body()));
    if !replaces_unnamed(front) {
        // Refused before it drops anything: owed is what a function call would owe.
        return Owed::Function;
    }
    if !exchange.ledger.is_skipping() {
        stay_if_uncertain(state, front);
        state.unnamed.drop_sent();
    }
    Owed::Query
}

fn parse(state: &mut ClientState, exchange: &mut Exchange, front: &Front<'_>) -> Owed {
    let parse = Parse::read(front.body());
    scan(state, front, parse.map(|parse| parse.text).unwrap_or_default());
    if replaces_unnamed(front) {
        if !exchange.ledger.is_skipping() {
            stay_if_uncertain(state, front);
            state.unnamed.parse_sent(front.bytes, !front.is_too_long && front.is_whole());
        }
        return Owed::ParseUnnamed;
    }
    if front.body().first().is_some_and(|first| *first != 0) {
        // Named statements live on the server connection.
        state.pins = state.pins.union(Effect::Prepare.into());
    }
    Owed::Parse
}

fn close(state: &mut ClientState, exchange: &mut Exchange, front: &Front<'_>) -> Owed {
    if !message::closes_unnamed(front.body()) {
        return Owed::Close;
    }
    if !exchange.ledger.is_skipping() {
        state.unnamed.drop_sent();
    }
    Owed::CloseUnnamed
}

/// Text that is not in the client's encoding is refused before the unnamed statement is dropped. Which
/// encoding that is isn't known here; so with text that is not UTF-8 only the server knows what is left of it.
fn stay_if_uncertain(state: &mut ClientState, front: &Front<'_>) {
    if *state.unnamed.current() != Statement::None && std::str::from_utf8(front.body()).is_err() {
        state.pins = state.pins.union(Effect::Unknown.into());
    }
}

/// Whether a Query or Parse is one that PostgreSQL takes far enough to drop the unnamed statement. Of a
/// message too long to be held the front must do: the client stays with its server connection then.
fn replaces_unnamed(front: &Front<'_>) -> bool {
    let body = front.body();
    // In session mode a message is not held either.
    let is_unread = front.is_too_long || !front.is_whole();
    match front.header.tag {
        b'Q' => is_unread || message::is_query_sound(body),
        b'P' if body.first() == Some(&0) => is_unread || message::is_parse_sound(body),
        _ => false,
    }
}

/// Notes what a statement leaves behind. A connection that will be closed after this client needs no scan.
fn scan(state: &mut ClientState, front: &Front<'_>, text: &[u8]) {
    if state.spoils_server() {
        return;
    }
    let is_held = front.is_whole() && !front.is_too_long;
    let effects = if is_held { footprint(text).effects } else { Effect::Unknown.into() };
    state.pins = state.pins.union(effects);
}

/// The first message on a server connection: makes its unnamed statement the client's own. It must stand in
/// front of everything that may fail, or it would be skipped with the rest.
fn own_unnamed(
    state: &ClientState,
    exchange: &mut Exchange,
    front: &Front<'_>,
    to_server: &mut Splice<'_>,
) {
    match front.header.tag {
        // Nothing to fail.
        b'H' if front.header.bytes == HEADER_BYTES => return,
        // These replace or drop it themselves, and nothing in front of them can fail.
        b'Q' | b'P'
            if replaces_unnamed(front)
                && !front.is_too_long
                && std::str::from_utf8(front.body()).is_ok() => {}
        b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
            if let Statement::Parse(parse) = state.unnamed.current() {
                // With a Sync of its own: it must not join the transaction of what follows, which may be
                // a BEGIN that sets the isolation level.
                to_server.insert(parse);
                to_server.insert(writer::SYNC);
                exchange.ledger.sent_by_proxy(Owed::ParseUnnamed);
                exchange.ledger.sent_by_proxy(Owed::Sync);
            } else {
                // Whatever an earlier client left there: PostgreSQL says that there is none.
                to_server.insert(writer::CLOSE_UNNAMED);
                exchange.ledger.sent_by_proxy(Owed::Close);
            }
        }
        // What can't use it leaves the question open.
        _ => return,
    }
    exchange.unnamed_ready = true;
}
