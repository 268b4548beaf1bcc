//! STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS: counts by database, times in microseconds.

use super::View;
use crate::admin::averages::Span;
use crate::admin::table::Type::{Numeric, Text};
use crate::admin::table::{Column, Table, Value};
use crate::telemetry::PoolTotals;
use crate::telemetry::metrics::{PoolCounter, PoolHistogram};

pub(super) const STATS: &[Column] = &[
    Column("database", Text),
    Column("total_server_assignment_count", Numeric),
    Column("total_xact_count", Numeric),
    Column("total_query_count", Numeric),
    Column("total_received", Numeric),
    Column("total_sent", Numeric),
    Column("total_xact_time", Numeric),
    Column("total_query_time", Numeric),
    Column("total_wait_time", Numeric),
    Column("total_client_parse_count", Numeric),
    Column("total_server_parse_count", Numeric),
    Column("total_bind_count", Numeric),
    Column("total_client_login_count", Numeric),
    Column("avg_server_assignment_count", Numeric),
    Column("avg_xact_count", Numeric),
    Column("avg_query_count", Numeric),
    Column("avg_recv", Numeric),
    Column("avg_sent", Numeric),
    Column("avg_xact_time", Numeric),
    Column("avg_query_time", Numeric),
    Column("avg_wait_time", Numeric),
    Column("avg_client_parse_count", Numeric),
    Column("avg_server_parse_count", Numeric),
    Column("avg_bind_count", Numeric),
    Column("avg_client_login_count", Numeric),
];

pub(super) const STATS_PART: &[Column] = &[
    Column("database", Text),
    Column("server_assignment_count", Numeric),
    Column("xact_count", Numeric),
    Column("query_count", Numeric),
    Column("bytes_received", Numeric),
    Column("bytes_sent", Numeric),
    Column("xact_time", Numeric),
    Column("query_time", Numeric),
    Column("wait_time", Numeric),
    Column("client_parse_count", Numeric),
    Column("server_parse_count", Numeric),
    Column("bind_count", Numeric),
    Column("client_login_count", Numeric),
];

pub(super) const TOTALS: &[Column] = &[Column("name", Text), Column("value", Numeric)];

/// The counts in the order of the columns; times are microseconds.
fn totals_row(totals: &PoolTotals) -> [u64; 12] {
    [
        totals.get(PoolCounter::Assignments),
        totals.get(PoolCounter::Transactions),
        totals.get(PoolCounter::Queries),
        totals.get(PoolCounter::Received),
        totals.get(PoolCounter::Sent),
        totals.get(PoolCounter::TransactionTime) / 1000,
        totals.histogram(PoolHistogram::Query).nanos / 1000,
        totals.histogram(PoolHistogram::Wait).nanos / 1000,
        totals.get(PoolCounter::ClientParses),
        totals.get(PoolCounter::ServerParses),
        totals.get(PoolCounter::Binds),
        totals.get(PoolCounter::Logins),
    ]
}

fn averages_row(span: &Span) -> [u64; 12] {
    [
        span.rate(PoolCounter::Assignments),
        span.rate(PoolCounter::Transactions),
        span.rate(PoolCounter::Queries),
        span.rate(PoolCounter::Received),
        span.rate(PoolCounter::Sent),
        span.transaction_micros(),
        span.micros(PoolHistogram::Query),
        span.micros(PoolHistogram::Wait),
        span.rate(PoolCounter::ClientParses),
        span.rate(PoolCounter::ServerParses),
        span.rate(PoolCounter::Binds),
        span.rate(PoolCounter::Logins),
    ]
}

fn row(database: &str, parts: &[[u64; 12]]) -> Vec<Value> {
    let numbers = parts.iter().flatten().map(|number| Value::from(*number));
    std::iter::once(Value::from(database)).chain(numbers).collect()
}

pub(super) fn stats(view: &View<'_>, table: &mut Table) {
    for (database, totals) in view.state.totals_by_database() {
        let parts = [totals_row(&totals), averages_row(&view.span(&database))];
        table.add(row(&database, &parts));
    }
}

pub(super) fn totals_by_database(view: &View<'_>, table: &mut Table) {
    for (database, totals) in view.state.totals_by_database() {
        table.add(row(&database, &[totals_row(&totals)]));
    }
}

pub(super) fn averages(view: &View<'_>, table: &mut Table) {
    for database in view.state.totals_by_database().keys() {
        table.add(row(database, &[averages_row(&view.span(database))]));
    }
}

/// The columns of STATS as rows, over all databases.
pub(super) fn totals(view: &View<'_>, table: &mut Table) {
    let mut sums = [0; 24];
    for (database, totals) in view.state.totals_by_database() {
        let parts = [totals_row(&totals), averages_row(&view.span(&database))];
        for (sum, number) in sums.iter_mut().zip(parts.iter().flatten()) {
            *sum += number;
        }
    }
    for (Column(name, _), sum) in STATS.iter().skip(1).zip(sums) {
        table.add(vec![(*name).into(), sum.into()]);
    }
}
