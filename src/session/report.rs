//! How a worker stands, for operators.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::context::Context;
use super::handle::{CancelTarget, SessionHandle};
use crate::analysis::session_effects::Effect;
use crate::ids::{ClientPid, ServerId, SessionId, WorkerId};
use crate::net::Peer;
use crate::pool::{Gates, PoolKey, PoolReport};
use crate::telemetry::metrics::ClientState;

/// One worker, in one moment: nothing of it moves while this is written.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Which one.
    pub worker: WorkerId,
    /// Its pools.
    pub pools: Vec<PoolReport>,
    /// Its logged-in clients, and those that wait for a server connection to log in with.
    pub clients: Vec<ClientReport>,
    /// What operators have closed.
    pub gates: Gates,
    /// Whether it begins no new work.
    pub is_draining: bool,
    /// Bytes that prepared statements take.
    pub statement_bytes: usize,
}

/// A client.
#[derive(Clone, Debug)]
pub struct ClientReport {
    /// Which session.
    pub id: SessionId,
    /// What the client was told to be its process ID.
    pub pid: ClientPid,
    /// The user's name as the client gave it.
    pub user: Box<str>,
    /// Where its statements go.
    pub pool: PoolKey,
    /// It is a walsender's client.
    pub is_replication: bool,
    /// What it does.
    pub state: ClientState,
    /// Where it comes from.
    pub peer: Peer,
    /// Where it was accepted.
    pub local: Option<SocketAddr>,
    /// How long ago it came.
    pub age: Duration,
    /// How long ago its last request was sent on.
    pub request_age: Option<Duration>,
    /// For how long it has waited: for a server connection, or for the answer to its request.
    pub wait: Duration,
    /// The server connection that it holds.
    pub server: Option<ServerId>,
    /// Name of its application.
    pub application_name: String,
    /// Its prepared statements.
    pub statements: usize,
    /// Why it keeps its server connection.
    pub pin: Option<Effect>,
}

impl Context {
    /// How the worker stands.
    pub fn report(&self) -> WorkerReport {
        let now = Instant::now();
        let handles = self.registry.all();
        let clients: Vec<ClientReport> = handles.iter().map(|handle| handle.report(now)).collect();
        let holders: HashMap<ServerId, SessionId> = clients
            .iter()
            .filter(|client| !client.is_replication)
            .filter_map(|client| Some((client.server?, client.id)))
            .collect();
        let pools = self.pools.all();
        let report = |pool: &std::rc::Rc<crate::pool::Pool>| {
            pool.report(|backend| holders.get(&backend.id).copied())
        };
        WorkerReport {
            worker: self.worker,
            pools: pools.iter().map(report).collect(),
            clients,
            gates: self.pools.gates(),
            is_draining: self.is_draining.get(),
            statement_bytes: self.pools.statement_bytes(),
        }
    }
}

impl SessionHandle {
    fn report(&self, now: Instant) -> ClientReport {
        let (identity, activity) = (&self.identity, &self.activity);
        let since = |at: Instant| now.saturating_duration_since(at);
        let waiting = activity.waiting_since.get();
        let server = match &*self.target.borrow() {
            CancelTarget::Running(backend) | CancelTarget::Preparing(backend) => Some(backend.id),
            CancelTarget::Nothing | CancelTarget::Waiting(_) => None,
        };
        let state = match (server, waiting) {
            (Some(_), _) => ClientState::Active,
            (None, Some(_)) => ClientState::Waiting,
            (None, None) => ClientState::Idle,
        };
        ClientReport {
            id: identity.id,
            pid: self.pid,
            user: identity.user.clone(),
            pool: identity.pool.clone(),
            is_replication: identity.is_replication,
            state,
            peer: identity.peer,
            local: identity.local,
            age: since(identity.since),
            request_age: activity.requested_at.get().map(since),
            wait: waiting.or(activity.query_since.get()).map_or(Duration::ZERO, since),
            server,
            application_name: String::from_utf8_lossy(&activity.application_name.borrow())
                .into_owned(),
            statements: activity.statements.get(),
            pin: activity.pinned.get(),
        }
    }
}
