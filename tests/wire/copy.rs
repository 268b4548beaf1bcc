//! COPY by the extended protocol, and COPY that ends otherwise than it should.

use std::time::Duration;

use crate::launch::{Role, launch};
use crate::support::Proxy;
use crate::support::frames::{
    bind, copy_data, copy_done, copy_fail, describe, execute, flush, parse, query, sync, terminate,
};
use crate::twin::Twin;

/// Parse, Bind, Describe, Execute, and no Sync.
fn begin_copy(sql: &str) -> Vec<u8> {
    let parts = [parse("", sql, &[]), bind("", "", &[]), describe(b'P', ""), execute("", 0)];
    parts.concat()
}

fn twin(proxy: &Proxy, table: &str) -> Twin {
    let mut twin = Twin::new(proxy);
    twin.query(&format!("create table {table} (a int)")).ok();
    twin
}

/// Both sides hold the same rows and can go on.
#[track_caller]
fn finish(mut twin: Twin, table: &str, rows: &[&str]) {
    let found = twin.query(&format!("select a + 0 from {table} order by 1")).ok();
    assert_eq!(found.rows(), rows);
    twin.query(&format!("drop table {table}")).ok();
    twin.close();
}

#[test]
fn a_sync_in_the_same_batch_is_not_answered() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_diesel");
    let start = [begin_copy("copy copy_diesel from stdin"), sync()].concat();
    twin.ask_until(&start, b'G').ok();
    let reply = twin.ask(&[copy_data(b"1\n2\n"), copy_done(), sync()].concat()).ok();
    assert_eq!(reply.tags(), "CZ");
    finish(twin, "copy_diesel", &["1", "2"]);
}

#[test]
fn all_in_one_write() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_one_write");
    let start = begin_copy("copy copy_one_write from stdin");
    let end = [copy_data(b"1\n"), copy_done(), sync()].concat();
    // With the Sync in front, and without.
    assert_eq!(twin.ask(&[start.clone(), sync(), end.clone()].concat()).ok().tags(), "12nGCZ");
    twin.ask(&[start.clone(), end.clone()].concat()).ok();
    twin.ask(&[start, flush(), sync(), sync(), end].concat()).ok();
    finish(twin, "copy_one_write", &["1", "1", "1"]);
}

#[test]
fn a_pipeline_goes_on_behind_a_copy() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_pipeline");
    let copy = [
        begin_copy("copy copy_pipeline from stdin"),
        copy_data(b"5\n"),
        copy_done(),
        begin_copy("select 1"),
        sync(),
        begin_copy("select 2"),
        sync(),
        query("select 3"),
    ];
    let reply = twin.ask_times(&copy.concat(), 3).ok();
    assert_eq!(reply.rows(), ["1", "2", "3"]);
    finish(twin, "copy_pipeline", &["5"]);
}

#[test]
fn a_parse_that_fails_answers_both_syncs() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_bad_parse");
    let rest = [sync(), copy_data(b"1\n2\n"), copy_done(), sync()].concat();
    let start = begin_copy("copy copy_bad_parse frum stdin");
    let reply = twin.ask_times(&[start, rest.clone()].concat(), 2);
    assert_eq!(reply.tags(), "EZZ");
    // Or the Execute: the table is looked for only then.
    let reply = twin.ask_times(&[begin_copy("copy nowhere from stdin"), rest].concat(), 2);
    assert_eq!(reply.tags(), "12nEZZ");
    finish(twin, "copy_bad_parse", &[]);
}

#[test]
fn bad_data_halfway() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_bad_data");
    let bad = [copy_data(b"1\n2\n"), copy_data(b"x\n"), copy_data(b"3\n"), copy_done()].concat();
    let reply = twin.ask(&[query("copy copy_bad_data from stdin"), bad.clone()].concat());
    assert_eq!(reply.sqlstate().as_deref(), Some("22P02"));
    let start = begin_copy("copy copy_bad_data from stdin");
    twin.ask(&[start.clone(), bad.clone(), sync()].concat());
    twin.ask_until(&[start.clone(), flush()].concat(), b'G').ok();
    twin.ask(&[bad.clone(), sync()].concat());
    // The data that still comes after the error is ignored, in this batch and after it.
    twin.ask_until(&[start, copy_data(b"x\n"), flush()].concat(), b'E');
    twin.ask(&[bad, sync()].concat());
    twin.ask(&[copy_data(b"4\n"), copy_done(), copy_fail("no"), query("select 1")].concat()).ok();
    finish(twin, "copy_bad_data", &[]);
}

#[test]
fn bad_data_with_a_sync_in_the_same_batch() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_bad_data_sync");
    let start = [begin_copy("copy copy_bad_data_sync from stdin"), sync()].concat();
    twin.ask_until(&start, b'G').ok();
    twin.ask_until(&copy_data(b"x\n"), b'E');
    let reply = twin.ask(&[copy_data(b"1\n"), copy_done(), sync()].concat());
    assert_eq!(reply.tags(), "Z");
    finish(twin, "copy_bad_data_sync", &[]);
}

#[test]
fn copy_fail_ends_a_copy() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_fail_ends");
    let reply = twin.ask(&[query("copy copy_fail_ends from stdin"), copy_fail("enough")].concat());
    assert_eq!(reply.sqlstate().as_deref(), Some("57014"));
    let start = begin_copy("copy copy_fail_ends from stdin");
    twin.ask(&[start.clone(), copy_data(b"1\n"), copy_fail("enough"), sync()].concat());
    twin.ask_until(&[start, sync()].concat(), b'G').ok();
    twin.ask(&[copy_fail("enough"), sync()].concat());
    finish(twin, "copy_fail_ends", &[]);
}

#[test]
fn what_comes_after_the_copy_is_ignored() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_over");
    twin.ask(&[query("copy copy_over from stdin"), copy_data(b"1\n"), copy_done()].concat()).ok();
    // As postgres.js does.
    let late = [copy_fail("late"), copy_done(), copy_data(b"9\n")].concat();
    twin.ask(&[late.clone(), query("select 1")].concat()).ok();
    twin.ask(&[late.clone(), sync()].concat()).ok();
    twin.query("begin").ok();
    twin.ask(&[late.clone(), query("select 1"), late.clone()].concat()).ok();
    twin.ask(&[begin_copy("select 1"), late.clone(), sync(), late].concat()).ok();
    twin.query("commit").ok();
    finish(twin, "copy_over", &["1"]);
}

#[test]
fn a_wrong_message_in_a_copy() {
    let proxy = launch("size=1");
    for wrong in [query("select 1"), parse("", "select 1", &[]), execute("", 0)] {
        let mut twin = twin(&proxy, "copy_wrong");
        let replies = twin.each(|wire| {
            wire.send(
                &[query("copy copy_wrong from stdin"), copy_data(b"1\n"), wrong.clone()].concat(),
            );
            wire.until(b'E')
        });
        let words = replies.map(|reply| crate::twin::words(&reply));
        assert_eq!(words[0], words[1]);
        let mut twin = Twin::new(&proxy);
        assert_eq!(twin.query("select count(*) from copy_wrong").value(), "0");
        twin.query("drop table copy_wrong").ok();
        twin.close();
    }
}

#[test]
fn syncs_and_flushes_in_a_copy() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_syncs");
    twin.ask_until(&query("copy copy_syncs from stdin"), b'G').ok();
    twin.each(|wire| {
        wire.send(&[copy_data(b"1\n"), sync(), flush(), sync()].concat());
        assert!(wire.is_silent_for(Duration::from_millis(30)));
    });
    twin.ask(&[copy_data(b"2\n"), copy_done()].concat()).ok();
    finish(twin, "copy_syncs", &["1", "2"]);
}

#[test]
fn several_copies_in_one_query() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_several");
    let copies =
        query("copy copy_several from stdin; select 1; copy copy_several from stdin; select 2");
    twin.ask_until(&copies, b'G').ok();
    twin.ask_until(&[copy_data(b"1\n"), copy_done()].concat(), b'G').ok();
    twin.ask(&[copy_data(b"2\n"), copy_done()].concat()).ok();
    // All in one write.
    let data = [copy_data(b"3\n"), copy_done(), copy_data(b"4\n"), copy_done()].concat();
    twin.ask(&[copies.clone(), data].concat()).ok();
    // The first one fails: the rest of the query is not run, its data is ignored.
    let data = [copy_data(b"x\n"), copy_done(), copy_data(b"5\n"), copy_done()].concat();
    twin.ask(&[copies, data, query("select 3")].concat());
    twin.until_select_3();
    finish(twin, "copy_several", &["1", "2", "3", "4"]);
}

impl Twin {
    /// The reply of a query that was sent before.
    #[track_caller]
    fn until_select_3(&mut self) {
        let reply = self.both(crate::support::Wire::until_ready);
        assert_eq!(reply.value(), "3");
    }
}

#[test]
fn copy_in_a_transaction_block() {
    let proxy = launch("size=1");
    let mut twin = twin(&proxy, "copy_block");
    twin.query("begin").ok();
    twin.ask(&[query("copy copy_block from stdin"), copy_data(b"1\n"), copy_done()].concat()).ok();
    twin.query("savepoint a").ok();
    twin.ask(&[query("copy copy_block from stdin"), copy_data(b"x\n"), copy_done()].concat());
    twin.query("rollback to a; commit").ok();
    finish(twin, "copy_block", &["1"]);
}

#[test]
fn copy_out_by_the_extended_protocol() {
    let proxy = launch("size=1");
    let mut twin = Twin::new(&proxy);
    let start = begin_copy("copy (select generate_series(1, 5)) to stdout");
    twin.ask(&[start.clone(), sync()].concat()).ok();
    twin.ask(&[start.clone(), start.clone(), sync()].concat()).ok();
    let fails = begin_copy("copy (select 1 / (3 - i) from generate_series(1, 5) i) to stdout");
    let reply = twin.ask_times(&[fails, start.clone(), sync(), start, sync()].concat(), 2);
    assert_eq!(reply.sqlstate().as_deref(), Some("22012"));
    twin.close();
}

#[test]
fn a_client_that_dies_in_a_copy_leaves_nothing() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    other.query("create table copy_death (a int)").ok();
    let copy = "copy copy_death from stdin";
    let ways: [&[Vec<u8>]; 5] = [
        &[query(copy), copy_data(b"1\n")],
        &[query(copy), copy_data(b"1\n"), terminate()],
        &[query(copy), copy_data(b"1\n")[..4].to_vec()],
        &[begin_copy(copy), sync(), copy_data(b"1\n")],
        &[begin_copy(copy), copy_data(b"1\n"), copy_done()],
    ];
    for way in ways {
        let mut wire = role.wire(&proxy);
        wire.send(&way[0]);
        wire.send(&flush());
        wire.until(b'G');
        wire.send(&way[1..].concat());
        drop(wire);
        other.send(&query("select count(*) from copy_death"));
        let reply = other.until_ready();
        assert_eq!(reply.ok().value(), "0");
        role.await_states(&["idle"]);
    }
    other.query("drop table copy_death").ok();
}
