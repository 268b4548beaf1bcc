//! CLIENTS, SERVERS, SOCKETS, PINS: one row a connection. Times are UTC; `ptr` and `link` name connections as the log
//! does.

use std::net::SocketAddr;
use std::time::Duration;

use super::View;
use crate::admin::fleet::PoolState;
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, Table, Value};
use crate::config::Address;
use crate::pool::ServerReport;
use crate::session::ClientReport;
use crate::telemetry::metrics::{ClientState, ServerState};

pub(super) const CONNECTIONS: &[Column] = SOCKETS.split_at(COMMON).0;

pub(super) const SOCKETS: &[Column] = &[
    Column("type", Text),
    Column("user", Text),
    Column("database", Text),
    Column("replication", Text),
    Column("state", Text),
    Column("addr", Text),
    Column("port", Int4),
    Column("local_addr", Text),
    Column("local_port", Int4),
    Column("connect_time", Text),
    Column("request_time", Text),
    Column("wait", Int4),
    Column("wait_us", Int4),
    Column("close_needed", Int4),
    Column("ptr", Text),
    Column("link", Text),
    Column("remote_pid", Int4),
    Column("tls", Text),
    Column("application_name", Text),
    Column("prepared_statements", Int4),
    Column("id", Int4),
    Column("recv_pos", Int4),
    Column("pkt_pos", Int4),
    Column("pkt_remain", Int4),
    Column("send_pos", Int4),
    Column("send_remain", Int4),
    Column("pkt_avail", Int4),
    Column("send_avail", Int4),
];

/// Columns that CLIENTS and SERVERS have of them.
const COMMON: usize = 21;

/// The columns behind them are those of buffers that the proxy doesn't have.
const BUFFERS: usize = 7;

pub(super) const PINS: &[Column] = &[
    Column("database", Text),
    Column("user", Text),
    Column("reason", Text),
    Column("client", Text),
    Column("server", Text),
    Column("application_name", Text),
    Column("addr", Text),
    Column("port", Int4),
    Column("connect_time", Text),
    Column("request_time", Text),
    Column("id", Int4),
];

pub(super) fn clients(view: &View<'_>, table: &mut Table) {
    for client in &view.state.clients {
        table.add(client_row(view, client, client.state.as_str()));
    }
}

pub(super) fn servers(view: &View<'_>, table: &mut Table) {
    for pool in view.state.pools.values() {
        for server in &pool.servers {
            table.add(server_row(view, pool, server, server.state.as_str()));
        }
        for _ in 0..pool.dialing {
            table.add(dial_row(pool, "new"));
        }
    }
}

pub(super) fn sockets(view: &View<'_>, table: &mut Table, only_active: bool) {
    let mut add = |mut row: Vec<Value>| {
        row.extend(std::iter::repeat_n(Value::from(0_u64), BUFFERS));
        table.add(row);
    };
    for client in &view.state.clients {
        let state = match client.state {
            ClientState::Waiting => "cl_waiting",
            ClientState::Active | ClientState::Idle => "cl_active",
        };
        if !only_active || client.state == ClientState::Active {
            add(client_row(view, client, state));
        }
    }
    for pool in view.state.pools.values() {
        for server in &pool.servers {
            let state = match server.state {
                ServerState::Active => "sv_active",
                ServerState::Idle => "sv_idle",
                ServerState::Tested => "sv_tested",
                ServerState::BeingCanceled => "sv_being_canceled",
                ServerState::Login => "sv_login",
            };
            if !only_active || server.state == ServerState::Active {
                add(server_row(view, pool, server, state));
            }
        }
        for _ in 0..if only_active { 0 } else { pool.dialing } {
            add(dial_row(pool, "sv_login"));
        }
    }
}

pub(super) fn pins(view: &View<'_>, table: &mut Table) {
    for client in &view.state.clients {
        let Some(reason) = client.pin else { continue };
        table.add(vec![
            (&*client.pool.database).into(),
            (&*client.user).into(),
            reason.as_str().into(),
            client.id.to_string().into(),
            client.server.map(|server| server.to_string()).into(),
            client.application_name.as_str().into(),
            client.peer.0.ip().to_string().into(),
            u64::from(client.peer.0.port()).into(),
            view.time(client.age).into(),
            client.request_age.map(|age| view.time(age)).into(),
            number(client.id.0),
        ]);
    }
}

fn client_row(view: &View<'_>, client: &ClientReport, state: &'static str) -> Vec<Value> {
    let (local_address, local_port) = ends(client.local);
    vec![
        "C".into(),
        (&*client.user).into(),
        (&*client.pool.database).into(),
        if client.is_replication { "physical" } else { "none" }.into(),
        state.into(),
        client.peer.0.ip().to_string().into(),
        u64::from(client.peer.0.port()).into(),
        local_address,
        local_port,
        view.time(client.age).into(),
        view.time(client.request_age.unwrap_or(client.age)).into(),
        client.wait.as_secs().into(),
        micros(client.wait),
        0_u64.into(),
        client.id.to_string().into(),
        client.server.map(|server| server.to_string()).unwrap_or_default().into(),
        0_u64.into(),
        "".into(),
        client.application_name.as_str().into(),
        client.statements.into(),
        number(client.id.0),
    ]
}

fn server_row(
    view: &View<'_>,
    pool: &PoolState,
    server: &ServerReport,
    state: &'static str,
) -> Vec<Value> {
    let (address, port) = match &server.address {
        Address::Tcp { host, port } => (host.clone(), u64::from(*port)),
        Address::Unix(_) => ("unix".to_owned(), 0),
    };
    let (local_address, local_port) = ends(server.local);
    let client = view.state.clients.iter().find(|client| Some(client.id) == server.client);
    let last_request = client.and_then(|client| client.request_age).or(server.idle);
    vec![
        "S".into(),
        (&*pool.key.user).into(),
        (&*pool.key.database).into(),
        "none".into(),
        state.into(),
        address.into(),
        port.into(),
        local_address,
        local_port,
        view.time(server.age).into(),
        view.time(last_request.unwrap_or(server.age)).into(),
        0_u64.into(),
        0_u64.into(),
        server.is_to_close.into(),
        server.id.to_string().into(),
        server.client.map(|client| client.to_string()).unwrap_or_default().into(),
        u64::try_from(server.pid).unwrap_or_default().into(),
        "".into(),
        client.map(|client| client.application_name.clone()).unwrap_or_default().into(),
        server.statements.into(),
        number(server.id.0),
    ]
}

/// A server connection that is not there yet.
fn dial_row(pool: &PoolState, state: &'static str) -> Vec<Value> {
    let mut row: Vec<Value> = vec![
        "S".into(),
        (&*pool.key.user).into(),
        (&*pool.key.database).into(),
        "none".into(),
        state.into(),
    ];
    let (mut address, mut port) = ("unix".to_owned(), 0);
    if let Address::Tcp { host, port: number } = &pool.target.address {
        (address, port) = (host.clone(), u64::from(*number));
    }
    row.extend([address.into(), port.into(), "".into(), 0_u64.into(), Value::Null, Value::Null]);
    row.extend([0_u64, 0, 0].map(Value::from));
    row.extend(["", ""].map(Value::from));
    row.extend([Value::from(0_u64), "".into(), "".into(), 0_u64.into(), 0_u64.into()]);
    row
}

fn ends(local: Option<SocketAddr>) -> (Value, Value) {
    match local {
        Some(local) => (local.ip().to_string().into(), u64::from(local.port()).into()),
        None => ("unix".into(), 0_u64.into()),
    }
}

fn micros(time: Duration) -> Value {
    u64::from(time.subsec_micros()).into()
}

/// An identifier in the room of an int4.
fn number(id: u64) -> Value {
    (id & 0x7fff_ffff).into()
}
