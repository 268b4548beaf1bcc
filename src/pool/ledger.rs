//! The ledger: which replies a server connection still owes, in their order.
//!
//! Each message that is sent and answered adds an entry; each reply is held against the front entry and is
//! forwarded or swallowed. The rules are those of `PostgresMain`:
//!
//! * An error in an extended message makes the server skip everything up to the next Sync, simple queries
//!   included. An error in a simple query, a function call or a Sync skips nothing.
//! * A Query or FunctionCall ends an un-Synced batch with the one ReadyForQuery of its own.
//! * A Sync that arrives in copy-in mode is not answered; so what is owed is known only from CopyInResponse.
//!   CopyDone and CopyFail outside of a copy are ignored; they stand in the ledger as [`Owed::CopyEnd`] to
//!   tell which Syncs came before the end of a copy. If bad data ends the copy, a Sync behind that data is
//!   answered after all; which one the server had read is then not known ([`Ledger::is_in_doubt`]).
//!
//! The ledger has no bound of its own: who sends looks at [`Ledger::len`] first.

use std::collections::VecDeque;

use thiserror::Error;

use crate::protocol::TransactionStatus;

/// What was sent and is not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Parse of a named statement.
    Parse,
    /// Parse of the unnamed statement.
    ParseUnnamed,
    /// Bind.
    Bind,
    /// Describe of a statement or portal.
    Describe,
    /// Execute.
    Execute,
    /// Close of a named statement or a portal.
    Close,
    /// Close of the unnamed statement.
    CloseUnnamed,
    /// Sync.
    Sync,
    /// A simple query.
    Query,
    /// A function call.
    Function,
    /// CopyDone or CopyFail: not answered, only a mark.
    CopyEnd,
    /// CopyData, one or more: not answered, only a mark.
    CopyData,
    /// A Flush: not answered, only a mark; what is in front of it is answered without a Sync.
    Flush,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Client,
    /// The proxy itself: the reply is not the client's.
    Proxy,
}

/// What to do with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client's.
    Forward,
    /// Not the client's.
    Swallow,
    /// ParseComplete or CloseComplete of the unnamed statement, the client's.
    Unnamed(Owed),
    /// ReadyForQuery of what is named, the client's.
    Ready(TransactionStatus, Owed),
    /// An ErrorResponse, the client's.
    Failed(Skipped),
}

/// What an error did to the messages that replace or drop the client's unnamed statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// So many of them were not done.
    pub messages: usize,
    /// The first of them was a Parse, and it is what failed.
    pub has_failed: bool,
}

/// A reply that nothing owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the server sent message type {tag:?} while {front:?} was owed", tag = *tag as char)]
pub struct OutOfStep {
    /// Message type.
    pub tag: u8,
    /// The front entry.
    pub front: Option<Owed>,
}

/// Where the client is in the extended protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing since the last Sync or Query.
    Between,
    /// Extended messages were sent and neither a Sync nor a Query since.
    Batch,
    /// An error was reported: the server skips to a Sync that was not sent yet.
    Skipping,
}

/// Where a copy from the client is. `syncs` were sent behind data: they are not answered, unless the copy
/// failed by that data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    /// None.
    No,
    /// The server waits for data.
    In { has_data: bool, syncs: usize },
    /// The end was sent.
    Ended { syncs: usize },
}

/// The replies that one server connection owes.
#[derive(Debug)]
pub struct Ledger {
    queue: VecDeque<(Owed, Asker)>,
    status: TransactionStatus,
    phase: Phase,
    copy: Copy,
    /// A copy failed with such Syncs under way: how many replies will come is not known.
    in_doubt: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            status: TransactionStatus::Idle,
            phase: Phase::Between,
            copy: Copy::No,
            in_doubt: false,
        }
    }
}

impl Ledger {
    /// Entries that wait for a reply.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The transaction's status as of the last ReadyForQuery.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Nothing owed, no batch open, nothing skipped, nothing in doubt: the next message starts afresh.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty()
            && self.phase == Phase::Between
            && !self.is_copy_in()
            && !self.in_doubt
    }

    /// Settled and outside of a transaction.
    pub fn is_clean(&self) -> bool {
        self.status == TransactionStatus::Idle && self.is_settled()
    }

    /// Whether the server skips what is sent now, up to a Sync.
    pub fn is_skipping(&self) -> bool {
        self.phase == Phase::Skipping
    }

    /// Whether the client still owes a Sync.
    pub fn awaits_sync(&self) -> bool {
        self.phase != Phase::Between
    }

    /// Whether the server will answer without hearing more.
    pub fn is_answer_coming(&self) -> bool {
        let brings_answers =
            |owed| matches!(owed, Owed::Sync | Owed::Query | Owed::Function | Owed::Flush);
        self.queue.iter().any(|(owed, _)| brings_answers(*owed))
    }

    /// Whether the server waits for copy data.
    pub fn is_copy_in(&self) -> bool {
        matches!(self.copy, Copy::In { .. })
    }

    /// Replies can't be told apart any more; the connection must not be lent again.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// What the client is owed, front first, for telling it that it will not come.
    pub fn owed(&self) -> impl Iterator<Item = Owed> + '_ {
        let is_mark = |owed: Owed| matches!(owed, Owed::CopyData | Owed::CopyEnd | Owed::Flush);
        let is_clients = |(_, asker): &&(Owed, Asker)| *asker == Asker::Client;
        let owed = self.queue.iter().filter(is_clients).map(|(owed, _)| *owed);
        owed.filter(move |owed| !is_mark(*owed))
    }

    /// A message of the client was sent.
    pub fn sent(&mut self, owed: Owed) {
        self.push(owed, Asker::Client);
    }

    /// A message of the proxy was sent: its reply will be swallowed. What may fail must be followed by a Sync
    /// of the proxy's.
    pub fn sent_by_proxy(&mut self, owed: Owed) {
        self.push(owed, Asker::Proxy);
    }

    fn push(&mut self, owed: Owed, asker: Asker) {
        if self.phase == Phase::Skipping && owed != Owed::Sync {
            return;
        }
        if let Copy::In { has_data, syncs } = &mut self.copy {
            match owed {
                Owed::Sync => *syncs += usize::from(*has_data),
                Owed::CopyData => *has_data = true,
                Owed::CopyEnd => self.copy = Copy::Ended { syncs: *syncs },
                Owed::Flush => {}
                // The server answers anything else with an error and closes: the entry is the reason.
                _ => self.queue.push_back((owed, asker)),
            }
            return;
        }
        match owed {
            Owed::Sync | Owed::Query | Owed::Function => self.phase = Phase::Between,
            Owed::CopyData | Owed::CopyEnd | Owed::Flush if self.queue.is_empty() => return,
            Owed::CopyData if matches!(self.queue.back(), Some((Owed::CopyData, _))) => return,
            Owed::CopyData | Owed::CopyEnd | Owed::Flush => {}
            Owed::Parse
            | Owed::ParseUnnamed
            | Owed::Bind
            | Owed::Describe
            | Owed::Execute
            | Owed::Close
            | Owed::CloseUnnamed => self.phase = Phase::Batch,
        }
        self.queue.push_back((owed, asker));
    }

    /// A reply came. `status` is the byte of a ReadyForQuery.
    pub fn received(&mut self, tag: u8, status: u8) -> Result<Verdict, OutOfStep> {
        let front = self.queue.front().copied();
        let verdict = match tag {
            b'N' | b'S' | b'A' => return Ok(self.unasked(tag)),
            b'E' => {
                let skipped = self.failed();
                // What the proxy asks stands in a group of its own: nothing of the client's fails with it.
                let is_proxys = matches!(front, Some((_, Asker::Proxy)));
                return Ok(if is_proxys { Verdict::Swallow } else { Verdict::Failed(skipped) });
            }
            b'Z' => return self.ready(status),
            b'G' => self.copy_in_begins(),
            b'1' => self.settle(matches!(front, Some((Owed::Parse | Owed::ParseUnnamed, _)))),
            b'2' => self.settle(matches!(front, Some((Owed::Bind, _)))),
            b'3' => self.settle(matches!(front, Some((Owed::Close | Owed::CloseUnnamed, _)))),
            b'n' => self.settle(matches!(front, Some((Owed::Describe, _)))),
            b'T' => match front {
                Some((Owed::Query, _)) => Some(Verdict::Forward),
                _ => self.settle(matches!(front, Some((Owed::Describe, _)))),
            },
            b't' => front.filter(|(owed, _)| *owed == Owed::Describe).map(verdict_of),
            b'C' | b'I' | b's' => self.completed(),
            b'D' | b'H' | b'd' | b'c' => front
                .filter(|(owed, _)| matches!(owed, Owed::Execute | Owed::Query))
                .map(verdict_of),
            b'V' => front.filter(|(owed, _)| *owed == Owed::Function).map(verdict_of),
            _ => None,
        };
        match verdict {
            Some(verdict) => Ok(verdict),
            None if self.in_doubt => Ok(Verdict::Forward),
            None => Err(OutOfStep { tag, front: front.map(|(owed, _)| owed) }),
        }
    }

    /// Notices, parameter changes and notifications come at any moment and settle nothing.
    fn unasked(&self, tag: u8) -> Verdict {
        match self.queue.front() {
            Some((_, Asker::Proxy)) if tag == b'N' => Verdict::Swallow,
            _ => Verdict::Forward,
        }
    }

    /// Pops the front entry if it is the one that the reply settles.
    fn settle(&mut self, fits: bool) -> Option<Verdict> {
        if !fits {
            return None;
        }
        let entry = self.queue.pop_front()?;
        self.drop_marks();
        Some(verdict_of(entry))
    }

    /// CommandComplete, EmptyQueryResponse, PortalSuspended.
    fn completed(&mut self) -> Option<Verdict> {
        self.copy = Copy::No;
        match self.queue.front().copied()? {
            (Owed::Query, asker) => Some(verdict_of((Owed::Query, asker))),
            (Owed::Execute, _) => self.settle(true),
            _ => None,
        }
    }

    fn ready(&mut self, status: u8) -> Result<Verdict, OutOfStep> {
        let front = self.queue.front().copied();
        let out_of_step = OutOfStep { tag: b'Z', front: front.map(|(owed, _)| owed) };
        let status = TransactionStatus::from_byte(status).ok_or(out_of_step)?;
        let verdict = match front {
            Some((Owed::Sync | Owed::Query | Owed::Function, _)) => self.settle(true),
            _ if self.in_doubt => Some(Verdict::Forward),
            _ => None,
        };
        self.status = status;
        match verdict {
            Some(Verdict::Swallow) => Ok(Verdict::Swallow),
            Some(_) => Ok(Verdict::Ready(status, front.map_or(Owed::Sync, |(owed, _)| owed))),
            None => Err(out_of_step),
        }
    }

    /// CopyInResponse: Syncs already sent up to the end of the copy will not be answered.
    fn copy_in_begins(&mut self) -> Option<Verdict> {
        let verdict = match self.queue.front().copied()? {
            entry @ (Owed::Execute | Owed::Query, _) => verdict_of(entry),
            _ => return None,
        };
        let (mut has_data, mut syncs) = (false, 0);
        self.copy = Copy::In { has_data, syncs };
        while let Some(&(owed, _)) = self.queue.get(1) {
            match owed {
                Owed::Sync => syncs += usize::from(has_data),
                Owed::CopyData => has_data = true,
                Owed::Flush | Owed::CopyEnd => {}
                // Sent into the copy: the server will refuse it.
                _ => break,
            }
            self.copy = Copy::In { has_data, syncs };
            self.queue.remove(1);
            if owed == Owed::CopyEnd {
                self.copy = Copy::Ended { syncs };
                break;
            }
        }
        Some(verdict)
    }

    fn failed(&mut self) -> Skipped {
        if let Copy::In { syncs, .. } | Copy::Ended { syncs } = self.copy {
            self.in_doubt |= syncs > 0;
            self.copy = Copy::No;
        }
        let mut skipped = Skipped::default();
        match self.queue.front().copied() {
            None | Some((Owed::Sync | Owed::Query | Owed::Function, _)) => return skipped,
            Some(front) => skipped.has_failed = is_unnamed(front) && front.0 == Owed::ParseUnnamed,
        }
        while let Some(&entry) = self.queue.front() {
            if entry.0 == Owed::Sync {
                return skipped;
            }
            skipped.messages += usize::from(is_unnamed(entry));
            self.queue.pop_front();
        }
        self.phase = Phase::Skipping;
        skipped
    }

    fn drop_marks(&mut self) {
        while let Some((Owed::CopyData | Owed::CopyEnd | Owed::Flush, _)) = self.queue.front() {
            self.queue.pop_front();
        }
    }
}

fn verdict_of((owed, asker): (Owed, Asker)) -> Verdict {
    match (asker, owed) {
        (Asker::Proxy, _) => Verdict::Swallow,
        (Asker::Client, Owed::ParseUnnamed | Owed::CloseUnnamed) => Verdict::Unnamed(owed),
        (Asker::Client, _) => Verdict::Forward,
    }
}

/// Whether a message of the client replaces or drops its unnamed statement.
fn is_unnamed((owed, asker): (Owed, Asker)) -> bool {
    asker == Asker::Client && matches!(owed, Owed::ParseUnnamed | Owed::CloseUnnamed | Owed::Query)
}

#[cfg(test)]
mod tests;
