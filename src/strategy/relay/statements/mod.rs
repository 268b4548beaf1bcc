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
//! What a statement does to the session is noted when it is about to run: at its Query, or at its Bind.
//!
//! `query.rs` and `parse.rs` say what becomes of a text, `bind.rs` what of a name, `place.rs` where statements are
//! and how they get there; `channels.rs` is about LISTEN, `pins.rs` about
//! what keeps a server connection.

mod bind;
mod channels;
mod parse;
mod pins;
mod place;
mod query;

use std::rc::Rc;

use super::client::{Front, Sending, Step, Stop};
use crate::analysis::databases::vacated_database;
use crate::analysis::session_effects::{Effect, Footprint, Mark, footprint};
use crate::analysis::setting_changes::setting_changes;
use crate::client_state::{SERVER_NAME_PREFIX, Statement};
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Owed, Sequences};
use crate::protocol::{TransactionStatus, message, writer};

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

    /// Takes note of a statement that is about to run. `parameters`: the body of its Bind.
    fn note(&mut self, footprint: Footprint, text: &[u8], parameters: &[u8]) {
        let Footprint { effects, mut marks } = footprint;
        if marks.contains(Mark::LocalSetting) && !self.changes_analysis(text, parameters) {
            marks = marks.without(Mark::LocalSetting);
        }
        if effects.contains(Effect::Routine) {
            marks = marks.with(Mark::Notifies);
        }
        if marks.contains(Mark::Ddl) && !marks.contains(Mark::Several) {
            self.exchange.findings.vacates = vacated_database(text);
        }
        self.state.transaction = self.state.transaction.union(marks);
        if marks.contains(Mark::TakesValues) {
            self.exchange.sequences.take();
            self.state.session.note_values();
        }
        if effects.is_empty() {
            return;
        }
        let session = &mut self.state.session;
        if self.state.mode == PoolMode::Session {
            return session.pin(effects.without(Effect::Prepare));
        }
        let changes = effects.contains(Effect::Setting).then(|| setting_changes(text)).flatten();
        session.note(effects, changes.as_deref(), |number| message::parameter(parameters, number));
        let ledger = &self.exchange.ledger;
        let is_in_block =
            ledger.status() != TransactionStatus::Idle || ledger.has_groups_in_flight();
        if is_in_block || marks.contains(Mark::Several) {
            session.doubt();
        }
    }

    /// A statement that is about to run changes how others are analysed: those that the client has prepared must stay
    /// what they were, so they become the server connection's before. `parameters`: the body of its Bind. `true`: the
    /// statement waits for that.
    fn guards_prepared(&mut self, footprint: Footprint, text: &[u8], parameters: &[u8]) -> bool {
        let is_local = footprint.marks.contains(Mark::LocalSetting);
        let is_setting = footprint.effects.contains(Effect::Setting);
        if !(is_local || is_setting) || !self.state.names.has_shared() || self.is_failed() {
            return false;
        }
        if !self.changes_analysis(text, parameters) {
            return false;
        }
        if self.is_anything_open() {
            return true;
        }
        self.hand_over();
        false
    }

    /// A statement looks at the list of prepared statements: there are to be the client's own, under its own names.
    /// `true`: it waits for replies.
    fn shows_own_statements(&mut self, footprint: Footprint) -> bool {
        let is_wanted = footprint.marks.contains(Mark::ListsPrepared) && !self.is_failed();
        if !is_wanted || (!self.state.names.has_shared() && self.exchange.prepared.is_empty()) {
            return false;
        }
        let ledger = &self.exchange.ledger;
        if self.is_anything_open() || ledger.has_statements_in_flight() {
            return true;
        }
        self.evict_all();
        self.hand_over();
        false
    }

    /// A statement asks for the last value that a sequence has given its session: if that may be another client's, the
    /// session forgets it, and PostgreSQL says that there is none (55000). From then on the sessions of this pool forget
    /// such values before each client's first message.
    fn forgets_foreign_values(&mut self, footprint: Footprint) {
        if !footprint.marks.contains(Mark::ReadsValues) || self.state.mode == PoolMode::Session {
            return;
        }
        self.statements.reads_values.set(true);
        if self.exchange.sequences != Sequences::Foreign || self.is_failed() {
            return;
        }
        self.exchange.sequences = Sequences::None;
        if !self.exchange.ledger.awaits_sync() {
            self.insert(forget_values);
            self.exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::None);
            return;
        }
        self.make_stand_in(FORGET_VALUES.as_bytes(), &[0, 0]);
        self.insert(|out| {
            writer::bind(out, STAND_IN, STAND_IN);
            writer::execute(out, STAND_IN);
        });
        for owed in [Owed::Bind, Owed::Execute] {
            self.exchange.ledger.sent_by_proxy(owed, Asker::Ahead, Deed::None);
        }
    }

    /// Whether a text changes a setting that the analysis of statements reads, if only for its transaction.
    fn changes_analysis(&self, text: &[u8], parameters: &[u8]) -> bool {
        let parameter = |number| message::parameter(parameters, number);
        self.state.session.changes_analysis(setting_changes(text).as_deref(), parameter)
    }

    /// Whether a text may find prepared statements by their names, or drop any. A routine may do so too, but it does
    /// that where the connection is kept for it.
    fn names_statements(&self, footprint: Footprint) -> bool {
        let effects = footprint.effects;
        footprint.marks.contains(Mark::PreparedNames)
            || effects.contains(Effect::Unknown)
            || (effects.contains(Effect::Routine) && self.state.session.keeps_after_routines())
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

/// What makes a session forget the values that sequences have given it.
const FORGET_VALUES: &str = "DISCARD SEQUENCES";

/// Appends the query for it.
pub(super) fn forget_values(out: &mut Vec<u8>) {
    writer::query(out, FORGET_VALUES);
}

/// What a text does, as far as it is there.
fn scan(front: &Front<'_>, text: &[u8]) -> Footprint {
    if front.is_whole() && !front.is_too_long {
        footprint(text)
    } else {
        Footprint { effects: Effect::Unknown.into(), ..Footprint::default() }
    }
}
