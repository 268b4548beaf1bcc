//! A Query, and SQL that names prepared statements.

use super::scan;
use crate::analysis::lexer::Lexer;
use crate::analysis::prepared_names::{NameUse, name_use};
use crate::analysis::session_effects::{Footprint, Mark};
use crate::client_state::{Definition, Statement, StatementName};
use crate::pool::{Asker, Deed, Drops, Owed};
use crate::protocol::{message, writer};
use crate::strategy::relay::client::{Front, Sending, Step};

impl Sending<'_, '_> {
    pub(in crate::strategy::relay) fn query(&mut self, front: &Front<'_>) -> Step {
        let text = message::query_text(front.body());
        let footprint = scan(front, text);
        if front.is_whole() && !front.is_too_long && !message::is_query_sound(front.body()) {
            // Refused before it does or drops anything: owed is what a function call would owe.
            return self.pass(Owed::Function);
        }
        if self.is_plain() {
            self.listens_unseen(footprint);
            if self.names_statements(footprint) {
                self.state.own.add_unknown();
            }
            self.note(footprint, text, b"");
            return self.pass(Owed::Query);
        }
        if let Some(step) = self.must_not_pin(footprint, Owed::Query) {
            return step;
        }
        if self.guards_prepared(footprint, text, b"") || self.shows_own_statements(footprint) {
            return self.hold();
        }
        if let Some(step) = self.prepares_channels(footprint, text) {
            return step;
        }
        let Some(drops) = self.drops(text, footprint) else {
            return self.hold();
        };
        self.forgets_foreign_values(footprint);
        self.note(footprint, text, b"");
        self.pass_with(Owed::Query, Deed::Query(drops))
    }

    /// What a query drops; `None`: replies decide.
    fn drops(&mut self, text: &[u8], footprint: Footprint) -> Option<Drops> {
        if !self.names_statements(footprint) {
            return Some(Drops::None);
        }
        if self.is_anything_open() {
            return None;
        }
        let name_use = name_use(text).filter(|_| !footprint.marks.contains(Mark::Several));
        match name_use {
            Some(NameUse::Nothing) => return Some(Drops::None),
            Some(NameUse::DeallocateAll) => return Some(Drops::All),
            Some(NameUse::DiscardAll) => return Some(Drops::Everything),
            Some(NameUse::Deallocate(name)) => return Some(self.drop_one(&name)),
            Some(NameUse::Prepare(name)) => self.state.own.add(&name),
            Some(NameUse::Execute) => {}
            None => self.state.own.add_unknown(),
        }
        self.note_all_prepared();
        if self.is_failed() && ends_failed_transaction(text) {
            self.hand_over_in_failed_transaction();
        } else {
            self.hand_over();
        }
        Some(Drops::None)
    }

    /// SQL is about to execute any statement that the client has prepared.
    pub(super) fn note_all_prepared(&mut self) {
        for own in self.state.own.statements() {
            self.note(own.footprint, &own.text, b"");
        }
        for (_, statement) in self.state.names.named() {
            self.note(statement.footprint, statement.text(), b"");
        }
    }

    /// `DEALLOCATE name` finds a statement of that name.
    fn drop_one(&mut self, name: &[u8]) -> Drops {
        if self.is_failed() {
            return Drops::None;
        }
        if self.state.names.has(name) {
            self.make_empty(name);
        } else if !self.state.own.has(name) {
            self.shun(name);
            return Drops::None;
        }
        Drops::One(StatementName::new(name))
    }

    // === Handing over to the server connection ===

    /// All statements of the client live on its server connection from now on, under its own names: SQL is
    /// about to name them.
    pub(super) fn hand_over(&mut self) {
        if self.is_failed() {
            return;
        }
        for (name, statement) in self.state.names.named() {
            self.hand_over_one(&name, &statement);
        }
        if let Some(Definition::Shared(statement)) = self.state.names.unnamed().cloned() {
            let (text, types) = statement.resolved();
            let mut frame = Vec::new();
            writer::parse(&mut frame, b"", text, &types);
            self.exchange.unnamed_ready = false;
            let name = StatementName::Unnamed;
            self.state.names.define(&name, Definition::Kept(frame.into(), statement.footprint));
        }
    }

    /// `ROLLBACK; EXECUTE name`: nothing can be prepared before the one, and the names are needed by the other. The
    /// transaction has no future: it is ended first, and another one, as failed, put in its place.
    fn hand_over_in_failed_transaction(&mut self) {
        if !self.state.names.has_shared() {
            return;
        }
        self.query_by_proxy("ROLLBACK");
        for (name, statement) in self.state.names.named() {
            self.hand_over_one(&name, &statement);
        }
        self.query_by_proxy("BEGIN");
        self.query_by_proxy("failed");
    }

    fn query_by_proxy(&mut self, text: &str) {
        self.insert(|out| writer::query(out, text));
        self.exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::None);
    }

    /// Gives a name of the client to an empty statement: that can be parsed in a failed transaction too.
    pub(super) fn take_name(&mut self, name: &[u8]) {
        self.state.own.add(name);
        self.make_empty(name);
    }

    /// Makes an empty statement, which can't fail.
    fn make_empty(&mut self, name: &[u8]) {
        self.close_servers(name);
        self.insert(|out| writer::parse(out, name, b"", &[0, 0]));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
    }

    /// Closes what the server may have under a name.
    pub(super) fn close_servers(&mut self, name: &[u8]) {
        self.insert(|out| writer::close_statement(out, name));
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, Deed::None);
    }

    pub(super) fn hand_over_one(&mut self, name: &[u8], statement: &Statement) {
        let footprint = statement.footprint;
        if !footprint.matters_when_run() {
            self.state.own.add(name);
        } else if !self.state.own.add_statement(name, footprint, statement.text()) {
            self.note(footprint, statement.text(), b"");
        }
        let is_in_batch = self.exchange.ledger.awaits_sync();
        let (text, types) = statement.resolved();
        self.close_servers(name);
        self.insert(|out| writer::parse(out, name, text, &types));
        // From then on the server connection knows it, and only that.
        let deed = Deed::HandOver(StatementName::new(name));
        if is_in_batch {
            self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, deed);
            return;
        }
        // With a Sync of its own: a query in front of which it fails must not be skipped.
        self.to_server.insert(writer::SYNC);
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Proxy, deed);
        self.exchange.ledger.sent_by_proxy(Owed::Sync, Asker::Proxy, Deed::None);
    }
}

/// Whether the first statement of a text ends a failed transaction, and begins no other.
fn ends_failed_transaction(text: &[u8]) -> bool {
    let mut words = Lexer::new(text).map(|token| token.bytes(text));
    let mut is_next = |expected: &[&[u8]]| {
        let word = words.next().unwrap_or_default();
        expected.iter().any(|expected| word.eq_ignore_ascii_case(expected))
    };
    is_next(&[b"rollback", b"commit", b"end", b"abort"])
        && is_next(&[b";", b"work", b"transaction"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_transaction_is_ended_by_these() {
        for (text, expected) in [
            ("ROLLBACK; EXECUTE a", true),
            ("commit work; deallocate a", true),
            ("ROLLBACK TO s; EXECUTE a", false),
            ("COMMIT AND CHAIN; EXECUTE a", false),
            ("COMMIT PREPARED 'a'; EXECUTE a", false),
            ("EXECUTE a; ROLLBACK", false),
        ] {
            assert_eq!(ends_failed_transaction(text.as_bytes()), expected, "{text}");
        }
    }
}
