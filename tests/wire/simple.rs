//! Simple queries: several statements, errors in the middle, notices, COPY, and results that are long.

use crate::launch::launch;
use crate::support::Wire;
use crate::support::frames::{copy_data, copy_done, copy_fail, frame, query};
use crate::twin::Twin;

/// What a proxy may need more, in KiB, while hundreds of megabytes stream through it.
const STREAMING_KIB: u64 = 16 * 1024;

#[test]
fn replies_are_postgresqls() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let texts = [
        "select 1",
        "select 1 as one, null, 'x'; select 2; select 3",
        "select 1; select 1/0; select 3",
        "select 1; selec 2",
        "",
        ";",
        " ; ; ",
        "-- nothing",
        "/* nothing */ ; select 1",
        "select * from nowhere",
        "do $$ begin raise notice 'one'; raise warning 'two' using hint = 'a hint'; end $$",
        "do $$ begin raise exception 'own' using errcode = 'P0042', detail = 'why'; end $$",
        "create table simple_t (a int primary key, b text); insert into simple_t values (1, 'x')",
        "insert into simple_t values (2, 'y'); insert into simple_t values (1, 'z')",
        "select * from simple_t",
        "update simple_t set b = 'u' returning *; delete from simple_t",
        "begin; select 1; commit",
        "begin",
        "select 1/0",
        "select 1",
        "rollback; select 2",
        "commit",
        "begin; savepoint a; select 1/0",
        "rollback to a; commit",
        "begin isolation level serializable read only; show transaction_isolation; end",
        "set application_name = 'one'; set datestyle = 'German'; reset all",
        "begin; set local timezone = 'Asia/Tokyo'; rollback",
        "explain (costs off) select 1",
        "select 'no end",
        "drop table simple_t",
        "drop table if exists simple_t",
    ];
    for text in texts {
        twin.query(text);
    }
    twin.close();
}

#[test]
fn parameter_changes_are_told() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.query("begin").ok();
    assert_eq!(twin.query("set local timezone = 'Asia/Tokyo'; select 1").ok().tags(), "CTDCSZ");
    assert_eq!(twin.query("set local datestyle = 'German'").ok().tags(), "CSZ");
    assert_eq!(twin.query("rollback").ok().tags(), "CSSZ");
    // Changed and changed back is no change.
    assert_eq!(twin.query("set timezone = 'UTC+1'; reset timezone").ok().tags(), "CCZ");
    twin.close();
}

#[test]
fn notifications_come_within_a_transaction_of_the_listener() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let reply = twin.query("listen simple_channel; notify simple_channel, 'hello'").ok();
    assert_eq!(reply.tags(), "CCAZ");
    twin.query("unlisten *").ok();
    twin.close();
}

#[test]
fn many_queries_in_one_write() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let queries: Vec<_> = (0..300)
        .flat_map(|i| match i % 7 {
            3 => query("select 1/0"),
            5 => query(""),
            _ => query(&format!("select {i}")),
        })
        .collect();
    twin.ask_times(&queries, 300);
    twin.close();
}

#[test]
fn messages_may_come_in_pieces() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let bytes = [query("select 1"), query("select 'two'"), query("")].concat();
    for size in [1, 2, 3, 5, 7] {
        twin.both(|wire| {
            bytes.chunks(size).for_each(|piece| wire.send(piece));
            crate::support::Reply((0..3).flat_map(|_| wire.until_ready().0).collect())
        });
    }
    twin.close();
}

#[test]
fn malformed_queries_get_the_servers_own_error() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let bodies: [&[u8]; 5] =
        [b"", b"select 1", b"select 1\0\0", b"select\0 1\0", b"select '\xff'\0"];
    for body in bodies {
        let reply = twin.ask(&frame(b'Q', body));
        assert!(reply.sqlstate().is_some(), "{reply}");
        twin.query("select 1").ok();
    }
    twin.close();
}

#[test]
fn long_statements_are_passed_on() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    for megabytes in [1, 3, 20] {
        let text = "x".repeat(megabytes * 1024 * 1024);
        let reply = twin.query(&format!("select length('{text}')")).ok();
        assert_eq!(reply.value(), text.len().to_string());
    }
    twin.close();
}

#[test]
fn copy_both_ways() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.query("create table simple_copy (a int, b text)").ok();
    let copy = query("copy simple_copy from stdin");
    let data = [copy_data(b"1\tone\n2\t"), copy_data(b"\\N\n"), copy_data(b"")].concat();
    twin.ask(&[copy.clone(), data.clone(), copy_done()].concat()).ok();
    twin.ask_until(&copy, b'G');
    twin.ask(&[data.clone(), copy_done()].concat()).ok();
    twin.ask(&[copy.clone(), data.clone(), copy_fail("no more")].concat());
    twin.ask(&[copy, copy_data(b"three\tx\n"), data, copy_done()].concat());
    let reply = twin.query("copy simple_copy to stdout").ok();
    assert_eq!(reply.all(b'd').count(), 4);
    twin.query("copy (select 1) to stdout; select 2; copy (select 3) to stdout (format binary)")
        .ok();
    twin.query("copy (select 1/0) to stdout");
    twin.query("select 1; copy nowhere to stdout; select 2");
    twin.query("drop table simple_copy").ok();
    twin.close();
}

#[test]
fn a_row_of_20_megabytes_streams_through() {
    let proxy = launch("");
    let mut wire = proxy.wire();
    wire.query("select 1").ok();
    let before = proxy.rss_kib();
    let reply = wire.query("select repeat('x', 20000000), 1").ok();
    assert_eq!(reply.all(b'D').next().map(|row| row.body.len()), Some(20_000_000 + 11));
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < STREAMING_KIB, "the proxy holds {grown} KiB more");
}

#[test]
fn copy_out_of_200_megabytes_streams_through() {
    let proxy = launch("");
    let mut wire = proxy.wire();
    wire.query("select 1").ok();
    let before = proxy.rss_kib();
    wire.send(&query("copy (select repeat('x', 19999) from generate_series(1, 10000)) to stdout"));
    let mut bytes = 0;
    let mut most = 0;
    let end = loop {
        let frame = wire.frame();
        match frame.tag {
            b'd' => bytes += frame.body.len(),
            b'Z' => break frame,
            _ => {}
        }
        if bytes % 20_000_000 == 0 {
            most = most.max(proxy.rss_kib());
        }
    };
    assert_eq!((bytes, end.body), (200_000_000, b"I".to_vec()));
    let grown = most.saturating_sub(before);
    assert!(grown < STREAMING_KIB, "the proxy holds {grown} KiB more");
}

#[test]
fn copy_in_of_200_megabytes_streams_through() {
    let proxy = launch("");
    let mut wire = proxy.wire();
    wire.query("create table if not exists simple_big (a text)").ok();
    let before = proxy.rss_kib();
    wire.send(&query("copy simple_big from stdin where false"));
    wire.until(b'G');
    let line = format!("{}\n", "x".repeat(49_999));
    let piece = copy_data(line.repeat(20).as_bytes());
    let mut most = 0;
    for _ in 0..200 {
        wire.send(&piece);
        most = most.max(proxy.rss_kib());
    }
    let reply = wire.ask(&copy_done()).ok();
    assert_eq!(reply.commands(), ["COPY 0"]);
    let grown = most.saturating_sub(before);
    assert!(grown < STREAMING_KIB, "the proxy holds {grown} KiB more");
}

#[test]
fn nothing_is_added_while_nothing_is_asked() {
    let proxy = launch("");
    let mut wire = proxy.wire();
    wire.query("select 1").ok();
    assert!(wire.is_silent_for(std::time::Duration::from_millis(50)));
    Wire::close(wire);
}
