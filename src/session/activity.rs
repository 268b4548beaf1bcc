//! Counting and timing what a client asks for: two looks at the clock a request.
//!
//! A request begins with the first byte that is sent to the server while nothing is under way, and ends with the
//! ReadyForQuery that settles all: of a pipeline the whole is timed.

use std::time::Duration;

use tokio::time::Instant;

use super::drive::Session;
use crate::client_state::Definition;
use crate::protocol::TransactionStatus;
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{BindNames, Parse};
use crate::telemetry::cells::nanos;
use crate::telemetry::metrics::{PoolCounter, PoolHistogram};

/// So much of a slow request's text is logged.
const TEXT_MAX: usize = 1024;

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
    pub(super) fn request_ended(&mut self, status: TransactionStatus, is_settled: bool) {
        let activity = &self.handle.activity;
        if !is_settled {
            return;
        }
        let Some(since) = activity.query_since.take() else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(since);
        let cells = &self.pool.cells;
        cells.observe(PoolHistogram::Query, took);
        if status == TransactionStatus::Idle
            && let Some(since) = activity.transaction_since.take()
        {
            let took = now.saturating_duration_since(since);
            cells.add(PoolCounter::TransactionTime, nanos(took));
        }
        if let Some(limit) = self.context.slow.get() {
            self.log_if_slow(limit, took);
        }
    }

    /// What was under way will not be answered.
    pub(super) fn forget_request(&self) {
        self.handle.activity.query_since.set(None);
        self.handle.activity.transaction_since.set(None);
    }

    // === What slow requests have waited for ===

    /// The wait for a server connection is over.
    pub(super) fn waited(&self) {
        let activity = &self.handle.activity;
        if let Some(since) = activity.waiting_since.take() {
            activity.waited.set(since.elapsed());
        }
    }

    /// The client's socket takes no more.
    #[cold]
    pub(super) fn client_does_not_read(&self) {
        let since = &self.handle.activity.unread_since;
        if since.get().is_none() {
            since.set(Some(Instant::now()));
        }
    }

    /// It has taken all that there was.
    pub(super) fn client_has_read(&self) {
        let activity = &self.handle.activity;
        if let Some(since) = activity.unread_since.take() {
            activity.unread.set(activity.unread.get() + since.elapsed());
        }
    }

    /// Keeps what the request in front says, while none is under way.
    #[cold]
    pub(super) fn note_text(&mut self, frames: &[u8]) {
        if self.lease.is_none() || self.handle.activity.query_since.get().is_some() {
            return;
        }
        let Ok(Some(header)) = client_header(frames) else { return };
        let body = frames.get(HEADER_BYTES..header.bytes.min(frames.len())).unwrap_or_default();
        let text = match header.tag {
            b'Q' => Some(body.into()),
            b'P' => Parse::read(body).map(|parse| parse.text.into()),
            b'B' => BindNames::read(body).and_then(|names| self.text_of(names.statement)),
            _ => None,
        };
        self.text = text.map(|text: Box<[u8]>| text.get(..TEXT_MAX).unwrap_or(&text).into());
    }

    /// The text of a prepared statement, if it is known here.
    fn text_of(&self, name: &[u8]) -> Option<Box<[u8]>> {
        match self.state.names.get(name)? {
            Definition::Shared(statement) => Some(statement.text().into()),
            Definition::Kept(parse, _) => {
                Some(Parse::read(parse.get(HEADER_BYTES..)?)?.text.into())
            }
            Definition::ServerOnly => None,
        }
    }

    #[cold]
    fn log_if_slow(&mut self, limit: Duration, took: Duration) {
        let activity = &self.handle.activity;
        let queue = activity.waited.take();
        let client = activity.unread.take();
        let text = self.text.take().unwrap_or_default();
        if queue + took < limit {
            return;
        }
        let text = String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(&text));
        tracing::warn!(
            client = %self.handle.identity.id,
            pool = %self.pool.key,
            total_ms = millis(queue + took),
            queue_ms = millis(queue),
            server_ms = millis(took.saturating_sub(client)),
            client_ms = millis(client),
            statement = %text,
            "slow request"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
