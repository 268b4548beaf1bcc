//! What clients find when the server, or the way to it, fails: the right SQLSTATE or a wait, and never a hang.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::launch::{Role, SOON, launch, launch_at};
use crate::relay::Relay;
use crate::support::frames::{copy_data, copy_done, execute, flush, parse, query, sync};
use crate::support::{Options, Postgres, Proxy, Reply, StopMode, Wire, eventually};

/// A client may need so long after the server is back.
const RECOVERY: Duration = Duration::from_secs(5);

fn own_server() -> Postgres {
    Postgres::start(&Options { max_connections: 40, ..Options::default() })
}

/// pgbench through a proxy.
fn pgbench(proxy: &Proxy, arguments: &[&str]) -> Child {
    let mut command = Command::new("pgbench");
    command.args(["-n", "-h", "127.0.0.1", "-U", "postgres", "-p", &proxy.port().to_string()]);
    command.args(arguments).arg("postgres");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether a process ends within so long.
fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        thread::yield_now();
    }
    false
}

#[test]
fn a_killed_server_leaves_no_client_behind() {
    let server = own_server();
    let proxy = launch_at(server.port(), "size=4 server.workers=2");
    let init = pgbench(&proxy, &["-i", "-q", "-I", "dtGvp"]).wait_with_output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    // They ask outside of transactions, again and again, and go on after any error.
    let stop_at = Instant::now() + Duration::from_secs(4);
    let stubborn: Vec<_> = (0..6)
        .map(|_| {
            let mut wire = proxy.wire();
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                let mut failed = 0;
                while Instant::now() < stop_at {
                    let begin = Instant::now();
                    let reply = wire.query("select abalance from pgbench_accounts where aid = 1");
                    longest = longest.max(begin.elapsed());
                    assert_eq!(reply.status(), Some('I'), "{reply}");
                    failed += usize::from(reply.sqlstate().is_some());
                }
                (longest, failed, wire.query("select 1").sqlstate())
            })
        })
        .collect();
    let mut loads = [pgbench(&proxy, &["-S", "-c4", "-T4"]), pgbench(&proxy, &["-c4", "-T4"])];
    eventually("pgbench works", SOON, || {
        let sql = "select count(*) from pg_stat_activity where query ilike '%pgbench_accounts%'";
        server.psql(sql).parse::<u32>().unwrap() > 2
    });
    server.stop(StopMode::Kill);
    server.start_again();
    for wire in stubborn {
        let (longest, failed, at_last) = wire.join().unwrap();
        assert!(longest < RECOVERY, "{longest:?}");
        assert!(failed <= 3, "{failed} statements failed");
        assert_eq!(at_last, None);
    }
    for load in &mut loads {
        assert!(ends_within(load, RECOVERY), "pgbench is stuck");
    }
    // And everything works, without a restart of the proxy.
    let again = pgbench(&proxy, &["-c8", "-t50"]).wait_with_output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

/// Does something, and tells what its client is told when its server process is terminated.
fn terminated(mode: &str, act: impl FnOnce(&mut Wire), then: &[u8]) -> (Reply, Wire, Proxy) {
    let proxy = launch(&format!("size=1 mode={mode}"));
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    act(&mut wire);
    for pid in role.pids() {
        Postgres::shared().kill_backend(pid);
    }
    wire.send(then);
    let mut reply = Reply::default();
    while let Ok(Some(frame)) = wire.try_frame() {
        let is_end = frame.tag == b'Z';
        reply.0.push(frame);
        if is_end {
            break;
        }
    }
    // Others find a working connection.
    let mut other = role.wire(&proxy);
    assert_eq!(other.query("select 1").ok().value(), "1");
    (reply, wire, proxy)
}

#[test]
fn a_terminated_backend_is_told_as_what_it_was_to_its_client() {
    let run = |wire: &mut Wire, sql: &str| {
        wire.query(sql).ok();
    };
    let one = query("select 1");
    // Nothing of the client was there: it doesn't notice.
    let (reply, ..) = terminated("transaction", |wire| run(wire, "select 1"), &one);
    assert_eq!(reply.ok().value(), "1");
    let (reply, ..) = terminated("transaction", |wire| run(wire, "set work_mem = '5MB'"), &one);
    assert_eq!(reply.ok().value(), "1");
    let (reply, ..) = terminated("transaction", |wire| run(wire, "listen news"), &one);
    assert_eq!(reply.ok().value(), "1");
    // The session was there.
    for (mode, sql) in [
        ("session", "select 1"),
        ("transaction", "begin"),
        ("transaction", "create temp table faults_temp (a int)"),
        ("transaction", "select pg_advisory_lock(4321)"),
        ("transaction", "prepare p as select 1"),
    ] {
        let (reply, ..) = terminated(mode, |wire| run(wire, sql), &one);
        assert_eq!(reply.tags(), "E", "{sql}");
        assert_eq!(reply.sqlstate().as_deref(), Some("57P01"), "{sql}");
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"), "{sql}");
    }
    // Half of a group, a copy: its end is what PostgreSQL's would be, and the client stays in step.
    let group = [parse("", "select 1", &[]), flush()].concat();
    let begin = |wire: &mut Wire| {
        wire.send(&group);
        wire.until(b'1');
    };
    let (reply, mut wire, _proxy) =
        terminated("transaction", begin, &[execute("", 0), sync()].concat());
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("EZ", Some("57P01")));
    assert_eq!(wire.query("select 2").ok().value(), "2");
    Postgres::shared().psql("create table if not exists faults_copy (a int)");
    let begin = |wire: &mut Wire| {
        wire.send(&query("copy faults_copy from stdin"));
        wire.until(b'G');
    };
    let end = [copy_data(b"1\n"), copy_done()].concat();
    let (reply, mut wire, _proxy) = terminated("transaction", begin, &end);
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("EZ", Some("57P01")));
    assert_eq!(wire.query("select count(*) from faults_copy").ok().value(), "0");
    Postgres::shared().psql("drop table faults_copy");
}

#[test]
fn requests_wait_while_the_server_restarts() {
    let server = own_server();
    let proxy = launch_at(server.port(), "size=2");
    let mut wires: Vec<_> = (0..6).map(|_| proxy.wire()).collect();
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
        for wire in &mut wires {
            wire.query("select 1").ok();
        }
        server.stop(mode);
        for wire in &mut wires {
            wire.send(&query("select 'served'"));
        }
        // So do logins.
        let mut late = Wire::connect(proxy.port());
        let login = thread::spawn(move || {
            late.log_in(&[("user", "postgres"), ("database", "template1")], None).sqlstate()
        });
        assert!(wires[0].is_silent_for(Duration::from_millis(300)), "{mode:?}");
        server.start_again();
        for wire in &mut wires {
            assert_eq!(wire.until_ready().ok().value(), "served", "{mode:?}");
        }
        assert_eq!(login.join().unwrap(), None, "{mode:?}");
    }
    // Not for ever.
    server.stop(StopMode::Fast);
    let proxy = launch_at(server.port(), "retry_for=200ms");
    let begin = Instant::now();
    let reply = Wire::connect(proxy.port()).log_in(&[("user", "postgres")], None);
    assert_eq!(reply.sqlstate().as_deref(), Some("08001"), "{reply}");
    assert!(begin.elapsed() >= Duration::from_millis(200) && begin.elapsed() < RECOVERY);
}

#[test]
fn a_server_that_is_full_is_waited_for() {
    let server = Postgres::start(&Options { max_connections: 6, ..Options::default() });
    server.psql("create role plain login");
    let login = [("user", "plain"), ("database", "postgres")];
    let proxy = launch_at(server.port(), "size=1");
    let mut held = Vec::new();
    eventually("it is full", SOON, || {
        let mut wire = Wire::connect(server.port());
        let code = wire.log_in(&login, None).sqlstate();
        held.push(wire);
        code.as_deref() == Some("53300")
    });
    let mut wire = Wire::connect(proxy.port());
    let waiting = thread::spawn(move || wire.log_in(&login, None).sqlstate());
    thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished());
    drop(held);
    assert_eq!(waiting.join().unwrap(), None);
}

#[test]
fn a_black_hole_is_given_up() {
    let server = own_server();
    let relay = Relay::to(server.port());
    let proxy =
        launch_at(relay.port(), "size=2 query_timeout=500ms connect_timeout=1s retry_for=0ms");
    let mut wire = proxy.wire();
    let mut in_block = proxy.wire();
    wire.query("select 1").ok();
    in_block.query("begin").ok();
    // Slow is not dead.
    wire.query("select pg_sleep(0.3)").ok();
    relay.set_deaf(true);
    let reply = wire.query("select 1");
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("EZ", Some("08006")));
    assert!(reply.error_field('M').unwrap().contains("pool.query_timeout"), "{reply}");
    in_block.send(&query("select 1"));
    let reply = in_block.until_end();
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("E", Some("08006")));
    // Nor do new ones hang.
    let reply = wire.query("select 1");
    assert_eq!(reply.sqlstate().as_deref(), Some("08001"), "{reply}");
    relay.set_deaf(false);
    eventually("it works again", SOON, || wire.query("select 1").sqlstate().is_none());
    // Neither an idle transaction nor a copy that waits for its client is one.
    wire.query("begin").ok();
    assert!(wire.is_silent_for(Duration::from_millis(900)));
    wire.query("create temp table hole (a int) on commit drop").ok();
    wire.send(&query("copy hole from stdin"));
    wire.until(b'G');
    assert!(wire.is_silent_for(Duration::from_millis(900)));
    wire.ask(&[copy_data(b"1\n"), copy_done()].concat()).ok();
    assert_eq!(wire.query("commit").ok().status(), Some('I'));
}

#[test]
fn a_listener_behind_a_black_hole_is_replaced() {
    let server = own_server();
    let relay = Relay::to(server.port());
    let proxy = launch_at(relay.port(), "size=2 connect_timeout=500ms");
    let (mut wire, mut other) = (proxy.wire(), proxy.wire());
    wire.query("listen hole").ok();
    wire.query("select 1").ok();
    other.query("select 1").ok();
    relay.set_deaf(true);
    // It is asked whether it is there when somebody else listens.
    other.send(&query("listen other_hole"));
    eventually("it is given up", SOON, || proxy.log().contains("listener connection lost"));
    relay.set_deaf(false);
    other.until_ready().ok();
    eventually("there is another one", SOON, || {
        server.psql("select pg_notify('hole', 'again')");
        !wire.is_silent_for(Duration::from_millis(20))
    });
}

#[test]
fn a_reader_that_is_slow_holds_up_nobody_else() {
    let proxy = launch("size=2 query_timeout=1s");
    let role = Role::new();
    let mut slow = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    slow.query("select 1").ok();
    let before = proxy.rss_kib();
    slow.send(&query("select repeat('x', 10000) from generate_series(1, 10000)"));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        other.query("select 1").ok();
    }
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for one client that doesn't read");
    // It gets all of it in the end.
    assert_eq!(slow.until_ready().ok().rows().len(), 10_000);
}

#[test]
fn a_write_that_finds_a_standby_looks_for_the_server_again() {
    let (old, new) = (own_server(), own_server());
    old.become_standby();
    let relay = Relay::to(old.port());
    let proxy = launch_at(relay.port(), "size=3");
    let mut reader = proxy.wire();
    let mut wire = proxy.wire();
    assert_eq!(reader.query("select pg_is_in_recovery()").ok().value(), "t");
    reader.query("begin").ok();
    reader.query("select 1").ok();
    // Reads are welcome there.
    assert_eq!(wire.query("select pg_is_in_recovery()").ok().value(), "t");
    relay.lead_to(new.port());
    assert_eq!(wire.query("select pg_is_in_recovery()").ok().value(), "t");
    let create = "create table found (a int)";
    assert_eq!(wire.query(create).sqlstate().as_deref(), Some("25006"));
    wire.query(create).ok();
    assert_eq!(wire.query("select pg_is_in_recovery()").ok().value(), "f");
    // A transaction stays where it is, and is the last one there.
    assert_eq!(reader.query("select pg_is_in_recovery()").ok().value(), "t");
    reader.query("commit").ok();
    assert_eq!(reader.query("select pg_is_in_recovery()").ok().value(), "f");
    // A transaction that the client has made read only says nothing about its server.
    let log = proxy.log();
    let reply = wire.query("begin read only; create table never (a int)");
    assert_eq!(reply.sqlstate().as_deref(), Some("25006"));
    wire.query("rollback").ok();
    assert_eq!(proxy.log(), log);
}
