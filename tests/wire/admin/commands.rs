//! Commands: PgBouncer's own behaviour is the reference.

use std::time::Duration;

use super::{number, show};
use crate::launch::{Role, SOON, launch, launch_at};
use crate::support::frames::query;
use crate::support::{Options, Postgres, Wire, eventually};

#[test]
fn pause_waits_for_transactions_and_resume_lets_the_queue_go() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut open = role.wire(&proxy);
    open.query("begin").ok();
    let mut idle = role.wire(&proxy);
    idle.query("select 1").ok();
    console.send(&query("PAUSE"));
    // Idle server connections go at once, the one in a transaction does not.
    role.await_states(&["idle in transaction"]);
    assert!(console.is_silent_for(Duration::from_millis(30)));
    open.query("select 1").ok();
    idle.send(&query("select 2"));
    assert!(idle.is_silent_for(Duration::from_millis(30)));
    open.query("commit").ok();
    assert_eq!(console.until_ready().ok().commands(), ["PAUSE"]);
    role.await_states(&[]);
    // A client that logs in now waits as well.
    let mut other = proxy.console();
    assert_eq!(show(&mut other, "STATE")[1]["value"], "yes");
    assert_eq!(number(&show(&mut other, "POOLS")[0], "cl_waiting"), 1);
    assert_eq!(other.query("PAUSE").sqlstate().as_deref(), Some("55000"));
    assert_eq!(other.query("RESUME").ok().commands(), ["RESUME"]);
    assert_eq!(idle.until_ready().ok().value(), "2");
    assert_eq!(open.query("select 3").ok().value(), "3");
    assert_eq!(other.query("RESUME").sqlstate().as_deref(), Some("55000"));
}

#[test]
fn one_database_can_be_paused_alone() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut paused = role.wire(&proxy);
    paused.query("select 1").ok();
    let mut other = Wire::login(proxy.port(), role.name(), "template1");
    console.query("PAUSE postgres").ok();
    other.query("select 1").ok();
    paused.send(&query("select 1"));
    assert!(paused.is_silent_for(Duration::from_millis(30)));
    let databases = show(&mut console, "DATABASES");
    let is_paused = |name: &str| {
        databases.iter().find(|row| row["name"] == name).map(|row| row["paused"].clone())
    };
    assert_eq!(is_paused("postgres").as_deref(), Some("1"));
    assert_eq!(is_paused("template1").as_deref(), Some("0"));
    // RESUME for all is not about single ones.
    assert_eq!(console.query("RESUME").sqlstate().as_deref(), Some("55000"));
    console.query("RESUME \"postgres\"").ok();
    paused.until_ready().ok();
}

#[test]
fn a_pause_ended_by_resume_says_so() {
    let role = Role::new();
    let proxy = launch("size=2");
    let (mut console, mut other) = (proxy.console(), proxy.console());
    let mut open = role.wire(&proxy);
    open.query("begin").ok();
    console.send(&query("PAUSE"));
    eventually("it pauses", SOON, || show(&mut other, "STATE")[1]["value"] == "yes");
    other.query("RESUME").ok();
    assert_eq!(console.until_ready().sqlstate().as_deref(), Some("55000"));
    open.query("commit").ok();
}

#[test]
fn who_waits_for_resume_can_cancel() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut client = role.wire(&proxy);
    client.query("select 1").ok();
    console.query("PAUSE").ok();
    client.send(&query("select 1"));
    eventually("it waits", SOON, || number(&show(&mut console, "POOLS")[0], "cl_waiting") == 1);
    client.cancel(proxy.port());
    assert_eq!(client.until_ready().sqlstate().as_deref(), Some("57014"));
    console.query("RESUME").ok();
    client.query("select 1").ok();
}

#[test]
fn a_disabled_database_lets_nobody_in_and_nobody_out() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut inside = role.wire(&proxy);
    console.query("DISABLE postgres").ok();
    inside.query("select 1").ok();
    let mut refused = Wire::connect(proxy.port());
    let parameters = [("user", role.name()), ("database", "postgres")];
    assert_eq!(refused.log_in(&parameters, None).sqlstate().as_deref(), Some("55000"));
    console.query("ENABLE postgres").ok();
    role.wire(&proxy).query("select 1").ok();
    assert_eq!(console.query("DISABLE").sqlstate().as_deref(), Some("42601"));
}

#[test]
fn reconnect_replaces_connections_as_they_come_back() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut open = role.wire(&proxy);
    open.query("begin").ok();
    role.wire(&proxy).query("select 1").ok();
    let before = role.pids();
    console.query("RECONNECT").ok();
    let servers = show(&mut console, "SERVERS");
    assert_eq!(servers.iter().filter(|row| row["close_needed"] == "1").count(), 1);
    let mut waiting = proxy.console();
    waiting.send(&query("WAIT_CLOSE"));
    assert!(waiting.is_silent_for(Duration::from_millis(30)));
    open.query("select 1; commit").ok();
    waiting.until_ready().ok();
    open.query("select 1").ok();
    eventually("none of the old ones is left", SOON, || {
        role.pids().iter().all(|pid| !before.contains(pid))
    });
}

#[test]
fn kill_ends_all_of_a_database_until_resume() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut busy = role.wire(&proxy);
    busy.send(&query("select pg_sleep(60)"));
    role.await_sleeper();
    let mut idle = role.wire(&proxy);
    let mut elsewhere = Wire::login(proxy.port(), role.name(), "template1");
    console.query("KILL postgres").ok();
    for client in [&mut busy, &mut idle] {
        let end = client.until_end();
        assert_eq!(end.sqlstate().as_deref(), Some("57P01"), "{end:?}");
    }
    elsewhere.query("select 1").ok();
    drop(elsewhere);
    eventually("the statement is gone", SOON, || {
        role.states().iter().all(|state| state != "active")
    });
    let mut late = Wire::connect(proxy.port());
    late.send(&crate::support::frames::startup(
        196_608,
        &[("user", role.name()), ("database", "postgres")],
    ));
    console.query("RESUME postgres").ok();
    late.until_ready().ok();
    late.query("select 1").ok();
}

#[test]
fn one_client_can_be_killed() {
    let role = Role::new();
    let proxy = launch("size=1");
    let mut console = proxy.console();
    let mut victim = role.wire(&proxy);
    victim.query("set application_name = 'victim'; begin").ok();
    let mut waiting = role.wire(&proxy);
    waiting.send(&query("select 1"));
    eventually("it waits", SOON, || number(&show(&mut console, "POOLS")[0], "cl_waiting") == 1);
    let clients = show(&mut console, "CLIENTS");
    let id = |state: &str| clients.iter().find(|row| row["state"] == state).unwrap()["id"].clone();
    assert_eq!(console.query("KILL_CLIENT 1").sqlstate().as_deref(), Some("55000"));
    console.query(&format!("KILL_CLIENT {}", id("active"))).ok();
    assert_eq!(victim.until_end().sqlstate().as_deref(), Some("57P01"));
    waiting.until_ready().ok();
    // One that waits can be killed too.
    let mut holder = role.wire(&proxy);
    holder.query("begin").ok();
    waiting.send(&query("select 1"));
    eventually("it waits", SOON, || number(&show(&mut console, "POOLS")[0], "cl_waiting") == 1);
    let clients = show(&mut console, "CLIENTS");
    let waiter = clients.iter().find(|row| row["state"] == "waiting").unwrap();
    console.query(&format!("KILL_CLIENT {}", waiter["id"])).ok();
    assert_eq!(waiting.until_end().sqlstate().as_deref(), Some("57P01"));
    holder.query("commit").ok();
}

#[test]
fn what_it_cannot_do_is_said_and_the_session_stays_in_step() {
    let proxy = launch("size=2");
    let mut console = proxy.console();
    for (sql, code) in [
        ("SUSPEND", "0A000"),
        ("PAUSE nowhere nothing", "42601"),
        ("SELECT * FROM pg_catalog.pg_class", "42601"),
        ("\u{1}", "42601"),
        ("SHOW nothing", "42601"),
        ("SET pool.size = 0", "F0000"),
        ("SET pool.nonsense = 1", "F0000"),
    ] {
        assert_eq!(console.query(sql).sqlstate().as_deref(), Some(code), "{sql}");
        assert_eq!(console.extended(sql, &[]).sqlstate().as_deref(), Some(code), "{sql}");
        console.query("SHOW VERSION").ok();
    }
    // What drivers send by themselves.
    for sql in [
        "SET extra_float_digits = 3",
        "SET application_name = 'x'",
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
        "SELECT 1",
        "",
    ] {
        console.query(sql).ok();
    }
    assert_eq!(console.query("BEGIN").status(), Some('T'));
    assert_eq!(console.query("SHOW VERSION").status(), Some('T'));
    assert_eq!(console.query("COMMIT").status(), Some('I'));
}

#[test]
fn garbage_ends_the_console_session_alone() {
    let proxy = launch("size=2");
    let mut garbage = proxy.console();
    garbage.send(&[b'Q', 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(garbage.until_end().sqlstate().as_deref(), Some("08P01"));
    let mut broken = proxy.console();
    // A Parse that ends before its number of parameters, and a query behind it.
    broken.send(
        &[&crate::support::frames::frame(b'P', b"\0SHOW VERSION\0")[..], &query("SHOW VERSION")]
            .concat(),
    );
    broken.until_end();
    proxy.console().query("SHOW VERSION").ok();
    proxy.wire().query("select 1").ok();
}

#[test]
fn shutdown_waits_for_clients_and_ends() {
    let role = Role::new();
    let mut proxy = launch("size=2");
    let mut console = proxy.console();
    let mut client = role.wire(&proxy);
    console.query("SHUTDOWN WAIT_FOR_CLIENTS").ok();
    eventually("nobody is let in", SOON, || Wire::try_connect(proxy.port()).is_err());
    client.query("select 1").ok();
    console.query("SHOW CLIENTS").ok();
    client.close();
    assert!(proxy.wait_exit().success());
}

#[test]
fn shutdown_waits_for_servers() {
    let role = Role::new();
    let mut proxy = launch("size=2");
    let mut console = proxy.console();
    let mut idle = role.wire(&proxy);
    let mut open = role.wire(&proxy);
    open.query("begin").ok();
    console.query("SHUTDOWN WAIT_FOR_SERVERS").ok();
    assert_eq!(idle.until_end().sqlstate().as_deref(), Some("57P01"));
    open.query("select 1").ok();
    open.query("commit");
    assert!(proxy.wait_exit().success());
}

#[test]
fn shutdown_at_once() {
    let role = Role::new();
    let mut proxy = launch("size=2");
    let mut client = role.wire(&proxy);
    client.query("begin").ok();
    proxy.console().send(&query("SHUTDOWN"));
    assert_eq!(client.until_end().sqlstate().as_deref(), Some("57P01"));
    assert_eq!(proxy.wait_exit().code(), Some(3));
}

/// What PAUSE is for.
#[test]
fn a_server_can_be_restarted_behind_a_pause() {
    let postgres = Postgres::start(&Options::default());
    let proxy = launch_at(postgres.port(), "size=2");
    let mut client = proxy.wire();
    client.query("select 1").ok();
    let mut console = proxy.console();
    console.query("PAUSE").ok();
    client.send(&query("select 2"));
    postgres.restart();
    console.query("RESUME").ok();
    assert_eq!(client.until_ready().ok().value(), "2");
}
