//! All pools of one worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::key::{PoolKey, Target};
use super::listen::{HubMail, Listeners, SharedHubs};
use super::pool::Pool;
use super::quota::{PoolMail, SharedPools};
use super::statements::{Catalog, Statements};
use crate::client_state::Budget;
use crate::config::{Config, Net, Prepared};
use crate::ids::WorkerId;

/// The pools of one worker.
#[derive(Debug)]
pub struct Pools {
    common: Rc<Common>,
    /// What the sessions listen to.
    pub listeners: Rc<Listeners>,
    by_key: RefCell<HashMap<PoolKey, Rc<Pool>>>,
}

/// What all pools of a worker have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) worker: WorkerId,
    pub(super) shared: Arc<SharedPools>,
    pub(super) net: Arc<Net>,
    pub(super) startup_variants: usize,
    prepared: Prepared,
    /// Of all statements of this worker.
    budget: Rc<Budget>,
    /// As of the last sweep: good enough for ages.
    pub(super) now: Cell<Instant>,
    /// The process's time zero, the same on all workers.
    epoch: Instant,
    pub(super) is_closing: Cell<bool>,
}

impl Common {
    /// Milliseconds of the process's clock.
    pub(super) fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// An empty table of shared statements.
    pub(super) fn statements(&self, catalog: Arc<Catalog>) -> Statements {
        Statements::new(self.prepared.clone(), catalog, Rc::clone(&self.budget))
    }
}

impl Pools {
    /// No pools yet.
    pub fn new(
        worker: WorkerId,
        shared: Arc<SharedPools>,
        hubs: Arc<SharedHubs>,
        config: &Config,
        epoch: Instant,
    ) -> Self {
        let common = Common {
            worker,
            shared,
            net: Arc::new(config.net.clone()),
            startup_variants: config.limits.startup_variants,
            prepared: config.prepared.clone(),
            budget: Budget::new(config.prepared.memory / usize::from(config.workers.max(1))),
            now: Cell::new(Instant::now()),
            epoch,
            is_closing: Cell::new(false),
        };
        let bytes_max = config.limits.notification_bytes;
        let listeners = Listeners::new(worker, hubs, Arc::clone(&common.net), bytes_max);
        Self { common: Rc::new(common), listeners: Rc::new(listeners), by_key: RefCell::default() }
    }

    /// The pool for a target; made at its first use.
    pub fn pool(&self, target: Target) -> Rc<Pool> {
        let mut by_key = self.by_key.borrow_mut();
        let pool = by_key
            .entry(target.key.clone())
            .or_insert_with(|| Pool::new(target, Rc::clone(&self.common)));
        Rc::clone(pool)
    }

    /// All pools.
    pub fn all(&self) -> Vec<Rc<Pool>> {
        self.by_key.borrow().values().map(Rc::clone).collect()
    }

    /// Once in a while.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.common.now.set(now);
        for pool in self.all() {
            pool.sweep(now);
        }
    }

    /// Mail from another worker.
    pub fn receive(&self, mail: PoolMail) {
        let find = |key: &PoolKey| self.by_key.borrow().get(key).map(Rc::clone);
        match mail {
            PoolMail::Wanted { key, by } => {
                if let Some(pool) = find(&key) {
                    pool.wanted(by);
                }
            }
            PoolMail::Gift { key, traveller } => {
                if let Some(pool) = find(&key) {
                    pool.receive(*traveller);
                }
            }
            PoolMail::Vacate { address, dbname } => {
                let is_meant = |pool: &Rc<Pool>| {
                    pool.target.dbname == dbname && pool.target.address == address
                };
                for pool in self.all().into_iter().filter(is_meant) {
                    pool.be_vacated();
                }
                self.listeners.vacate(&address, &dbname);
            }
            PoolMail::SlotFree { key } => {
                if let Some(pool) = find(&key) {
                    pool.serve();
                }
            }
        }
    }

    /// Mail from a hub.
    pub fn hear(&self, mail: HubMail) {
        self.listeners.receive(mail);
    }

    /// The proxy shuts down: nothing is kept from now on.
    pub fn close(&self) {
        self.common.is_closing.set(true);
        for pool in self.all() {
            pool.close();
        }
    }
}
