//! How a pool stands, for operators: what one worker tells the control plane when it is asked.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::key::PoolKey;
use super::key::Target;
use super::pool::Pool;
use super::server::Backend;
use crate::config::Address;
use crate::ids::{ServerId, SessionId};
use crate::telemetry::PoolTotals;
use crate::telemetry::metrics::ServerState;

/// One worker's part of a pool.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Which pool.
    pub key: PoolKey,
    /// Where it leads, and its settings.
    pub target: Arc<Target>,
    /// Its server connections.
    pub servers: Vec<ServerReport>,
    /// Server connections that are logging in.
    pub dialing: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub max_wait: Duration,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// Why the last server connection could not be opened, until one can.
    pub trouble: Option<String>,
    /// What was counted.
    pub totals: PoolTotals,
}

/// A server connection.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// Which one.
    pub id: ServerId,
    /// Process ID of the backend.
    pub pid: i32,
    /// Where it listens.
    pub address: Address,
    /// The proxy's end, if it is TCP.
    pub local: Option<SocketAddr>,
    /// What it does.
    pub state: ServerState,
    /// The client that holds it.
    pub client: Option<SessionId>,
    /// How long ago it was made.
    pub age: Duration,
    /// For how long it has been idle.
    pub idle: Option<Duration>,
    /// Prepared statements on it.
    pub statements: usize,
    /// Cancel requests for it that are under way.
    pub cancels: usize,
    /// It closes as soon as it is free.
    pub is_to_close: bool,
}

impl Pool {
    /// How it stands. `holder` tells which client holds a connection.
    pub fn report(&self, holder: impl Fn(&Rc<Backend>) -> Option<SessionId>) -> PoolReport {
        let now = Instant::now();
        let counts = self.counts();
        let servers = self.backends(|backend, idle_since| {
            let client = holder(backend);
            ServerReport {
                id: backend.id,
                pid: backend.pid,
                address: backend.address.clone(),
                local: backend.local,
                state: state(backend, idle_since, client),
                client,
                age: now.saturating_duration_since(backend.born),
                idle: idle_since.map(|since| now.saturating_duration_since(since)),
                statements: backend.statements.get(),
                cancels: backend.cancels.get(),
                is_to_close: self.is_to_close(backend.born),
            }
        });
        PoolReport {
            key: self.key.clone(),
            target: Arc::new(Target::clone(&self.target())),
            servers,
            dialing: counts.dialing,
            waiting: counts.waiting,
            max_wait: self
                .waiting_since()
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            is_paused: self.is_paused(),
            trouble: self.trouble(),
            totals: self.cells.totals(),
        }
    }
}

fn state(backend: &Backend, idle: Option<Instant>, client: Option<SessionId>) -> ServerState {
    if client.is_some() {
        return ServerState::Active;
    }
    match idle {
        Some(_) => ServerState::Idle,
        None if backend.is_parked() => ServerState::BeingCanceled,
        None if backend.is_cleaned.get() => ServerState::Tested,
        // Granted to a client that has not taken it yet.
        None => ServerState::Active,
    }
}
