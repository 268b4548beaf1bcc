//! What all sessions of one worker share.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cancel::CancelRouter;
use super::handle::{Registry, Signal};
use crate::auth::Credentials;
use crate::config::Config;
use crate::ids::WorkerId;
use crate::net::CHUNK_BYTES;
use crate::pool::{Pool, Pools};

/// How often it is looked whether the clients that are cut off have left.
const CUT_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A worker, as its sessions see it.
pub struct Context {
    /// Which worker.
    pub worker: WorkerId,
    /// The configuration.
    pub config: Arc<Config>,
    /// Users and their verifiers.
    pub credentials: Arc<Credentials>,
    /// The worker's pools.
    pub pools: Rc<Pools>,
    /// The worker's sessions.
    pub registry: Rc<Registry>,
    /// The way to any worker's sessions, for CancelRequests.
    pub cancels: Arc<CancelRouter>,
    /// As of the last sweep: good enough for idle times.
    pub now: Cell<Instant>,
    /// No new work is begun.
    pub is_draining: Cell<bool>,
    drain_begun: Notify,
    /// Clients of all workers, those that are logging in included.
    clients: Arc<AtomicUsize>,
    /// The one buffer that all sessions read into, one at a time.
    scratch: Cell<Vec<u8>>,
}

impl Context {
    /// Of a worker that has no sessions yet.
    pub fn new(
        worker: WorkerId,
        config: Arc<Config>,
        credentials: Arc<Credentials>,
        pools: Rc<Pools>,
        cancels: Arc<CancelRouter>,
        clients: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            worker,
            config,
            credentials,
            pools,
            registry: Rc::default(),
            cancels,
            now: Cell::new(Instant::now()),
            is_draining: Cell::new(false),
            drain_begun: Notify::new(),
            clients,
            scratch: Cell::default(),
        }
    }

    /// Whether there are more clients than may be (the one that asks is counted).
    pub fn is_full(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > self.config.limits.clients
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
            let idle_limit = self.config.limits.idle_transaction;
            let is_overdue = |since: Instant| {
                idle_limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
            };
            if handle.idle_in_transaction_since.get().is_some_and(is_overdue) {
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
