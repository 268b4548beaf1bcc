//! What is under way on a server connection, without its socket.

use std::rc::Rc;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::ledger::Ledger;
use super::prepared::Prepared;
use crate::client_state::{Arm, Body, Statement};
use crate::protocol::{SqlState, TransactionStatus};

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
    /// A ReadyForQuery went to the client; who drives the relay takes it.
    pub ready: Option<TransactionStatus>,
    /// A transaction that may have changed the catalog has ended, or a change has shown; who drives the relay
    /// takes it.
    pub has_new_catalog: bool,
    /// The server has said that it closes the connection.
    pub fatal: Option<Fatal>,
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
