//! Whether a client may still hold a server connection, judged by what PostgreSQL said directly.
//!
//! While fewer than two of the other clients may hold one, a client must get its reply. The judgement may
//! err on one side only: "may hold" where it does not.

use std::collections::HashSet;

use crate::message::Message;
use crate::sequence::{Step, Wait};

/// What is known of one client.
pub(crate) struct Tenancy {
    /// It has done what ties it to its server connection until it leaves.
    pub(crate) is_pinned: bool,
    /// All that it sent is answered, and no batch is open.
    is_settled: bool,
    /// Names that it has given to statements.
    names: HashSet<&'static str>,
    /// It has changed, for a transaction at least, what statements are analysed by.
    has_set: bool,
    /// Messages and reply types since it was last settled.
    sent: Vec<u8>,
    replies: Vec<u8>,
}

impl Tenancy {
    pub(crate) fn new() -> Self {
        Self {
            is_pinned: false,
            is_settled: true,
            names: HashSet::new(),
            has_set: false,
            sent: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// A step was answered with messages of these types, the last ReadyForQuery with this status.
    /// Whether the client may hold a server connection now.
    pub(crate) fn after(&mut self, step: &Step, replies: &[u8], status: Option<u8>) -> bool {
        for message in &step.messages {
            self.is_pinned |= self.pins(message);
        }
        self.sent.extend(step.messages.iter().map(Message::tag));
        self.replies.extend_from_slice(replies);
        self.is_settled = match step.wait {
            Wait::Barrier => true,
            Wait::Ready => {
                let asked = step.messages.iter().filter(|message| message.asks_for_ready()).count();
                let ends_so = step.messages.last().is_some_and(Message::asks_for_ready);
                self.is_settled && asked == 1 && ends_so && replies.last() == Some(&b'Z')
            }
            Wait::No | Wait::Flushed | Wait::End | Wait::HalfClosed | Wait::Gone => false,
        };
        if !self.is_settled {
            return true;
        }
        let (sent, replies) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.replies));
        let failed = replies.contains(&b'E');
        // Syncs sent into a copy that fails: only the server connection knows how many replies come.
        self.is_pinned |= failed && replies.contains(&b'G');
        // What was to change the unnamed statement may have been skipped, and the one before it be known to
        // the server connection alone.
        self.is_pinned |= failed && changes_unnamed_late(&sent);
        self.is_pinned || status != Some(b'I')
    }

    /// Whether it has given names to statements.
    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a message may tie the client to its server connection: a function may do anything, SQL that
    /// names prepared statements must find them there, and so must a Parse of a name that is taken. What is parsed
    /// under other settings is no statement for others, nor is a FETCH.
    fn pins(&mut self, message: &Message) -> bool {
        let names_statements =
            |sql: &str| ["DEALLOCATE", "EXECUTE", "PREPARE"].iter().any(|word| sql.contains(word));
        if let Message::Parse { sql, .. } | Message::Query(sql) = message {
            self.has_set |= sql.contains("DateStyle");
        }
        match message {
            Message::Parse { name, sql } => {
                let is_shared = !self.has_set && !sql.starts_with("FETCH");
                let is_own = !name.is_empty() && (!self.names.insert(name) || !is_shared);
                names_statements(sql) || is_own
            }
            Message::Query(sql) => names_statements(sql),
            message => message.tag() == b'F',
        }
    }
}

/// Whether a message of these types replaces or closes the unnamed statement behind another one of its
/// batch, whose error would skip it.
fn changes_unnamed_late(sent: &[u8]) -> bool {
    let mut is_batch_open = false;
    sent.iter().any(|tag| {
        let is_late = is_batch_open && matches!(tag, b'P' | b'C' | b'Q');
        is_batch_open = match tag {
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => true,
            b'S' | b'Q' | b'F' => false,
            _ => is_batch_open,
        };
        is_late
    })
}
