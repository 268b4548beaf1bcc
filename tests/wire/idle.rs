//! Transactions that nobody goes on with (`limits.idle_transaction`).

use std::time::Duration;

use crate::launch::{Role, launch};
use crate::support::frames::{frame, parse, query, sync};
use crate::support::{Postgres, Proxy, Reply, Wire};

fn limited() -> Proxy {
    launch("size=1 limits.idle_transaction=300ms")
}

#[track_caller]
fn assert_idle_end(wire: &mut Wire) -> Reply {
    let reply = wire.until_end();
    assert_eq!(reply.tags(), "E", "{reply}");
    assert_eq!(reply.sqlstate().as_deref(), Some("25P03"));
    assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    let told = reply.error_field('M').unwrap();
    assert_eq!(told, "terminating connection due to idle-in-transaction timeout");
    reply
}

#[test]
fn an_idle_transaction_is_ended_and_rolled_back() {
    let proxy = limited();
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    other.query("create table idle_rolled (a int)").ok();
    wire.query("begin; insert into idle_rolled values (1)").ok();
    let pid = role.pids();
    assert_idle_end(&mut wire);
    assert_eq!(other.query("select count(*) from idle_rolled").ok().value(), "0");
    assert_eq!(role.pids(), pid);
    other.query("drop table idle_rolled").ok();
}

#[test]
fn so_is_a_failed_one_and_one_of_the_extended_protocol() {
    let proxy = limited();
    let role = Role::new();
    let mut failed = role.wire(&proxy);
    assert_eq!(failed.query("begin; select 1/0").status(), Some('E'));
    assert_idle_end(&mut failed);
    let mut extended = role.wire(&proxy);
    extended.extended("begin", &[]).ok();
    assert_idle_end(&mut extended);
    let mut local = role.wire(&proxy);
    local.query("begin").ok();
    local.ask(&sync()).ok();
    assert_idle_end(&mut local);
}

#[test]
fn half_a_message_does_not_put_it_off() {
    let proxy = limited();
    let mut wire = proxy.wire();
    wire.query("begin").ok();
    wire.send(&query("select 1")[..7]);
    assert_idle_end(&mut wire);
    let mut header = proxy.wire();
    header.query("begin").ok();
    header.send(&frame(b'S', &[])[..3]);
    assert_idle_end(&mut header);
}

#[test]
fn who_is_busy_is_left_alone() {
    let proxy = limited();
    let role = Role::new();
    // A statement that takes long.
    let mut wire = role.wire(&proxy);
    wire.query("begin; select pg_sleep(0.5)").ok();
    wire.query("select pg_sleep(0.5)").ok();
    wire.query("commit").ok();
    // Idle outside of a transaction, with the connection kept or not.
    wire.query("set work_mem = '5MB'").ok();
    assert!(wire.is_silent_for(Duration::from_millis(500)));
    wire.close();
    // A transaction that goes on in time.
    let mut wire = role.wire(&proxy);
    wire.query("begin").ok();
    for _ in 0..6 {
        assert!(wire.is_silent_for(Duration::from_millis(100)));
        wire.query("select 1").ok();
    }
    wire.query("commit").ok();
    // As in PostgreSQL, a batch without its Sync is no idle transaction.
    wire.send(&[parse("", "select 1", &[])].concat());
    assert!(wire.is_silent_for(Duration::from_millis(500)));
    wire.ask(&sync()).ok();
}

#[test]
fn the_default_is_no_limit() {
    let proxy = Proxy::sidecar(Postgres::shared());
    let mut wire = proxy.wire();
    wire.query("begin").ok();
    assert!(wire.is_silent_for(Duration::from_millis(400)));
    wire.query("commit").ok();
}
