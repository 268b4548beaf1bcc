//! The extended protocol: batches, pipelines, errors in the middle, the unnamed statement, portals.

use crate::launch::{Role, launch};
use crate::support::Postgres;
use crate::support::frames::{
    bind, bind_formats, close, describe, execute, extended, flush, frame, function_call, parse,
    query, sync, terminate,
};
use crate::twin::Twin;

fn script(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// Parse, Bind, Execute of the unnamed statement.
fn run(sql: &str) -> Vec<u8> {
    script(&[parse("", sql, &[]), bind("", "", &[]), execute("", 0)])
}

#[test]
fn one_statement_a_batch() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let asked: [(&str, &[Option<&str>]); 9] = [
        ("select $1::int + 1, $2", &[Some("41"), None]),
        ("select 1/0", &[]),
        ("select $1::int", &[Some("x")]),
        ("select $1::int", &[]),
        ("select * from nowhere", &[]),
        ("", &[]),
        ("select 1; select 2", &[]),
        ("do $$ begin raise notice 'n'; end $$", &[]),
        ("selec", &[]),
    ];
    for (sql, parameters) in asked {
        twin.ask(&script(&[extended(sql, parameters), sync()]));
    }
    let typed = [parse("", "select $1, $2", &[23, 25]), describe(b'S', ""), sync()].concat();
    twin.ask(&typed).ok();
    let binary = bind_formats("", "", &[1, 0], &[Some(&[0, 0, 0, 7]), Some(b"x")], &[1]);
    twin.ask(&script(&[binary, describe(b'P', ""), execute("", 0), sync()])).ok();
    twin.close();
}

#[test]
fn many_statements_a_batch() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let thousand: Vec<u8> = (0..1000).flat_map(|i| run(&format!("select {i}"))).collect();
    twin.ask(&script(&[thousand, sync()])).ok();
    twin.ask(&script(&[run("select 1"), run("select 1/0"), run("select 3"), sync()]));
    twin.ask(&script(&[run("begin"), run("select 1/0"), run("commit"), sync()]));
    twin.query("rollback").ok();
    twin.close();
}

#[test]
fn an_error_undoes_its_batch_alone() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.query("create table extended_batch (a int)").ok();
    let insert = |a: i32| run(&format!("insert into extended_batch values ({a})"));
    let bytes = script(&[
        script(&[insert(1), sync()]),
        script(&[insert(2), run("select 1/0"), insert(3), sync()]),
        script(&[insert(4), sync(), sync()]),
    ]);
    twin.ask_times(&bytes, 4);
    assert_eq!(twin.query("select a + 0 from extended_batch order by 1").rows(), ["1", "4"]);
    twin.query("drop table extended_batch").ok();
    twin.close();
}

#[test]
fn two_hundred_groups_in_one_write() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let groups: Vec<u8> = (0..200)
        .flat_map(|i| match i % 10 {
            3 => script(&[run("select 1/0"), run("select 2"), sync()]),
            5 => sync(),
            7 => query("select 'simple'; select 1/0"),
            8 => script(&[run("select 8"), flush(), run("select 9"), sync()]),
            _ => script(&[extended("select $1::int", &[Some("7")]), sync()]),
        })
        .collect();
    twin.ask_times(&groups, 200);
    twin.close();
}

#[test]
fn a_flush_brings_replies_and_keeps_the_server() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    wire.send(&script(&[parse("", "select $1::int", &[]), describe(b'S', ""), flush()]));
    assert_eq!(wire.until(b'T').tags(), "1tT");
    other.send(&query("select 'other'"));
    assert!(other.is_silent_for(std::time::Duration::from_millis(50)));
    wire.send(&script(&[bind("", "", &[Some("5")]), execute("", 0), flush()]));
    assert_eq!(wire.until(b'C').value(), "5");
    assert_eq!(wire.ask(&sync()).tags(), "Z");
    assert_eq!(other.until_ready().value(), "other");
}

#[test]
fn a_flush_of_nothing_is_not_answered() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.ask(&script(&[flush(), flush(), query("select 1")])).ok();
    twin.ask(&script(&[flush(), sync()])).ok();
    twin.close();
}

#[test]
fn a_lone_sync_is_a_ping() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let mut holder = role.wire(&proxy);
    holder.query("begin").ok();
    // No server connection is free, none is needed.
    assert_eq!(wire.ask(&sync()).tags(), "Z");
    wire.send(&script(&[sync(), sync(), sync()]));
    for _ in 0..3 {
        assert_eq!(wire.until_ready().status(), Some('I'));
    }
    // In a transaction it is the server's.
    assert_eq!(holder.ask(&sync()).status(), Some('T'));
    holder.query("select 1/0");
    assert_eq!(holder.ask(&sync()).status(), Some('E'));
}

#[test]
fn the_unnamed_statement_survives_a_change_of_the_server_connection() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut sqlx = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    for round in 0..20 {
        let text = format!("select {round} + $1::int");
        let described = sqlx.ask(&script(&[parse("", &text, &[]), describe(b'S', ""), sync()]));
        assert_eq!(described.tags(), "1tTZ");
        assert_eq!(other.extended("select 'other'", &[]).value(), "other");
        let group = script(&[bind("", "", &[Some("100")]), execute("", 0), sync()]);
        let bound = sqlx.ask(&group);
        assert_eq!((bound.tags().as_str(), bound.value()), ("2DCZ", (100 + round).to_string()));
        other.query("select 1").ok();
        // Describe needs it as much as Bind, and it is there for a second time.
        assert_eq!(sqlx.ask(&script(&[describe(b'S', ""), sync()])).tags(), "tTZ");
        other.query("select 1").ok();
        assert_eq!(sqlx.ask(&group).tags(), "2DCZ");
    }
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn without_an_unnamed_statement_there_is_none() {
    let proxy = launch("size=1");
    let mut twin = Twin::new(&proxy);
    let bind_it = script(&[bind("", "", &[]), execute("", 0), sync()]);
    assert_eq!(twin.ask(&bind_it).sqlstate().as_deref(), Some("26000"));
    assert_eq!(
        twin.ask(&script(&[describe(b'S', ""), sync()])).sqlstate().as_deref(),
        Some("26000")
    );
    // A simple query ends it, so does a Parse that fails, a Close of it too.
    let ends = [
        query("select 1"),
        script(&[parse("", "selec", &[]), sync()]),
        script(&[close(b'S', ""), sync()]),
    ];
    for end in ends {
        twin.ask(&script(&[parse("", "select 42", &[]), sync()])).ok();
        twin.ask(&end);
        assert_eq!(twin.ask(&bind_it).sqlstate().as_deref(), Some("26000"));
    }
    twin.close();
}

#[test]
fn another_clients_unnamed_statement_is_not_met() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut two = role.wire(&proxy);
    for _ in 0..5 {
        one.ask(&script(&[parse("", "select 'of one'", &[]), sync()])).ok();
        let reply = two.ask(&script(&[bind("", "", &[]), execute("", 0), sync()]));
        assert_eq!(reply.tags(), "EZ");
        assert_eq!(reply.sqlstate().as_deref(), Some("26000"));
        assert_eq!(reply.error_field('R').as_deref(), Some("exec_bind_message"));
        let reply = two.ask(&script(&[describe(b'S', ""), sync()]));
        assert_eq!(reply.sqlstate().as_deref(), Some("26000"));
        // And it is still there for who made it.
        let reply = one.ask(&script(&[bind("", "", &[]), execute("", 0), sync()]));
        assert_eq!(reply.value(), "of one");
    }
}

#[test]
fn an_old_unnamed_statement_outlives_a_skipped_parse() {
    let proxy = launch("size=1");
    let mut twin = Twin::new(&proxy);
    twin.ask(&script(&[parse("", "select 'old'", &[]), sync()])).ok();
    twin.ask(&script(&[bind("", "nowhere", &[]), parse("", "select 'new'", &[]), sync()]));
    let reply = twin.ask(&script(&[bind("", "", &[]), execute("", 0), sync()]));
    assert_eq!(reply.value(), "old");
    twin.close();
}

#[test]
fn a_failed_bind_leaves_the_unnamed_statement() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    wire.ask(&script(&[parse("", "select 10 / $1::int", &[]), sync()])).ok();
    for _ in 0..3 {
        other.query("select 1").ok();
        let reply = wire.ask(&script(&[bind("", "", &[Some("zero")]), execute("", 0), sync()]));
        assert_eq!(reply.sqlstate().as_deref(), Some("22P02"));
        other.query("select 1").ok();
        let reply = wire.ask(&script(&[bind("", "", &[Some("5")]), execute("", 0), sync()]));
        assert_eq!(reply.value(), "2");
    }
}

#[test]
fn portals_with_row_limits() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let series = parse("", "select generate_series(1, 10)", &[]);
    let limited = [execute("", 3), execute("", 3), execute("", 0), execute("", 0)].concat();
    let reply = twin.ask(&script(&[series.clone(), bind("", "", &[]), limited, sync()])).ok();
    assert_eq!(reply.all(b's').count(), 2);
    // A portal ends with its transaction.
    twin.ask(&script(&[series, bind("", "", &[]), execute("", 3), sync()])).ok();
    twin.ask(&script(&[execute("", 3), sync()]));
    twin.close();
}

#[test]
fn portals_fetched_by_flush() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let series = parse("", "select generate_series(1, 7)", &[]);
    twin.ask_until(&script(&[series, bind("c", "", &[]), execute("c", 3), flush()]), b's').ok();
    twin.ask_until(&script(&[execute("c", 3), flush()]), b's').ok();
    twin.ask_until(&script(&[execute("c", 3), flush()]), b'C').ok();
    twin.ask(&script(&[close(b'P', "c"), sync()])).ok();
    twin.close();
}

#[test]
fn sql_moves_on_a_protocol_portal() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.query("begin").ok();
    let series = parse("", "select generate_series(1, 100)", &[]);
    twin.ask(&script(&[series, bind("asyncpg_1", "", &[]), execute("asyncpg_1", 2), sync()])).ok();
    assert_eq!(twin.query("move forward 90 asyncpg_1").ok().commands(), ["MOVE 90"]);
    assert_eq!(twin.query("fetch 2 from asyncpg_1").rows(), ["93", "94"]);
    let reply = twin.ask(&script(&[execute("asyncpg_1", 0), sync()])).ok();
    assert_eq!(reply.rows(), ["95", "96", "97", "98", "99", "100"]);
    twin.query("close asyncpg_1").ok();
    twin.query("commit").ok();
    twin.close();
}

#[test]
fn a_query_ends_a_batch() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.query("create table extended_query (a int)").ok();
    let insert = run("insert into extended_query values (1)");
    twin.ask(&script(&[insert.clone(), query("select 2")])).ok();
    // After an error it is skipped like everything else.
    twin.ask(&script(&[insert.clone(), run("select 1/0"), query("select 2"), sync()]));
    twin.ask(&script(&[insert.clone(), query("select 1/0")]));
    twin.ask_times(&script(&[insert, query("rollback"), sync()]), 2);
    twin.query("select count(*) from extended_query").ok();
    twin.query("drop table extended_query").ok();
    twin.close();
}

#[test]
fn function_calls() {
    let proxy = launch("");
    let oid = |text: &str| -> u32 {
        Postgres::shared().psql(&format!("select '{text}'::regprocedure::oid")).parse().unwrap()
    };
    let plus = oid("pg_catalog.int4pl(int4, int4)");
    let mut twin = Twin::new(&proxy);
    assert_eq!(twin.ask(&function_call(plus, &[Some("20"), Some("22")])).tags(), "VZ");
    twin.ask(&function_call(plus, &[Some("20"), None])).ok();
    twin.ask(&function_call(plus, &[Some("x"), Some("22")]));
    twin.ask(&function_call(plus, &[Some("1")]));
    twin.ask(&function_call(1, &[]));
    twin.ask(&frame(b'F', b"\0\0"));
    twin.ask(&script(&[run("select 1"), function_call(plus, &[Some("1"), Some("2")])])).ok();
    twin.ask(&script(&[run("select 1/0"), function_call(plus, &[Some("1"), Some("2")]), sync()]));
    twin.query("begin").ok();
    twin.ask(&function_call(plus, &[Some("1"), Some("2")])).ok();
    twin.query("commit").ok();
    twin.close();
}

#[test]
fn named_statements() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    twin.ask(&script(&[parse("a", "select $1::int", &[]), describe(b'S', "a"), sync()])).ok();
    twin.ask(&script(&[bind("", "a", &[Some("1")]), execute("", 0), sync()])).ok();
    twin.ask(&script(&[parse("a", "select 2", &[]), sync()]));
    twin.ask(&script(&[close(b'S', "a"), parse("a", "select 2", &[]), sync()])).ok();
    twin.ask(&script(&[bind("p", "a", &[]), describe(b'P', "p"), execute("p", 0), sync()])).ok();
    twin.query("deallocate a").ok();
    twin.ask(&script(&[bind("", "a", &[]), sync()]));
    twin.close();
}

#[test]
fn closing_what_is_not_there() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let closes = [close(b'S', "x"), close(b'P', "x"), close(b'S', ""), close(b'P', "")].concat();
    assert_eq!(twin.ask(&script(&[closes, sync()])).tags(), "3333Z");
    twin.ask(&script(&[close(b'?', "x"), sync()]));
    twin.ask(&script(&[describe(b'?', "x"), sync()]));
    twin.ask(&script(&[describe(b'P', "x"), sync()]));
    twin.ask(&script(&[execute("x", 0), sync()]));
    twin.close();
}

#[test]
fn malformed_messages_get_the_servers_own_error() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let malformed = [
        frame(b'P', b""),
        frame(b'P', b"\0"),
        frame(b'P', b"\0select 1"),
        frame(b'P', b"\0select 1\0"),
        frame(b'P', b"\0select 1\0\0\x05"),
        frame(b'P', b"\0select 1\0\0\0more"),
        frame(b'B', b""),
        frame(b'B', b"\0"),
        frame(b'B', b"\0\0"),
        frame(b'B', b"\0\0\0\x01"),
        frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x09xx\0\0"),
        frame(b'B', b"\0\0\0\0\0\0\0\0more"),
        frame(b'D', b""),
        frame(b'D', b"S"),
        frame(b'D', b"S\0more"),
        frame(b'E', b""),
        frame(b'E', b"\0\0"),
        frame(b'C', b"S"),
        frame(b'C', b"P\0more"),
    ];
    for bytes in malformed {
        twin.ask(&script(&[parse("", "select 1", &[]), sync()])).ok();
        let reply = twin.ask(&script(&[bytes.clone(), sync()]));
        assert!(reply.sqlstate().is_some(), "{}: {reply}", bytes.escape_ascii());
        twin.ask(&script(&[run("select 1"), sync()])).ok();
    }
    twin.close();
}

#[test]
fn syncs_and_flushes_with_a_body() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let more = |tag| frame(tag, b"more");
    twin.ask(&script(&[run("select 1"), more(b'H'), sync()]));
    // A malformed Sync is an error, and ends the batch all the same.
    twin.ask_times(&script(&[run("select 1"), more(b'S'), sync()]), 2);
    twin.ask_times(&script(&[more(b'S'), sync()]), 2);
    twin.ask(&script(&[more(b'H'), sync()]));
    twin.query("select 1").ok();
    twin.close();
}

#[test]
fn transactions_by_the_extended_protocol() {
    let proxy = launch("size=1");
    let mut twin = Twin::new(&proxy);
    for sql in ["begin", "savepoint a", "select 1/0", "rollback to a", "select 1", "commit"] {
        twin.ask(&script(&[run(sql), sync()]));
    }
    twin.ask(&script(&[run("begin"), sync()])).ok();
    twin.ask(&script(&[parse("", "selec", &[]), sync()]));
    assert_eq!(twin.ask(&script(&[run("select 1"), sync()])).sqlstate().as_deref(), Some("25P02"));
    twin.ask(&script(&[run("rollback"), sync()])).ok();
    twin.close();
}

#[test]
fn a_batch_may_come_in_pieces() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let bytes = script(&[extended("select $1::text", &[Some("abc")]), sync()]);
    for size in [1, 4, 11] {
        twin.both(|wire| {
            bytes.chunks(size).for_each(|piece| wire.send(piece));
            wire.until_ready()
        })
        .ok();
    }
    twin.close();
}

#[test]
fn big_parameters_and_statements() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let big = "x".repeat(5_000_000);
    let reply = twin.ask(&script(&[extended("select length($1)", &[Some(&big)]), sync()])).ok();
    assert_eq!(reply.value(), "5000000");
    let text = format!("select length('{big}')");
    twin.ask(&script(&[run(&text), sync()])).ok();
    // A Parse too long to be kept by the proxy is found again all the same.
    let text = format!("select length('{}')", "y".repeat(100_000));
    twin.ask(&script(&[parse("", &text, &[]), sync()])).ok();
    twin.ask(&script(&[bind("", "", &[]), execute("", 0), sync()])).ok();
    twin.close();
}

#[test]
fn terminate_ends_a_write() {
    let proxy = launch("");
    let mut twin = Twin::new(&proxy);
    let reply = twin.ask_last(&script(&[run("select 1"), sync(), terminate(), run("select 2")]));
    assert_eq!(reply.rows(), ["1"]);
}
