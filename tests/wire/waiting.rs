//! Waiting in vain and in hope: time limits, servers that are down or deaf, ages.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::launch::{Role, SOON, launch, launch_at};
use crate::support::frames::{bind, execute, extended, flush, parse, query, sync};
use crate::support::postgres::free_port;
use crate::support::{Options, Postgres, Proxy, Reply, StopMode, Wire, eventually};

/// A small cluster of one's own.
fn own_server() -> Postgres {
    Postgres::start(&Options { max_connections: 20, ..Options::default() })
}

/// A pool of one that one client holds; another one.
fn occupied(proxy: &Proxy, role: &Role) -> (Wire, Wire) {
    let mut holder = role.wire(proxy);
    holder.query("begin").ok();
    (holder, role.wire(proxy))
}

#[track_caller]
fn assert_timed_out(reply: &Reply, role: &Role) {
    assert_eq!(reply.sqlstate().as_deref(), Some("53300"), "{reply}");
    assert_eq!(reply.error_field('S').as_deref(), Some("ERROR"));
    let told = reply.error_field('M').unwrap();
    assert!(told.contains(&format!("postgres/{}", role.name())), "{told}");
    assert!(told.contains("250ms"), "{told}");
    assert!(reply.error_field('H').unwrap().contains("pool.wait_timeout"), "{reply}");
}

#[test]
fn a_statement_that_waited_too_long_says_for_what() {
    let proxy = launch("size=1 wait_timeout=250ms");
    let role = Role::new();
    let (mut holder, mut waiter) = occupied(&proxy, &role);
    let begin = Instant::now();
    let reply = waiter.query("select 1; select 2");
    assert!(begin.elapsed() >= Duration::from_millis(250));
    assert_eq!((reply.tags().as_str(), reply.status()), ("EZ", Some('I')));
    assert_timed_out(&reply, &role);
    // A transaction that did not begin is none.
    assert_eq!(waiter.query("begin").tags(), "EZ");
    holder.query("commit").ok();
    assert_eq!(waiter.query("select 3").ok().value(), "3");
    assert_eq!(waiter.query("commit").all(b'N').count(), 1);
}

#[test]
fn a_batch_that_waited_too_long_is_skipped_to_its_sync() {
    let proxy = launch("size=1 wait_timeout=250ms");
    let role = Role::new();
    let (mut holder, mut waiter) = occupied(&proxy, &role);
    let reply = waiter.ask(&[extended("select 1", &[]), sync()].concat());
    assert_eq!((reply.tags().as_str(), reply.status()), ("EZ", Some('I')));
    assert_timed_out(&reply, &role);

    // Without a Sync nothing more comes, whatever else is sent.
    waiter.send(&[parse("", "select 1", &[]), flush()].concat());
    assert_timed_out(&waiter.until(b'E'), &role);
    waiter.send(&[bind("", "", &[]), execute("", 0), flush(), query("select 4")].concat());
    assert!(waiter.is_silent_for(Duration::from_millis(400)));
    assert_eq!(waiter.ask(&sync()).tags(), "Z");

    // Each group of a pipeline waits by itself.
    let group = [extended("select 5", &[]), sync()].concat();
    waiter.send(&[group.clone(), group].concat());
    assert_timed_out(&waiter.until_ready(), &role);
    holder.query("commit").ok();
    assert_eq!(waiter.until_ready().ok().value(), "5");

    // The Parse that was skipped is not an unnamed statement.
    let run = [bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(waiter.ask(&run).ok().value(), "5");
    holder.query("begin").ok();
    assert_eq!(waiter.ask(&[parse("", "select 6", &[]), sync()].concat()).tags(), "EZ");
    holder.query("commit").ok();
    let reply = waiter.ask(&run);
    assert!(reply.rows() != ["6"], "{reply}");
    assert_eq!(waiter.extended("select 7", &[]).ok().value(), "7");
}

#[test]
fn a_login_that_waited_too_long_fails() {
    let proxy = launch("size=1 wait_timeout=250ms");
    let role = Role::new();
    let (_holder, _) = occupied(&proxy, &role);
    // Nothing is known yet of what the server reports for this setting.
    let mut wire = Wire::connect(proxy.port());
    let login = [("user", role.name()), ("database", "postgres"), ("TimeZone", "UTC")];
    let reply = wire.log_in(&login, None);
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("RE", Some("53300")));
    assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    assert!(wire.until_end().0.is_empty());
}

#[test]
fn one_too_many_in_the_queue_is_told_at_once() {
    let proxy = launch("size=1 waiters=1");
    let role = Role::new();
    let (mut holder, mut waiter) = occupied(&proxy, &role);
    waiter.send(&query("select 1"));
    crate::launch::barrier(&mut holder);
    let mut surplus = role.wire(&proxy);
    for reply in [surplus.query("select 2"), surplus.extended("select 2", &[])] {
        assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("EZ", Some("53300")));
        assert!(reply.error_field('H').unwrap().contains("pool.waiters"), "{reply}");
        assert!(reply.error_field('M').unwrap().contains(role.name()), "{reply}");
    }
    holder.query("commit").ok();
    waiter.until_ready().ok();
    surplus.query("select 2").ok();
}

#[test]
fn the_reserve_is_closed_again_by_its_idle_time() {
    let proxy = launch("size=1 reserve=1 reserve_after=200ms idle_timeout=300ms min=1");
    let role = Role::new();
    let (mut holder, mut waiter) = occupied(&proxy, &role);
    let begin = Instant::now();
    waiter.query("begin").ok();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(role.states().len(), 2);
    holder.query("commit").ok();
    waiter.query("commit").ok();
    // The minimum stays.
    role.await_states(&["idle"]);
    assert!(holder.is_silent_for(Duration::from_millis(500)));
    assert_eq!(role.states(), ["idle"]);
}

#[test]
fn the_minimum_is_filled_after_a_loss() {
    let proxy = launch("size=3 min=2");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("select 1").ok();
    role.await_states(&["idle", "idle"]);
    let first = role.pids();
    for pid in &first {
        Postgres::shared().kill_backend(*pid);
    }
    eventually("two others", SOON, || {
        let now = role.pids();
        now.len() == 2 && now.iter().all(|pid| !first.contains(pid))
    });
    wire.query("select 1").ok();
}

#[test]
fn an_old_connection_ends_its_transaction_first() {
    let proxy = launch("size=1 max_age=300ms");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("begin").ok();
    let pid = role.pids();
    assert!(wire.is_silent_for(Duration::from_millis(600)));
    assert_eq!(role.pids(), pid);
    wire.query("commit").ok();
    role.await_states(&[]);
    wire.query("select 1").ok();
    assert_ne!(role.pids(), pid);
}

// === Servers that are not there ===

#[test]
fn a_server_that_is_down_is_reported_at_once_and_found_again() {
    let server = own_server();
    let proxy = launch_at(server.port(), "retry_max=200ms retry_for=0ms");
    let mut wire = proxy.wire();
    wire.query("select 1").ok();
    server.stop(StopMode::Fast);
    let begin = Instant::now();
    for round in 0..20 {
        let reply =
            if round % 2 == 0 { wire.query("select 1") } else { wire.extended("select 1", &[]) };
        assert_eq!((reply.tags().as_str(), reply.status()), ("EZ", Some('I')));
        assert_eq!(reply.sqlstate().as_deref(), Some("08001"), "{reply}");
        assert!(reply.error_field('M').unwrap().contains(&server.port().to_string()));
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    server.start_again();
    eventually("the server is found", SOON, || wire.query("select 1").sqlstate().is_none());
    wire.query("begin; commit").ok();
    proxy.wire().query("select 1").ok();
}

#[test]
fn pauses_between_dials_grow() {
    let port = free_port();
    let proxy = launch_at(port, "retry_min=50ms retry_max=10s retry_for=0ms");
    let refused = || proxy.log().matches("server connection refused").count();
    let mut wire = Wire::connect(proxy.port());
    wire.log_in(&[("user", "a"), ("database", "b")], None);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        let mut wire = Wire::connect(proxy.port());
        let reply = wire.log_in(&[("user", "a"), ("database", "b")], None);
        assert_eq!(reply.sqlstate().as_deref(), Some("08001"));
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    }
    // 0, 50, 150, 350, 750 ms.
    assert!((3..=6).contains(&refused()), "{} dials:\n{}", refused(), proxy.log());
}

#[test]
fn those_that_can_be_served_do_not_fail_with_a_dial() {
    let server = own_server();
    let proxy =
        launch_at(server.port(), "size=2 connect_timeout=300ms retry_max=200ms retry_for=0ms");
    let mut holder = proxy.wire();
    let mut waiter = proxy.wire();
    holder.query("begin").ok();
    // The postmaster hears no more; the backend lives.
    server.signal("STOP");
    waiter.send(&query("select 'served'"));
    let told = "no answer within 300ms (pool.connect_timeout)";
    eventually("a dial fails", SOON, || proxy.log().contains(told));
    holder.query("commit").ok();
    assert_eq!(waiter.until_ready().ok().value(), "served");
    server.signal("CONT");
    holder.query("begin").ok();
    waiter.query("begin").ok();
    assert_eq!(server.backends().len(), 2);
}

#[test]
fn a_deaf_server_holds_nobody_for_ever() {
    let server = own_server();
    let proxy = launch_at(server.port(), "connect_timeout=300ms retry_max=200ms retry_for=0ms");
    server.signal("STOP");
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = Wire::connect(proxy.port());
                let reply = wire.log_in(&[("user", "postgres"), ("database", "postgres")], None);
                assert_eq!(reply.sqlstate().as_deref(), Some("08001"), "{reply}");
                let told = reply.error_field('M').unwrap();
                assert!(told.contains("pool.connect_timeout"), "{told}");
            });
        }
    });
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    server.signal("CONT");
    eventually("the server is found", SOON, || {
        let mut wire = Wire::connect(proxy.port());
        let login = [("user", "postgres"), ("database", "postgres")];
        wire.log_in(&login, None).sqlstate().is_none()
    });
}
