//! The end of a session: what the client is told, and what becomes of the server connection.
//!
//! A transaction that the client left open is rolled back. Nothing is completed on its behalf: a Sync sent
//! for a client that vanished in the middle of a batch would commit what it never confirmed. What still
//! runs is cancelled, and the connection closed.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::drive::{Session, transaction_block_refused};
use crate::pool::listen::Trouble;
use crate::protocol::{FrameError, LocalError, SqlState};
use crate::telemetry::metrics::Limit;

/// A client that does not take its last words in this time does not get them.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// The client said Terminate.
    Terminated,
    /// The client closed its connection.
    Closed,
    /// The client's socket failed.
    Gone(io::Error),
    /// What the client sent is not the protocol.
    Violation(FrameError),
    /// What the client has set can't be set on the server connection that it was lent.
    NotApplied {
        /// PostgreSQL's SQLSTATE.
        code: SqlState,
        /// PostgreSQL's message.
        message: String,
    },
    /// The server connection was lost with something of the client's on it.
    ServerLost,
    /// What the client listens to can't be told.
    Unheard(Trouble),
    /// A transaction block in statement mode.
    TransactionBlock,
    /// A transaction was idle for too long.
    IdleInTransaction,
    /// An operator has ended it (KILL, KILL_CLIENT).
    Killed,
    /// The configuration has no place for it any more.
    Reconfigured,
    /// The proxy shuts down.
    ShuttingDown,
    /// The reason is in the client's hands already.
    Told,
}

impl End {
    /// For the log.
    fn reason(&self) -> String {
        match self {
            Self::Terminated => "client said good-bye".to_owned(),
            Self::Closed => "client closed the connection".to_owned(),
            Self::Gone(error) => format!("client vanished: {error}"),
            Self::Violation(fault) => format!("protocol violation: {fault}"),
            Self::NotApplied { message, .. } => format!("settings not applied: {message}"),
            Self::ServerLost => "server connection lost".to_owned(),
            Self::Unheard(trouble) => format!("notifications: {trouble:?}"),
            Self::TransactionBlock => "transaction block in statement mode".to_owned(),
            Self::IdleInTransaction => "idle in transaction for too long".to_owned(),
            Self::Killed => "killed by an operator".to_owned(),
            Self::Reconfigured => "its database or user was changed by a reload".to_owned(),
            Self::ShuttingDown => "shutting down".to_owned(),
            Self::Told => "told to leave".to_owned(),
        }
    }

    /// What the client is told.
    fn last_words(&self) -> Option<LocalError> {
        match self {
            Self::Terminated | Self::Closed | Self::Gone(_) | Self::ServerLost | Self::Told => None,
            Self::Violation(fault) => {
                Some(LocalError::fatal(SqlState::PROTOCOL_VIOLATION, fault.to_string()))
            }
            Self::NotApplied { code, message } => Some(
                LocalError::fatal(*code, message.clone())
                    .detail(
                        "The settings of this session could not be applied to a server connection.",
                    )
                    .hint("What they name (a role, perhaps) may have been dropped."),
            ),
            Self::Unheard(Trouble::Lost) => Some(
                LocalError::fatal(
                    SqlState::ADMIN_SHUTDOWN,
                    "terminating connection because notifications may have been lost",
                )
                .detail("The server connection that the proxy listens on was lost.")
                .hint("With pool.lost_listener = \"relisten\" sessions go on."),
            ),
            Self::Unheard(Trouble::Overflow) => Some(
                LocalError::fatal(
                    SqlState::CONFIGURATION_LIMIT,
                    "terminating connection because too many notifications wait for it",
                )
                .hint("Read them sooner, or raise limits.notification_bytes."),
            ),
            Self::TransactionBlock => Some(transaction_block_refused()),
            Self::IdleInTransaction => Some(
                LocalError::fatal(
                    SqlState::IDLE_IN_TRANSACTION_TIMEOUT,
                    "terminating connection due to idle-in-transaction timeout",
                )
                .hint("The limit is limits.idle_transaction of the proxy."),
            ),
            Self::Reconfigured => Some(
                LocalError::fatal(
                    SqlState::ADMIN_SHUTDOWN,
                    "terminating connection because the proxy's configuration has changed",
                )
                .detail("Its database is gone, leads elsewhere, or is used as another user now.")
                .hint("Connect again."),
            ),
            Self::Killed | Self::ShuttingDown => Some(LocalError::fatal(
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            )),
        }
    }
}

impl Session {
    /// Gives the server connection up and tells the client.
    pub(super) async fn end(mut self: Box<Self>, end: End) {
        let is_mid_frame = self.is_mid_server_frame();
        self.part_from_server();
        let (client, pid) = (self.handle.identity.id, self.handle.pid.0);
        log_connection!(self.context, %client, pid, pool = %self.pool.key,
            after = ?self.handle.identity.since.elapsed(), reason = end.reason(), "client left");
        if matches!(end, End::Unheard(Trouble::Overflow)) {
            self.context.process.count_limit(Limit::NotificationBytes);
        }
        if matches!(end, End::Gone(_)) {
            return;
        }
        // In the middle of a message they could not be read.
        if let Some(error) = end.last_words().filter(|_| !is_mid_frame) {
            error.write(&mut self.to_client);
        }
        if self.to_client.is_empty() && matches!(end, End::Terminated) {
            return;
        }
        let last_words = self.stream.write_all(&self.to_client);
        // Whoever does not listen any more is not told.
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
        let _ = self.stream.shutdown().await;
    }

    /// Whether a part of a server's message has gone to the client and the rest has not.
    pub(super) fn is_mid_server_frame(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| lease.server.exchange.is_mid_frame())
    }

    fn part_from_server(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.handle.target.replace(super::handle::CancelTarget::Nothing);
        let is_settled = lease.server.held.is_empty()
            && lease.server.exchange.is_settled()
            && !self.state.is_mid_frame()
            && self.is_server_up_to_date();
        if !is_settled {
            lease.abandon();
        } else if lease.server.is_returnable(&self.state) {
            self.give_back(lease);
        } else if self.state.spoils_server() {
            drop(lease);
        } else {
            lease.clean();
        }
    }
}
