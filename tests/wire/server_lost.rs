//! Server connections that die: whose statement was under way is told, everybody else does not notice.

use std::net::TcpListener;
use std::time::Duration;

use crate::launch::{Role, SOON, launch, launch_at};
use crate::support::frames::{bind, copy_data, copy_done, execute, extended, parse, query, sync};
use crate::support::postgres::free_port;
use crate::support::{Options, Postgres, Reply, StopMode, Wire, eventually};

/// What a client may be told by a server that was ended, or by the proxy if that said nothing.
const LOST: [&str; 3] = ["57P01", "57P02", "08006"];

#[track_caller]
fn assert_lost(reply: &Reply) {
    let code = reply.sqlstate().unwrap_or_default();
    assert!(LOST.contains(&code.as_str()), "{reply}");
}

#[test]
fn a_connection_that_dies_idle_is_replaced_unseen() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    for request in [query("select 1"), [extended("select 1", &[]), sync()].concat()] {
        for _ in 0..5 {
            wire.query("select 1").ok();
            for pid in role.pids() {
                Postgres::shared().kill_backend(pid);
            }
            assert_eq!(wire.ask(&request).ok().value(), "1");
        }
    }
}

#[test]
fn a_statement_outside_of_a_transaction_fails_and_the_session_goes_on() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let requests =
        [query("select pg_sleep(60)"), [extended("select pg_sleep(60)", &[]), sync()].concat()];
    for request in requests {
        wire.send(&request);
        Postgres::shared().kill_backend(role.await_sleeper());
        let reply = wire.until_ready();
        assert_lost(&reply);
        assert_eq!(reply.status(), Some('I'));
        assert_eq!(reply.all(b'E').count(), 1);
        assert_eq!(wire.query("select 1").ok().value(), "1");
        assert_eq!(wire.extended("select 2", &[]).ok().value(), "2");
    }
}

#[test]
fn a_killed_process_has_no_last_words() {
    let server = Postgres::start(&Options::default());
    let proxy = launch_at(server.port(), "size=1");
    let mut wire = proxy.wire();
    wire.send(&query("select pg_sleep(60)"));
    let mut pids = Vec::new();
    eventually("it sleeps", SOON, || {
        let sql = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
        pids = server.wire().query(sql).rows();
        !pids.is_empty()
    });
    crate::support::children::signal(pids[0].parse().unwrap(), "KILL");
    assert_eq!(wire.until_ready().sqlstate().as_deref(), Some("08006"));
    eventually("the server has recovered", Duration::from_secs(10), || {
        let reply = wire.query("select 1");
        assert_eq!(reply.status(), Some('I'));
        reply.sqlstate().is_none()
    });
}

#[test]
fn each_group_of_a_pipeline_is_answered() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let group = [extended("select 1", &[]), sync()].concat();
    let sleep = [extended("select pg_sleep(60)", &[]), sync()].concat();
    wire.send(&[group.clone(), sleep, group.clone(), query("select 2"), group].concat());
    wire.until_ready().ok();
    Postgres::shared().kill_backend(role.await_sleeper());
    for _ in 0..4 {
        let reply = wire.until_ready();
        assert_lost(&reply);
        assert_eq!(reply.status(), Some('I'));
    }
    assert_eq!(wire.query("select 3").ok().value(), "3");
}

#[test]
fn an_open_batch_is_skipped_to_its_sync() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.send(&[extended("select pg_sleep(60)", &[])].concat());
    Postgres::shared().kill_backend(role.await_sleeper());
    assert_lost(&wire.until(b'E'));
    wire.send(&extended("select 1", &[]));
    assert_eq!(wire.ask(&sync()).tags(), "Z");
    assert_eq!(wire.query("select 3").ok().value(), "3");
}

#[test]
fn a_copy_that_is_lost_does_not_take_its_client_out_of_step() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("create table lost_copy (a int)").ok();
    let sql = "select pg_sleep(60); copy lost_copy from stdin";
    wire.send(&[query(sql), copy_data(b"1\n"), copy_done()].concat());
    Postgres::shared().kill_backend(role.await_sleeper());
    assert_lost(&wire.until_ready());
    assert_eq!(wire.query("select count(*) from lost_copy").ok().value(), "0");
    // With the copy begun.
    wire.send(&query("copy lost_copy from stdin"));
    wire.until(b'G');
    for pid in role.pids() {
        Postgres::shared().kill_backend(pid);
    }
    assert_lost(&wire.until(b'E'));
    if let Some(frame) = wire.frame_or_end() {
        assert_eq!(frame.tag, b'Z');
        wire.send(&[copy_data(b"1\n"), copy_done()].concat());
        assert_eq!(wire.query("select count(*) from lost_copy").ok().value(), "0");
    }
    role.wire(&proxy).query("drop table lost_copy").ok();
}

#[test]
fn a_transaction_that_is_lost_ends_the_session() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    for is_busy in [false, true] {
        let mut wire = role.wire(&proxy);
        wire.query("begin").ok();
        if is_busy {
            wire.send(&query("select pg_sleep(60)"));
            role.await_sleeper();
        }
        for pid in role.pids() {
            Postgres::shared().kill_backend(pid);
        }
        let reply = wire.until_end();
        assert_lost(&reply);
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
        assert_eq!(reply.tags(), if is_busy { "TE" } else { "E" });
        assert_eq!(other.query("select 1").ok().value(), "1");
    }
}

#[test]
fn a_result_that_breaks_off_ends_the_session() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.send(&query("select repeat('x', 50000) from generate_series(1, 100000)"));
    wire.frame();
    eventually("it runs", SOON, || role.states().contains(&"active".to_owned()));
    for pid in role.pids() {
        Postgres::shared().psql(&format!("select pg_terminate_backend({pid})"));
    }
    // Cut anywhere: what came is whole messages, or the end of the stream tells.
    while let Ok(Some(frame)) = wire.try_frame() {
        assert!(b"TDEZ".contains(&frame.tag), "{frame}");
        if frame.tag == b'Z' {
            break;
        }
    }
    assert_eq!(role.wire(&proxy).query("select 1").ok().value(), "1");
}

#[test]
fn clients_outlive_a_restart_of_the_server() {
    let server = Postgres::start(&Options::default());
    let proxy = launch_at(server.port(), "size=4 server.workers=2 retry_for=0ms");
    let mut wires: Vec<_> = (0..8).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.query("select 1").ok();
    }
    for mode in [StopMode::Immediate, StopMode::Fast] {
        server.stop(mode);
        for wire in &mut wires {
            let reply = wire.query("select 1");
            assert_eq!(reply.tags(), "EZ");
            assert_eq!(reply.sqlstate().as_deref(), Some("08001"));
            assert_eq!(reply.error_field('S').as_deref(), Some("ERROR"));
            assert_eq!(reply.status(), Some('I'));
        }
        server.start_again();
        for wire in &mut wires {
            // The pool may pause after a refusal.
            eventually("it works again", SOON, || wire.query("select 1").sqlstate().is_none());
        }
    }
}

#[test]
fn a_server_out_of_reach_is_named() {
    let port = free_port();
    let proxy = launch_at(port, "retry_for=200ms");
    for _ in 0..3 {
        let mut wire = Wire::connect(proxy.port());
        let reply = wire.log_in(&[("user", "postgres")], None);
        assert_eq!(reply.sqlstate().as_deref(), Some("08001"));
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
        let message = reply.error_field('M').unwrap();
        assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
        assert!(wire.until_end().0.is_empty());
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    // It accepts (the kernel does), and says nothing.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = launch_at(port, "connect_timeout=300ms retry_for=0ms");
    let reply = Wire::connect(proxy.port()).log_in(&[("user", "postgres")], None);
    assert_eq!(reply.sqlstate().as_deref(), Some("08001"));
    assert!(reply.error_field('M').unwrap().contains("pool.connect_timeout"), "{reply}");
}

#[test]
fn a_server_that_speaks_nonsense_is_refused() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for (stream, bytes) in listener.incoming().zip([
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"",
            b"R\0\0\0\0",
            b"Z\xff\xff\xff\xff",
        ]) {
            let _ = stream.unwrap().write_all(bytes);
        }
    });
    let proxy = launch_at(port, "retry_min=1ms retry_max=1ms retry_for=0ms connect_timeout=1s");
    for _ in 0..4 {
        let reply = Wire::connect(proxy.port()).log_in(&[("user", "postgres")], None);
        assert_eq!(reply.sqlstate().as_deref(), Some("08001"), "{reply}");
    }
}

#[test]
fn a_full_server_says_so_in_its_own_words() {
    let server = Postgres::start(&Options { max_connections: 5, ..Options::default() });
    server.psql("create role plain login");
    let proxy = launch_at(server.port(), "size=5 retry_for=0ms");
    let mut watcher = server.wire();
    let count = "select count(*) from pg_stat_activity where backend_type = 'client backend'";
    eventually("nobody else is there", SOON, || watcher.query(count).ok().value() == "1");
    let held: Vec<_> = (0..5)
        .map_while(|_| {
            let mut wire = Wire::connect(server.port());
            let reply = wire.log_in(&[("user", "plain"), ("database", "postgres")], None);
            reply.sqlstate().is_none().then_some(wire)
        })
        .collect();
    let login = [("user", "plain"), ("database", "postgres")];
    let reply = Wire::connect(proxy.port()).log_in(&login, None);
    assert_eq!(reply.sqlstate().as_deref(), Some("53300"));
    assert!(reply.error_field('R').is_some(), "{reply}");
    drop(held);
    eventually("a place is free", SOON, || {
        Wire::connect(proxy.port()).log_in(&login, None).sqlstate().is_none()
    });
}

#[test]
fn the_unnamed_statement_is_lost_with_its_group() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    // Idle: it is made again on the next connection.
    wire.ask(&[parse("", "select 42", &[]), sync()].concat()).ok();
    for pid in role.pids() {
        Postgres::shared().kill_backend(pid);
    }
    let group = [bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(wire.ask(&group).ok().value(), "42");
}
