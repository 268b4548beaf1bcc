//! Where statements are, and how they get there.

use std::rc::Rc;

use super::{NO_STATEMENT, Place, STAND_IN, Supply};
use crate::client_state::{Definition, Statement, is_transaction_exit};
use crate::pool::{Asker, Deed, InFlight, Owed};
use crate::protocol::writer;
use crate::strategy::relay::client::{Sending, Step};

impl Sending<'_, '_> {
    /// Where a name leads.
    pub(super) fn place(&self, name: &[u8]) -> Place {
        if self.exchange.ledger.name_in_flight(name) == InFlight::Open {
            return Place::Open;
        }
        match self.definition(name) {
            Some(Definition::Shared(statement)) => Place::Shared(statement),
            Some(Definition::Kept(..) | Definition::ServerOnly) | None => Place::Server,
        }
    }

    /// What a name stands for, if no reply to an earlier group decides that.
    pub(super) fn definition(&self, name: &[u8]) -> Option<Definition> {
        match self.exchange.ledger.name_in_flight(name) {
            InFlight::InThisGroup(Deed::Define(_, definition)) => Some(definition.clone()),
            InFlight::InThisGroup(Deed::Use(_, statement)) => {
                Some(Definition::Shared(Rc::clone(statement)))
            }
            InFlight::InThisGroup(_) | InFlight::Open => None,
            InFlight::Settled => self.state.names.get(name),
        }
    }

    /// Sees to it that the server connection has a statement.
    pub(super) fn supply(&mut self, statement: &Rc<Statement>) -> Supply {
        if statement.is_broken() && !self.is_failed() {
            return Supply::Refused;
        }
        match self.exchange.ledger.statement_in_flight(statement.id) {
            InFlight::Open => return Supply::Awaited,
            InFlight::InThisGroup(true) => return Supply::There,
            InFlight::Settled if self.exchange.prepared.touch(statement.id) => {
                return Supply::There;
            }
            InFlight::InThisGroup(false) | InFlight::Settled => {}
        }
        if self.is_status_open() {
            return Supply::Awaited;
        }
        if self.is_failed() && !is_transaction_exit(statement.text()) {
            return Supply::Failed;
        }
        self.make_room();
        let (text, types) = statement.resolved();
        self.insert(|out| writer::parse(out, statement.server_name(), text, &types));
        let ledger = &mut self.exchange.ledger;
        ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::Prepare(Rc::clone(statement)));
        self.examine(statement);
        self.to_server.insert(writer::FLUSH);
        self.exchange.ledger.sent_by_proxy(Owed::Flush, Asker::Ahead, Deed::None);
        Supply::Awaited
    }

    /// In a failed transaction no statement can be made but an empty one. With as many parameters as the one that
    /// it stands in for, it fails like that.
    pub(super) fn stand_in(&mut self, types: &[u8]) -> &'static [u8] {
        self.make_stand_in(b"", types);
        STAND_IN
    }

    /// Makes the relay's own statement anew.
    pub(super) fn make_stand_in(&mut self, text: &[u8], types: &[u8]) {
        self.close_servers(STAND_IN);
        self.insert(|out| writer::parse(out, STAND_IN, text, types));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
        self.exchange.prepared.has_stand_in = true;
    }

    /// The description of a statement that returns rows fails in a failed transaction. No empty one does that: so
    /// does the statement's Parse.
    pub(super) fn fail(&mut self, statement: &Statement) -> Step {
        let (text, types) = statement.resolved();
        self.insert(|out| writer::parse(out, STAND_IN, text, &types));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
        Step::Drop
    }

    /// Has the server describe a statement that it has just made.
    pub(super) fn examine(&mut self, statement: &Rc<Statement>) {
        self.insert(|out| writer::describe_statement(out, statement.server_name()));
        let deed = Deed::Examine(Rc::clone(statement));
        self.exchange.ledger.sent_by_proxy(Owed::Describe, Asker::Ahead, deed);
    }

    /// Closes a statement that is about to be made anew.
    pub(super) fn evict(&mut self, statement: &Statement) {
        self.insert(|out| writer::close_statement(out, statement.server_name()));
        let deed = Deed::Evict(statement.id);
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, deed);
    }

    /// Closes all shared statements, and the relay's own.
    pub(super) fn evict_all(&mut self) {
        let is_in_batch = self.exchange.ledger.awaits_sync();
        let asker = if is_in_batch { Asker::Ahead } else { Asker::Proxy };
        for id in self.exchange.prepared.ids() {
            self.insert(|out| writer::close_statement(out, format!("{id:?}").as_bytes()));
            self.exchange.ledger.sent_by_proxy(Owed::Close, asker, Deed::Evict(id));
        }
        if std::mem::take(&mut self.exchange.prepared.has_stand_in) {
            self.insert(|out| writer::close_statement(out, STAND_IN));
            self.exchange.ledger.sent_by_proxy(Owed::Close, asker, Deed::None);
        }
        if !is_in_batch {
            self.to_server.insert(writer::SYNC);
            self.exchange.ledger.sent_by_proxy(Owed::Sync, Asker::Proxy, Deed::None);
        }
    }

    /// Closes the statement used longest ago if there are as many as may be.
    pub(super) fn make_room(&mut self) {
        let max = self.statements.bounds.server_statements;
        let Some(id) = self.exchange.prepared.surplus(max) else { return };
        if self.exchange.ledger.statement_in_flight(id) != InFlight::Settled {
            return;
        }
        self.insert(|out| writer::close_statement(out, format!("{id:?}").as_bytes()));
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, Deed::Evict(id));
    }

    /// The message fails as PostgreSQL would have it fail: the server is given one that does.
    pub(super) fn refuse(&mut self) -> Step {
        self.insert(|out| writer::bind(out, b"", NO_STATEMENT));
        self.exchange.ledger.sent_by_proxy(Owed::Bind, Asker::Refusal, Deed::None);
        Step::Drop
    }
}
