//! The run through the proxy: all clients in turns, each reply awaited as far as the direct run had it.

use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{Connection, count};
use crate::direct::{Mark, Transcript};
use crate::sequence::{CLIENTS, Cut, Sequence, Step, Wait};

/// A client that did not get what it was owed.
#[derive(Debug)]
pub(crate) struct Stuck {
    pub(crate) client: usize,
    pub(crate) step: usize,
}

/// One client on its way through its steps.
struct Actor<'a> {
    connection: &'a mut Connection,
    steps: &'a [Step],
    marks: &'a [Mark],
    at: usize,
    state: State,
    may_hold: bool,
    /// It hangs up when it is done, lest it keep a server connection that others wait for.
    leaves: bool,
}

enum State {
    /// Its step is to be sent.
    Next,
    /// Half a step was sent.
    Rest(Vec<u8>),
    /// The step's reply is to come.
    Awaiting,
    Done,
}

/// Runs a sequence whose direct run gave `transcripts`. `servers`: so many clients may hold a server
/// connection at once.
pub(crate) fn run(
    connections: &mut [Connection],
    sequence: &Sequence,
    transcripts: &[Transcript],
    servers: usize,
    patience: Duration,
) -> Result<(), Stuck> {
    let mut actors: Vec<_> = connections
        .iter_mut()
        .zip(sequence.clients.iter().zip(transcripts))
        .map(|(connection, (steps, transcript))| {
            let leaves = transcript.is_pinned && servers < CLIENTS;
            Actor::new(connection, steps, &transcript.marks, leaves)
        })
        .collect();
    for &client in &sequence.order {
        turn(&mut actors, client, servers, patience)?;
    }
    let mut quiet_since = Instant::now();
    while actors.iter().any(|actor| !actor.is_done()) {
        let mut moved = false;
        for client in 0..actors.len() {
            moved |= turn(&mut actors, client, servers, patience)?;
        }
        if moved {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() > patience {
            let client = actors.iter().position(|actor| !actor.is_done()).unwrap_or_default();
            return Err(Stuck { client, step: actors[client].at });
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// A client's turn. `false`: it waits for its reply, and others may hold all server connections.
fn turn(
    actors: &mut [Actor<'_>],
    client: usize,
    servers: usize,
    patience: Duration,
) -> Result<bool, Stuck> {
    let others =
        actors.iter().enumerate().filter(|(other, actor)| *other != client && actor.may_hold);
    let must_be_served = others.count() < servers;
    let actor = &mut actors[client];
    if actor.is_done() {
        return Ok(false);
    }
    if matches!(actor.state, State::Awaiting) {
        if !actor.receive(must_be_served.then_some(patience)) {
            return if must_be_served { Err(Stuck { client, step: actor.at }) } else { Ok(false) };
        }
        if actor.is_done() {
            return Ok(true);
        }
    }
    actor.send();
    if matches!(actor.state, State::Awaiting)
        && !actor.receive(must_be_served.then_some(patience))
        && must_be_served
    {
        return Err(Stuck { client, step: actor.at });
    }
    Ok(true)
}

impl<'a> Actor<'a> {
    fn new(
        connection: &'a mut Connection,
        steps: &'a [Step],
        marks: &'a [Mark],
        leaves: bool,
    ) -> Self {
        connection.begin();
        Self { connection, steps, marks, at: 0, state: State::Next, may_hold: false, leaves }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Sends the step, the rest of it, or its first half.
    fn send(&mut self) {
        let step = &self.steps[self.at];
        self.may_hold = true;
        let rest = match std::mem::replace(&mut self.state, State::Awaiting) {
            State::Rest(rest) => rest,
            State::Next | State::Awaiting | State::Done => {
                let mut first = step.bytes();
                let rest = first.split_off(step.first_write(first.len()));
                self.connection.send(&first);
                if matches!(step.cut, Cut::Paused(_)) {
                    self.state = State::Rest(rest);
                    return;
                }
                rest
            }
        };
        self.connection.send(&rest);
        match step.wait {
            Wait::HalfClosed => self.connection.half_close(),
            Wait::Gone => {
                self.connection.hang_up();
                self.arrive();
            }
            Wait::No | Wait::Ready | Wait::Flushed | Wait::Barrier | Wait::End => {}
        }
    }

    /// Reads up to the mark of the step; without `patience` only what is there.
    fn receive(&mut self, patience: Option<Duration>) -> bool {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            if self.is_answered() {
                self.arrive();
                return true;
            }
            match deadline {
                None => {
                    self.connection.read_ready();
                    if !self.is_answered() {
                        return false;
                    }
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.connection.read(left);
                }
            }
        }
    }

    fn is_answered(&self) -> bool {
        let mark = &self.marks[self.at];
        // An early end is a difference: the comparison tells.
        self.connection.ended || (!mark.ended && count(&self.connection.replies) >= mark.replies)
    }

    /// The step is over.
    fn arrive(&mut self) {
        self.may_hold = self.marks[self.at].may_hold;
        self.at += 1;
        if self.at < self.marks.len() && !self.connection.ended {
            self.state = State::Next;
            return;
        }
        self.state = State::Done;
        self.may_hold = false;
        if self.leaves {
            self.connection.hang_up();
        }
    }
}
