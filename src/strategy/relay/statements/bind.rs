//! Bind, Describe and Close: by the client's name to the server's.

use std::rc::Rc;

use super::{Place, Supply};
use crate::analysis::lexer::Lexer;
use crate::analysis::session_effects::{Mark, Marks};
use crate::client_state::{Definition, Statement, StatementName, is_transaction_exit};
use crate::pool::{Asker, Deed, InFlight, Owed};
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{self, BindNames, Parse};
use crate::protocol::{TransactionStatus, writer};
use crate::strategy::relay::client::{Front, Sending, Step};

impl Sending<'_, '_> {
    pub(in crate::strategy::relay) fn bind(&mut self, front: &Front<'_>) -> Step {
        let names = BindNames::read(front.body()).filter(|_| !self.is_plain());
        let Some(names) = names else { return self.pass(Owed::Bind) };
        let statement = match self.place(names.statement) {
            Place::Open => return self.hold(),
            Place::Server => return self.use_servers(names.statement, Owed::Bind, front.body()),
            Place::Shared(statement) => statement,
        };
        let footprint = statement.footprint;
        let waits = self.must_not_pin(footprint, Owed::Bind);
        if let Some(step) = waits.or_else(|| self.prepares_channels(footprint, statement.text())) {
            return step;
        }
        let server_name = match self.supply(&statement) {
            Supply::Awaited => return self.hold(),
            Supply::Refused if self.is_portal_described_next(names.portal) => {
                return self.renew(names.statement, &statement);
            }
            Supply::Refused => return self.refuse(),
            Supply::There => statement.server_name(),
            Supply::Failed => self.stand_in(&statement.resolved().1),
        };
        if self.guards_prepared(statement.footprint, statement.text(), front.body()) {
            return self.hold();
        }
        self.forgets_foreign_values(statement.footprint);
        self.note(statement.footprint, statement.text(), front.body());
        self.begin_attempt(names.statement);
        let bytes = front.header.bytes - names.statement.len() + server_name.len();
        self.insert(|out| writer::bind_front(out, bytes, names.portal, server_name));
        let deed = Deed::Use(StatementName::new(names.statement), Rc::clone(&statement));
        self.exchange.ledger.sent(Owed::Bind, deed);
        Step::Replaced(HEADER_BYTES + names.bytes())
    }

    pub(in crate::strategy::relay) fn describe(&mut self, front: &Front<'_>) -> Step {
        let name = message::statement_named(front.body()).filter(|_| !self.is_plain());
        let Some(name) = name else { return self.pass(Owed::Describe) };
        let statement = match self.place(name) {
            Place::Open => return self.hold(),
            Place::Server => return self.use_servers(name, Owed::Describe, b""),
            Place::Shared(statement) => statement,
        };
        let server_name = match self.supply(&statement) {
            Supply::Awaited => return self.hold(),
            Supply::Refused => return self.renew(name, &statement),
            Supply::There => statement.server_name(),
            Supply::Failed if statement.returns_rows() => return self.fail(&statement),
            Supply::Failed => self.stand_in(&statement.resolved().1),
        };
        self.begin_attempt(name);
        self.insert(|out| writer::describe_statement(out, server_name));
        let deed = Deed::Use(StatementName::new(name), Rc::clone(&statement));
        self.exchange.ledger.sent(Owed::Describe, deed);
        Step::Drop
    }

    /// The server may have a statement of that name too: it is closed there in any case.
    pub(in crate::strategy::relay) fn close(&mut self, front: &Front<'_>) -> Step {
        match message::statement_named(front.body()).filter(|_| !self.is_plain()) {
            Some(name) => {
                self.shun(name);
                self.pass_with(Owed::Close, Deed::Undefine(StatementName::new(name)))
            }
            None => self.pass(Owed::Close),
        }
    }

    /// A message that names what the server has under the client's own name, or nothing.
    fn use_servers(&mut self, name: &[u8], owed: Owed, bind: &[u8]) -> Step {
        if name.is_empty() {
            if let Some(Definition::Kept(parse, footprint)) = self.definition(name) {
                if self.shows_own_statements(footprint) {
                    return self.hold();
                }
                let waits = (owed == Owed::Bind).then(|| {
                    let waits = self.must_not_pin(footprint, owed);
                    waits.or_else(|| self.prepares_channels(footprint, text(&parse)))
                });
                if let Some(step) = waits.flatten() {
                    return step;
                }
            }
            if !self.owns_unnamed(owed) {
                return self.hold();
            }
            if owed == Owed::Bind
                && let Some(Definition::Kept(parse, footprint)) = self.definition(name)
            {
                self.forgets_foreign_values(footprint);
                self.note(footprint, text(&parse), bind);
            }
        } else if owed == Owed::Bind
            && let Some(own) = self.state.own.statement(name)
        {
            if let Some(step) = self.prepares_channels(own.footprint, &own.text) {
                return step;
            }
            self.note(own.footprint, &own.text, bind);
        }
        self.pass(owed)
    }

    /// Makes the server's unnamed statement the client's own, for a message that owes `owed`; `false`: when replies
    /// have come.
    fn owns_unnamed(&mut self, owed: Owed) -> bool {
        let ledger = &mut self.exchange.ledger;
        if ledger.name_in_flight(b"") != InFlight::Settled {
            // Sent as it was.
            return true;
        }
        match ledger.unnamed_in_flight() {
            InFlight::InThisGroup(()) => return true,
            InFlight::Open => return false,
            InFlight::Settled if self.exchange.unnamed_ready => return true,
            InFlight::Settled => {}
        }
        if self.is_status_open() {
            return false;
        }
        let is_failed = self.is_failed();
        let ledger = &mut self.exchange.ledger;
        match self.state.names.unnamed() {
            // A Bind fails whatever it binds; a description does only where there are rows to describe.
            Some(Definition::Kept(parse, footprint))
                if is_failed
                    && !is_exit(parse)
                    && (owed == Owed::Bind || is_rowless(parse, footprint.marks)) =>
            {
                let types = types(parse).to_vec();
                self.insert(|out| writer::parse(out, b"", b"", &types));
                self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
                true
            }
            Some(Definition::Kept(parse, _)) => {
                self.to_server.insert(parse);
                self.to_server.insert(writer::FLUSH);
                ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::OwnUnnamed);
                ledger.sent_by_proxy(Owed::Flush, Asker::Ahead, Deed::None);
                false
            }
            Some(Definition::ServerOnly | Definition::Shared(_)) => true,
            None => {
                // Whatever an earlier client left there: PostgreSQL says that there is none.
                self.to_server.insert(writer::CLOSE_UNNAMED);
                ledger.sent_by_proxy(Owed::Close, Asker::Ahead, Deed::OwnUnnamed);
                true
            }
        }
    }

    // === Repair ===

    /// Should the use of a shared statement that follows fail by no fault of the client's, its group is sent again.
    fn begin_attempt(&mut self, name: &[u8]) {
        let ledger = &self.exchange.ledger;
        let is_under_way = self.exchange.attempt.is_under_way() || self.state.is_repeating;
        if !is_under_way && self.is_nothing_done() {
            let own = ledger.name_in_flight(name);
            let is_parsed_here = matches!(own, InFlight::InThisGroup(Deed::Define(..)));
            self.exchange.attempt.begin(is_parsed_here);
        }
    }

    /// Outside of a transaction, in a group that has done nothing yet.
    fn is_nothing_done(&self) -> bool {
        let ledger = &self.exchange.ledger;
        ledger.status() == TransactionStatus::Idle && ledger.is_group_untouched()
    }

    /// The statement behind a name gives other columns now, but the client is about to ask for them: it is prepared
    /// anew, with the parameter types that the client knows.
    fn renew(&mut self, name: &[u8], statement: &Statement) -> Step {
        let renewed = self.statements.renew(statement).filter(|renewed| !renewed.is_broken());
        match renewed.filter(|_| self.is_nothing_done()) {
            Some(renewed) => {
                self.state.names.define(&StatementName::new(name), Definition::Shared(renewed));
                Step::Again
            }
            None => self.refuse(),
        }
    }

    fn is_portal_described_next(&self, portal: &[u8]) -> bool {
        let Ok(Some(header)) = client_header(self.next) else { return false };
        let body = self.next.get(HEADER_BYTES..header.bytes).unwrap_or_default();
        header.tag == b'D' && message::portal_named(body) == Some(portal)
    }
}

/// The text of a Parse.
fn text(frame: &[u8]) -> &[u8] {
    let parse = Parse::read(frame.get(HEADER_BYTES..).unwrap_or_default());
    parse.map(|parse| parse.text).unwrap_or_default()
}

/// Whether PostgreSQL takes this Parse in a failed transaction too.
fn is_exit(frame: &[u8]) -> bool {
    is_transaction_exit(text(frame))
}

/// Whether its statement is known to return no rows.
fn is_rowless(frame: &[u8], marks: Marks) -> bool {
    let text = text(frame);
    let first = Lexer::new(text).next().map(|token| token.bytes(text)).unwrap_or_default();
    let with_rows: [&[u8]; 5] = [b"show", b"explain", b"fetch", b"execute", b"call"];
    !marks.contains(Mark::Planned) && !with_rows.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// The parameter types of a Parse, with their number in front.
fn types(frame: &[u8]) -> &[u8] {
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let strings = Parse::read(body).map(|parse| parse.name.len() + parse.text.len() + 2);
    strings.and_then(|strings| body.get(strings..)).unwrap_or(&[0, 0])
}
