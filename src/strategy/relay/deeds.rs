//! What comes to pass with a reply, and what not, if the reply is an error.

use crate::analysis::session_effects::Mark;
use crate::client_state::{ClientState, Definition, StatementName};
use crate::pool::{Deed, Drops, Exchange};
use crate::protocol::{ServerError, SqlState, TransactionStatus};
use crate::telemetry::metrics::PoolCounter;

/// The server has done it.
pub(super) fn done(state: &mut ClientState, exchange: &mut Exchange, deed: Deed) {
    match deed {
        Deed::Define(name, definition) => {
            if name == StatementName::Unnamed {
                exchange.unnamed_ready = !matches!(definition, Definition::Shared(_));
            }
            if let Definition::Shared(statement) = &definition {
                exchange.prepared.insert(statement.id);
            }
            state.define(&name, definition);
        }
        Deed::Undefine(name) => {
            exchange.unnamed_ready |= name == StatementName::Unnamed;
            undefine(state, exchange, &name);
        }
        Deed::HandOver(name) => state.names.undefine(&name),
        Deed::Prepare(statement) => exchange.prepared.insert(statement.id),
        Deed::Evict(id) => exchange.prepared.remove(id),
        Deed::OwnUnnamed => exchange.unnamed_ready = true,
        Deed::Apply => exchange.preparation = exchange.preparation.step(),
        Deed::Ask(question) => exchange.inquiry.answer(question),
        // A query has succeeded only with its ReadyForQuery, a description is looked at by `describe`.
        Deed::None | Deed::Query(_) | Deed::Use(..) | Deed::Examine(_) | Deed::Refuse(_) => {}
    }
}

/// A ReadyForQuery came.
pub(super) fn ready(
    state: &mut ClientState,
    exchange: &mut Exchange,
    status: TransactionStatus,
    deed: Deed,
) {
    exchange.ready = Some(status);
    exchange.cells.count(PoolCounter::Queries);
    if status == TransactionStatus::Idle {
        exchange.cells.count(PoolCounter::Transactions);
    }
    exchange.attempt.give_up();
    if let Some(timing) = exchange.timing.take().filter(|_| exchange.ledger.is_empty()) {
        timing.statement.took(timing.arm, timing.since.elapsed());
    }
    state.is_repeating = false;
    state.session.channels.ready(status == TransactionStatus::Idle);
    exchange.has_limited &= !exchange.ledger.is_empty();
    if let Deed::Query(drops) = deed {
        exchange.unnamed_ready = true;
        state.names.undefine(&StatementName::Unnamed);
        match drops {
            Drops::None => {}
            Drops::One(name) => undefine(state, exchange, &name),
            Drops::All | Drops::Everything => {
                if drops == Drops::Everything && exchange.ledger.is_empty() {
                    state.session.discarded_all();
                }
                state.names.forget_named();
                if !exchange.ledger.may_make_statements() {
                    state.own.clear();
                }
                exchange.prepared.clear();
            }
        }
    }
    if status == TransactionStatus::Idle {
        exchange.findings.has_new_catalog |= state.transaction.contains(Mark::Ddl);
        if exchange.ledger.is_empty() {
            state.transaction_ended();
        }
    }
}

/// A name is free again. On the server it may be about to be taken anew.
fn undefine(state: &mut ClientState, exchange: &Exchange, name: &StatementName) {
    state.names.undefine(name);
    if !exchange.ledger.may_make_statements() {
        state.own.remove(name.bytes());
    }
}

/// It was not done, by this error.
pub(super) fn failed(
    state: &mut ClientState,
    exchange: &mut Exchange,
    deed: &Deed,
    error: ServerError<'_>,
) {
    // Such a text is refused before anything else happens.
    let is_unread = error.code() == Some(SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    exchange.timing = None;
    state.session.doubt();
    if exchange.ledger.status() == TransactionStatus::Idle {
        state.session.channels.failed();
    }
    match deed {
        Deed::Define(StatementName::Unnamed, definition) if !is_unread => {
            exchange.unnamed_ready = !matches!(definition, Definition::Shared(_));
            state.names.undefine(&StatementName::Unnamed);
        }
        Deed::Query(_) if is_unread => exchange.ledger.forget_front_deed(),
        Deed::Query(drops) => {
            exchange.unnamed_ready = true;
            state.names.undefine(&StatementName::Unnamed);
            if let Drops::One(name) = drops {
                // A statement that was made for it to drop is still there.
                state.own.add(name.bytes());
            }
        }
        Deed::Use(_, statement) if error.is_changed_plan() => {
            // Whoever parses it now is told anew; who has parsed it before hears what PostgreSQL says.
            statement.mark_broken();
            exchange.findings.has_new_catalog = true;
        }
        Deed::None
        | Deed::Define(..)
        | Deed::Undefine(_)
        | Deed::HandOver(_)
        | Deed::Use(..)
        | Deed::Prepare(_)
        | Deed::Evict(_)
        | Deed::Examine(_)
        | Deed::OwnUnnamed
        | Deed::Apply
        | Deed::Ask(_)
        | Deed::Refuse(_) => {}
    }
}
