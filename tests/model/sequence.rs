//! A sequence: what three clients send, in which order, and when each of them waits.

use std::fmt;

use crate::message::Message;

/// How many clients a sequence has.
pub(crate) const CLIENTS: usize = 3;

/// What all clients do.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    /// Each client's steps; the last one is its ending.
    pub(crate) clients: Vec<Vec<Step>>,
    /// Whose turn it is. When it is used up, all take turns until all are done.
    pub(crate) order: Vec<usize>,
}

/// Messages that are sent at once.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) messages: Vec<Message>,
    pub(crate) cut: Cut,
    pub(crate) wait: Wait,
}

/// How a step's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Whole,
    /// In two writes, the first with so many thousandths of the bytes.
    Pieces(usize),
    /// The same, and the other clients may have a turn in between.
    Paused(usize),
}

/// What a client waits for at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: the next step follows at once.
    No,
    /// ReadyForQuery, or CopyInResponse.
    Ready,
    /// An answer to each message, or an error: the step ends with Flush.
    Flushed,
    /// The replies to [`barrier`], which is sent behind the step's own messages.
    Barrier,
    /// The end of the stream: the step ends with Terminate.
    End,
    /// The end of the stream: the client closes its sending side.
    HalfClosed,
    /// The client closes its socket.
    Gone,
}

impl Sequence {
    /// Takes out what crashes PostgreSQL 15: Execute or Describe of the unnamed portal that a failed Query has
    /// left behind in its failed transaction. The plan that it points to is gone by then.
    pub(crate) fn spare_postgres(&mut self) {
        for steps in &mut self.clients {
            let mut is_bound = false;
            for step in steps {
                step.messages.retain(|message| match message {
                    Message::Bind { portal: "", .. } => {
                        is_bound = true;
                        true
                    }
                    Message::Execute { portal: "", .. }
                    | Message::Describe { kind: b'P', name: "" } => is_bound,
                    message => {
                        is_bound &= !message.asks_for_ready();
                        true
                    }
                });
                is_bound &= step.wait != Wait::Barrier;
            }
        }
    }

    /// Takes out what the proxy is known to do otherwise (docs/prepared.md): it may have to parse a statement again
    /// for its Describe or Bind. A Parse takes the transaction's snapshot, and makes visible what a statement has
    /// done that stopped at its row limit.
    pub(crate) fn spare_snapshots(&mut self) {
        for steps in &mut self.clients {
            let mut is_described = false;
            let mut is_named = false;
            for message in steps.iter_mut().flat_map(|step| &mut step.messages) {
                is_named |= matches!(message, Message::Parse { name, .. } if !name.is_empty());
                match message {
                    Message::Describe { kind: b'S', .. } => is_described = true,
                    Message::Parse { sql, .. } | Message::Query(sql) if is_described => {
                        *sql = sql.replace(" ISOLATION LEVEL REPEATABLE READ", "");
                    }
                    Message::Execute { rows, .. } if is_named => *rows = 0,
                    _ => {}
                }
                is_described &= !message.asks_for_ready();
            }
        }
    }
}

impl Step {
    pub(crate) fn new(messages: Vec<Message>, wait: Wait) -> Self {
        Self { messages, cut: Cut::Whole, wait }
    }

    /// All bytes, the barrier's included.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.messages.iter().flat_map(Message::bytes).collect();
        if self.wait == Wait::Barrier {
            bytes.extend(barrier().iter().flat_map(Message::bytes));
        }
        bytes
    }

    /// The first write, if the bytes go out in two.
    pub(crate) fn first_write(&self, bytes: usize) -> usize {
        match self.cut {
            Cut::Whole => bytes,
            Cut::Pieces(thousandths) | Cut::Paused(thousandths) => bytes * thousandths / 1000,
        }
    }
}

/// Messages that change nothing in any state but copy-in (where they end the session), and whose replies
/// ([`BARRIER_REPLIES`]) nothing else in a sequence brings.
fn barrier() -> [Message; 5] {
    let close = || Message::Close { kind: b'P', name: "barrier" };
    [Message::Sync, close(), close(), close(), Message::Sync]
}

/// Message types of the replies to [`barrier`].
pub(crate) const BARRIER_REPLIES: &[u8] = b"Z333Z";

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sequence of seed {}, turns {:?}", self.seed, self.order)?;
        for (client, steps) in self.clients.iter().enumerate() {
            writeln!(f, "client {client}")?;
            for (number, step) in steps.iter().enumerate() {
                writeln!(f, "  step {number}: then wait {:?}, written {:?}", step.wait, step.cut)?;
                for message in &step.messages {
                    writeln!(f, "    {message}")?;
                }
            }
        }
        Ok(())
    }
}
