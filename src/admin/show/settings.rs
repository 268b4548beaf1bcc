//! CONFIG, VERSION, STATE, MEM, and what PgBouncer has and the proxy hasn't.

use super::View;
use crate::admin::process;
use crate::admin::table::Type::{Int4, Int8, Text};
use crate::admin::table::{Column, Table, Value};

pub(super) const VERSION: &[Column] = &[Column("version", Text)];

pub(super) const STATE: &[Column] = &[Column("key", Text), Column("value", Text)];

pub(super) const CONFIG: &[Column] = &[
    Column("key", Text),
    Column("value", Text),
    Column("default", Text),
    Column("changeable", Text),
];

pub(super) const MEM: &[Column] = &[
    Column("name", Text),
    Column("size", Int4),
    Column("used", Int4),
    Column("free", Int4),
    Column("memtotal", Int4),
];

pub(super) const DNS_HOSTS: &[Column] =
    &[Column("hostname", Text), Column("ttl", Int8), Column("addrs", Text)];

pub(super) const DNS_ZONES: &[Column] =
    &[Column("zonename", Text), Column("serial", Int8), Column("count", Int4)];

pub(super) const PEERS: &[Column] = &[
    Column("peer_id", Int4),
    Column("host", Text),
    Column("port", Int4),
    Column("pool_size", Int4),
];

pub(super) const PEER_POOLS: &[Column] = &[
    Column("peer_id", Int4),
    Column("cl_active_cancel_req", Int4),
    Column("cl_waiting_cancel_req", Int4),
    Column("sv_active_cancel", Int4),
    Column("sv_login", Int4),
];

pub(super) fn version(table: &mut Table) {
    table.add(vec![concat!("pgsteward ", env!("CARGO_PKG_VERSION")).into()]);
}

pub(super) fn state(view: &View<'_>, table: &mut Table) {
    let yes = |is_so: bool| Value::from(if is_so { "yes" } else { "no" });
    let is_paused = view.state.gates.is_all_paused();
    table.add(vec!["active".into(), yes(!is_paused)]);
    table.add(vec!["paused".into(), yes(is_paused)]);
    table.add(vec!["suspended".into(), yes(false)]);
    table.add(vec!["draining".into(), yes(view.state.is_draining)]);
}

/// The proxy's own keys, and two of PgBouncer's that its exporters read.
pub(super) fn config(view: &View<'_>, table: &mut Table) {
    for shown in &view.config.shown {
        table.add(vec![
            shown.key.as_str().into(),
            shown.value.as_str().into(),
            shown.default.as_str().into(),
            if shown.is_changeable { "yes" } else { "no" }.into(),
        ]);
    }
    let default = view.config.shown.iter().find(|shown| shown.key == "limits.clients");
    table.add(vec![
        "max_client_conn".into(),
        view.config.limits.clients.to_string().into(),
        default.map(|shown| shown.default.clone()).unwrap_or_default().into(),
        "yes".into(),
    ]);
    table.add(vec!["max_user_connections".into(), "0".into(), "0".into(), "no".into()]);
}

/// Bytes.
pub(super) fn mem(view: &View<'_>, table: &mut Table) {
    let resident = process::usage().memory;
    let statements = view.state.statement_bytes as u64;
    for (name, bytes) in [("resident", resident), ("prepared_statements", statements)] {
        table.add(vec![name.into(), 1_u64.into(), bytes.into(), 0_u64.into(), bytes.into()]);
    }
}
