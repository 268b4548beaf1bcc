//! Where the hot path counts: plain cells of one worker, without atomics; summed up over the workers when somebody asks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::{
    ERROR_CLASSES, Limit, LoginFailure, PoolCounter, PoolHistogram, ProcessCounter, error_class,
};

/// Kinds of pins that are told apart; who counts has the names.
pub const PIN_REASONS_MAX: usize = 16;

/// Upper bounds of a histogram's buckets, in nanoseconds: OpenTelemetry's for database operations, and finer ones below.
pub const BOUNDS: [u64; 12] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What one pool of one worker has counted.
#[derive(Debug, Default)]
pub struct PoolCells {
    counters: [Cell<u64>; PoolCounter::COUNT],
    histograms: [Histogram; PoolHistogram::COUNT],
    errors: [Cell<u64>; ERROR_CLASSES.len()],
    pins: [Cell<u64>; PIN_REASONS_MAX],
}

/// How often values of which size were seen.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one beyond.
    buckets: [Cell<u64>; BOUNDS.len() + 1],
    nanos: Cell<u64>,
}

/// What all workers have counted for a pool, or for several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTotals {
    counters: [u64; PoolCounter::COUNT],
    histograms: [HistogramTotals; PoolHistogram::COUNT],
    /// By place in [`ERROR_CLASSES`].
    pub errors: [u64; ERROR_CLASSES.len()],
    /// By reason.
    pub pins: [u64; PIN_REASONS_MAX],
}

/// A histogram, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// One for each bound, and one beyond.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Sum of the values.
    pub nanos: u64,
}

/// What the process counts off the hot path, for all workers.
#[derive(Debug, Default)]
pub struct ProcessCells {
    counters: [AtomicU64; ProcessCounter::COUNT],
    login_failures: [AtomicU64; LoginFailure::COUNT],
    limits: [AtomicU64; Limit::COUNT],
}

#[inline]
fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get().wrapping_add(more));
}

impl PoolCells {
    /// One more.
    #[inline]
    pub fn count(&self, counter: PoolCounter) {
        self.add(counter, 1);
    }

    /// So many more; of a time, nanoseconds.
    #[inline]
    pub fn add(&self, counter: PoolCounter, more: u64) {
        if let Some(cell) = self.counters.get(counter as usize) {
            add(cell, more);
        }
    }

    /// One more value.
    #[inline]
    pub fn observe(&self, histogram: PoolHistogram, value: Duration) {
        if let Some(histogram) = self.histograms.get(histogram as usize) {
            histogram.observe(nanos(value));
        }
    }

    /// One more error with this SQLSTATE.
    #[cold]
    pub fn count_error(&self, code: &[u8]) {
        if let Some(cell) = self.errors.get(error_class(code)) {
            add(cell, 1);
        }
    }

    /// One more pin for this reason.
    #[cold]
    pub fn count_pin(&self, reason: usize) {
        if let Some(cell) = self.pins.get(reason) {
            add(cell, 1);
        }
    }

    /// What was counted so far.
    pub fn totals(&self) -> PoolTotals {
        PoolTotals {
            counters: self.counters.each_ref().map(Cell::get),
            histograms: self.histograms.each_ref().map(Histogram::totals),
            errors: self.errors.each_ref().map(Cell::get),
            pins: self.pins.each_ref().map(Cell::get),
        }
    }
}

impl Histogram {
    #[inline]
    fn observe(&self, nanos: u64) {
        let at = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(at) {
            add(bucket, 1);
        }
        add(&self.nanos, nanos);
    }

    fn totals(&self) -> HistogramTotals {
        HistogramTotals { buckets: self.buckets.each_ref().map(Cell::get), nanos: self.nanos.get() }
    }
}

impl PoolTotals {
    /// How many; of a time, nanoseconds.
    pub fn get(&self, counter: PoolCounter) -> u64 {
        self.counters.get(counter as usize).copied().unwrap_or_default()
    }

    /// What was measured.
    pub fn histogram(&self, histogram: PoolHistogram) -> HistogramTotals {
        self.histograms.get(histogram as usize).cloned().unwrap_or_default()
    }

    /// With what others have counted.
    pub fn include(&mut self, other: &Self) {
        sum(&mut self.counters, &other.counters);
        sum(&mut self.errors, &other.errors);
        sum(&mut self.pins, &other.pins);
        for (own, other) in self.histograms.iter_mut().zip(&other.histograms) {
            sum(&mut own.buckets, &other.buckets);
            own.nanos = own.nanos.wrapping_add(other.nanos);
        }
    }
}

impl HistogramTotals {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl ProcessCells {
    /// One more.
    pub fn count(&self, counter: ProcessCounter) {
        increment(&self.counters, counter as usize);
    }

    /// One more login that failed.
    pub fn count_login_failure(&self, why: LoginFailure) {
        increment(&self.login_failures, why as usize);
    }

    /// A limit was hit once more.
    pub fn count_limit(&self, limit: Limit) {
        increment(&self.limits, limit as usize);
    }

    /// How many.
    pub fn get(&self, counter: ProcessCounter) -> u64 {
        load(&self.counters, counter as usize)
    }

    /// How many logins failed for this reason.
    pub fn login_failures(&self, why: LoginFailure) -> u64 {
        load(&self.login_failures, why as usize)
    }

    /// How often a limit was hit.
    pub fn limit_hits(&self, limit: Limit) -> u64 {
        load(&self.limits, limit as usize)
    }
}

fn increment(cells: &[AtomicU64], at: usize) {
    if let Some(cell) = cells.get(at) {
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

fn load(cells: &[AtomicU64], at: usize) -> u64 {
    cells.get(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
}

fn sum(own: &mut [u64], other: &[u64]) {
    for (own, other) in own.iter_mut().zip(other) {
        *own = own.wrapping_add(*other);
    }
}

/// A time as it is counted.
#[inline]
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_land_in_the_bucket_whose_bound_they_do_not_pass() {
        let cells = PoolCells::default();
        for micros in [50, 100, 101, 20_000_000] {
            cells.observe(PoolHistogram::Query, Duration::from_micros(micros));
        }
        let totals = cells.totals().histogram(PoolHistogram::Query);
        assert_eq!((totals.buckets[0], totals.buckets[1]), (2, 1));
        assert_eq!((totals.buckets[BOUNDS.len()], totals.count()), (1, 4));
        assert_eq!(totals.nanos, 20_000_251_000);
    }

    #[test]
    fn totals_of_workers_add_up() {
        let (one, other) = (PoolCells::default(), PoolCells::default());
        one.count(PoolCounter::Queries);
        other.add(PoolCounter::Queries, 2);
        other.count_error(b"23505");
        let mut sum = one.totals();
        sum.include(&other.totals());
        assert_eq!(sum.get(PoolCounter::Queries), 3);
        assert_eq!(sum.errors.iter().sum::<u64>(), 1);
    }
}
