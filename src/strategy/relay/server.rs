//! From the server to the client.

use super::Splice;
use super::deeds::{done, failed, ready};
use super::statements::STAND_IN;
use crate::analysis::session_effects::Mark;
use crate::client_state::{Body, ClientState, Definition, Shape, Statement};
use crate::config::PoolMode;
use crate::pool::{Deed, Exchange, Failure, Fatal, Inquiry, OutOfStep, Verdict};
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::message::{self, columns_hash};
use crate::protocol::writer::{self, PARSE_COMPLETE};
use crate::protocol::{FrameError, Header, ServerError, SqlState, TransactionStatus};

use thiserror::Error;

/// So much of an ErrorResponse is looked at: severity and SQLSTATE come first.
pub(super) const ERROR_SEEN_BYTES: usize = 256;

/// A message that must be looked at whole is held up to this length: the description of the widest result
/// (1,664 columns) fits, that of 65,535 parameters, and any error that names a statement.
const HELD_BYTES_MAX: usize = 257 * 1024;

/// What becomes of a reply.
enum Reply {
    Forward,
    /// It goes on behind this.
    Behind(Vec<u8>),
    Swallow,
    /// The client gets this instead.
    Instead(Vec<u8>),
}

/// Why a server's bytes can't be relayed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServerFault {
    /// Not the protocol.
    #[error("the server's stream is broken: {0}")]
    Frame(#[from] FrameError),
    /// A reply that nothing owes.
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
    /// What the client's statement names stand for can't be known: that would take the replies that are in doubt.
    #[error("a copy failed with a Sync among its data, in a session with prepared statements")]
    InDoubt,
    /// The settings that the client wants can't be had on this connection.
    #[error("the session's settings could not be applied: {message}")]
    NotApplied {
        /// PostgreSQL's SQLSTATE.
        code: SqlState,
        /// PostgreSQL's message.
        message: String,
    },
}

/// Walks the frames of `chunk`; `to_client` gets what goes on. Gives the bytes dealt with: the rest (at most
/// [`HELD_BYTES_MAX`]) must come again in front of the next chunk.
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
        while let Some(deed) = exchange.ledger.take_made_up() {
            to_client.insert(PARSE_COMPLETE);
            done(state, exchange, deed);
        }
        let Some(header) = server_header(rest)? else {
            return Ok(at);
        };
        let front = rest.get(..header.bytes).unwrap_or(rest);
        let is_telling = header.tag == b'C' && state.session.channels.awaits_tags();
        if exchange.ledger.passes(header.tag) && !is_telling {
            exchange.attempt.give_up();
            to_client.pass(at..at + front.len());
            exchange.body = Body::rest(true, header.bytes - front.len());
            at += front.len();
            continue;
        }
        if !is_seen_enough(state, exchange, header, front) {
            return Ok(at);
        }
        if header.tag == b'Z' && must_hear(state, exchange, front) {
            return Ok(at);
        }
        let reply = judge(state, exchange, header.tag, front)?;
        if !matches!(reply, Reply::Swallow) {
            exchange.attempt.give_up();
        }
        if let Reply::Behind(bytes) | Reply::Instead(bytes) = &reply {
            to_client.insert(bytes);
        }
        let forward = matches!(reply, Reply::Forward | Reply::Behind(_));
        if forward {
            to_client.pass(at..at + front.len());
        }
        exchange.body = Body::rest(forward, header.bytes - front.len());
        at += front.len();
    }
}

fn is_seen_enough(state: &ClientState, exchange: &Exchange, header: Header, front: &[u8]) -> bool {
    let seen = match header.tag {
        b'Z' => HEADER_BYTES + 1,
        b'A' | b'C' if !state.session.channels.is_empty() => HELD_BYTES_MAX,
        b'E' | b't' | b'T' if has_statement(exchange) => HELD_BYTES_MAX,
        b'D' if exchange.inquiry.is_open() => HELD_BYTES_MAX,
        b'E' => ERROR_SEEN_BYTES,
        _ => return true,
    };
    front.len() >= header.bytes.min(seen)
}

/// Whether the reply is to a message that names a shared statement.
fn has_statement(exchange: &Exchange) -> bool {
    let is_about_one = |deed: &Deed| {
        matches!(deed, Deed::Use(..) | Deed::Define(_, Definition::Shared(_)) | Deed::Examine(_))
    };
    exchange.ledger.front_deed().is_some_and(is_about_one)
}

/// Holds a reply against the ledger.
fn judge(
    state: &mut ClientState,
    exchange: &mut Exchange,
    tag: u8,
    front: &[u8],
) -> Result<Reply, ServerFault> {
    let body = front.get(HEADER_BYTES..).unwrap_or_default();
    let types = look(exchange, tag, body);
    let status = body.first().copied().unwrap_or_default();
    let is_forwarded = match exchange.ledger.received(tag, status)? {
        Verdict::Forward if tag == b'S' => {
            reported(state, body);
            true
        }
        Verdict::Forward if tag == b'A' => !is_told_otherwise(state, body),
        Verdict::Forward => true,
        Verdict::Swallow => false,
        Verdict::Done { deed, forward } => {
            done(state, exchange, deed);
            forward
        }
        Verdict::Ready(status, deed) => {
            ready(state, exchange, status, deed);
            if let Some(notice) = pin_notice(state, status) {
                return Ok(Reply::Behind(notice));
            }
            true
        }
        Verdict::Refused(Deed::Apply) => {
            let error = ServerError::new(body);
            if error.is_fatal() && (Fatal { code: error.code() }).is_the_servers_own_doing() {
                // It goes down, and nothing of the client's has run yet: the end of the stream says the rest.
                return Ok(Reply::Swallow);
            }
            let code = error.code().unwrap_or(SqlState::INTERNAL_ERROR);
            return Err(ServerFault::NotApplied { code, message: error.message() });
        }
        Verdict::Refused(deed) => {
            exchange.inquiry = Inquiry::None;
            if let Deed::Ask(question) = deed {
                state.session.not_answered(&question);
            }
            false
        }
        Verdict::Failed(failure) => {
            let reply = error(state, exchange, &failure, front);
            if has_names_in_doubt(state, exchange) {
                return Err(ServerFault::InDoubt);
            }
            return Ok(behind(types, reply));
        }
    };
    if is_forwarded && tag == b'C' && state.session.channels.awaits_tags() {
        state.session.channels.completed(body.strip_suffix(b"\0").unwrap_or(body));
    }
    // The parameters' types of a shared statement are told with its columns: an error there may be repaired.
    let is_told = is_forwarded && !(tag == b't' && exchange.described_types.is_some());
    Ok(behind(types, if is_told { Reply::Forward } else { Reply::Swallow }))
}

/// What tells the client that it keeps its server connection.
fn pin_notice(state: &mut ClientState, status: TransactionStatus) -> Option<Vec<u8>> {
    if status != TransactionStatus::Idle || state.session.pins.is_empty() && state.own.is_empty() {
        return None;
    }
    state.pin_notice().map(|text| writer::notice(&text))
}

/// The shared listener tells what is sent on this notification's channel.
fn is_told_otherwise(state: &ClientState, body: &[u8]) -> bool {
    let channel = message::notification_channel(body).unwrap_or_default();
    state.session.channels.knows(channel)
}

/// A transaction of the client is over that may have notified the client itself: PostgreSQL tells that before it is
/// ready. `true`: the ReadyForQuery waits for the shared listener.
fn must_hear(state: &mut ClientState, exchange: &Exchange, front: &[u8]) -> bool {
    let channels = &mut state.session.channels;
    if channels.is_empty() || front.last() != Some(&b'I') || !exchange.ledger.is_clients_turn() {
        return false;
    }
    let marks = state.transaction;
    let notifies = marks.contains(Mark::Notifies) || marks.contains(Mark::TakesValues);
    (notifies || channels.has_news) && channels.must_hear()
}

/// A parameter has changed: perhaps by something that no text shows.
#[cold]
fn reported(state: &mut ClientState, body: &[u8]) {
    if state.mode != PoolMode::Session
        && let Some((name, _)) = message::parameter_status(body)
    {
        state.session.reported(name, state.transaction.contains(Mark::LocalSetting));
    }
}

/// A reply behind the ParameterDescription that was held back for it.
fn behind(types: Option<Box<[u8]>>, reply: Reply) -> Reply {
    let frame = types.map(|types| writer::frame(b't', &types));
    match (frame, reply) {
        (Some(frame), Reply::Forward) => Reply::Behind(frame),
        (Some(frame), Reply::Instead(bytes)) => Reply::Instead([frame, bytes].concat()),
        (_, reply) => reply,
    }
}

/// In doubt messages go on as they are: no name may stand for anything but what the server has under it.
fn has_names_in_doubt(state: &ClientState, exchange: &Exchange) -> bool {
    exchange.ledger.is_in_doubt()
        && (state.names.has_shared() || exchange.ledger.has_statements_in_flight())
}

/// Learns what a reply tells of the statement that it is about. Gives the parameters' types, once the reply has come
/// that they were held back for.
fn look(exchange: &mut Exchange, tag: u8, body: &[u8]) -> Option<Box<[u8]>> {
    match (tag, exchange.ledger.front_deed()?) {
        (b'N', Deed::Define(_, Definition::Shared(statement)) | Deed::Prepare(statement)) => {
            statement.mark_noisy();
        }
        (b't', Deed::Use(..) | Deed::Examine(_)) => exchange.described_types = Some(body.into()),
        (b'T' | b'n', Deed::Use(_, statement) | Deed::Examine(statement)) => {
            let types = exchange.described_types.take()?;
            let columns = columns_hash(if tag == b'T' { body } else { &[] });
            if !statement.learn(Shape { types: types.clone(), columns }) {
                // The catalog was changed where the proxy could not see it.
                statement.mark_broken();
                exchange.findings.has_new_catalog = true;
            }
            return Some(types);
        }
        (b'D', Deed::Ask(_)) => exchange.inquiry.hear(body),
        (b'E', _) => return exchange.described_types.take(),
        _ => {}
    }
    None
}

/// An error for the client.
fn error(
    state: &mut ClientState,
    exchange: &mut Exchange,
    failure: &Failure,
    front: &[u8],
) -> Reply {
    let error = ServerError::new(front.get(HEADER_BYTES..).unwrap_or_default());
    if error.is_fatal() {
        exchange.fatal = Some(Fatal { code: error.code() });
    }
    exchange.findings.is_read_only |= error.code() == Some(SqlState::READ_ONLY_TRANSACTION);
    failed(state, exchange, &failure.deed, error);
    if is_repaired(state, exchange, &failure.deed, error) {
        return Reply::Swallow;
    }
    if let Some(code) = error.code() {
        exchange.cells.count_error(&code.0);
    }
    if let Deed::Refuse(error) = &failure.deed {
        return Reply::Instead(error.to_vec());
    }
    if failure.is_refusal {
        let mut out = Vec::new();
        writer::cached_plan_changed(&mut out);
        return Reply::Instead(out);
    }
    let (name, statement) = match &failure.deed {
        Deed::Use(name, statement) | Deed::Define(name, Definition::Shared(statement)) => {
            (name.bytes(), statement)
        }
        _ => return Reply::Forward,
    };
    match in_the_clients_words(front, statement, name) {
        Some(frame) => Reply::Instead(frame),
        None => Reply::Forward,
    }
}

/// Whether the client need not hear of an error: its group has done nothing, and is sent again.
fn is_repaired(
    state: &mut ClientState,
    exchange: &mut Exchange,
    deed: &Deed,
    error: ServerError<'_>,
) -> bool {
    let Deed::Use(name, statement) = deed else { return false };
    let renewed = if error.code() == Some(SqlState::INVALID_SQL_STATEMENT_NAME) {
        // It was deallocated where the proxy could not see it.
        exchange.prepared.remove(statement.id);
        None
    } else if error.is_changed_plan() && exchange.attempt.is_described() {
        Some(name.clone())
    } else {
        return false;
    };
    let ledger = &mut exchange.ledger;
    let is_outside = ledger.status() == TransactionStatus::Idle;
    if !exchange.attempt.can_repeat() || !is_outside || ledger.len() != 1 {
        return false;
    }
    ledger.disown_group();
    exchange.attempt.fail(renewed);
    state.is_repeating = true;
    true
}

/// An error that names a shared statement, with the client's own name for it.
fn in_the_clients_words(frame: &[u8], statement: &Statement, name: &[u8]) -> Option<Vec<u8>> {
    let body = frame.get(HEADER_BYTES..)?;
    let names = [statement.server_name(), STAND_IN];
    let server_name = names.into_iter().find(|name| memchr::memmem::find(body, name).is_some())?;
    let mut rest = body;
    let mut told = Vec::new();
    while let Some(at) = memchr::memmem::find(rest, server_name) {
        told.extend_from_slice(rest.get(..at)?);
        told.extend_from_slice(name);
        rest = rest.get(at + server_name.len()..)?;
    }
    told.extend_from_slice(rest);
    Some(writer::frame(b'E', &told))
}
