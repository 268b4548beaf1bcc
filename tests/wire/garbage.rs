//! What is not the protocol: the sender is told in PostgreSQL's words and cut off, nobody else notices.

use std::io::Write;
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{copy_data, extended, frame, frame_with_length, query, sync};
use crate::support::{Proxy, Wire, eventually};
use crate::twin::{Twin, words};

/// What a proxy may need more, in KiB, for what a client does not read.
const BACKLOG_KIB: u64 = 16 * 1024;

fn served(proxy: &Proxy) {
    let mut wire = proxy.wire();
    assert_eq!(wire.query("select 1").value(), "1");
    wire.close();
}

#[test]
fn an_unknown_message_type_ends_the_session() {
    let proxy = launch("size=1");
    for tag in [0, b'A', b'K', b'R', b'T', b'Z', b'm', b'z', 0xff] {
        let [direct, proxied] = Twin::new(&proxy).each(|wire| {
            wire.send(&frame(tag, b""));
            words(&wire.until_end())
        });
        assert_eq!(direct, proxied);
        assert_eq!(proxied, [format!("E FATAL 08P01 invalid frontend message type {tag}")]);
    }
    served(&proxy);
}

#[test]
fn a_password_message_after_the_login_ends_the_session() {
    let proxy = launch("size=1");
    let [direct, proxied] = Twin::new(&proxy).each(|wire| {
        wire.send(&frame(b'p', b"secret\0"));
        words(&wire.until_end())
    });
    assert_eq!(direct, proxied);
}

#[test]
fn what_was_asked_before_the_garbage_is_answered() {
    let proxy = launch("size=1");
    let asked = [
        query("select 1; select pg_sleep(0.05)"),
        [extended("select 1", &[]), sync(), query("select 2")].concat(),
        query("select repeat('x', 1000) from generate_series(1, 10000)"),
    ];
    for asked in asked {
        Twin::new(&proxy).ask_until(&[asked.clone(), frame(b'z', b"")].concat(), b'Z').ok();
        let [direct, proxied] = Twin::new(&proxy).each(|wire| {
            wire.send(&[asked.clone(), frame(b'z', b"")].concat());
            let reply = wire.until_end();
            (reply.tags(), words(&reply))
        });
        assert_eq!(direct, proxied);
    }
    served(&proxy);
}

#[test]
fn a_bad_length_ends_the_session() {
    let proxy = launch("size=1");
    for tag in *b"QPBDECSHXFdcf" {
        for length in [i32::MIN, -1, 0, 3, 0x4000_0003, i32::MAX] {
            let mut wire = proxy.wire();
            wire.send(&frame_with_length(tag, length, b"select 1\0"));
            let reply = wire.until_end();
            // PostgreSQL itself says nothing.
            assert_eq!(reply.tags(), "E");
            assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
            assert_eq!(reply.sqlstate().as_deref(), Some("08P01"));
        }
    }
    served(&proxy);
}

#[test]
fn garbage_in_a_transaction_rolls_it_back() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    other.query("create table garbage_block (a int)").ok();
    let states = [
        query("begin; insert into garbage_block values (1)"),
        extended("insert into garbage_block values (1)", &[]),
        [query("copy garbage_block from stdin"), copy_data(b"1\n")].concat(),
    ];
    for state in states {
        let mut wire = role.wire(&proxy);
        wire.send(&state);
        wire.send(&frame(b'z', b"garbage"));
        assert_eq!(wire.until_end().sqlstate().as_deref(), Some("08P01"));
        assert_eq!(other.query("select count(*) from garbage_block").ok().value(), "0");
    }
    other.query("drop table garbage_block").ok();
    role.await_states(&["idle"]);
}

#[test]
fn a_long_message_that_never_ends_holds_no_memory() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    other.query("select 1").ok();
    let before = proxy.rss_kib();
    let mut wires: Vec<_> = (0..20).map(|_| role.wire(&proxy)).collect();
    for wire in &mut wires {
        // Of a gigabyte that is announced comes half a megabyte.
        wire.send(&frame_with_length(b'B', 0x3fff_ffff, &vec![b'x'; 500_000]));
    }
    // None of them has got the only server connection.
    assert_eq!(other.query("select 1").ok().value(), "1");
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < 20 * 1500, "{grown} KiB");
}

#[test]
fn who_does_not_read_is_waited_for_in_bounded_memory() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    other.query("select 1").ok();
    let before = proxy.rss_kib();
    let mut wire = role.wire(&proxy);
    wire.send(&query("select repeat('x', 19990) from generate_series(1, 10000)"));
    eventually("the server waits for the client", SOON, || {
        let sql = "select 1 from pg_stat_activity where wait_event = 'ClientWrite' and usename = ";
        let waits = other.query(&format!("{sql} '{}'", role.name()));
        !waits.rows().is_empty()
    });
    for _ in 0..100 {
        assert_eq!(other.query("select 1").ok().value(), "1");
    }
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < BACKLOG_KIB, "{grown} KiB");
    // It reads after all.
    let mut bytes = 0;
    loop {
        let frame = wire.frame();
        bytes += if frame.tag == b'D' { frame.body.len() } else { 0 };
        if frame.tag == b'Z' {
            break;
        }
    }
    assert_eq!(bytes, 10_000 * (19_990 + 6));
}

#[test]
fn who_never_reads_and_leaves_is_cleaned_up() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.send(&query("select repeat('x', 19990) from generate_series(1, 1000000)"));
    wire.frame();
    drop(wire);
    assert_eq!(role.wire(&proxy).query("select 1").ok().value(), "1");
}

#[test]
fn who_asks_without_reading_is_read_no_further() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    other.query("select 1").ok();
    let before = proxy.rss_kib();
    let mut wire = role.wire(&proxy);
    wire.stream().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Lone Syncs are answered by the proxy itself.
    let pings = sync().repeat(20_000);
    let mut sent = 0;
    while sent < 200_000_000 {
        match wire.stream().write(&pings[sent % 5..]) {
            Ok(bytes) => sent += bytes,
            Err(_full) => break,
        }
    }
    assert!(sent < 100_000_000, "{sent} bytes were taken");
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < BACKLOG_KIB, "{grown} KiB");
    assert_eq!(other.query("select 1").ok().value(), "1");
    // Each is answered in the end; one may have been cut in two.
    let whole = sent / 5;
    for _ in 0..whole {
        assert_eq!(wire.frame().tag, b'Z');
    }
}

#[test]
fn a_login_has_a_time_limit() {
    let proxy = launch("limits.login_timeout=200ms");
    for start in [&b""[..], b"\0\0\x01\0\0\x03\0\0user\0"] {
        let mut wire = Wire::connect(proxy.port());
        wire.send(start);
        assert!(wire.until_end().0.is_empty());
    }
    served(&proxy);
}

#[test]
fn a_thousand_bad_connections_do_no_harm() {
    let proxy = launch("size=2 server.workers=2");
    let role = Role::new();
    let mut good = role.wire(&proxy);
    good.query("select 1").ok();
    let files = proxy.open_files();
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for number in 0..1000 {
        let mut wire = Wire::connect(proxy.port());
        let mut bytes = vec![0; rng.next_u32() as usize % 200];
        rng.fill_bytes(&mut bytes);
        match number % 4 {
            // Pure noise; noise that is a startup packet by its length; by its version; after a login.
            0 => {}
            1 => bytes = crate::support::frames::untagged(rng.next_u32(), &bytes),
            2 => bytes = crate::support::frames::untagged(3 << 16, &bytes),
            _ => {
                let login = [("user", role.name()), ("database", "postgres")];
                wire.log_in(&login, None).ok();
            }
        }
        // It may have been cut off already.
        let _ = wire.try_send(&bytes);
        if number % 100 == 0 {
            assert_eq!(good.query("select 1").ok().value(), "1");
        }
    }
    assert_eq!(good.query("select 1").ok().value(), "1");
    served(&proxy);
    eventually("their sockets are closed", SOON, || proxy.open_files() <= files + 2);
    assert!(role.pids().len() <= 2);
}
