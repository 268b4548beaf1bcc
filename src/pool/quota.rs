//! What the workers share of a pool: how many server connections there are, and who waits for one.
//!
//! Each worker lends its own server connections without looking here. It looks when it opens or closes one,
//! and, by one relaxed load, when it takes one back: if another worker's client has waited longer than all
//! of its own, the connection travels there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::key::PoolKey;
use super::server::Traveller;
use super::statements::Catalog;
use crate::config::Address;
use crate::ids::WorkerId;

/// All pools of all workers.
#[derive(Debug)]
pub struct SharedPools {
    quotas: Mutex<HashMap<PoolKey, Arc<Quota>>>,
    /// By server and name of the database there: several names of the configuration may lead to one.
    catalogs: Mutex<HashMap<(Address, String), Arc<Catalog>>>,
    mailboxes: Vec<UnboundedSender<PoolMail>>,
}

/// From one worker's pools to another's.
#[derive(Debug)]
pub enum PoolMail {
    /// A client of `by` waits: an idle server connection would be welcome there.
    Wanted {
        /// Which pool.
        key: PoolKey,
        /// Who asks.
        by: WorkerId,
    },
    /// An idle server connection.
    Gift {
        /// Which pool.
        key: PoolKey,
        /// The connection.
        traveller: Box<Traveller>,
    },
    /// Close all server connections to this database as soon as they are idle.
    Vacate {
        /// The server.
        address: Address,
        /// Name of the database there.
        dbname: String,
    },
    /// A place was given up: dial if you still need one.
    SlotFree {
        /// Which pool.
        key: PoolKey,
    },
}

/// The shared part of one pool.
#[derive(Debug)]
pub struct Quota {
    used: AtomicUsize,
    /// Clients that keep a server connection beyond their transactions.
    pinned: AtomicUsize,
    /// Workers with a client that waits and no way to serve it.
    hungry: AtomicUsize,
    /// Per worker: since when its front client waits (milliseconds of the process's clock, plus one).
    waiting_since: Vec<AtomicU64>,
}

/// A place in a pool's size; dropping it gives the place back.
#[derive(Debug)]
pub struct Slot {
    quota: Arc<Quota>,
}

/// Counts a client that keeps a server connection.
#[derive(Debug)]
pub struct Pin {
    quota: Arc<Quota>,
}

impl SharedPools {
    /// For workers that read these mailboxes.
    pub fn new(mailboxes: Vec<UnboundedSender<PoolMail>>) -> Self {
        Self { quotas: Mutex::default(), catalogs: Mutex::default(), mailboxes }
    }

    /// The shared part of a pool.
    pub fn quota(&self, key: &PoolKey) -> Arc<Quota> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = self.mailboxes.len();
        Arc::clone(quotas.entry(key.clone()).or_insert_with(|| Arc::new(Quota::new(workers))))
    }

    /// What is known of a database's catalog.
    pub fn catalog(&self, address: &Address, dbname: &str) -> Arc<Catalog> {
        let mut catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(catalogs.entry((address.clone(), dbname.to_owned())).or_default())
    }

    /// Whether there are other workers at all.
    pub fn has_neighbours(&self) -> bool {
        self.mailboxes.len() > 1
    }

    /// Sends to one worker. `Err` gives the mail back: that worker has ended.
    pub fn send(&self, to: WorkerId, mail: PoolMail) -> Result<(), Box<PoolMail>> {
        match self.mailboxes.get(usize::from(to.0)) {
            Some(mailbox) => mailbox.send(mail).map_err(|unsent| Box::new(unsent.0)),
            None => Err(Box::new(mail)),
        }
    }

    /// Has all workers close their server connections to a database.
    pub fn vacate(&self, address: &Address, dbname: &str) {
        for mailbox in &self.mailboxes {
            let mail = PoolMail::Vacate { address: address.clone(), dbname: dbname.to_owned() };
            // A worker that has ended has closed them.
            let _ = mailbox.send(mail);
        }
    }

    /// Asks all other workers for an idle server connection.
    pub fn ask(&self, key: &PoolKey, by: WorkerId) {
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if number != usize::from(by.0) {
                // A worker that has ended has nothing to give.
                let _ = mailbox.send(PoolMail::Wanted { key: key.clone(), by });
            }
        }
    }
}

impl Quota {
    fn new(workers: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            hungry: AtomicUsize::new(0),
            waiting_since: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A place, if fewer than `limit` are taken.
    pub fn take(self: &Arc<Self>, limit: usize) -> Option<Slot> {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < limit).then_some(used + 1)
            })
            .ok()
            .map(|_| Slot { quota: Arc::clone(self) })
    }

    /// One more client keeps a server connection, if fewer than `limit` do.
    pub fn pin(self: &Arc<Self>, limit: usize) -> Option<Pin> {
        let pinned = self.pinned.fetch_update(Ordering::AcqRel, Ordering::Acquire, |pinned| {
            (pinned < limit).then_some(pinned + 1)
        });
        pinned.ok().map(|_| Pin { quota: Arc::clone(self) })
    }

    /// Places taken by all workers.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether any worker waits in vain.
    pub fn is_anyone_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Says since when the worker's front client waits in vain; `None`: nobody does. Whether that is news.
    pub fn set_waiting(&self, worker: WorkerId, since_ms: Option<u64>) -> bool {
        let Some(cell) = self.waiting_since.get(usize::from(worker.0)) else {
            return false;
        };
        let before = cell.swap(since_ms.map_or(0, |ms| ms + 1), Ordering::AcqRel);
        match (before == 0, since_ms.is_none()) {
            (true, false) => _ = self.hungry.fetch_add(1, Ordering::AcqRel),
            (false, true) => _ = self.hungry.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
        before == 0 && since_ms.is_some()
    }

    /// The other worker whose client has waited longest, and since when.
    pub fn hungriest(&self, but: WorkerId) -> Option<(WorkerId, u64)> {
        self.waiting_since
            .iter()
            .zip(0_u16..)
            .map(|(cell, number)| (WorkerId(number), cell.load(Ordering::Acquire)))
            .filter(|(worker, since)| *worker != but && *since > 0)
            .min_by_key(|(_, since)| *since)
            .map(|(worker, since)| (worker, since - 1))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.quota.pinned.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_exactly() {
        let quota = Arc::new(Quota::new(2));
        let first = quota.take(2).unwrap();
        let _second = quota.take(2).unwrap();
        assert!(quota.take(2).is_none());
        drop(first);
        assert!(quota.take(2).is_some());
    }

    #[test]
    fn the_hungriest_has_waited_longest() {
        let quota = Quota::new(3);
        quota.set_waiting(WorkerId(1), Some(50));
        quota.set_waiting(WorkerId(2), Some(40));
        assert_eq!(quota.hungriest(WorkerId(0)), Some((WorkerId(2), 40)));
        assert_eq!(quota.hungriest(WorkerId(2)), Some((WorkerId(1), 50)));
        quota.set_waiting(WorkerId(1), None);
        quota.set_waiting(WorkerId(2), None);
        assert!(!quota.is_anyone_hungry());
    }
}
