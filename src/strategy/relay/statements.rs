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
//! the bounds. SQL that names prepared statements finds them under the client's names
//! ([`Sending::hand_over`]).

use std::rc::Rc;
use std::time::Instant;

use super::client::{Front, Sending, Step, Stop};
use crate::analysis::deallocation::{Deallocation, deallocation};
use crate::analysis::session_effects::{Effect, Footprint, Mark, Marks, footprint};
use crate::client_state::{Arm, Definition, Statement, StatementName, is_transaction_exit};
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Drops, InFlight, Owed, Timing};
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{self, BindNames, Parse};
use crate::protocol::{TransactionStatus, writer};

/// Longest Parse of an unnamed statement that is kept, to be sent again on another server connection.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// So many messages behind a Parse are looked at.
const LOOK_AHEAD_MAX: usize = 4;

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
    // === Query ===

    pub(super) fn query(&mut self, front: &Front<'_>) -> Step {
        let text = message::query_text(front.body());
        let footprint = self.scan(front, text);
        self.note(footprint.marks);
        if front.is_whole() && !front.is_too_long && !message::is_query_sound(front.body()) {
            // Refused before it drops anything: owed is what a function call would owe.
            return self.pass(Owed::Function);
        }
        if self.is_plain() {
            return self.pass(Owed::Query);
        }
        let Some(drops) = self.drops(text, footprint) else {
            return self.hold();
        };
        self.pass_with(Owed::Query, Deed::Query(drops))
    }

    /// What a query drops; `None`: replies decide.
    fn drops(&mut self, text: &[u8], footprint: Footprint) -> Option<Drops> {
        if !names_statements(footprint) {
            return Some(Drops::None);
        }
        if self.is_anything_open() {
            return None;
        }
        match deallocation(text).filter(|_| !footprint.marks.contains(Mark::Several)) {
            Some(Deallocation::Nothing) => Some(Drops::None),
            Some(Deallocation::All) => Some(Drops::All),
            Some(Deallocation::One(name)) => Some(self.drop_one(&name)),
            None => {
                self.hand_over();
                Some(Drops::None)
            }
        }
    }

    /// `DEALLOCATE name` finds a statement of that name.
    fn drop_one(&mut self, name: &[u8]) -> Drops {
        if !self.state.names.has(name) || self.is_failed() {
            return Drops::None;
        }
        self.make_empty(name);
        Drops::One(StatementName::new(name))
    }

    // === Parse ===

    pub(super) fn parse(&mut self, front: &Front<'_>) -> Step {
        let body = front.body();
        let is_held = front.is_whole() && !front.is_too_long;
        if self.is_plain() || (is_held && !message::is_parse_sound(body)) {
            let text = Parse::read(body).map(|parse| parse.text).unwrap_or_default();
            let footprint = self.scan(front, text);
            self.note(footprint.marks);
            return self.pass(Owed::Parse);
        }
        let parse = Parse::read(body).filter(|_| is_held);
        let Some(parse) = parse else {
            return self.parse_unread(front);
        };
        let definition = body.get(parse.name.len() + 1..).unwrap_or_default();
        let known = self.statements.find(definition);
        let footprint = match &known {
            Some(statement) => Footprint { marks: statement.marks, ..Footprint::default() },
            None => self.scan(front, parse.text),
        };
        if names_statements(footprint) {
            if self.is_anything_open() {
                return self.hold();
            }
            self.hand_over();
        }
        let is_shareable = !self.state.keeps_server()
            && !self.state.has_local_settings
            && std::str::from_utf8(definition).is_ok();
        let known = known.or_else(|| {
            let comes_again = !parse.name.is_empty() || self.statements.is_seen_again(definition);
            (is_shareable && comes_again).then(|| self.statements.add(definition, footprint))?
        });
        let shared = known.filter(|_| is_shareable);
        if parse.name.is_empty() {
            self.parse_unnamed(front, footprint.marks, shared)
        } else {
            self.parse_named(front, parse.name, footprint.marks, shared)
        }
    }

    /// Of a Parse too long to be held the front must do: the client stays with its server connection.
    fn parse_unread(&mut self, front: &Front<'_>) -> Step {
        self.scan(front, b"");
        if front.body().first() == Some(&0) {
            let deed = Deed::Define(StatementName::Unnamed, Definition::ServerOnly);
            return self.pass_with(Owed::Parse, deed);
        }
        if self.is_anything_open() {
            return self.hold();
        }
        self.hand_over();
        self.pass(Owed::Parse)
    }

    fn parse_unnamed(
        &mut self,
        front: &Front<'_>,
        marks: Marks,
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
            ..=KEPT_BYTES_MAX => Definition::Kept(front.bytes.into(), marks),
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
        name: &[u8],
        marks: Marks,
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
        self.note(marks);
        self.state.pins = self.state.pins.union(Effect::Prepare.into());
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
            if statement.marks.contains(Mark::Planned) && !self.is_parse_dispensable() {
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
        self.close_servers(STAND_IN);
        self.insert(|out| writer::parse(out, STAND_IN, b"SELECT", &[0, 0]));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
    }

    /// Whether the client's next message is a Describe of the statement that this Parse makes.
    fn is_described_next(&self, parse: &[u8]) -> bool {
        let Ok(Some(header)) = client_header(self.next) else { return false };
        let body = self.next.get(HEADER_BYTES..header.bytes).unwrap_or_default();
        let name = Parse::read(parse).map(|parse| parse.name);
        header.tag == b'D' && name.is_some() && message::statement_named(body) == name
    }

    // === Bind, Describe, Close ===

    pub(super) fn bind(&mut self, front: &Front<'_>) -> Step {
        let names = BindNames::read(front.body()).filter(|_| !self.is_plain());
        let Some(names) = names else { return self.pass(Owed::Bind) };
        let statement = match self.place(names.statement) {
            Place::Open => return self.hold(),
            Place::Server => return self.use_servers(names.statement, Owed::Bind),
            Place::Shared(statement) => statement,
        };
        let server_name = match self.supply(&statement) {
            Supply::Awaited => return self.hold(),
            Supply::Refused if self.is_portal_described_next(names.portal) => {
                return self.renew(names.statement, &statement);
            }
            Supply::Refused => return self.refuse(),
            Supply::There => statement.server_name(),
            Supply::Failed => self.stand_in(&statement.resolved().1),
        };
        self.note(statement.marks);
        self.begin_attempt(names.statement);
        let bytes = front.header.bytes - names.statement.len() + server_name.len();
        self.insert(|out| writer::bind_front(out, bytes, names.portal, server_name));
        let deed = Deed::Use(StatementName::new(names.statement), Rc::clone(&statement));
        self.exchange.ledger.sent(Owed::Bind, deed);
        Step::Replaced(HEADER_BYTES + names.bytes())
    }

    pub(super) fn describe(&mut self, front: &Front<'_>) -> Step {
        let name = message::statement_named(front.body()).filter(|_| !self.is_plain());
        let Some(name) = name else { return self.pass(Owed::Describe) };
        let statement = match self.place(name) {
            Place::Open => return self.hold(),
            Place::Server => return self.use_servers(name, Owed::Describe),
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
    pub(super) fn close(&mut self, front: &Front<'_>) -> Step {
        match message::statement_named(front.body()).filter(|_| !self.is_plain()) {
            Some(name) => self.pass_with(Owed::Close, Deed::Undefine(StatementName::new(name))),
            None => self.pass(Owed::Close),
        }
    }

    /// A message that names what the server has under the client's own name, or nothing.
    fn use_servers(&mut self, name: &[u8], owed: Owed) -> Step {
        if name.is_empty() {
            if !self.owns_unnamed(owed) {
                return self.hold();
            }
            if let Some(Definition::Kept(_, marks)) = self.definition(name) {
                self.note(marks);
            }
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
            Some(Definition::Kept(parse, _))
                if is_failed && owed == Owed::Bind && !is_exit(parse) =>
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

    // === Where statements are ===

    /// Where a name leads.
    fn place(&self, name: &[u8]) -> Place {
        if self.exchange.ledger.name_in_flight(name) == InFlight::Open {
            return Place::Open;
        }
        match self.definition(name) {
            Some(Definition::Shared(statement)) => Place::Shared(statement),
            Some(Definition::Kept(..) | Definition::ServerOnly) | None => Place::Server,
        }
    }

    /// What a name stands for, if no reply to an earlier group decides that.
    fn definition(&self, name: &[u8]) -> Option<Definition> {
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
    fn supply(&mut self, statement: &Rc<Statement>) -> Supply {
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
    fn stand_in(&mut self, types: &[u8]) -> &'static [u8] {
        self.close_servers(STAND_IN);
        self.insert(|out| writer::parse(out, STAND_IN, b"", types));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
        STAND_IN
    }

    /// The description of a statement that returns rows fails in a failed transaction. No empty one does that: so
    /// does the statement's Parse.
    fn fail(&mut self, statement: &Statement) -> Step {
        let (text, types) = statement.resolved();
        self.insert(|out| writer::parse(out, STAND_IN, text, &types));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
        Step::Drop
    }

    /// Has the server describe a statement that it has just made.
    fn examine(&mut self, statement: &Rc<Statement>) {
        self.insert(|out| writer::describe_statement(out, statement.server_name()));
        let deed = Deed::Examine(Rc::clone(statement));
        self.exchange.ledger.sent_by_proxy(Owed::Describe, Asker::Ahead, deed);
    }

    /// Closes a statement that is about to be made anew.
    fn evict(&mut self, statement: &Statement) {
        self.insert(|out| writer::close_statement(out, statement.server_name()));
        let deed = Deed::Evict(statement.id);
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, deed);
    }

    /// Closes the statement used longest ago if there are as many as may be.
    fn make_room(&mut self) {
        let max = self.statements.bounds.server_statements;
        let Some(id) = self.exchange.prepared.surplus(max) else { return };
        if self.exchange.ledger.statement_in_flight(id) != InFlight::Settled {
            return;
        }
        self.insert(|out| writer::close_statement(out, format!("{id:?}").as_bytes()));
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, Deed::Evict(id));
    }

    /// The message fails as PostgreSQL would have it fail: the server is given one that does.
    fn refuse(&mut self) -> Step {
        self.insert(|out| writer::bind(out, NO_STATEMENT));
        self.exchange.ledger.sent_by_proxy(Owed::Bind, Asker::Refusal, Deed::None);
        Step::Drop
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

    // === Handing over to the server connection ===

    /// All statements of the client live on its server connection from now on, under its own names: SQL is
    /// about to name them.
    fn hand_over(&mut self) {
        self.state.pins = self.state.pins.union(Effect::Prepare.into());
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
            self.state.names.define(&name, Definition::Kept(frame.into(), statement.marks));
        }
    }

    /// Gives a name of the client to an empty statement: that can be parsed in a failed transaction too.
    fn take_name(&mut self, name: &[u8]) {
        self.state.pins = self.state.pins.union(Effect::Prepare.into());
        self.make_empty(name);
    }

    /// Makes an empty statement, which can't fail.
    fn make_empty(&mut self, name: &[u8]) {
        self.close_servers(name);
        self.insert(|out| writer::parse(out, name, b"", &[0, 0]));
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, Deed::None);
    }

    /// Closes what the server may have under a name.
    fn close_servers(&mut self, name: &[u8]) {
        self.insert(|out| writer::close_statement(out, name));
        self.exchange.ledger.sent_by_proxy(Owed::Close, Asker::Ahead, Deed::None);
    }

    fn hand_over_one(&mut self, name: &[u8], statement: &Statement) {
        self.state.pins = self.state.pins.union(Effect::Prepare.into());
        let is_in_batch = self.exchange.ledger.awaits_sync();
        let (text, types) = statement.resolved();
        self.close_servers(name);
        self.insert(|out| writer::parse(out, name, text, &types));
        // From then on the server connection knows it, and only that.
        let deed = Deed::Undefine(StatementName::new(name));
        if is_in_batch {
            self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Ahead, deed);
            return;
        }
        // With a Sync of its own: a query in front of which it fails must not be skipped.
        self.to_server.insert(writer::SYNC);
        self.exchange.ledger.sent_by_proxy(Owed::Parse, Asker::Proxy, deed);
        self.exchange.ledger.sent_by_proxy(Owed::Sync, Asker::Proxy, Deed::None);
    }

    // === Helpers ===

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
        self.state.pins = self.state.pins.union(footprint.effects);
        footprint
    }

    /// Takes note of what the transaction does.
    fn note(&mut self, marks: Marks) {
        self.state.has_ddl |= marks.contains(Mark::Ddl);
        self.state.has_local_settings |= marks.contains(Mark::LocalSetting);
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

/// Whether PostgreSQL takes this Parse in a failed transaction too.
fn is_exit(frame: &[u8]) -> bool {
    let parse = Parse::read(frame.get(HEADER_BYTES..).unwrap_or_default());
    parse.is_some_and(|parse| is_transaction_exit(parse.text))
}

/// The parameter types of a Parse, with their number in front.
fn types(frame: &[u8]) -> &[u8] {
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let strings = Parse::read(body).map(|parse| parse.name.len() + parse.text.len() + 2);
    strings.and_then(|strings| body.get(strings..)).unwrap_or(&[0, 0])
}
