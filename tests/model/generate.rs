//! Sequences out of a seed: the upper levels of the grammar.

use crate::message::Message;
use crate::random::Random;
use crate::sequence::{CLIENTS, Cut, Sequence, Step, Wait};
use crate::sql::{self, Statement};

/// The sequence of a seed.
pub(crate) fn sequence(seed: u64) -> Sequence {
    let mut random = Random::new(seed);
    let may_pin = random.percent(35);
    let mut clients = Vec::new();
    let mut order = Vec::new();
    for client in 0..CLIENTS {
        let mut author = Author { random: &mut random, client, may_pin, steps: Vec::new() };
        author.write();
        let steps = author.steps;
        let pauses = steps.iter().filter(|step| matches!(step.cut, Cut::Paused(_))).count();
        order.extend(std::iter::repeat_n(client, steps.len() + pauses));
        clients.push(steps);
    }
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    let mut sequence = Sequence { seed, clients, order };
    sequence.spare_postgres();
    sequence.spare_snapshots();
    sequence
}

/// Writes one client's steps.
struct Author<'a> {
    random: &'a mut Random,
    client: usize,
    /// Whether the sequence may use what ties a client to its server connection.
    may_pin: bool,
    steps: Vec<Step>,
}

type Act<'a> = fn(&mut Author<'a>);

impl<'a> Author<'a> {
    fn write(&mut self) {
        for _ in 0..self.random.between(2, 6) {
            let act: Act<'a> = self.random.weighted(&[
                (24, Self::query as Act<'a>),
                (7, Self::queries),
                (18, Self::batch),
                (8, Self::halves),
                (8, Self::parse_then_bind),
                (8, Self::portal),
                (7, Self::pipeline),
                (6, Self::copy),
                (6, Self::copy_extended),
                (3, Self::pings),
                (3, Self::function),
                (9, Self::soup),
                (2, Self::stray_copy),
                (4, Self::unfinished),
                (3, Self::malformed),
            ]);
            act(self);
        }
        for step in &mut self.steps {
            step.cut = match self.random.below(100) {
                0..15 => Cut::Pieces(self.random.below(1000)),
                15..30 => Cut::Paused(self.random.below(1000)),
                _ => Cut::Whole,
            };
        }
        self.ending();
    }

    fn step(&mut self, messages: Vec<Message>, wait: Wait) {
        self.steps.push(Step::new(messages, wait));
    }

    // === Acts ===

    fn query(&mut self) {
        let query = self.any_query();
        self.step(vec![query], Wait::Ready);
    }

    fn queries(&mut self) {
        for _ in 0..self.random.between(1, 3) {
            let query = self.any_query();
            self.step(vec![query], Wait::No);
        }
        self.step(vec![], Wait::Barrier);
    }

    fn batch(&mut self) {
        let messages = self.groups(1);
        self.step(messages, Wait::Ready);
    }

    /// Parse, Describe, Flush, and the rest only when that is answered.
    fn halves(&mut self) {
        let statement = self.statement();
        let name = self.statement_name();
        let parse = Message::Parse { name, sql: statement.sql.clone() };
        let describe = Message::Describe { kind: b'S', name };
        self.step(vec![parse, describe, Message::Flush], Wait::Flushed);
        let mut rest = self.bind_and_execute(name, &statement);
        rest.push(Message::Sync);
        self.step(rest, Wait::Ready);
    }

    /// Two Sync-terminated groups that need the same statement.
    fn parse_then_bind(&mut self) {
        let statement = self.statement();
        let name = self.statement_name();
        let parse = Message::Parse { name, sql: statement.sql.clone() };
        let describe = Message::Describe { kind: b'S', name };
        self.step(vec![parse, describe, Message::Sync], Wait::Ready);
        if self.random.percent(15) {
            let other = self.soup_messages();
            self.step(other, Wait::Barrier);
        }
        for _ in 0..self.random.between(1, 2) {
            let mut rest = self.bind_and_execute(name, &statement);
            rest.push(Message::Sync);
            self.step(rest, Wait::Ready);
        }
    }

    /// A portal, read a few rows at a time.
    fn portal(&mut self) {
        let portal = self.portal_name();
        let mut messages = Vec::new();
        if self.random.percent(50) {
            messages.push(Message::Query("BEGIN".to_owned()));
        }
        let sql = "SELECT k, v FROM shared ORDER BY k".to_owned();
        messages.push(Message::Parse { name: "", sql });
        messages.push(Message::Bind { portal, statement: "", parameters: vec![] });
        for _ in 0..self.random.between(1, 3) {
            let rows = *self.random.pick(&[0, 1, 2]);
            messages.push(Message::Execute { portal, rows });
            match self.random.below(4) {
                0 => messages.push(Message::Sync),
                1 => messages.push(Message::Flush),
                2 => messages.push(Message::Describe { kind: b'P', name: portal }),
                _ => {}
            }
        }
        self.step(messages, Wait::Barrier);
    }

    fn pipeline(&mut self) {
        let count = self.random.between(2, 5);
        let messages = self.groups(count);
        if self.random.percent(50) {
            self.step(messages, Wait::Barrier);
        } else {
            self.step(messages, Wait::No);
        }
    }

    fn copy(&mut self) {
        let copy = sql::copy_in(self.random, self.client);
        let copy = match self.random.below(4) {
            0 => format!("{copy}; {}", sql::simple(self.random, self.client, true)),
            1 => format!("BEGIN; {copy}"),
            _ => copy,
        };
        let mut data = self.copy_data();
        if self.random.percent(50) {
            self.step(vec![Message::Query(copy)], Wait::Ready);
        } else {
            data.insert(0, Message::Query(copy));
        }
        self.step(data, Wait::Barrier);
    }

    fn copy_extended(&mut self) {
        let name = if self.has_names() { self.statement_name() } else { "" };
        let mut messages = vec![
            Message::Parse { name, sql: sql::copy_in(self.random, self.client) },
            Message::Bind { portal: "", statement: name, parameters: vec![] },
            Message::Execute { portal: "", rows: 0 },
        ];
        match self.random.below(3) {
            0 => messages.push(Message::Sync),
            1 => messages.push(Message::Flush),
            _ => {}
        }
        let mut data = self.copy_data();
        if self.random.percent(50) && messages.len() > 3 {
            let wait = if messages[3].tag() == b'S' { Wait::Ready } else { Wait::Flushed };
            self.step(messages, wait);
        } else {
            messages.append(&mut data);
            data = messages;
        }
        if self.random.percent(30) {
            data.push(Message::Sync);
        }
        self.step(data, Wait::Barrier);
    }

    fn pings(&mut self) {
        let count = self.random.between(1, 3);
        self.step(vec![Message::Sync; count], if count == 1 { Wait::Ready } else { Wait::No });
    }

    fn function(&mut self) {
        let call = self.function_call();
        self.step(vec![call], Wait::Ready);
    }

    fn soup(&mut self) {
        let messages = self.soup_messages();
        let wait = if self.random.percent(80) { Wait::Barrier } else { Wait::No };
        self.step(messages, wait);
    }

    /// Copy messages where no copy is.
    fn stray_copy(&mut self) {
        let messages = self.copy_data();
        let wait = if self.random.percent(50) { Wait::Barrier } else { Wait::No };
        self.step(messages, wait);
    }

    /// A batch without a Sync, which a Query or FunctionCall ends.
    fn unfinished(&mut self) {
        let mut messages = self.groups(1);
        messages.pop();
        let end = if self.random.percent(80) { self.any_query() } else { self.function_call() };
        messages.push(end);
        let wait = if self.random.percent(50) { Wait::Barrier } else { Wait::No };
        self.step(messages, wait);
    }

    /// A batch with a message in it that PostgreSQL can't read.
    fn malformed(&mut self) {
        let mut messages = self.groups(1);
        let at = self.random.below(messages.len() + 1);
        let (tag, body): (u8, &[u8]) = *self.random.pick(&[
            (b'Q', b"SELECT 1".as_slice()),
            (b'Q', b"SELECT 1\0\0"),
            (b'Q', b""),
            (b'P', b"\0SELECT 1\0"),
            (b'P', b""),
            (b'B', b"\0\0\0\0"),
            (b'B', b"no terminator"),
            (b'D', b"Xwhat\0"),
            (b'D', b"S"),
            (b'E', b"\0\0\0"),
            (b'C', b"X\0"),
            (b'C', b"S"),
            (b'S', b"body"),
            (b'H', b"body"),
            (b'F', b"\0\0\0\xb1"),
            (b'c', b"body"),
            (b'f', b"no terminator"),
        ]);
        if tag == b'F' && !self.may_pin {
            return;
        }
        messages.insert(at, Message::Malformed { tag, body: body.to_vec(), length: None });
        self.step(messages, Wait::Barrier);
    }

    // === Endings ===

    fn ending(&mut self) {
        match self.random.below(100) {
            0..76 => self.stay(),
            76..84 => self.leave(Some(Message::Terminate), Wait::End),
            84..90 => self.leave(None, Wait::HalfClosed),
            90..97 => self.vanish(),
            _ => self.violate(),
        }
    }

    /// Comes to rest, outside of a transaction and without an unnamed statement.
    fn stay(&mut self) {
        self.step(vec![], Wait::Barrier);
        self.step(vec![Message::Query("ROLLBACK".to_owned())], Wait::Ready);
    }

    /// Says good-bye, or half-closes, with replies still owed. The Sync makes that all was asked for.
    fn leave(&mut self, last: Option<Message>, wait: Wait) {
        let mut messages = vec![Message::Sync];
        messages.extend(self.tail());
        messages.extend(last);
        self.step(messages, wait);
    }

    /// Closes its socket with a batch open, but with nothing under way that could commit.
    fn vanish(&mut self) {
        self.step(vec![], Wait::Barrier);
        let tail = self.tail();
        self.step(tail, Wait::Gone);
    }

    /// Sends what is not the protocol.
    fn violate(&mut self) {
        self.step(vec![], Wait::Barrier);
        let (tag, length) = *self.random.pick(&[(b'm', 4), (b'z', 8), (b'Q', 3), (b'S', 20_000)]);
        let violation = Message::Malformed { tag, body: vec![0; 4], length: Some(length) };
        self.step(vec![violation], Wait::HalfClosed);
    }

    /// Messages without a Sync, none of which commits.
    fn tail(&mut self) -> Vec<Message> {
        if self.random.percent(40) {
            return vec![];
        }
        let statement = sql::extended(self.random, self.client, false);
        let mut messages = vec![Message::Parse { name: "", sql: statement.sql.clone() }];
        messages.extend(self.bind_and_execute("", &statement));
        messages
    }

    // === Messages ===

    /// Groups of extended messages, each with its Sync.
    fn groups(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..count {
            for _ in 0..self.random.weighted(&[(6, 1), (3, 2), (1, 4)]) {
                messages.extend(self.one_statement());
            }
            messages.push(Message::Sync);
        }
        messages
    }

    /// Parse, Bind, Describe, Execute, Close, with something missing now and then.
    fn one_statement(&mut self) -> Vec<Message> {
        let statement = self.statement();
        let name = self.statement_name();
        let mut messages = vec![Message::Parse { name, sql: statement.sql.clone() }];
        if self.random.percent(20) {
            messages.push(Message::Describe { kind: b'S', name });
        }
        messages.extend(self.bind_and_execute(name, &statement));
        if self.random.percent(if name.is_empty() { 10 } else { 50 }) {
            messages.push(Message::Close { kind: b'S', name });
        }
        if self.random.percent(10) {
            messages.remove(self.random.below(messages.len()));
        }
        messages
    }

    fn bind_and_execute(&mut self, statement: &'static str, of: &Statement) -> Vec<Message> {
        let portal = if self.random.percent(80) { "" } else { self.portal_name() };
        let mut messages = vec![self.bind(portal, statement, of.parameters)];
        if self.random.percent(40) {
            messages.push(Message::Describe { kind: b'P', name: portal });
        }
        let rows = self.random.weighted(&[(8, 0), (1, 1), (1, 2)]);
        messages.push(Message::Execute { portal, rows });
        messages
    }

    fn bind(&mut self, portal: &'static str, statement: &'static str, count: usize) -> Message {
        let count = if self.random.percent(4) { self.random.below(3) } else { count };
        let values = [
            Some("1"),
            Some("2"),
            Some("3"),
            Some("5"),
            Some("7"),
            Some("0"),
            Some("no number"),
            None,
        ];
        let parameters = (0..count).map(|_| *self.random.pick(&values)).collect();
        Message::Bind { portal, statement, parameters }
    }

    /// Any messages in any order.
    fn soup_messages(&mut self) -> Vec<Message> {
        (0..self.random.between(1, 7)).map(|_| self.any_message()).collect()
    }

    fn any_message(&mut self) -> Message {
        let statement = self.statement_name();
        let portal = self.portal_name();
        match self.random.below(26) {
            0..5 => Message::Parse { name: statement, sql: self.statement().sql },
            5..10 => {
                let count = self.random.weighted(&[(5, 0), (4, 1), (1, 2)]);
                self.bind(portal, statement, count)
            }
            10..14 => Message::Execute { portal, rows: *self.random.pick(&[0, 0, 1, 2]) },
            14..16 => Message::Describe { kind: b'S', name: statement },
            16 => Message::Describe { kind: b'P', name: portal },
            17 => Message::Close { kind: b'S', name: statement },
            18 => Message::Close { kind: b'P', name: portal },
            19 => Message::Flush,
            20..23 => Message::Sync,
            23 => self.function_call(),
            24 => Message::CopyDone,
            _ => self.any_query(),
        }
    }

    fn any_query(&mut self) -> Message {
        if self.random.percent(25) {
            return Message::Query(sql::transaction(self.random, self.client));
        }
        let count = self.random.weighted(&[(7, 1), (2, 2), (1, 4)]);
        let parts: Vec<_> =
            (0..count).map(|_| sql::simple(self.random, self.client, true)).collect();
        Message::Query(parts.join("; "))
    }

    fn function_call(&mut self) -> Message {
        if !self.may_pin {
            return Message::Sync;
        }
        let (oid, arguments) = self.random.weighted(&[
            (4, (177, [Some("1"), Some("2")].as_slice())),
            (2, (154, [Some("1"), Some("0")].as_slice())),
            (1, (177, [Some("1")].as_slice())),
            (1, (4_000_000, [None].as_slice())),
        ]);
        Message::Function { oid, arguments: arguments.to_vec() }
    }

    /// A Sync among the data of a copy that fails leaves in doubt which replies are whose: the proxy can't have
    /// that with names of statements.
    fn copy_data(&mut self) -> Vec<Message> {
        let may_doubt = !self.has_names();
        let mut messages = Vec::new();
        for _ in 0..self.random.below(4) {
            messages.push(Message::CopyData(sql::copy_rows(self.random)));
            if self.random.percent(8) {
                let is_flush = self.random.percent(50) || !may_doubt;
                messages.push(if is_flush { Message::Flush } else { Message::Sync });
            }
        }
        messages.push(if self.random.percent(75) { Message::CopyDone } else { Message::CopyFail });
        messages
    }

    fn has_names(&self) -> bool {
        let mut messages = self.steps.iter().flat_map(|step| &step.messages);
        messages.any(|message| matches!(message, Message::Parse { name, .. } if !name.is_empty()))
    }

    fn statement(&mut self) -> Statement {
        sql::extended(self.random, self.client, true)
    }

    fn statement_name(&mut self) -> &'static str {
        self.random.weighted(&[(5, ""), (3, "a"), (2, "b")])
    }

    fn portal_name(&mut self) -> &'static str {
        self.random.weighted(&[(3, ""), (1, "p"), (1, "q")])
    }
}
