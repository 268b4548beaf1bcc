//! What operators see of a pool, and what they can do to it.

use std::rc::{Rc, Weak};

use tokio::time::Instant;

use super::Pool;
use crate::config::Address;
use crate::pool::key::Target;
use crate::pool::server::Backend;

/// So many connections are never looked through for those that have ended.
const PRUNED_FROM: usize = 32;

impl Pool {
    /// Whether its connections lead to this database.
    pub(in crate::pool) fn leads_to(&self, address: &Address, dbname: &str) -> bool {
        let target = self.target.borrow();
        target.dbname == dbname && target.address == *address
    }

    /// Pauses it, or lets it go on.
    pub(in crate::pool) fn set_paused(&self, is_paused: bool) {
        if self.is_paused.replace(is_paused) == is_paused {
            return;
        }
        if is_paused {
            self.close_all_idle();
        } else {
            self.serve();
        }
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.is_paused.get()
    }

    /// The configuration has changed. If it logs in otherwise now, connections made until now are not lent again.
    pub(in crate::pool) fn retarget(&self, target: Target) {
        let is_other_login = self.target.borrow().password != target.password;
        self.query_timeout.set(target.settings.query_timeout);
        *self.target.borrow_mut() = Rc::new(target);
        if is_other_login {
            // What was refused before may be granted now.
            self.inner.borrow_mut().retry = None;
            self.be_vacated();
        }
        self.serve();
    }

    /// The configuration has no place for it any more: what is lent is closed when it comes back, and nobody waits.
    pub(in crate::pool) fn retire(&self) {
        self.is_retired.set(true);
        self.is_paused.set(true);
        self.close();
    }

    /// Whether a connection that was made then closes as soon as it is free.
    pub(in crate::pool) fn is_to_close(&self, born: Instant) -> bool {
        self.is_paused.get() || self.vacated_at.get().is_some_and(|at| born < at)
    }

    /// Since when the first client in the queue has waited.
    pub(in crate::pool) fn waiting_since(&self) -> Option<Instant> {
        self.inner.borrow().waiters.front().map(|ticket| ticket.since)
    }

    /// Why the last server connection could not be opened.
    pub(in crate::pool) fn trouble(&self) -> Option<String> {
        self.inner.borrow().retry.as_ref().map(|retry| retry.error.summary())
    }

    /// All connections, with the time since when they are idle.
    pub(in crate::pool) fn backends<T>(
        &self,
        mut look: impl FnMut(&Rc<Backend>, Option<Instant>) -> T,
    ) -> Vec<T> {
        let inner = self.inner.borrow();
        let idle_since = |backend: &Rc<Backend>| {
            let server = inner.idle.iter().find(|server| Rc::ptr_eq(&server.backend, backend));
            server.map(|server| server.idle_since)
        };
        let backends = self.backends.borrow();
        let open = backends.iter().filter_map(Weak::upgrade);
        open.filter(|backend| backend.is_open.get())
            .map(|backend| look(&backend, idle_since(&backend)))
            .collect()
    }

    pub(super) fn add_backend(&self, backend: &Rc<Backend>) {
        let mut backends = self.backends.borrow_mut();
        if backends.len() >= PRUNED_FROM && backends.len() == backends.capacity() {
            let is_open = |known: &Weak<Backend>| {
                known.upgrade().is_some_and(|backend| backend.is_open.get())
            };
            backends.retain(is_open);
        }
        backends.push(Rc::downgrade(backend));
    }
}
