//! What a client is told when its server connection is lost.

use crate::client_state::{ClientState, StatementName};
use crate::pool::{Exchange, InFlight, Owed};
use crate::protocol::{LocalError, SqlState, TransactionStatus, writer};

/// What becomes of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Its session goes on after these bytes.
    Stay(Vec<u8>),
    /// These are its last bytes.
    Leave(Vec<u8>),
}

/// The server connection was lost while `exchange` was under way.
///
/// The session goes on if nothing of it was on that connection: no transaction block, no state, no half
/// message; each group of messages that was under way ends as PostgreSQL ends a failed one. If the
/// server gave a reason that is the client's own doing (a protocol violation), the client leaves, as it
/// would without the proxy.
pub fn server_lost(state: &mut ClientState, exchange: &Exchange, why: &str) -> Farewell {
    let told = exchange.fatal.is_some();
    let error = LocalError::error(
        SqlState::CONNECTION_FAILURE,
        format!("the connection to the PostgreSQL server was lost: {why}"),
    )
    .detail("The outcome of statements that were under way is not known.");
    let mut out = Vec::new();
    if !can_stay(state, exchange) {
        if !told && !exchange.is_mid_frame() {
            error.into_fatal().write(&mut out);
        }
        return Farewell::Leave(out);
    }
    let mut pending_error = !told;
    let mut group_open = false;
    for owed in exchange.ledger.owed() {
        if !group_open && pending_error {
            error.write(&mut out);
        }
        group_open = !matches!(owed, Owed::Sync | Owed::Query | Owed::Function);
        if !group_open {
            writer::ready_for_query(&mut out, TransactionStatus::Idle);
        }
        pending_error = true;
    }
    if exchange.ledger.is_empty() && !told {
        error.write(&mut out);
    }
    state.skip_to_sync = group_open || exchange.ledger.awaits_sync();
    if exchange.ledger.name_in_flight(b"") != InFlight::Settled {
        state.names.undefine(&StatementName::Unnamed);
    }
    state.session.channels.server_lost();
    state.transaction_ended();
    Farewell::Stay(out)
}

fn can_stay(state: &ClientState, exchange: &Exchange) -> bool {
    exchange.ledger.status() == TransactionStatus::Idle
        && !state.keeps_server()
        // What it has set can't be asked for any more.
        && state.session.is_settled()
        && !exchange.inquiry.is_open()
        && !state.is_mid_frame()
        && !exchange.is_mid_frame()
        && !exchange.ledger.is_in_doubt()
        && exchange.fatal.is_none_or(|fatal| fatal.is_the_servers_own_doing())
}
