//! What all sessions of one worker share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::cancel::CancelRouter;
use super::handle::{Registry, Signal};
use super::route::route;
use super::visitor::Visitor;
use crate::auth::Credentials;
use crate::config::{Config, Limits};
use crate::ids::{SessionId, WorkerId};
use crate::net::CHUNK_BYTES;
use crate::pool::{Pool, Pools};
use crate::telemetry::ProcessCells;
use crate::telemetry::metrics::Limit;

/// How often it is looked whether the clients that are cut off have left.
const CUT_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A worker, as its sessions see it.
pub struct Context {
    /// Which worker.
    pub worker: WorkerId,
    config: RefCell<Arc<Config>>,
    limits: RefCell<Rc<Limits>>,
    credentials: RefCell<Arc<Credentials>>,
    /// The worker's pools.
    pub pools: Rc<Pools>,
    /// The worker's sessions.
    pub registry: Rc<Registry>,
    /// The way to any worker's sessions, for CancelRequests.
    pub cancels: Arc<CancelRouter>,
    /// What the process has counted.
    pub process: Arc<ProcessCells>,
    /// As of the last sweep: good enough for idle times.
    pub now: Cell<Instant>,
    /// Requests that take so long are logged.
    pub slow: Cell<Option<Duration>>,
    /// Whether clients that come and go are logged for all to see.
    pub logs_connections: Cell<bool>,
    /// No new work is begun.
    pub is_draining: Cell<bool>,
    /// Where clients of the console go.
    pub console: UnboundedSender<Visitor>,
    drain_begun: Notify,
    sessions_begun: Cell<u64>,
    /// Clients of all workers, those that are logging in included.
    clients: Arc<AtomicUsize>,
    /// The one buffer that all sessions read into, one at a time.
    scratch: Cell<Vec<u8>>,
}

/// What sessions share with those of other workers.
#[derive(Clone)]
pub struct Common {
    /// The configuration.
    pub config: Arc<Config>,
    /// Users and their verifiers.
    pub credentials: Arc<Credentials>,
    /// The way to any worker's sessions, for CancelRequests.
    pub cancels: Arc<CancelRouter>,
    /// What the process has counted.
    pub process: Arc<ProcessCells>,
    /// Clients of all workers.
    pub clients: Arc<AtomicUsize>,
    /// Where clients of the console go.
    pub console: UnboundedSender<Visitor>,
}

impl Context {
    /// Of a worker that has no sessions yet.
    pub fn new(worker: WorkerId, common: Common, pools: Rc<Pools>) -> Self {
        let Common { config, credentials, cancels, process, clients, console } = common;
        let (logs_connections, slow) = (config.log.connections, config.log.slow);
        Self {
            worker,
            limits: RefCell::new(Rc::new(config.limits.clone())),
            config: RefCell::new(config),
            credentials: RefCell::new(credentials),
            console,
            sessions_begun: Cell::new(0),
            pools,
            registry: Rc::default(),
            cancels,
            process,
            now: Cell::new(Instant::now()),
            is_draining: Cell::new(false),
            logs_connections: Cell::new(logs_connections),
            slow: Cell::new(slow),
            drain_begun: Notify::new(),
            clients,
            scratch: Cell::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Its bounds: looked at for each chunk.
    #[inline]
    pub fn limits(&self) -> Rc<Limits> {
        Rc::clone(&self.limits.borrow())
    }

    /// Users and their verifiers.
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.borrow())
    }

    /// A number for one more session: no other in the process has it.
    pub fn next_session_id(&self) -> SessionId {
        let begun = self.sessions_begun.get() + 1;
        self.sessions_begun.set(begun);
        SessionId::new(self.worker, begun)
    }

    /// Takes a new configuration over: whom it has no place for leaves at the end of its transaction.
    pub fn reconfigure(&self, config: Arc<Config>, credentials: Arc<Credentials>) {
        self.limits.replace(Rc::new(config.limits.clone()));
        self.logs_connections.set(config.log.connections);
        self.slow.set(config.log.slow);
        self.credentials.replace(credentials);
        self.pools.reconfigure(&config, |database, login| {
            route(&config, database, login).ok().map(|(target, _)| target)
        });
        for handle in self.registry.all() {
            let identity = &handle.identity;
            let target = route(&config, &identity.pool.database, &identity.user);
            let is_same = target.is_ok_and(|(target, _)| target.key == identity.pool);
            if !is_same || self.pools.find(&identity.pool).is_none() {
                handle.leaves.set(true);
                handle.signal(Signal::Drain);
            }
        }
        self.config.replace(config);
    }

    /// Whether there are more clients than may be (the one that asks is counted).
    pub fn is_full(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > self.limits.borrow().clients
    }

    /// Takes the shared buffer; [`Self::put_scratch`] brings it back.
    pub fn take_scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        // Empty at the first use, or when a session has panicked with it.
        scratch.resize(CHUNK_BYTES, 0);
        scratch
    }

    /// Brings the shared buffer back.
    pub fn put_scratch(&self, scratch: Vec<u8>) {
        self.scratch.set(scratch);
    }

    /// Once in a while: clients whose transaction is idle for too long, half-closed ones that may be gone.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.now.set(now);
        for handle in self.registry.all() {
            let idle_limit = self.limits.borrow().idle_transaction;
            let is_overdue = |since: Instant| {
                idle_limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
            };
            if handle.idle_in_transaction_since.get().is_some_and(is_overdue) {
                self.process.count_limit(Limit::IdleTransaction);
                handle.signal(Signal::IdleInTransaction);
            } else if handle.answer_due_at.get().is_some_and(|due| due <= now) {
                handle.signal(Signal::Unanswered);
            } else if handle.wants_pin.take() {
                handle.signal(Signal::Retry);
            } else if handle
                .input_ended_at
                .get()
                .is_some_and(|ended| handle.is_probe_due(ended, now))
            {
                handle.signal(Signal::Probe);
            }
        }
    }

    /// Waits until no new work is begun. Cancel safe.
    pub async fn drain_begun(&self) {
        let begun = self.drain_begun.notified();
        if !self.is_draining.get() {
            begun.await;
        }
    }

    /// All clients are told to leave at once, whatever is under way. Waits until what runs for them is
    /// cancelled: PostgreSQL would not notice that they are gone before it is done.
    pub async fn cut(&self) {
        for handle in self.registry.all() {
            handle.signal(Signal::Cut);
        }
        let is_lent = |pool: Rc<Pool>| pool.counts().lent > 0;
        while !self.registry.all().is_empty() || self.pools.all().into_iter().any(is_lent) {
            tokio::time::sleep(CUT_POLL_INTERVAL).await;
        }
    }

    /// No new work from now on: idle clients are told to leave.
    pub fn drain(&self) {
        self.is_draining.set(true);
        self.drain_begun.notify_waiters();
        for handle in self.registry.all() {
            handle.signal(Signal::Drain);
        }
    }
}
