//! Counting and timing what a client asks for: two looks at the clock a request.
//!
//! A request begins with the first byte that is sent to the server while nothing is under way, and ends with the
//! ReadyForQuery that settles all: of a pipeline the whole is timed.

use tokio::time::Instant;

use super::drive::Session;
use crate::protocol::TransactionStatus;
use crate::telemetry::cells::nanos;
use crate::telemetry::metrics::{PoolCounter, PoolHistogram};

impl Session {
    /// Something goes to the server.
    #[inline]
    pub(super) fn request_began(&self) {
        let activity = &self.handle.activity;
        if activity.query_since.get().is_some() {
            return;
        }
        let now = Some(Instant::now());
        activity.query_since.set(now);
        activity.requested_at.set(now);
        if activity.transaction_since.get().is_none() {
            activity.transaction_since.set(now);
        }
    }

    /// A ReadyForQuery has gone to the client; `is_settled`: nothing more is under way.
    #[inline]
    pub(super) fn request_ended(&self, status: TransactionStatus, is_settled: bool) {
        let activity = &self.handle.activity;
        if !is_settled {
            return;
        }
        let Some(since) = activity.query_since.take() else { return };
        let now = Instant::now();
        let cells = &self.pool.cells;
        cells.observe(PoolHistogram::Query, now.saturating_duration_since(since));
        if status == TransactionStatus::Idle
            && let Some(since) = activity.transaction_since.take()
        {
            let took = now.saturating_duration_since(since);
            cells.add(PoolCounter::TransactionTime, nanos(took));
        }
    }

    /// What was under way will not be answered.
    pub(super) fn forget_request(&self) {
        self.handle.activity.query_since.set(None);
        self.handle.activity.transaction_since.set(None);
    }
}
