//! What is done once in a while, and when connections have to go.

use std::rc::Rc;

use tokio::time::Instant;

use super::Pool;
use crate::pool::server::Pulse;
use crate::pool::ticket::WaitError;
use crate::telemetry::metrics::{Limit, PoolCounter};

impl Pool {
    /// Once in a while: waits that are over, connections that are idle for too long, too old or dead,
    /// the minimum, dials that are due.
    pub(in crate::pool) fn sweep(&self, now: Instant) {
        self.fail_overdue(now);
        self.fail_refused(now);
        self.close_idle(now);
        if !self.inner.borrow().waiters.is_empty() {
            self.serve();
        }
        self.fill(now);
    }

    fn fail_overdue(&self, now: Instant) {
        let target = self.target();
        let settings = &target.settings;
        loop {
            let ticket = {
                let mut inner = self.inner.borrow_mut();
                let front = inner.waiters.front().map(|ticket| ticket.since);
                match front {
                    Some(since)
                        if now.saturating_duration_since(since) >= settings.wait_timeout =>
                    {
                        inner.waiters.pop_front()
                    }
                    _ => return,
                }
            };
            let Some(ticket) = ticket else { return };
            self.cells.count(PoolCounter::Timeouts);
            self.common.process.count_limit(Limit::WaitTimeout);
            ticket.fail(WaitError::Timeout {
                pool: self.key.clone(),
                waited: settings.wait_timeout,
                size: settings.size,
            });
        }
    }

    fn close_idle(&self, now: Instant) {
        let target = self.target();
        let (min, idle_timeout) = (target.settings.min, target.settings.idle_timeout);
        let mut inner = self.inner.borrow_mut();
        let before = inner.idle.len();
        let mut surplus = self.quota.used().saturating_sub(min);
        inner.idle.retain_mut(|server| {
            let idle_for = now.saturating_duration_since(server.idle_since);
            let is_surplus = surplus > 0 && idle_timeout.is_some_and(|limit| idle_for >= limit);
            if is_surplus || self.is_too_old(server, now) {
                surplus = surplus.saturating_sub(1);
                server.say_goodbye();
                return false;
            }
            server.pulse() != Pulse::Dead
        });
        let closed = before - inner.idle.len();
        drop(inner);
        if closed > 0 {
            tracing::debug!(pool = %self.key, closed, "idle server connections closed");
            self.slot_freed();
        }
    }

    /// Dials up to the minimum, for the variant used last.
    fn fill(&self, now: Instant) {
        if !self.is_open() {
            return;
        }
        let (variant, is_due) = {
            let inner = self.inner.borrow();
            let is_due = inner.dialing.is_empty()
                && inner.retry.as_ref().is_none_or(|retry| now >= retry.at);
            (inner.variants.last().map(|known| Rc::clone(&known.variant)), is_due)
        };
        if let Some(variant) = variant.filter(|_| is_due)
            && let Some(slot) = self.quota.take(self.target().settings.min)
        {
            self.dial(variant, slot);
        }
    }

    /// Nobody may be connected to this database of the pool's server for a moment: the connections of all pools close as
    /// soon as they are idle.
    pub fn vacate(&self, dbname: &str) {
        self.common.shared.vacate(&self.target().address, dbname);
    }

    /// A client wants to write, and its server turned out to be a standby: the name of the server may lead elsewhere now.
    /// Connections made until now are not used again; not too often, should it be meant so.
    pub fn distrust(&self) {
        let now = Instant::now();
        let target = self.target();
        let pause = target.settings.retry_max;
        if self.vacated_at.get().is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        tracing::warn!(pool = %self.key, server = %target.address,
            "a write was refused by a standby: its connections are closed, new ones look for the server again");
        self.vacated_at.set(Some(now));
        self.vacate(&target.dbname);
    }

    /// No connection made until now serves anybody else.
    pub(in crate::pool) fn be_vacated(&self) {
        self.vacated_at.set(Some(Instant::now()));
        self.close_all_idle();
    }

    pub(super) fn close_all_idle(&self) {
        let idle = std::mem::take(&mut self.inner.borrow_mut().idle);
        for mut server in idle {
            server.say_goodbye();
        }
    }

    /// The proxy shuts down: idle connections are closed, nobody is served any more.
    pub(in crate::pool) fn close(&self) {
        self.close_all_idle();
        let waiters = std::mem::take(&mut self.inner.borrow_mut().waiters);
        for ticket in waiters {
            ticket.fail(WaitError::ShuttingDown);
        }
    }
}
