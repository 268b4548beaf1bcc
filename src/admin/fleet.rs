//! The workers as one: orders go to all of them, reports are put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::pool::{Gates, PoolKey, PoolReport, ServerReport, Target};
use crate::session::{ClientReport, Order, WorkerReport};
use crate::telemetry::PoolTotals;
use crate::telemetry::metrics::ServerState;

/// The way to all workers.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<UnboundedSender<Order>>,
}

/// How everything stands.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By database and user.
    pub(super) pools: BTreeMap<(String, String), PoolState>,
    pub(super) clients: Vec<ClientReport>,
    pub(super) gates: Gates,
    pub(super) is_draining: bool,
    pub(super) statement_bytes: usize,
}

/// A pool over all workers.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) key: PoolKey,
    pub(super) target: Arc<Target>,
    pub(super) servers: Vec<ServerReport>,
    pub(super) dialing: usize,
    pub(super) waiting: usize,
    pub(super) max_wait: Duration,
    pub(super) is_paused: bool,
    pub(super) trouble: Option<String>,
    pub(super) totals: PoolTotals,
}

impl Fleet {
    /// Of workers that read these mailboxes.
    pub fn new(workers: Vec<UnboundedSender<Order>>) -> Self {
        Self { workers }
    }

    /// Tells all workers.
    pub fn tell(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            // One that has ended needs not be told.
            let _ = worker.send(order());
        }
    }

    /// How everything stands. Orders given before are carried out by then.
    pub(super) async fn state(&self) -> State {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (to, answer) = oneshot::channel();
            if worker.send(Order::Report(to)).is_ok() {
                answers.push(answer);
            }
        }
        let mut state = State::default();
        for answer in answers {
            // A worker that has ended has nothing left to report.
            if let Ok(report) = answer.await {
                state.include(report);
            }
        }
        state
    }
}

impl State {
    fn include(&mut self, report: WorkerReport) {
        self.clients.extend(report.clients);
        self.gates = report.gates;
        self.is_draining |= report.is_draining;
        self.statement_bytes += report.statement_bytes;
        for pool in report.pools {
            let name = (pool.key.database.to_string(), pool.key.user.to_string());
            match self.pools.get_mut(&name) {
                Some(known) => known.include(pool),
                None => _ = self.pools.insert(name, pool.into()),
            }
        }
    }

    /// What was counted, by database.
    pub(super) fn totals_by_database(&self) -> BTreeMap<String, PoolTotals> {
        let mut totals: BTreeMap<String, PoolTotals> = BTreeMap::new();
        for ((database, _), pool) in &self.pools {
            totals.entry(database.clone()).or_default().include(&pool.totals);
        }
        totals
    }

    /// Clients of a pool, walsenders' included.
    pub(super) fn clients_of<'a>(
        &'a self,
        key: &'a PoolKey,
    ) -> impl Iterator<Item = &'a ClientReport> {
        self.clients.iter().filter(move |client| client.pool == *key)
    }
}

impl PoolState {
    fn include(&mut self, report: PoolReport) {
        for server in report.servers {
            // One that was on its way from one worker to the other is where it was seen last.
            self.servers.retain(|known| known.id != server.id);
            self.servers.push(server);
        }
        self.dialing += report.dialing;
        self.waiting += report.waiting;
        self.max_wait = self.max_wait.max(report.max_wait);
        self.is_paused |= report.is_paused;
        self.trouble = self.trouble.take().or(report.trouble);
        self.totals.include(&report.totals);
    }

    /// Server connections in this state.
    pub(super) fn count(&self, state: ServerState) -> usize {
        match state {
            ServerState::Login => self.dialing,
            state => self.servers.iter().filter(|server| server.state == state).count(),
        }
    }
}

impl From<PoolReport> for PoolState {
    fn from(report: PoolReport) -> Self {
        Self {
            key: report.key,
            target: report.target,
            servers: report.servers,
            dialing: report.dialing,
            waiting: report.waiting,
            max_wait: report.max_wait,
            is_paused: report.is_paused,
            trouble: report.trouble,
            totals: report.totals,
        }
    }
}
