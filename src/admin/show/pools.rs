//! POOLS, DATABASES, USERS, LISTS, PREPARED.

use std::collections::BTreeSet;

use super::View;
use crate::admin::table::Type::{Int4, Int8, Text};
use crate::admin::table::{Column, Table, Value};
use crate::config::{Address, PoolMode};
use crate::telemetry::metrics::{ClientState, PoolCounter, ServerState};

pub(super) const POOLS: &[Column] = &[
    Column("database", Text),
    Column("user", Text),
    Column("cl_active", Int4),
    Column("cl_waiting", Int4),
    Column("cl_active_cancel_req", Int4),
    Column("cl_waiting_cancel_req", Int4),
    Column("sv_active", Int4),
    Column("sv_active_cancel", Int4),
    Column("sv_being_canceled", Int4),
    Column("sv_idle", Int4),
    Column("sv_used", Int4),
    Column("sv_tested", Int4),
    Column("sv_login", Int4),
    Column("maxwait", Int4),
    Column("maxwait_us", Int4),
    Column("pool_mode", Text),
    Column("load_balance_hosts", Text),
    Column("sv_pinned", Int4),
];

pub(super) const DATABASES: &[Column] = &[
    Column("name", Text),
    Column("host", Text),
    Column("port", Int4),
    Column("database", Text),
    Column("force_user", Text),
    Column("pool_size", Int4),
    Column("min_pool_size", Int4),
    Column("reserve_pool_size", Int4),
    Column("server_lifetime", Int4),
    Column("pool_mode", Text),
    Column("load_balance_hosts", Text),
    Column("max_connections", Int4),
    Column("current_connections", Int4),
    Column("max_client_connections", Int4),
    Column("current_client_connections", Int4),
    Column("paused", Int4),
    Column("disabled", Int4),
];

pub(super) const USERS: &[Column] = &[
    Column("name", Text),
    Column("pool_size", Text),
    Column("reserve_pool_size", Text),
    Column("pool_mode", Text),
    Column("max_user_connections", Int4),
    Column("current_connections", Int4),
    Column("max_user_client_connections", Int4),
    Column("current_client_connections", Int4),
];

pub(super) const LISTS: &[Column] = &[Column("list", Text), Column("items", Int4)];

pub(super) const PREPARED: &[Column] = &[
    Column("database", Text),
    Column("user", Text),
    Column("client_statements", Int8),
    Column("server_statements", Int8),
    Column("client_parses", Int8),
    Column("server_parses", Int8),
    Column("binds", Int8),
];

pub(super) fn pools(view: &View<'_>, table: &mut Table) {
    for pool in view.state.pools.values() {
        let clients = || view.state.clients_of(&pool.key);
        let waiting = clients().filter(|client| client.state == ClientState::Waiting).count();
        let pinned = clients().filter(|client| client.pin.is_some()).count();
        let cancels: usize = pool.servers.iter().map(|server| server.cancels).sum();
        table.add(vec![
            (&*pool.key.database).into(),
            (&*pool.key.user).into(),
            (clients().count() - waiting).into(),
            waiting.into(),
            cancels.into(),
            0_u64.into(),
            pool.count(ServerState::Active).into(),
            cancels.into(),
            pool.count(ServerState::BeingCanceled).into(),
            pool.count(ServerState::Idle).into(),
            0_u64.into(),
            pool.count(ServerState::Tested).into(),
            pool.count(ServerState::Login).into(),
            pool.max_wait.as_secs().into(),
            u64::from(pool.max_wait.subsec_micros()).into(),
            pool.target.settings.mode.as_str().into(),
            Value::Null,
            pinned.into(),
        ]);
    }
}

/// The named databases, and those that clients have come to by way of `*`.
fn names(view: &View<'_>) -> BTreeSet<String> {
    let named = view.config.databases.named.keys().cloned();
    named.chain(view.state.pools.keys().map(|(database, _)| database.clone())).collect()
}

pub(super) fn databases(view: &View<'_>, table: &mut Table) {
    for name in names(view) {
        let Some(database) = view.config.databases.find(&name) else { continue };
        let settings = &database.pool;
        let pools = view.state.pools.values().filter(|pool| *pool.key.database == *name);
        let servers: usize = pools.map(|pool| pool.servers.len() + pool.dialing).sum();
        let clients = &view.state.clients;
        let (host, port) = match &database.address {
            Address::Tcp { host, port } => (host.clone(), u64::from(*port)),
            Address::Unix(path) => socket_directory(path),
        };
        table.add(vec![
            name.as_str().into(),
            host.into(),
            port.into(),
            database.dbname.as_deref().unwrap_or(&name).into(),
            database.user.as_deref().into(),
            settings.size.into(),
            settings.min.into(),
            settings.reserve.into(),
            settings.max_age.map_or(0, |age| age.as_secs()).into(),
            settings.mode.as_str().into(),
            Value::Null,
            0_u64.into(),
            servers.into(),
            0_u64.into(),
            clients.iter().filter(|client| *client.pool.database == *name).count().into(),
            view.state.gates.is_paused(&name).into(),
            view.state.gates.is_disabled(&name).into(),
        ]);
    }
}

/// `/run/postgresql/.s.PGSQL.5432` as libpq names it: directory and port.
fn socket_directory(path: &std::path::Path) -> (String, u64) {
    let port = path.extension().and_then(|port| port.to_str()?.parse().ok()).unwrap_or_default();
    let directory = path.parent().map(|directory| directory.display().to_string());
    (directory.unwrap_or_default(), port)
}

pub(super) fn users(view: &View<'_>, table: &mut Table) {
    let seen = view.state.clients.iter().map(|client| client.user.to_string());
    let names: BTreeSet<String> = view.config.users.keys().cloned().chain(seen).collect();
    for name in names {
        let entry = view.config.users.get(&name);
        let pools = view.state.pools.values().filter(|pool| *pool.key.user == *name);
        let clients = view.state.clients.iter().filter(|client| *client.user == *name);
        table.add(vec![
            name.as_str().into(),
            entry.and_then(|entry| entry.pool_size).map(|size| size.to_string()).into(),
            Value::Null,
            entry.and_then(|entry| entry.pool_mode).map(PoolMode::as_str).into(),
            0_u64.into(),
            pools.map(|pool| pool.servers.len() + pool.dialing).sum::<usize>().into(),
            0_u64.into(),
            clients.count().into(),
        ]);
    }
}

pub(super) fn lists(view: &View<'_>, table: &mut Table) {
    let users: BTreeSet<&str> = view.state.clients.iter().map(|client| &*client.user).collect();
    let known = view.config.users.keys().filter(|name| !users.contains(name.as_str())).count();
    let pools = view.state.pools.values();
    let servers: usize = pools.map(|pool| pool.servers.len() + pool.dialing).sum();
    for (list, items) in [
        ("databases", names(view).len()),
        ("users", users.len() + known),
        ("peers", 0),
        ("pools", view.state.pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", view.state.clients.len()),
        ("login_clients", view.logging_in()),
        ("free_servers", 0),
        ("used_servers", servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ] {
        table.add(vec![list.into(), items.into()]);
    }
}

pub(super) fn prepared(view: &View<'_>, table: &mut Table) {
    for pool in view.state.pools.values() {
        let clients = view.state.clients_of(&pool.key);
        table.add(vec![
            (&*pool.key.database).into(),
            (&*pool.key.user).into(),
            clients.map(|client| client.statements).sum::<usize>().into(),
            pool.servers.iter().map(|server| server.statements).sum::<usize>().into(),
            pool.totals.get(PoolCounter::ClientParses).into(),
            pool.totals.get(PoolCounter::ServerParses).into(),
            pool.totals.get(PoolCounter::Binds).into(),
        ]);
    }
}
