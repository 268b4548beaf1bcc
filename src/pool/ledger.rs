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

use super::deed::Deed;
use crate::client_state::StatementId;
use crate::protocol::TransactionStatus;

/// So many entries are searched for what concerns a name or a statement.
const LOOK_BACK_MAX: usize = 256;

/// What was sent and is not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Parse.
    Parse,
    /// Bind.
    Bind,
    /// Describe of a statement or portal.
    Describe,
    /// Execute.
    Execute,
    /// Close of a statement or portal.
    Close,
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
pub enum Asker {
    /// The client: the reply is the client's.
    Client,
    /// The proxy, for itself: the reply is nobody's. What may fail stands in a group of its own.
    Proxy,
    /// The proxy, in the client's group: the reply is nobody's, but an error is the client's.
    Ahead,
    /// The client; but the server was not asked, and the reply is made up in its turn.
    Nobody,
    /// The proxy, in the client's group, for an error that the client is told in other words.
    Refusal,
}

/// A message that was sent.
#[derive(Debug)]
struct Entry {
    owed: Owed,
    asker: Asker,
    deed: Deed,
}

/// What to do with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client's.
    Forward,
    /// Not the client's.
    Swallow,
    /// The message is done. `forward`: the reply is the client's.
    Done {
        /// What comes to pass.
        deed: Deed,
        /// Whether the reply is the client's.
        forward: bool,
    },
    /// A ReadyForQuery, the client's.
    Ready(TransactionStatus, Deed),
    /// An ErrorResponse, the client's.
    Failed(Failure),
    /// An ErrorResponse to a query of the proxy's own, which would have done this.
    Refused(Deed),
}

/// The message that an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// What it would have done.
    pub deed: Deed,
    /// It was made to fail: the client gets another error.
    pub is_refusal: bool,
}

/// What is known of a name or a statement while messages are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight<T> {
    /// Nothing in flight concerns it.
    Settled,
    /// This, if the messages before it in the same group succeed.
    InThisGroup(T),
    /// A reply to an earlier group decides.
    Open,
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
    queue: VecDeque<Entry>,
    /// Entries that end a group.
    groups: usize,
    /// Entries whose deeds concern the client's names.
    names: usize,
    /// Entries whose deeds make or close shared statements.
    moves: usize,
    /// Parse messages sent since somebody asked.
    parses_sent: u64,
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
            groups: 0,
            names: 0,
            moves: 0,
            parses_sent: 0,
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

    /// How many Parse messages were sent since this was asked last.
    pub fn take_parses_sent(&mut self) -> u64 {
        std::mem::take(&mut self.parses_sent)
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The transaction's status as of the last ReadyForQuery, or, if it had failed, of the end of that since.
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

    /// Whether a transaction that has failed may be ended by what is in flight.
    pub fn is_recovering(&self) -> bool {
        self.status == TransactionStatus::Failed
            && self.queue.iter().any(|entry| entry.owed == Owed::Execute)
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
        self.queue.iter().any(|entry| ends_group(entry.owed) || entry.owed == Owed::Flush)
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
        let is_clients = move |entry: &&Entry| matches!(entry.asker, Asker::Client | Asker::Nobody);
        let owed = self.queue.iter().filter(is_clients).map(|entry| entry.owed);
        owed.filter(move |owed| !is_mark(*owed))
    }

    /// Whether all that is owed so far needs no server, or is nobody's: the client's next message is the first of its
    /// group that PostgreSQL answers.
    pub fn is_group_untouched(&self) -> bool {
        let mut askers = self.queue.iter().map(|entry| entry.asker);
        askers.all(|asker| matches!(asker, Asker::Nobody | Asker::Ahead))
    }

    /// The group in front, of which only its end is still owed, is not the client's any more.
    pub fn disown_group(&mut self) {
        if let Some(front) = self.queue.front_mut() {
            front.asker = Asker::Proxy;
        }
    }

    /// Whether a whole group is in flight, so that what is sent now may find the transaction failed.
    pub fn has_groups_in_flight(&self) -> bool {
        self.groups > 0
    }

    /// Whether anything in flight concerns the client's names.
    pub fn has_names_in_flight(&self) -> bool {
        self.names > 0
    }

    /// Whether anything in flight makes or closes a shared statement.
    pub fn has_statements_in_flight(&self) -> bool {
        self.moves > 0
    }

    /// The deed in flight that decides what a name of the client stands for.
    pub fn name_in_flight(&self, name: &[u8]) -> InFlight<&Deed> {
        if self.names == 0 {
            return InFlight::Settled;
        }
        self.latest(|deed, in_this_group| deed.concerns(name, in_this_group).then_some(deed))
    }

    /// Whether a statement is on the server connection after what is in flight.
    pub fn statement_in_flight(&self, id: StatementId) -> InFlight<bool> {
        if self.moves == 0 {
            return InFlight::Settled;
        }
        self.latest(|deed, in_this_group| deed.leaves(id, in_this_group))
    }

    /// Whether the server's unnamed statement is about to be made the client's own.
    pub fn unnamed_in_flight(&self) -> InFlight<()> {
        if self.queue.is_empty() {
            return InFlight::Settled;
        }
        self.latest(|deed, _| (*deed == Deed::OwnUnnamed).then_some(()))
    }

    /// The last deed that `find` has an answer for. Of a longer queue than [`LOOK_BACK_MAX`] the replies are
    /// awaited: else each message of a deep pipeline would cost as much as the pipeline is deep.
    fn latest<'a, T>(&'a self, find: impl Fn(&'a Deed, bool) -> Option<T>) -> InFlight<T> {
        let mut in_this_group = true;
        for (back, entry) in self.queue.iter().rev().enumerate() {
            if back >= LOOK_BACK_MAX {
                return InFlight::Open;
            }
            in_this_group &= !ends_group(entry.owed);
            match find(&entry.deed, in_this_group) {
                Some(found) if in_this_group => return InFlight::InThisGroup(found),
                Some(_) => return InFlight::Open,
                None => {}
            }
        }
        InFlight::Settled
    }

    /// Whether anything in flight may make a statement on the server connection.
    pub fn may_make_statements(&self) -> bool {
        let makes = |entry: &Entry| matches!(entry.owed, Owed::Parse | Owed::Execute | Owed::Query);
        self.queue.iter().any(makes)
    }

    /// Whether the client has asked for what is answered next.
    pub fn is_clients_turn(&self) -> bool {
        self.front().is_some_and(|(_, asker)| asker == Asker::Client)
    }

    /// What the message in front would do.
    pub fn front_deed(&self) -> Option<&Deed> {
        self.queue.front().map(|entry| &entry.deed)
    }

    /// What the message in front would do does not come to pass.
    pub fn forget_front_deed(&mut self) {
        if let Some(front) = self.queue.front_mut() {
            self.names -= usize::from(front.deed.concerns_names());
            self.moves -= usize::from(front.deed.moves_statements());
            front.deed = Deed::None;
        }
    }

    /// A message of the client was sent.
    pub fn sent(&mut self, owed: Owed, deed: Deed) {
        self.push(Entry { owed, asker: Asker::Client, deed });
    }

    /// A message of the proxy was sent: its reply will be swallowed.
    pub fn sent_by_proxy(&mut self, owed: Owed, asker: Asker, deed: Deed) {
        self.push(Entry { owed, asker, deed });
    }

    /// A message of the client needs no server: its reply comes in its turn.
    pub fn made_up(&mut self, owed: Owed, deed: Deed) {
        self.push(Entry { owed, asker: Asker::Nobody, deed });
    }

    /// The reply in front, if it is made up.
    pub fn take_made_up(&mut self) -> Option<Deed> {
        if self.queue.front()?.asker != Asker::Nobody {
            return None;
        }
        let entry = self.pop()?;
        self.drop_marks();
        Some(entry.deed)
    }

    fn push(&mut self, entry: Entry) {
        if self.phase == Phase::Skipping && entry.owed != Owed::Sync {
            return;
        }
        if let Copy::In { has_data, syncs } = &mut self.copy {
            match entry.owed {
                Owed::Sync => *syncs += usize::from(*has_data),
                Owed::CopyData => *has_data = true,
                Owed::CopyEnd => self.copy = Copy::Ended { syncs: *syncs },
                Owed::Flush => {}
                // The server answers anything else with an error and closes: the entry is the reason.
                _ => self.push_back(entry),
            }
            return;
        }
        match entry.owed {
            Owed::Sync | Owed::Query | Owed::Function => self.phase = Phase::Between,
            Owed::CopyData | Owed::CopyEnd | Owed::Flush if self.queue.is_empty() => return,
            Owed::CopyData if self.queue.back().is_some_and(|last| last.owed == Owed::CopyData) => {
                return;
            }
            Owed::CopyData | Owed::CopyEnd | Owed::Flush => {}
            Owed::Parse | Owed::Bind | Owed::Describe | Owed::Execute | Owed::Close => {
                self.phase = Phase::Batch;
            }
        }
        self.push_back(entry);
    }

    fn push_back(&mut self, entry: Entry) {
        self.groups += usize::from(ends_group(entry.owed));
        self.names += usize::from(entry.deed.concerns_names());
        self.moves += usize::from(entry.deed.moves_statements());
        self.parses_sent += u64::from(entry.owed == Owed::Parse && entry.asker != Asker::Nobody);
        self.queue.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.uncount(&entry);
        Some(entry)
    }

    fn uncount(&mut self, entry: &Entry) {
        self.groups -= usize::from(ends_group(entry.owed));
        self.names -= usize::from(entry.deed.concerns_names());
        self.moves -= usize::from(entry.deed.moves_statements());
    }

    /// What the message in front asks for, and who wants it.
    fn front(&self) -> Option<(Owed, Asker)> {
        self.queue.front().map(|entry| (entry.owed, entry.asker))
    }

    /// Whether a reply is the client's and settles nothing: a row, or, of a query, all but its end.
    #[inline]
    pub fn passes(&self, tag: u8) -> bool {
        let Some(front) = self.queue.front().filter(|front| front.asker == Asker::Client) else {
            return false;
        };
        match front.owed {
            Owed::Query => matches!(tag, b'D' | b'T') || (tag == b'C' && self.copy == Copy::No),
            Owed::Execute => tag == b'D',
            _ => false,
        }
    }

    /// A reply came. `status` is the byte of a ReadyForQuery. Made-up replies in front were taken before.
    pub fn received(&mut self, tag: u8, status: u8) -> Result<Verdict, OutOfStep> {
        let front = self.front();
        let owed = front.map(|(owed, _)| owed);
        let verdict = match tag {
            b'N' | b'S' | b'A' => return Ok(self.unasked(tag)),
            b'E' => return Ok(self.failed()),
            b'Z' => return self.ready(status),
            b'G' => self.copy_in_begins(),
            b'1' => self.settle(owed == Some(Owed::Parse)),
            b'2' => self.settle(owed == Some(Owed::Bind)),
            b'3' => self.settle(owed == Some(Owed::Close)),
            b'T' if owed == Some(Owed::Query) => front.map(verdict_of),
            b'T' | b'n' => self.settle(owed == Some(Owed::Describe)),
            b't' => front.filter(|(owed, _)| *owed == Owed::Describe).map(verdict_of),
            b'C' | b'I' | b's' => self.completed(tag),
            b'D' | b'H' | b'd' | b'c' => front
                .filter(|(owed, _)| matches!(owed, Owed::Execute | Owed::Query))
                .map(verdict_of),
            b'V' => front.filter(|(owed, _)| *owed == Owed::Function).map(verdict_of),
            _ => None,
        };
        match verdict {
            Some(verdict) => Ok(verdict),
            None if self.in_doubt => Ok(Verdict::Forward),
            None => Err(OutOfStep { tag, front: owed }),
        }
    }

    /// Notices, parameter changes and notifications come at any moment and settle nothing.
    fn unasked(&self, tag: u8) -> Verdict {
        match self.front() {
            Some((_, Asker::Proxy | Asker::Ahead)) if tag == b'N' => Verdict::Swallow,
            // The client has been told of these values.
            Some(_) if tag == b'S' && self.front_deed() == Some(&Deed::Apply) => Verdict::Swallow,
            _ => Verdict::Forward,
        }
    }

    /// Pops the front entry if it is the one that the reply settles.
    fn settle(&mut self, fits: bool) -> Option<Verdict> {
        if !fits {
            return None;
        }
        let entry = self.pop()?;
        self.drop_marks();
        Some(match entry.deed {
            Deed::None => verdict_of((entry.owed, entry.asker)),
            deed => Verdict::Done { deed, forward: entry.asker == Asker::Client },
        })
    }

    /// CommandComplete, EmptyQueryResponse, PortalSuspended.
    fn completed(&mut self, tag: u8) -> Option<Verdict> {
        self.copy = Copy::No;
        match self.front()? {
            front @ (Owed::Query, _) => Some(verdict_of(front)),
            (Owed::Execute, _) => {
                if tag == b'C' && self.status == TransactionStatus::Failed {
                    // Only what ends the failed state is executed in it.
                    self.status = TransactionStatus::InTransaction;
                }
                self.settle(true)
            }
            _ => None,
        }
    }

    fn ready(&mut self, status: u8) -> Result<Verdict, OutOfStep> {
        let front = self.front();
        let out_of_step = OutOfStep { tag: b'Z', front: front.map(|(owed, _)| owed) };
        let status = TransactionStatus::from_byte(status).ok_or(out_of_step)?;
        self.status = status;
        match front {
            Some((owed, asker)) if ends_group(owed) => {
                let deed = self.pop().map(|entry| entry.deed).unwrap_or_default();
                self.drop_marks();
                Ok(match (asker, deed) {
                    (Asker::Proxy, Deed::None) => Verdict::Swallow,
                    (Asker::Proxy, deed) => Verdict::Done { deed, forward: false },
                    (_, deed) => Verdict::Ready(status, deed),
                })
            }
            _ if self.in_doubt => Ok(Verdict::Ready(status, Deed::None)),
            _ => Err(out_of_step),
        }
    }

    /// CopyInResponse: Syncs already sent up to the end of the copy will not be answered.
    fn copy_in_begins(&mut self) -> Option<Verdict> {
        let verdict = match self.front()? {
            front @ (Owed::Execute | Owed::Query, _) => verdict_of(front),
            _ => return None,
        };
        let (mut has_data, mut syncs) = (false, 0);
        self.copy = Copy::In { has_data, syncs };
        while let Some(owed) = self.queue.get(1).map(|entry| entry.owed) {
            match owed {
                Owed::Sync => syncs += usize::from(has_data),
                Owed::CopyData => has_data = true,
                Owed::Flush | Owed::CopyEnd => {}
                // Sent into the copy: the server will refuse it.
                _ => break,
            }
            self.copy = Copy::In { has_data, syncs };
            if let Some(entry) = self.queue.remove(1) {
                self.uncount(&entry);
            }
            if owed == Owed::CopyEnd {
                self.copy = Copy::Ended { syncs };
                break;
            }
        }
        Some(verdict)
    }

    fn failed(&mut self) -> Verdict {
        if let Copy::In { syncs, .. } | Copy::Ended { syncs } = self.copy {
            self.in_doubt |= syncs > 0;
            self.copy = Copy::No;
        }
        let Some(front) = self.queue.front_mut() else {
            return Verdict::Failed(Failure::default());
        };
        let asker = front.asker;
        self.names -= usize::from(front.deed.concerns_names());
        self.moves -= usize::from(front.deed.moves_statements());
        let deed = match &mut front.deed {
            // Its ReadyForQuery is still to come: the unnamed statement is gone all the same.
            Deed::Query(drops) => Deed::Query(std::mem::take(drops)),
            deed => std::mem::take(deed),
        };
        self.names += usize::from(front.deed.concerns_names());
        if !self.front().is_some_and(|(owed, _)| ends_group(owed)) {
            self.skip();
        }
        match asker {
            // It stands in a group of its own: nothing of the client's fails with it.
            Asker::Proxy => match deed {
                Deed::Apply | Deed::Ask(_) => Verdict::Refused(deed),
                _ => Verdict::Swallow,
            },
            Asker::Client | Asker::Ahead | Asker::Nobody | Asker::Refusal => {
                Verdict::Failed(Failure { deed, is_refusal: asker == Asker::Refusal })
            }
        }
    }

    /// The server ignores everything up to the next Sync.
    fn skip(&mut self) {
        while let Some((owed, _)) = self.front() {
            if owed == Owed::Sync {
                return;
            }
            self.pop();
        }
        self.phase = Phase::Skipping;
    }

    fn drop_marks(&mut self) {
        while let Some((Owed::CopyData | Owed::CopyEnd | Owed::Flush, _)) = self.front() {
            self.pop();
        }
    }
}

fn verdict_of((_, asker): (Owed, Asker)) -> Verdict {
    match asker {
        Asker::Client | Asker::Nobody => Verdict::Forward,
        Asker::Proxy | Asker::Ahead | Asker::Refusal => Verdict::Swallow,
    }
}

/// Whether a ReadyForQuery answers it.
fn ends_group(owed: Owed) -> bool {
    matches!(owed, Owed::Sync | Owed::Query | Owed::Function)
}

#[cfg(test)]
mod tests;
