//! SIGTERM and SIGINT: who may finish, who is told, when the process ends and with which code.

use std::time::Duration;

use tokio::time::Instant;

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{PROTOCOL_3_0, copy_data, copy_done, extended, query, startup, sync};
use crate::support::{Postgres, Proxy, Reply, Wire, eventually};

const GRACE: &str = "server.shutdown_grace=60s";

/// All are told the same, as last words.
#[track_caller]
fn assert_farewell(reply: &Reply) {
    assert_eq!(reply.tags(), "E", "{reply}");
    assert_eq!(reply.sqlstate().as_deref(), Some("57P01"));
    assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    let told = reply.error_field('M').unwrap();
    assert_eq!(told, "terminating connection due to administrator command");
}

#[track_caller]
fn assert_ends(mut proxy: Proxy, code: i32, limit: Duration) {
    let begin = Instant::now();
    assert_eq!(proxy.wait_exit().code(), Some(code), "{}", proxy.log());
    assert!(begin.elapsed() < limit, "it took {:?}", begin.elapsed());
}

#[test]
fn idle_clients_are_told_and_the_process_ends() {
    for signal in ["TERM", "INT"] {
        let proxy = launch(&format!("size=2 server.workers=2 {GRACE}"));
        let role = Role::new();
        let mut clients: Vec<_> = (0..6).map(|_| role.wire(&proxy)).collect();
        clients[0].query("select 1").ok();
        clients[1].query("set work_mem = '5MB'").ok();
        proxy.signal(signal);
        for client in &mut clients {
            assert_farewell(&client.until_end());
        }
        assert_ends(proxy, 0, SOON);
        role.await_states(&[]);
    }
}

#[test]
fn a_transaction_may_be_completed() {
    let proxy = launch(&format!("size=1 {GRACE}"));
    let role = Role::new();
    role.wire(&proxy).query("create table shutdown_kept (a int)").ok();
    let mut wire = role.wire(&proxy);
    wire.query("begin; insert into shutdown_kept values (1)").ok();
    let mut idle = role.wire(&proxy);
    proxy.signal("TERM");
    assert_farewell(&idle.until_end());
    // Nobody else gets in.
    eventually("the port is closed", SOON, || Wire::try_connect(proxy.port()).is_err());
    wire.query("insert into shutdown_kept values (2)").ok();
    wire.extended("insert into shutdown_kept values ($1::int)", &[Some("3")]).ok();
    assert_eq!(wire.query("commit").ok().status(), Some('I'));
    assert_farewell(&wire.until_end());
    assert_ends(proxy, 0, SOON);
    let kept = Postgres::shared().psql("select count(*) from shutdown_kept");
    assert_eq!(kept, "3");
    Postgres::shared().psql("drop table shutdown_kept");
}

#[test]
fn what_runs_is_answered_first() {
    let proxy = launch(&format!("size=3 {GRACE}"));
    let role = Role::new();
    let mut simple = role.wire(&proxy);
    let mut batch = role.wire(&proxy);
    let mut copy = role.wire(&proxy);
    simple.send(&query("select pg_sleep(0.5), 'done'"));
    batch.send(&[extended("select pg_sleep(0.5)", &[]), sync()].concat());
    copy.query("create temp table t (a int)").ok();
    copy.send(&query("copy t from stdin"));
    copy.until(b'G');
    let mut waiter = role.wire(&proxy);
    waiter.send(&query("select 'waited'"));
    eventually("they run", SOON, || {
        role.states().iter().filter(|state| *state == "active").count() == 3
    });
    proxy.signal("TERM");
    assert_eq!(simple.until_ready().ok().rows(), ["|done"]);
    assert_farewell(&simple.until_end());
    assert_eq!(batch.until_ready().ok().tags(), "12TDCZ");
    assert_farewell(&batch.until_end());
    assert_eq!(waiter.until_ready().ok().value(), "waited");
    assert_farewell(&waiter.until_end());
    let reply = copy.ask(&[copy_data(b"1\n"), copy_done()].concat());
    assert_eq!(reply.ok().commands(), ["COPY 1"]);
    assert_farewell(&copy.until_end());
    assert_ends(proxy, 0, SOON);
}

#[test]
fn clients_that_have_not_logged_in_do_not_hold_it_up() {
    let proxy = launch(GRACE);
    proxy.wire().query("select 1").ok();
    let silent = Wire::connect(proxy.port());
    let mut half = Wire::connect(proxy.port());
    let packet = startup(PROTOCOL_3_0, &[("user", "postgres"), ("database", "postgres")]);
    half.send(&packet[..10]);
    // Accepted, both of them.
    let files = proxy.open_files();
    proxy.wire().close();
    eventually("they are there", SOON, || proxy.open_files() <= files + 2);
    proxy.signal("TERM");
    assert_ends(proxy, 0, SOON);
    drop(silent);
}

#[test]
fn the_grace_is_limited() {
    let proxy = launch("server.shutdown_grace=300ms");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("begin; create table shutdown_lost (a int)").ok();
    let mut busy = role.wire(&proxy);
    busy.send(&query("select pg_sleep(60)"));
    role.await_sleeper();
    proxy.signal("TERM");
    let begin = Instant::now();
    assert_farewell(&wire.until_end());
    assert!(begin.elapsed() >= Duration::from_millis(250), "{:?}", begin.elapsed());
    assert_farewell(&busy.until_end());
    assert_ends(proxy, 3, SOON);
    // What ran is cancelled, what was open rolled back.
    role.await_states(&[]);
    let left = Postgres::shared().psql("select to_regclass('shutdown_lost') is null");
    assert_eq!(left, "t");
}

#[test]
fn a_second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let proxy = launch(&format!("size=1 {GRACE}"));
        let mut wire = proxy.wire();
        wire.query("begin").ok();
        let mut waiter = proxy.wire();
        waiter.send(&query("select 1"));
        let mut replica = Wire::connect(proxy.port());
        let login = [("user", "postgres"), ("database", "postgres"), ("replication", "database")];
        replica.log_in(&login, None).ok();
        proxy.signal("TERM");
        eventually("it drains", SOON, || Wire::try_connect(proxy.port()).is_err());
        wire.query("select 1").ok();
        proxy.signal(second);
        assert_ends(proxy, 3, Duration::from_millis(800));
        assert_farewell(&wire.until_end());
        assert_farewell(&waiter.until_end());
        assert!(replica.until_end().0.is_empty());
    }
}

#[test]
fn an_address_in_use_is_a_failed_start() {
    let proxy = launch("");
    let upstream = format!("postgres://127.0.0.1:{}", Postgres::shared().port());
    let listen = format!("server.listen=127.0.0.1:{}", proxy.port());
    let refusal =
        Proxy::builder().args(["--upstream", &upstream]).set(&listen).try_start().unwrap_err();
    assert_eq!(refusal.status.code(), Some(1));
    assert!(refusal.log.contains(&format!("can't listen on 127.0.0.1:{}", proxy.port())));
}
