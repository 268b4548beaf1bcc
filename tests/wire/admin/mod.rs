//! The operator's view: console, HTTP, reload.

mod commands;
mod conservation;
mod handover;
mod http;
mod logs;
mod pgbouncer;
mod reload;
mod rights;
mod show;
mod transcripts;

use std::collections::BTreeMap;

use crate::support::Wire;

/// The rows of a SHOW, each by its columns' names.
#[track_caller]
fn show(console: &mut Wire, what: &str) -> Vec<BTreeMap<String, String>> {
    let reply = console.query(&format!("SHOW {what}")).ok();
    let names = reply.all(b'T').next().expect("columns").column_names();
    let row = |columns: Vec<Option<String>>| {
        names.iter().cloned().zip(columns.into_iter().map(Option::unwrap_or_default)).collect()
    };
    reply.all(b'D').map(|frame| row(frame.columns())).collect()
}

/// A number of one row.
#[track_caller]
fn number(row: &BTreeMap<String, String>, column: &str) -> u64 {
    let value = row.get(column).unwrap_or_else(|| panic!("no column {column}"));
    value.parse().unwrap_or_else(|_| panic!("{column} is {value:?}"))
}
