//! What is under way on a server connection, without its socket.

use std::rc::Rc;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::ledger::Ledger;
use super::prepared::Prepared;
use crate::client_state::{Arm, Body, Question, Statement};
use crate::protocol::{SqlState, TransactionStatus};
use crate::telemetry::PoolCells;

/// The conversation on one server connection.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Owed replies.
    pub ledger: Ledger,
    /// Shared statements on the connection.
    pub prepared: Prepared,
    /// The group under way, for sending it again.
    pub attempt: Attempt,
    /// The unnamed statement under way, if it is timed.
    pub timing: Option<Timing>,
    /// Rest of a server's frame whose front was dealt with.
    pub body: Body,
    /// The server's unnamed statement is what the client that holds the connection thinks it is, unless that
    /// is a shared one.
    pub unnamed_ready: bool,
    /// An Execute since the last Sync or Query may have stopped at its row limit.
    pub has_limited: bool,
    /// Parameter types of the statement that the server is describing, as a Parse has them.
    pub described_types: Option<Box<[u8]>>,
    /// What the session remembers of sequences.
    pub sequences: Sequences,
    /// The settings that the client wants are being applied.
    pub preparation: Preparation,
    /// What PostgreSQL was asked of the session's state.
    pub inquiry: Inquiry,
    /// A ReadyForQuery went to the client; who drives the relay takes it.
    pub ready: Option<TransactionStatus>,
    /// What shows on the way; who drives the relay takes it.
    pub findings: Findings,
    /// The server has said that it closes the connection.
    pub fatal: Option<Fatal>,
    /// Where its pool counts.
    pub cells: Rc<PoolCells>,
}

/// What shows in what is relayed, and concerns more than this connection.
#[derive(Debug, Default)]
pub struct Findings {
    /// A transaction that may have changed the catalog has ended, or a change has shown.
    pub has_new_catalog: bool,
    /// The server has refused a write because it is read only.
    pub is_read_only: bool,
    /// A statement is under way that fails while anybody is connected to this database.
    pub vacates: Option<Vec<u8>>,
}

/// Whose values of sequences a session remembers, for `currval()` and `lastval()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequences {
    /// Nobody's.
    #[default]
    None,
    /// Those of the client that holds the connection, perhaps.
    Own,
    /// Another client's too, perhaps.
    Foreign,
}

/// A question about the session's state.
#[derive(Debug, Default)]
pub enum Inquiry {
    /// There is none.
    #[default]
    None,
    /// It is not answered yet.
    Asked {
        /// The DataRow, once it has come.
        row: Box<[u8]>,
        /// The client's next message waits for the answer.
        is_awaited: bool,
    },
    /// It is answered by this DataRow; who drives the relay takes it.
    Answered(Rc<Question>, Box<[u8]>),
}

/// What is done on a server connection before the client's first message may be sent on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preparation {
    /// Nothing.
    #[default]
    None,
    /// Settings are being applied; so many replies are owed. What the client asks for may follow at once.
    Shared(usize),
    /// So many replies are owed, and what the client asks for waits for them.
    Awaited(usize),
    /// All is as the client wants it, and it has not been served yet.
    Done,
}

impl Sequences {
    /// The client takes values, perhaps.
    pub fn take(&mut self) {
        if *self == Self::None {
            *self = Self::Own;
        }
    }

    /// The connection is another client's from now on.
    pub fn pass_on(&mut self) {
        if *self == Self::Own {
            *self = Self::Foreign;
        }
    }
}

impl Inquiry {
    /// Whether the answer is still to come.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Whether the client's next message waits for the answer.
    pub fn is_awaited(&self) -> bool {
        matches!(self, Self::Asked { is_awaited: true, .. })
    }

    /// A DataRow has come.
    pub fn hear(&mut self, body: &[u8]) {
        if let Self::Asked { row, .. } = self {
            *row = body.into();
        }
    }

    /// The answer is there.
    pub fn answer(&mut self, question: Rc<Question>) {
        if let Self::Asked { row, .. } = std::mem::take(self) {
            *self = Self::Answered(question, row);
        }
    }

    /// The answer, if it has come.
    pub fn take_answer(&mut self) -> Option<(Rc<Question>, Box<[u8]>)> {
        match std::mem::take(self) {
            Self::Answered(question, row) => Some((question, row)),
            inquiry => {
                *self = inquiry;
                None
            }
        }
    }
}

impl Preparation {
    /// One more reply has come.
    #[must_use]
    pub fn step(self) -> Self {
        match self {
            Self::Shared(owed @ 2..) => Self::Shared(owed - 1),
            Self::Awaited(owed @ 2..) => Self::Awaited(owed - 1),
            Self::Shared(_) | Self::None => Self::None,
            Self::Awaited(_) | Self::Done => Self::Done,
        }
    }
}

/// An unnamed statement under way.
#[derive(Debug)]
pub struct Timing {
    /// Which one.
    pub statement: Rc<Statement>,
    /// As what it was sent.
    pub arm: Arm,
    /// When.
    pub since: Instant,
}

/// A FATAL or PANIC of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// Its SQLSTATE, if it has one.
    pub code: Option<SqlState>,
}

impl Exchange {
    /// Nothing is under way, and what comes is counted here.
    pub fn counted(cells: Rc<PoolCells>) -> Self {
        Self { cells, ..Self::default() }
    }

    /// Whether a part of a frame has gone to the client and the rest has not.
    pub fn is_mid_frame(&self) -> bool {
        matches!(self.body, Body::Forward(_))
    }

    /// Nothing under way in either direction, outside of a transaction.
    pub fn is_clean(&self) -> bool {
        self.ledger.is_clean() && self.body == Body::None && self.fatal.is_none()
    }

    /// Nothing under way in either direction.
    pub fn is_settled(&self) -> bool {
        self.ledger.is_settled() && self.body == Body::None && self.fatal.is_none()
    }
}

impl Fatal {
    /// Shutdown, crash or an idle limit: nothing that the client did.
    pub fn is_the_servers_own_doing(&self) -> bool {
        matches!(
            self.code,
            Some(
                SqlState::ADMIN_SHUTDOWN
                    | SqlState::CRASH_SHUTDOWN
                    | SqlState::CANNOT_CONNECT_NOW
                    | SqlState::IDLE_SESSION_TIMEOUT
            )
        )
    }
}
