//! Who gets a server connection, and when: size, order, modes, settings, workers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::launch::{Role, barrier, launch};
use crate::support::frames::{extended, parse, query, sync};
use crate::support::{Postgres, Proxy, Wire, eventually};

fn server_pid(wire: &mut Wire) -> String {
    wire.query("select pg_backend_pid()").ok().value()
}

#[test]
fn who_waits_longest_is_served_first() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    holder.query("create sequence pools_turn; begin").ok();
    let mut waiters: Vec<_> = (0..20).map(|_| role.wire(&proxy)).collect();
    for wire in &mut waiters {
        wire.send(&query("select nextval('pools_turn')"));
        barrier(&mut holder);
    }
    holder.query("commit").ok();
    let turns: Vec<_> = waiters.iter_mut().map(|wire| wire.until_ready().ok().value()).collect();
    let expected: Vec<_> = (1..=20).map(|turn| turn.to_string()).collect();
    assert_eq!(turns, expected);
    holder.query("drop sequence pools_turn").ok();
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn a_new_request_does_not_overtake_those_that_wait() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut greedy = role.wire(&proxy);
    let mut waiter = role.wire(&proxy);
    greedy.query("begin").ok();
    waiter.send(&query("select 'waiter', clock_timestamp()"));
    barrier(&mut greedy);
    greedy.query("commit").ok();
    greedy.send(&query("select 'greedy', clock_timestamp()"));
    let first = waiter.until_ready().ok().rows().remove(0);
    let second = greedy.until_ready().ok().rows().remove(0);
    let time = |row: &str| row.split_once('|').unwrap().1.to_owned();
    assert!(time(&first) < time(&second), "{first} {second}");
}

#[test]
fn the_size_is_never_exceeded() {
    for workers in [1, 2] {
        crowd(&launch(&format!("size=3 server.workers={workers}")), 3);
    }
}

/// 32 clients at once; the server is watched meanwhile.
fn crowd(proxy: &Proxy, size: usize) {
    let role = Role::new();
    let over = AtomicBool::new(false);
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(role.pids().len(), Ordering::Relaxed);
            }
        });
        let clients: Vec<_> = (0..32)
            .map(|number: usize| {
                let mut wire = role.wire(proxy);
                scope.spawn(move || {
                    for round in 0..10 {
                        let reply = match (number + round) % 3 {
                            0 => wire.query("select pg_sleep(0.001)"),
                            1 => wire.extended("select $1::int", &[Some("1")]),
                            _ => wire.query("begin; select pg_sleep(0.001); commit"),
                        };
                        assert!(reply.sqlstate().is_none(), "{reply}");
                    }
                })
            })
            .collect();
        let results: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    let most = most.load(Ordering::Relaxed);
    assert!(most <= size && most > 0, "{most} server connections");
    role.await_states(&vec!["idle"; role.pids().len()]);
}

#[test]
fn a_place_moves_between_workers() {
    let proxy = launch("size=1 server.workers=2");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut two = role.wire(&proxy);
    assert_eq!(BTreeSet::from([one.pid & 63, two.pid & 63]).len(), 2);
    let mut pids = BTreeSet::new();
    for _ in 0..20 {
        pids.insert(server_pid(&mut one));
        pids.insert(server_pid(&mut two));
    }
    // The connection itself moves; it is not made anew.
    assert_eq!(pids.len(), 1);
    assert_eq!(role.states(), ["idle"]);
    // Also to one that waits already.
    one.query("begin").ok();
    two.send(&query("select 2"));
    assert!(two.is_silent_for(Duration::from_millis(30)));
    one.query("commit").ok();
    assert_eq!(two.until_ready().ok().value(), "2");
}

#[test]
fn transaction_mode_shares_a_connection() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut two = role.wire(&proxy);
    assert_eq!(server_pid(&mut one), server_pid(&mut two));
    one.query("begin").ok();
    two.send(&query("select 1"));
    assert!(two.is_silent_for(Duration::from_millis(30)));
    // A failed transaction is still one.
    one.query("select 1/0");
    assert!(two.is_silent_for(Duration::from_millis(30)));
    one.query("rollback").ok();
    assert_eq!(two.until_ready().ok().value(), "1");
}

#[test]
fn the_connection_used_last_is_used_next() {
    let proxy = launch("size=5");
    let role = Role::new();
    let mut wires: Vec<_> = (0..5).map(|_| role.wire(&proxy)).collect();
    for wire in &mut wires {
        wire.query("begin").ok();
    }
    for wire in &mut wires {
        wire.query("commit").ok();
    }
    let pids: BTreeSet<_> = wires.iter_mut().map(server_pid).collect();
    assert_eq!((pids.len(), role.pids().len()), (1, 5));
}

#[test]
fn session_mode_keeps_the_connection() {
    let proxy = launch("mode=session size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let pid = server_pid(&mut one);
    one.query("set work_mem = '7MB'; prepare p as select 1; listen kept").ok();
    let mut two = role.wire(&proxy);
    two.send(&query("show work_mem"));
    assert!(two.is_silent_for(Duration::from_millis(30)));
    assert_eq!(one.query("show work_mem").value(), "7MB");
    assert_eq!(one.query("execute p").value(), "1");
    one.ask(&[parse("s", "select 1", &[]), sync()].concat()).ok();
    assert_eq!(server_pid(&mut one), pid);
    one.close();
    // The next client finds nothing of it.
    assert_eq!(two.until_ready().ok().value(), "4MB");
    assert_eq!(two.query("select count(*) from pg_prepared_statements").value(), "0");
    assert_eq!(two.query("select count(*) from pg_listening_channels()").value(), "0");
    assert_eq!(server_pid(&mut two), pid);
    // What DISCARD ALL can't undo goes with the connection.
    two.query("create temp table kept (a int)").ok();
    two.close();
    assert_ne!(server_pid(&mut role.wire(&proxy)), pid);
}

#[test]
fn statement_mode_refuses_transaction_blocks() {
    let proxy = launch("mode=statement size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    assert_eq!(wire.query("select 1").value(), "1");
    assert_eq!(wire.extended("select 2", &[]).value(), "2");
    assert_eq!(wire.query("begin; select 3; commit").ok().value(), "3");
    for begin in [query("begin"), [extended("begin", &[]), sync()].concat()] {
        let mut wire = role.wire(&proxy);
        wire.send(&begin);
        let reply = wire.until_end();
        assert_eq!(reply.sqlstate().as_deref(), Some("0A000"));
        let message = reply.error_field('M').unwrap();
        assert_eq!(message, "transaction blocks not allowed in statement pooling mode");
        role.await_states(&["idle"]);
    }
    assert_eq!(wire.query("select 1").value(), "1");
}

#[test]
fn settings_of_the_startup_packet_are_each_clients_own() {
    let proxy = launch("size=1");
    let role = Role::new();
    let log_in = |settings: &[(&str, &str)]| {
        let mut wire = Wire::connect(proxy.port());
        let login = [("user", role.name()), ("database", "postgres")];
        let parameters: Vec<_> = login.iter().chain(settings).copied().collect();
        wire.log_in(&parameters, None).ok();
        wire
    };
    let mut one = log_in(&[("application_name", "one"), ("options", "-c work_mem=5MB")]);
    let mut two = log_in(&[("application_name", "two"), ("TimeZone", "Asia/Tokyo")]);
    let mut none = log_in(&[]);
    assert_eq!(one.parameters["application_name"], "one");
    assert_eq!(two.parameters["TimeZone"], "Asia/Tokyo");
    let sql = "select current_setting('application_name'), current_setting('work_mem'), \
               current_setting('timezone') = 'Asia/Tokyo'";
    for _ in 0..5 {
        assert_eq!(one.query(sql).ok().rows(), ["one|5MB|f"]);
        assert_eq!(two.query(sql).ok().rows(), ["two|4MB|t"]);
        assert_eq!(none.query(sql).ok().rows(), ["|4MB|f"]);
        // PostgreSQL takes its time to end a process whose connection is closed.
        eventually("one server process", Duration::from_secs(4), || role.pids().len() <= 1);
    }
    // While another's is in use, one waits for it.
    one.query("begin").ok();
    two.send(&query(sql));
    assert!(two.is_silent_for(Duration::from_millis(150)));
    one.query("commit").ok();
    assert_eq!(two.until_ready().ok().rows(), ["two|4MB|t"]);
}

#[test]
fn waiting_has_a_limit_that_is_named() {
    let proxy = launch("size=1 wait_timeout=200ms");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    let mut waiter = role.wire(&proxy);
    holder.query("begin").ok();
    let reply = waiter.query("select 1");
    assert_eq!(reply.tags(), "EZ");
    assert_eq!(reply.sqlstate().as_deref(), Some("53300"));
    let message = reply.error_field('M').unwrap();
    assert!(message.contains(&format!("postgres/{}", role.name())), "{message}");
    assert!(message.contains("200ms"), "{message}");
    assert!(reply.error_field('H').unwrap().contains("pool.wait_timeout"), "{reply}");
    // A pipeline is skipped as a whole, each group of it.
    waiter.send(
        &[extended("select 1", &[]), extended("select 2", &[]), sync(), query("select 3")].concat(),
    );
    assert_eq!(waiter.until_ready().tags(), "EZ");
    assert_eq!(waiter.until_ready().tags(), "EZ");
    holder.query("commit").ok();
    assert_eq!(waiter.query("select 1").ok().value(), "1");
}

#[test]
fn the_queue_has_a_limit() {
    let proxy = launch("size=1 waiters=2");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    let mut wires: Vec<_> = (0..3).map(|_| role.wire(&proxy)).collect();
    holder.query("begin").ok();
    for wire in &mut wires {
        wire.send(&query("select 1"));
        barrier(&mut holder);
    }
    let refused = wires.pop().unwrap().until_ready();
    assert_eq!(refused.sqlstate().as_deref(), Some("53300"));
    assert!(refused.error_field('H').unwrap().contains("pool.waiters"), "{refused}");
    holder.query("commit").ok();
    for wire in &mut wires {
        wire.until_ready().ok();
    }
}

#[test]
fn a_reserve_is_for_those_that_wait_too_long() {
    let proxy = launch("size=1 reserve=1 reserve_after=200ms");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    let mut waiter = role.wire(&proxy);
    let mut third = role.wire(&proxy);
    holder.query("begin").ok();
    waiter.send(&query("begin"));
    assert!(waiter.is_silent_for(Duration::from_millis(100)));
    waiter.until_ready().ok();
    third.send(&query("select 1"));
    assert!(third.is_silent_for(Duration::from_millis(400)));
    assert_eq!(role.pids().len(), 2);
    holder.query("commit").ok();
    third.until_ready().ok();
}

#[test]
fn idle_and_old_connections_are_closed() {
    let role = Role::new();
    let proxy = launch("size=3 idle_timeout=200ms");
    role.wire(&proxy).query("select 1").ok();
    role.await_states(&["idle"]);
    role.await_states(&[]);
    let proxy = launch("size=3 max_age=300ms");
    let mut wire = role.wire(&proxy);
    let pid = server_pid(&mut wire);
    role.await_states(&[]);
    assert_ne!(server_pid(&mut wire), pid);
}

#[test]
fn idle_connections_do_not_keep_a_database() {
    for workers in [1, 2] {
        let proxy = launch(&format!("size=3 server.workers={workers}"));
        let role = Role::new();
        let mut wire = role.wire(&proxy);
        let name = format!("dropped_{}", role.name());
        wire.query(&format!("create database {name}")).ok();
        let mut inside: Vec<_> =
            (0..4).map(|_| Wire::login(proxy.port(), role.name(), &name)).collect();
        for other in &mut inside {
            other.query("listen x; unlisten x").ok();
        }
        wire.query(&format!("alter database {name} rename to {name}_b")).ok();
        wire.extended(&format!("create database {name} template {name}_b"), &[]).ok();
        inside[0].query("select 1").ok();
        for suffix in ["", "_b"] {
            assert_eq!(wire.query(&format!("drop database {name}{suffix}")).ok().tags(), "CZ");
        }
        // Its clients are told when they ask for something.
        assert_eq!(inside[1].query("select 1").sqlstate().as_deref(), Some("3D000"));
    }
}

#[test]
fn a_minimum_is_kept() {
    let proxy = launch("size=3 min=2 idle_timeout=100ms");
    let role = Role::new();
    role.wire(&proxy).query("select 1").ok();
    role.await_states(&["idle", "idle"]);
    for pid in role.pids() {
        Postgres::shared().kill_backend(pid);
    }
    role.await_states(&["idle", "idle"]);
}

#[test]
fn state_that_could_leak_keeps_the_connection_and_is_discarded() {
    let leaks = [
        "listen pools_channel",
        "create temp table pools_temp (a int)",
        "prepare pools_p as select 1",
        "select pg_advisory_lock(4711)",
        "declare c cursor with hold for select 1",
    ];
    let proxy = launch("size=2 share_listener=false");
    for leak in leaks {
        for by_extended in [false, true] {
            let role = Role::new();
            let mut one = role.wire(&proxy);
            let mut two = role.wire(&proxy);
            if by_extended && !leak.contains(';') {
                one.extended(leak, &[]).ok();
            } else {
                one.query(leak).ok();
            }
            let pid = server_pid(&mut one);
            assert_ne!(server_pid(&mut two), pid, "{leak}");
            assert_eq!(server_pid(&mut one), pid, "{leak}");
            one.close();
            // Temporary relations leave their schema: that connection is closed.
            let kept = if leak.contains("temp") { 1 } else { 2 };
            role.await_states(&["idle", "idle"][..kept]);
            let left = "select current_setting('work_mem'), current_user, \
                (select count(*) from pg_listening_channels()), \
                (select count(*) from pg_prepared_statements), \
                (select count(*) from pg_cursors), \
                (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
                to_regclass('pools_temp') is null";
            let clean = format!("4MB|{}|0|0|0|0|t", role.name());
            let mut wires = [role.wire(&proxy), role.wire(&proxy)];
            for wire in &mut wires {
                wire.query("begin").ok();
                assert_eq!(wire.query(left).ok().rows(), [clean.as_str()], "{leak}");
            }
        }
    }
}
