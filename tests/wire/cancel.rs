//! CancelRequests: they hit what their client runs or waits for, and nobody else's statement.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::launch::{Role, launch};
use crate::support::frames::{PROTOCOL_3_2, cancel_request, extended, query, ssl_request, sync};
use crate::support::{Proxy, Wire};

const INTERRUPTED: Option<&str> = Some("57014");

/// Sends a CancelRequest and waits until the proxy has closed.
fn cancel(port: u16, pid: i32, key: &[u8]) {
    let mut wire = Wire::connect(port);
    wire.send(&cancel_request(pid, key));
    assert!(wire.until_end().0.is_empty());
}

#[test]
fn a_running_statement_is_cancelled() {
    let proxy = launch("");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    for request in
        [query("select pg_sleep(60)"), [extended("select pg_sleep(60)", &[]), sync()].concat()]
    {
        wire.send(&request);
        role.await_sleeper();
        wire.cancel(proxy.port());
        let reply = wire.until_ready();
        assert_eq!(reply.sqlstate().as_deref(), INTERRUPTED);
        assert_eq!(reply.status(), Some('I'));
        assert_eq!(wire.query("select 1").value(), "1");
    }
}

#[test]
fn a_statement_in_a_transaction_is_cancelled() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("begin").ok();
    wire.send(&query("select pg_sleep(60)"));
    role.await_sleeper();
    wire.cancel(proxy.port());
    assert_eq!(wire.until_ready().status(), Some('E'));
    wire.query("rollback").ok();
    role.await_states(&["idle"]);
}

#[test]
fn a_cancel_may_ask_for_encryption_first() {
    let proxy = launch("");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.send(&query("select pg_sleep(60)"));
    role.await_sleeper();
    let mut second = Wire::connect(proxy.port());
    second.send(&ssl_request());
    assert_eq!(second.byte(), b'N');
    second.send(&cancel_request(wire.pid, &wire.key));
    second.until_end();
    assert_eq!(wire.until_ready().sqlstate().as_deref(), INTERRUPTED);
}

#[test]
fn long_keys_cancel_too() {
    let proxy = launch("");
    let role = Role::new();
    let mut wire = Wire::connect(proxy.port());
    let login = [("user", role.name()), ("database", "postgres")];
    wire.log_in_version(PROTOCOL_3_2, &login, None).ok();
    wire.send(&query("select pg_sleep(60)"));
    let pid = role.await_sleeper();
    // The key is compared as a whole.
    cancel(proxy.port(), wire.pid, &wire.key[..4]);
    cancel(proxy.port(), wire.pid, &wire.key[..31]);
    cancel(proxy.port(), wire.pid, &[&wire.key[..], &[0]].concat());
    assert_eq!(role.await_sleeper(), pid);
    wire.cancel(proxy.port());
    assert_eq!(wire.until_ready().sqlstate().as_deref(), INTERRUPTED);
}

#[test]
fn a_wrong_key_cancels_nothing() {
    let proxy = launch("server.workers=2");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.send(&query("select pg_sleep(60)"));
    let server_pid = role.await_sleeper();
    let mut wrong = wire.key.clone();
    wrong[3] ^= 1;
    let tries = [
        (wire.pid, wrong.clone()),
        (wire.pid, vec![0; 4]),
        (wire.pid, vec![0; 32]),
        (wire.pid, vec![0; 256]),
        (wire.pid + 1, wire.key.clone()),
        (-wire.pid, wire.key.clone()),
        (0, wire.key.clone()),
        (i32::MAX, wire.key.clone()),
        (i32::MIN, wire.key.clone()),
        // PostgreSQL's own pid is not ours.
        (server_pid, wire.key.clone()),
    ];
    for (pid, key) in tries {
        cancel(proxy.port(), pid, &key);
    }
    // Too short, too long: no key at all.
    cancel(proxy.port(), wire.pid, &[]);
    cancel(proxy.port(), wire.pid, &[0; 257]);
    assert_eq!(role.await_sleeper(), server_pid);
    wire.cancel(proxy.port());
    assert_eq!(wire.until_ready().sqlstate().as_deref(), INTERRUPTED);
}

#[test]
fn an_idle_client_has_nothing_to_cancel() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut idle = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    idle.query("select 1").ok();
    other.send(&query("select pg_sleep(0.3), 'done'"));
    role.await_sleeper();
    for _ in 0..20 {
        idle.cancel(proxy.port());
    }
    assert_eq!(other.until_ready().ok().rows(), ["|done"]);
    assert_eq!(idle.query("select 1").value(), "1");
}

#[test]
fn who_waits_for_a_server_is_cancelled_by_the_proxy() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    let mut waiter = role.wire(&proxy);
    holder.query("begin").ok();
    waiter.send(&query("select 1"));
    crate::launch::barrier(&mut holder);
    waiter.cancel(proxy.port());
    let reply = waiter.until_ready();
    assert_eq!(reply.tags(), "EZ");
    assert_eq!(reply.sqlstate().as_deref(), INTERRUPTED);
    assert_eq!(reply.error_field('M').as_deref(), Some("canceling statement due to user request"));
    // An extended batch is skipped up to its Sync.
    waiter.send(&extended("select 1", &[]));
    crate::launch::barrier(&mut holder);
    waiter.cancel(proxy.port());
    assert_eq!(waiter.until(b'E').sqlstate().as_deref(), INTERRUPTED);
    waiter.send(&extended("select 2", &[]));
    assert_eq!(waiter.ask(&sync()).tags(), "Z");
    // The holder's transaction did not notice.
    assert_eq!(holder.query("select 1").status(), Some('T'));
    holder.query("commit").ok();
    assert_eq!(waiter.query("select 3").value(), "3");
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn a_cancel_finds_its_client_on_any_worker() {
    let proxy = launch("server.workers=2");
    let role = Role::new();
    let mut wires: Vec<_> = (0..4).map(|_| role.wire(&proxy)).collect();
    let workers: std::collections::BTreeSet<_> = wires.iter().map(|wire| wire.pid & 63).collect();
    assert_eq!(workers.len(), 2, "clients are on both workers");
    for wire in &mut wires {
        wire.send(&query("select pg_sleep(60)"));
        role.await_sleeper();
        // Each of these arrives on the worker with the fewest clients.
        wire.cancel(proxy.port());
        assert_eq!(wire.until_ready().sqlstate().as_deref(), INTERRUPTED);
    }
}

#[test]
fn a_storm_of_cancels_never_hits_the_neighbour() {
    storm(&launch("size=1"), 300);
}

#[test]
fn a_storm_of_cancels_never_hits_a_neighbour_on_another_worker() {
    storm(&launch("size=1 server.workers=2"), 200);
}

/// Many cancels aimed at one client while two share one server connection.
fn storm(proxy: &Proxy, rounds: usize) {
    let role = Role::new();
    let mut target = role.wire(proxy);
    let mut neighbour = role.wire(proxy);
    let (port, pid, key) = (proxy.port(), target.pid, target.key.clone());
    let over = AtomicBool::new(false);
    let hits = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    cancel(port, pid, &key);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let reply = target.query("select pg_sleep(0.0005)");
                match reply.sqlstate().as_deref() {
                    None => {}
                    INTERRUPTED => _ = hits.fetch_add(1, Ordering::Relaxed),
                    Some(other) => panic!("{other}: {reply}"),
                }
            }
        });
        let replies: Vec<_> =
            (0..rounds).map(|_| neighbour.query("select pg_sleep(0.0005)")).collect();
        over.store(true, Ordering::Relaxed);
        for reply in replies {
            assert!(reply.sqlstate().is_none(), "the neighbour was hit: {reply}");
        }
    });
    assert!(hits.load(Ordering::Relaxed) > 0, "no cancel has hit its target");
    assert!(target.is_silent_for(Duration::from_millis(10)));
    assert_eq!(role.pids().len(), 1);
}
