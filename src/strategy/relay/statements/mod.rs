//! The client's prepared statements, wherever its transactions run.
//!
//! A Parse of a text that clients share is sent under the statement's own name, or, where the server connection
//! has it already, not sent at all: its ParseComplete is made up in its turn. A Bind or Describe names the shared
//! statement; if the server connection hasn't got it, it is prepared there first, and the client's message waits
//! for the replies ([`Stop::Full`]). It also waits where a reply to an earlier group decides what a name stands
//! for.
//!
//! What can't be shared stays the server connection's, under the client's own name, and the client stays with
//! the connection: statements with session effects, those of a client whose settings aren't known, those beyond
//! the bounds. SQL that names prepared statements finds them under the client's names.
//!
//! `query.rs` and `parse.rs` say what becomes of a text, `bind.rs` what of a name, `place.rs` where statements are
//! and how they get there.

mod bind;
mod parse;
mod place;
mod query;

use std::rc::Rc;

use super::client::{Front, Sending, Step, Stop};
use crate::analysis::session_effects::{Effect, Footprint, Mark, Marks, footprint};
use crate::client_state::{SERVER_NAME_PREFIX, Statement};
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Owed};
use crate::protocol::{TransactionStatus, writer};

/// A statement that no server has: a Bind to it fails.
const NO_STATEMENT: &[u8] = b"steward_none";

/// See [`Sending::stand_in`].
pub(super) const STAND_IN: &[u8] = b"steward_stand_in";

/// Where a name in a message leads.
enum Place {
    /// To what the server connection has under that name.
    Server,
    /// To a shared statement.
    Shared(Rc<Statement>),
    /// A reply decides.
    Open,
}

/// Whether a shared statement can be used.
enum Supply {
    There,
    /// When replies have come.
    Awaited,
    /// It gives other columns than clients were told.
    Refused,
    /// Not in this transaction, which has failed.
    Failed,
}

impl Sending<'_, '_> {
    /// Whether messages go on as they are: the server connection is the client's own, or the server ignores
    /// what comes, or may do so.
    fn is_plain(&self) -> bool {
        self.state.mode == PoolMode::Session
            || self.exchange.ledger.is_skipping()
            || self.exchange.ledger.is_copy_in()
            || self.exchange.ledger.is_in_doubt()
    }

    /// Whether the transaction has failed, as far as is known.
    fn is_failed(&self) -> bool {
        self.exchange.ledger.status() == TransactionStatus::Failed
    }

    /// Takes note of what a text leaves behind. A connection that will be closed after this client needs
    /// no scan for that.
    fn scan(&mut self, front: &Front<'_>, text: &[u8]) -> Footprint {
        let is_held = front.is_whole() && !front.is_too_long;
        let footprint = if is_held {
            footprint(text)
        } else {
            Footprint { effects: Effect::Unknown.into(), ..Footprint::default() }
        };
        self.state.pins = self.state.pins.union(footprint.effects.without(Effect::Prepare));
        footprint
    }

    /// Takes note of what the transaction does.
    fn note(&mut self, marks: Marks) {
        self.state.transaction = self.state.transaction.union(marks);
    }

    /// A client that names a shared statement as the server does (`pg_prepared_statements` shows how) may drop it,
    /// for itself: the server connection is not lent to another one as it is.
    fn shun(&mut self, name: &[u8]) {
        if name.starts_with(SERVER_NAME_PREFIX.as_bytes()) {
            self.state.own.add_unknown();
        }
    }

    /// Whether replies decide what the client's names stand for, or whether the server skips what it is sent: a
    /// Sync of the proxy's would end that.
    fn is_anything_open(&self) -> bool {
        self.exchange.ledger.has_names_in_flight() || self.is_status_open()
    }

    /// Whether replies decide if the transaction has failed.
    fn is_status_open(&self) -> bool {
        self.exchange.ledger.has_groups_in_flight() || self.exchange.ledger.is_recovering()
    }

    /// The message waits for replies. They come without the client's doing.
    fn hold(&mut self) -> Step {
        if self.tell_made_up() && self.exchange.ledger.is_empty() {
            return Step::Again;
        }
        if !self.exchange.ledger.is_answer_coming() {
            self.to_server.insert(writer::FLUSH);
            self.exchange.ledger.sent_by_proxy(Owed::Flush, Asker::Ahead, Deed::None);
        }
        Step::Stop(Stop::Full)
    }

    fn insert(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.to_server.edit());
    }
}

/// Whether a text may find prepared statements by their names, or drop any.
fn names_statements(footprint: Footprint) -> bool {
    footprint.marks.contains(Mark::PreparedNames) || footprint.effects.contains(Effect::Unknown)
}
