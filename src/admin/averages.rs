//! Counts over the last period: what SHOW STATS shows as averages.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::PoolTotals;
use crate::telemetry::metrics::{PoolCounter, PoolHistogram};

type ByDatabase = BTreeMap<String, PoolTotals>;

/// Two moments a period apart, or less at the beginning.
#[derive(Debug, Default)]
pub(super) struct Averages {
    /// The oldest in front.
    moments: VecDeque<(Instant, ByDatabase)>,
}

/// What happened between two moments.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    before: PoolTotals,
    after: PoolTotals,
    seconds: f64,
}

impl Averages {
    /// A moment has come; those that a whole period lies behind are forgotten.
    pub(super) fn note(&mut self, totals: &ByDatabase, period: Duration) {
        let now = Instant::now();
        self.moments.push_back((now, totals.clone()));
        while self.moments.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= period) {
            self.moments.pop_front();
        }
    }

    /// What happened to a database in the last period; nothing is known before the first one is over.
    pub(super) fn span(&self, database: &str) -> Span {
        let (Some((from, before)), Some((to, after))) = (self.moments.front(), self.moments.back())
        else {
            return Span::default();
        };
        let of = |totals: &ByDatabase| totals.get(database).cloned().unwrap_or_default();
        Span {
            before: of(before),
            after: of(after),
            seconds: to.duration_since(*from).as_secs_f64(),
        }
    }

    /// One line for each database, as PgBouncer writes it.
    pub(super) fn log(&self) {
        let Some((_, totals)) = self.moments.back() else { return };
        for database in totals.keys() {
            let span = self.span(database);
            tracing::info!(
                database,
                xacts_per_s = span.rate(PoolCounter::Transactions),
                queries_per_s = span.rate(PoolCounter::Queries),
                client_received_per_s = span.rate(PoolCounter::Received),
                client_sent_per_s = span.rate(PoolCounter::Sent),
                xact_us = span.transaction_micros(),
                query_us = span.micros(PoolHistogram::Query),
                wait_us = span.micros(PoolHistogram::Wait),
                "stats"
            );
        }
    }
}

impl Span {
    /// How many a second.
    pub(super) fn rate(&self, counter: PoolCounter) -> u64 {
        self.per_second(self.between(counter))
    }

    fn between(&self, counter: PoolCounter) -> u64 {
        self.after.get(counter).saturating_sub(self.before.get(counter))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an average, for people"
    )]
    fn per_second(&self, count: u64) -> u64 {
        if self.seconds > 0.0 { (count as f64 / self.seconds) as u64 } else { 0 }
    }

    /// How long one took, in microseconds.
    pub(super) fn micros(&self, histogram: PoolHistogram) -> u64 {
        let (before, after) = (self.before.histogram(histogram), self.after.histogram(histogram));
        let count = after.count().saturating_sub(before.count());
        after.nanos.saturating_sub(before.nanos).checked_div(count).unwrap_or_default() / 1000
    }

    /// How long a transaction took, in microseconds.
    pub(super) fn transaction_micros(&self) -> u64 {
        let count = self.between(PoolCounter::Transactions);
        self.between(PoolCounter::TransactionTime).checked_div(count).unwrap_or_default() / 1000
    }
}
