//! A Parse: shared, kept for later, or the server connection's.

use std::rc::Rc;

use tokio::time::Instant;

use super::{Place, scan};
use crate::analysis::prepared_names::{NameUse, name_use};
use crate::analysis::session_effects::{Footprint, Mark};
use crate::client_state::{Arm, Definition, Statement, StatementName};
use crate::pool::{Deed, InFlight, Owed, Timing};
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{self, Parse};
use crate::protocol::{TransactionStatus, writer};
use crate::strategy::relay::client::{Front, Sending, Step};

/// Longest Parse of an unnamed statement that is kept, to be sent again on another server connection.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// So many messages behind a Parse are looked at.
const LOOK_AHEAD_MAX: usize = 4;

impl Sending<'_, '_> {
    pub(in crate::strategy::relay) fn parse(&mut self, front: &Front<'_>) -> Step {
        let body = front.body();
        let is_held = front.is_whole() && !front.is_too_long;
        if self.is_plain() || (is_held && !message::is_parse_sound(body)) {
            let text = Parse::read(body).map(|parse| parse.text).unwrap_or_default();
            let footprint = scan(front, text);
            self.listens_unseen(footprint);
            self.note(footprint, text, b"");
            if self.names_statements(footprint) {
                self.state.own.add_unknown();
            }
            return self.pass(Owed::Parse);
        }
        let parse = Parse::read(body).filter(|_| is_held);
        let Some(parse) = parse else {
            return self.parse_unread(front);
        };
        let definition = body.get(parse.name.len() + 1..).unwrap_or_default();
        let known = self.statements.find(definition);
        let footprint = match &known {
            Some(statement) => statement.footprint,
            None => scan(front, parse.text),
        };
        if self.exchange.inquiry.is_open() {
            // It depends on the answer whether the statement can be shared.
            return self.hold();
        }
        let is_about_no_name = || name_use(parse.text) == Some(NameUse::Nothing);
        if self.names_statements(footprint) && !is_about_no_name() {
            if self.is_anything_open() {
                return self.hold();
            }
            // It may be executed at any time.
            self.state.own.add_unknown();
            self.note_all_prepared();
            self.hand_over();
        }
        if self.shows_own_statements(footprint) || self.shows_own_channels(footprint) {
            return self.hold();
        }
        let is_shareable = !self.state.keeps_server()
            && !footprint.marks.contains(Mark::ListsPrepared)
            && !self.state.session.is_analysis_touched()
            && !self.state.transaction.contains(Mark::LocalSetting)
            && !footprint.marks.contains(Mark::Fetch)
            && std::str::from_utf8(definition).is_ok();
        let known = known.or_else(|| {
            let comes_again = !parse.name.is_empty() || self.statements.is_seen_again(definition);
            (is_shareable && comes_again).then(|| self.statements.add(definition, footprint))?
        });
        let shared = known.filter(|_| is_shareable);
        self.forgets_foreign_values(footprint);
        if parse.name.is_empty() {
            self.parse_unnamed(front, footprint, shared)
        } else {
            self.parse_named(front, parse, footprint, shared)
        }
    }

    /// Of a Parse too long to be held the front must do: the client stays with its server connection.
    fn parse_unread(&mut self, front: &Front<'_>) -> Step {
        self.note(scan(front, b""), b"", b"");
        if front.body().first() == Some(&0) {
            let deed = Deed::Define(StatementName::Unnamed, Definition::ServerOnly);
            return self.pass_with(Owed::Parse, deed);
        }
        if self.is_anything_open() {
            return self.hold();
        }
        self.state.own.add_unknown();
        self.hand_over();
        self.pass(Owed::Parse)
    }

    fn parse_unnamed(
        &mut self,
        front: &Front<'_>,
        footprint: Footprint,
        shared: Option<Rc<Statement>>,
    ) -> Step {
        let is_wanted =
            self.statements.bounds.unnamed && !self.exchange.ledger.has_groups_in_flight();
        if let Some(statement) = shared.filter(|shared| is_wanted && shared.is_promotable())
            && self.next_arm(&statement) == Arm::Named
        {
            return self.parse_shared(front, StatementName::Unnamed, &statement);
        }
        let definition = match front.bytes.len() {
            ..=KEPT_BYTES_MAX => Definition::Kept(front.bytes.into(), footprint),
            _ => Definition::ServerOnly,
        };
        self.pass_with(Owed::Parse, Deed::Define(StatementName::Unnamed, definition))
    }

    /// How to send an unnamed statement that may be given a name.
    fn next_arm(&mut self, statement: &Rc<Statement>) -> Arm {
        let (arm, is_timed) = statement.next_run();
        if is_timed && self.exchange.ledger.is_settled() {
            let statement = Rc::clone(statement);
            self.exchange.timing = Some(Timing { statement, arm, since: Instant::now() });
        }
        arm
    }

    fn parse_named(
        &mut self,
        front: &Front<'_>,
        Parse { name, text }: Parse<'_>,
        footprint: Footprint,
        shared: Option<Rc<Statement>>,
    ) -> Step {
        match self.place(name) {
            Place::Open => return self.hold(),
            Place::Shared(_) if self.is_status_open() => return self.hold(),
            Place::Shared(taken) => {
                // PostgreSQL says that the name is taken, once it is.
                if self.is_failed() {
                    self.take_name(name);
                } else {
                    self.hand_over_one(name, &taken);
                }
                return self.pass(Owed::Parse);
            }
            Place::Server => {}
        }
        let has_room = self.state.names.len() < self.statements.bounds.client_statements;
        if let Some(statement) = shared.filter(|_| has_room) {
            return self.parse_shared(front, StatementName::new(name), &statement);
        }
        if !footprint.matters_when_run() {
            self.state.own.add(name);
        } else if !self.state.own.add_statement(name, footprint, text) {
            // It may be executed at any time.
            self.note(footprint, text, b"");
        }
        self.pass(Owed::Parse)
    }

    fn parse_shared(
        &mut self,
        front: &Front<'_>,
        name: StatementName,
        statement: &Rc<Statement>,
    ) -> Step {
        let ledger = &self.exchange.ledger;
        let is_there = match ledger.statement_in_flight(statement.id) {
            InFlight::Open => return self.hold(),
            InFlight::InThisGroup(is_there) => is_there,
            InFlight::Settled => self.exchange.prepared.touch(statement.id),
        };
        let ledger = &self.exchange.ledger;
        let may_fail = ledger.has_groups_in_flight() || self.is_failed();
        // Without a shape its first Parse is not answered yet: there may be a notice.
        let is_quiet = statement.has_shape() && !statement.is_noisy();
        let deed = Deed::Define(name, Definition::Shared(Rc::clone(statement)));
        if is_there && is_quiet && !may_fail {
            if statement.footprint.marks.contains(Mark::Planned) && !self.is_parse_dispensable() {
                self.do_as_parse();
            }
            self.exchange.ledger.made_up(Owed::Parse, deed);
            return Step::Drop;
        }
        if is_there {
            self.evict(statement);
        } else {
            self.make_room();
        }
        let body = front.body();
        let types = statement.definition.get(statement.text().len() + 1..).unwrap_or_default();
        self.insert(|out| writer::parse(out, statement.server_name(), statement.text(), types));
        self.exchange.ledger.sent(Owed::Parse, deed);
        if !statement.has_shape() && !self.is_described_next(body) {
            self.examine(statement);
        }
        Step::Drop
    }

    /// Whether nothing misses what a Parse does for its transaction. Its snapshot is taken by the first one, and
    /// from then on its isolation level is fixed: so does the Bind behind it. And a Parse makes visible what a
    /// statement has done that stopped at its row limit (`CommandCounterIncrement`).
    fn is_parse_dispensable(&self) -> bool {
        let ledger = &self.exchange.ledger;
        if self.exchange.has_limited && ledger.awaits_sync() {
            return false;
        }
        let mut next = self.next;
        for _ in 0..LOOK_AHEAD_MAX {
            let Ok(Some(header)) = client_header(next) else { return false };
            match header.tag {
                b'B' => return true,
                b'S' => {
                    return ledger.status() == TransactionStatus::Idle && !ledger.awaits_sync();
                }
                b'P' | b'D' | b'C' => next = next.get(header.bytes..).unwrap_or_default(),
                _ => return false,
            }
        }
        false
    }

    /// Any Parse of what has to be planned does.
    fn do_as_parse(&mut self) {
        self.make_stand_in(b"SELECT", &[0, 0]);
    }

    /// Whether the client's next message is a Describe of the statement that this Parse makes.
    fn is_described_next(&self, parse: &[u8]) -> bool {
        let Ok(Some(header)) = client_header(self.next) else { return false };
        let body = self.next.get(HEADER_BYTES..header.bytes).unwrap_or_default();
        let name = Parse::read(parse).map(|parse| parse.name);
        header.tag == b'D' && name.is_some() && message::statement_named(body) == name
    }
}
