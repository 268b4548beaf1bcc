//! All pools of one worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::gates::{Gates, Scope};
use super::key::{PoolKey, Target};
use super::listen::{HubMail, Listeners, SharedHubs};
use super::pool::Pool;
use super::quota::{PoolMail, SharedPools};
use super::statements::{Catalog, Statements};
use crate::client_state::Budget;
use crate::config::{Config, Net, Prepared};
use crate::ids::{ServerId, WorkerId};
use crate::telemetry::ProcessCells;

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
    pub(super) net: RefCell<Arc<Net>>,
    pub(super) startup_variants: Cell<usize>,
    /// Which databases an operator has closed.
    pub(super) gates: RefCell<Gates>,
    /// What the process has counted.
    pub(super) process: Arc<ProcessCells>,
    servers_made: Cell<u64>,
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
    /// A number for one more server connection: no other in the process has it.
    pub(super) fn next_server_id(&self) -> ServerId {
        let made = self.servers_made.get() + 1;
        self.servers_made.set(made);
        ServerId::new(self.worker, made)
    }

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
        process: Arc<ProcessCells>,
        epoch: Instant,
    ) -> Self {
        let net = Arc::new(config.net.clone());
        let common = Common {
            worker,
            shared,
            net: RefCell::new(Arc::clone(&net)),
            startup_variants: Cell::new(config.limits.startup_variants),
            gates: RefCell::default(),
            process,
            servers_made: Cell::new(0),
            prepared: config.prepared.clone(),
            budget: Budget::new(config.prepared.memory / usize::from(config.workers.max(1))),
            now: Cell::new(Instant::now()),
            epoch,
            is_closing: Cell::new(false),
        };
        let bytes_max = config.limits.notification_bytes;
        let listeners = Listeners::new(worker, hubs, net, bytes_max);
        Self { common: Rc::new(common), listeners: Rc::new(listeners), by_key: RefCell::default() }
    }

    /// The pool for a target; made at its first use. `login` is whom the client that asks has logged in as.
    pub fn pool(&self, target: Target, login: &str) -> Rc<Pool> {
        let mut by_key = self.by_key.borrow_mut();
        let pool = by_key
            .entry(target.key.clone())
            .or_insert_with(|| Pool::new(target, login, Rc::clone(&self.common)));
        Rc::clone(pool)
    }

    /// Whether an operator has a database let nobody in.
    pub fn is_disabled(&self, database: &str) -> bool {
        self.common.gates.borrow().is_disabled(database)
    }

    /// Which databases an operator has closed.
    pub fn gates(&self) -> Gates {
        self.common.gates.borrow().clone()
    }

    /// Pauses databases, or lets them go on.
    pub fn set_paused(&self, scope: &Scope, is_paused: bool) {
        self.common.gates.borrow_mut().set_paused(scope, is_paused);
        for pool in self.all() {
            pool.set_paused(self.common.gates.borrow().is_paused(&pool.key.database));
        }
    }

    /// Has a database let nobody in, or lets them in again.
    pub fn set_disabled(&self, database: &Arc<str>, is_disabled: bool) {
        self.common.gates.borrow_mut().set_disabled(database, is_disabled);
    }

    /// No server connection made until now serves anybody else.
    pub fn reconnect(&self, scope: &Scope) {
        for pool in self.all().iter().filter(|pool| scope.includes(&pool.key.database)) {
            pool.be_vacated();
        }
    }

    /// The configuration has changed. `route` tells where a database leads now, for whom. A pool lives on if that is where
    /// it has led before: what its clients have prepared is known for that database.
    pub fn reconfigure(&self, config: &Config, route: impl Fn(&str, &str) -> Option<Target>) {
        self.common.net.replace(Arc::new(config.net.clone()));
        self.common.startup_variants.set(config.limits.startup_variants);
        for pool in self.all() {
            match route(&pool.key.database, &pool.login) {
                Some(target)
                    if target.key == pool.key && pool.leads_to(&target.address, &target.dbname) =>
                {
                    pool.retarget(target);
                }
                _ => {
                    self.by_key.borrow_mut().remove(&pool.key);
                    pool.retire();
                }
            }
        }
    }

    /// Bytes that the prepared statements of this worker take.
    pub fn statement_bytes(&self) -> usize {
        self.common.budget.used()
    }

    /// A pool that is there.
    pub fn find(&self, key: &PoolKey) -> Option<Rc<Pool>> {
        self.by_key.borrow().get(key).map(Rc::clone)
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
        match mail {
            PoolMail::Wanted { key, by } => {
                if let Some(pool) = self.find(&key) {
                    pool.wanted(by);
                }
            }
            PoolMail::Gift { key, traveller } => {
                if let Some(pool) = self.find(&key) {
                    pool.receive(*traveller);
                }
            }
            PoolMail::Vacate { address, dbname } => {
                for pool in self.all().iter().filter(|pool| pool.leads_to(&address, &dbname)) {
                    pool.be_vacated();
                }
                self.listeners.vacate(&address, &dbname);
            }
            PoolMail::SlotFree { key } => {
                if let Some(pool) = self.find(&key) {
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
