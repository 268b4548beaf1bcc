//! Prepared statements in transaction mode: the client's own, wherever its transactions run. Each script runs
//! direct and through the proxy, over a pool of two server connections that other clients use too.

use std::sync::Once;

use crate::launch::launch;
use crate::support::frames::{bind, close, describe, execute, extended, flush, parse, query, sync};
use crate::support::{Postgres, Proxy};
use crate::twin::Twin;

/// A proxy with two server connections.
fn pool_of_two() -> Proxy {
    launch("size=2")
}

/// Takes the server connection used last out of the way, so that the next client gets the other one.
fn occupy(proxy: &Proxy) -> Twin {
    let mut twin = Twin::new(proxy);
    twin.ask(&query("begin"));
    twin
}

fn run(statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    [bind("", statement, parameters), describe(b'P', ""), execute("", 0), sync()].concat()
}

fn prepare(name: &str, sql: &str) -> Vec<u8> {
    [parse(name, sql, &[]), describe(b'S', name), sync()].concat()
}

/// A view of all prepared statements of a server connection, whoever's they are: the proxy doesn't know it.
fn everybodys() -> &'static str {
    static VIEW: Once = Once::new();
    VIEW.call_once(|| {
        let view = "create view everybodys_statements as select * from pg_prepared_statements";
        Postgres::shared().psql(view);
    });
    "everybodys_statements"
}

#[test]
fn a_statement_follows_its_client_to_another_server_connection() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    twin.ask(&prepare("s", "select $1::int + 1 as sum"));
    for _ in 0..3 {
        let holder = occupy(&proxy);
        assert_eq!(twin.ask(&run("s", &[Some("1")])).value(), "2");
        assert_eq!(twin.ask(&[describe(b'S', "s"), sync()].concat()).tags(), "tTZ");
        holder.close();
    }
}

#[test]
fn one_name_is_another_statement_for_each_client() {
    let proxy = pool_of_two();
    let mut twins: Vec<_> = (0..8).map(|_| Twin::new(&proxy)).collect();
    for (number, twin) in twins.iter_mut().enumerate() {
        twin.ask(&prepare("s", &format!("select {number}, $1::text")));
    }
    for _ in 0..2 {
        for (number, twin) in twins.iter_mut().enumerate() {
            let rows = twin.ask(&run("s", &[Some("x")])).rows();
            assert_eq!(rows, [format!("{number}|x")]);
        }
    }
}

#[test]
fn errors_show_the_clients_own_names() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    twin.ask(&prepare("mine", "select $1::int"));
    let wrong_count = twin.ask(&run("mine", &[]));
    assert!(wrong_count.error_field('M').unwrap().contains("\"mine\""));
    let twice = twin.ask(&prepare("mine", "select 2"));
    assert_eq!(twice.sqlstate().as_deref(), Some("42P05"));
    assert_eq!(twin.ask(&run("yours", &[])).sqlstate().as_deref(), Some("26000"));
    for _ in 0..3 {
        // Given a name behind the scenes by then.
        let batch = [parse("", "select $1::int", &[]), run("", &[])].concat();
        assert!(twin.ask(&batch).error_field('M').unwrap().contains("statement \"\""));
    }
}

#[test]
fn what_failed_was_never_prepared() {
    let proxy = pool_of_two();
    let mut other = Twin::new(&proxy);
    other.ask(&prepare("known", "select 1"));
    let mut twin = Twin::new(&proxy);
    // The text is known by then, and answered without the server elsewhere.
    let broken = [bind("", "nowhere", &[]), parse("s", "select 1", &[]), sync()].concat();
    twin.ask_times(&[broken, run("s", &[])].concat(), 2);
    assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"));
    twin.ask(&prepare("s", "select * from nowhere"));
    assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"));
    twin.ask(&query("begin"));
    twin.ask(&query("select 1/0"));
    let failed = twin.ask(&prepare("s", "select 1"));
    assert_eq!(failed.sqlstate().as_deref(), Some("25P02"));
    twin.ask(&run("s", &[]));
    twin.ask(&query("rollback"));
    assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"));
}

#[test]
fn statements_outlive_a_rollback() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    twin.ask(&query("begin"));
    twin.ask(&prepare("s", "select 'still here'"));
    twin.ask(&query("rollback"));
    let _holder = occupy(&proxy);
    assert_eq!(twin.ask(&run("s", &[])).value(), "still here");
}

#[test]
fn a_failed_transaction_refuses_what_the_server_connection_has_not_got() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    twin.ask(&prepare("one", "select $1::int"));
    twin.ask(&prepare("end", "rollback"));
    let _holder = occupy(&proxy);
    twin.ask(&query("begin"));
    twin.ask(&query("select 1/0"));
    assert_eq!(twin.ask(&run("one", &[Some("1")])).sqlstate().as_deref(), Some("25P02"));
    assert_eq!(twin.ask(&run("one", &[])).sqlstate().as_deref(), Some("08P01"));
    twin.ask(&prepare("one", "select 2"));
    assert_eq!(twin.ask(&run("end", &[])).commands(), ["ROLLBACK"]);
    assert_eq!(twin.ask(&run("one", &[Some("1")])).value(), "1");
}

#[test]
fn names_are_free_again_when_they_are_closed() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    twin.ask(&prepare("s", "select 1"));
    twin.ask(&[close(b'S', "s"), close(b'S', "never"), sync()].concat());
    assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"));
    let anew = [prepare("s", "select 2"), run("s", &[])].concat();
    assert_eq!(twin.ask_times(&anew, 2).rows(), ["2"]);
    let replaced =
        [close(b'S', "s"), parse("s", "select 3", &[]), bind("", "s", &[]), execute("", 0), sync()];
    assert_eq!(twin.ask(&replaced.concat()).rows(), ["3"]);
}

#[test]
fn pipelines_mix_everything() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    for round in 0..3 {
        let (one, other) = (format!("one{round}"), format!("other{round}"));
        let group = [
            parse(&one, "select $1::int * 2", &[]),
            parse(&other, "select $1::text", &[]),
            bind("p", &one, &[Some("4")]),
            bind("", &other, &[Some("x")]),
            execute("p", 0),
            execute("", 0),
            close(b'S', &one),
            parse(&one, "select 'anew'", &[]),
            bind("", &one, &[]),
            execute("", 0),
            sync(),
        ]
        .concat();
        let failing = [run(&other, &[Some("y")]), run("nowhere", &[]), run(&one, &[])].concat();
        assert_eq!(twin.ask(&group).rows(), ["8", "x", "anew"]);
        twin.ask_times(&failing, 3);
        twin.ask_times(&[group.clone(), failing].concat(), 4);
    }
    // A thousand executions in one group, and in a thousand.
    let many = |end: &[u8]| {
        let one = [bind("", "other0", &[Some("z")]), execute("", 0), end.to_vec()].concat();
        one.repeat(1000)
    };
    let first = parse("late", "select 5", &[]);
    twin.ask(&[first, many(b""), sync()].concat());
    twin.ask_times(&many(&sync()), 1000);
}

#[test]
fn a_flush_brings_what_needs_no_server() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    for name in ["a", "b", "c"] {
        twin.ask_until(&[parse(name, "select 1 as x", &[]), flush()].concat(), b'1');
        let described = [describe(b'S', name), flush()].concat();
        twin.ask_until(&described, b'T');
        assert_eq!(twin.ask(&run(name, &[])).rows(), ["1"]);
    }
}

#[test]
fn sql_finds_the_clients_names() {
    // Some of these keep their server connections.
    let proxy = launch("size=5");
    let mut twin = Twin::new(&proxy);
    let texts = [
        "deallocate s",
        "deallocate prepare \"s\"",
        "deallocate all",
        "discard all",
        "select 1; deallocate all",
        "do $$ begin execute 'deallocate all'; end $$",
    ];
    for sql in texts {
        twin.ask(&prepare("s", "select 1"));
        let reply = twin.ask(&query(sql));
        assert_eq!(reply.sqlstate(), None, "{sql}");
        assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"), "{sql}");
    }
    for sql in ["deallocate s", "deallocate all"] {
        twin.ask(&prepare("s", "select 1"));
        twin.ask(&[extended(sql, &[]), sync()].concat());
        assert_eq!(twin.ask(&run("s", &[])).sqlstate().as_deref(), Some("26000"), "{sql}");
    }
    let mut fresh = Twin::new(&proxy);
    fresh.ask(&query("deallocate nothing"));
    fresh.ask(&prepare("s", "select $1::int + 1"));
    assert_eq!(fresh.ask(&query("execute s(1)")).rows(), ["2"]);
    assert_eq!(fresh.ask(&run("s", &[Some("2")])).rows(), ["3"]);
    fresh.ask(&query("prepare t as select 'sql'"));
    assert_eq!(fresh.ask(&run("t", &[])).rows(), ["sql"]);
    let mut failing = Twin::new(&proxy);
    failing.ask(&prepare("s", "select 1"));
    failing.ask(&query("begin; select 1/0"));
    failing.ask(&query("deallocate s"));
    failing.ask(&query("rollback"));
    assert_eq!(failing.ask(&run("s", &[])).rows(), ["1"]);
}

#[test]
fn sql_keeps_the_server_connection_until_it_is_deallocated() {
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    let mut other = proxy.wire();
    let pid = "select pg_backend_pid()";
    for (prepare, deallocate) in [
        ("prepare P as select 'sql'", query("deallocate p")),
        ("prepare p as select 'sql'", query("deallocate all")),
        ("prepare p as select 'sql'", query("discard all")),
        ("prepare p as select 'sql'", [close(b'S', "p"), sync()].concat()),
        ("select 1; prepare p as select 'sql'", query("deallocate all")),
    ] {
        wire.query(prepare).ok();
        assert_eq!(wire.query("execute p").value(), "sql");
        other.send(&query(pid));
        // The other one waits.
        assert_eq!(wire.query("execute p").value(), "sql");
        wire.ask(&deallocate).ok();
        other.until_ready().ok();
        assert_eq!(other.query("execute p").sqlstate().as_deref(), Some("26000"));
    }
    // What was shared on that connection was dropped with it.
    wire.query("select 1; deallocate all").ok();
    wire.ask(&prepare("s", "select 'again'")).ok();
    assert_eq!(wire.ask(&run("s", &[])).rows(), ["again"]);
    wire.query("deallocate all").ok();
    // A statement that is handed over for SQL to find counts too.
    wire.ask(&prepare("s", "select 'mine'")).ok();
    assert_eq!(wire.query("execute s").value(), "mine");
    wire.ask(&[close(b'S', "s"), sync()].concat()).ok();
    other.query(pid).ok();
}

#[test]
fn a_neighbours_statement_is_not_dropped_for_it() {
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    let shared = &format!("select name from {} where statement like '%mine%'", everybodys());
    for with in ["deallocate", "close"] {
        wire.ask(&prepare("s", "select 'mine'")).ok();
        let mut other = proxy.wire();
        let name = other.query(shared).value();
        let drop = match with {
            "close" => [close(b'S', &name), sync()].concat(),
            _ => query(&format!("deallocate {name}")),
        };
        other.ask(&drop).ok();
        other.close();
        // In a transaction nothing could be repaired.
        wire.query("begin").ok();
        assert_eq!(wire.ask(&run("s", &[])).rows(), ["mine"], "{with}");
        wire.query("commit").ok();
        wire.ask(&[close(b'S', "s"), sync()].concat()).ok();
    }
}

#[test]
fn a_fetch_has_the_columns_of_its_own_sessions_cursor() {
    let proxy = launch("size=1");
    let mut others = proxy.wire();
    others.query("begin; declare c cursor for select 1 as number").ok();
    assert_eq!(others.ask(&prepare("s", "fetch all from c")).tags(), "1tTZ");
    others.query("commit").ok();
    others.ask(&[close(b'S', "s"), sync()].concat()).ok();
    let mut twin = Twin::new(&proxy);
    assert_eq!(twin.ask(&prepare("s", "fetch all from c")).tags(), "1tnZ");
    twin.ask(&[close(b'S', "s"), sync()].concat());
    twin.ask(&query("begin; declare c cursor for select 'text' as other"));
    assert_eq!(twin.ask(&prepare("s", "fetch all from c")).tags(), "1tTZ");
    assert_eq!(twin.ask(&run("s", &[])).rows(), ["text"]);
    twin.ask(&query("rollback"));
}

#[test]
fn an_unnamed_statement_without_rows_is_described_in_a_failed_transaction_too() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    for text in ["copy pg_class to stdout", "", "begin", "commit"] {
        twin.ask(&[parse("", text, &[23]), sync()].concat());
        let holder = occupy(&proxy);
        twin.ask(&[parse("b", "begin", &[]), bind("", "b", &[]), execute("", 0), sync()].concat());
        twin.ask(&[execute("none", 0), sync()].concat());
        twin.ask(&[describe(b'S', ""), sync()].concat());
        twin.ask(&[close(b'S', "b"), sync()].concat());
        twin.ask(&query("rollback"));
        drop(holder);
    }
}

#[test]
fn names_count_as_far_as_postgresql_looks() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    for length in [62, 63, 64, 200] {
        let name = "n".repeat(length);
        twin.ask(&prepare(&name, "select 1"));
        twin.ask(&run(&name, &[]));
    }
    let text = format!("select '{}'", "x".repeat(100_000));
    twin.ask(&prepare("long", &text));
    let _holder = occupy(&proxy);
    twin.ask(&run("long", &[]));
}

#[test]
fn a_notice_of_analysis_comes_with_every_parse() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    let text = format!("select 1 as {}", "n".repeat(70));
    for round in 0..4 {
        assert!(twin.ask(&prepare(&format!("s{round}"), &text)).tags().starts_with('N'));
        let unnamed = [parse("", &text, &[]), run("", &[])].concat();
        assert!(twin.ask(&unnamed).tags().starts_with('N'));
    }
}

#[test]
fn constants_mean_what_the_clients_settings_say() {
    let proxy = pool_of_two();
    let text = "select '01/02/2020'::date, '2024-01-01 00:00'::timestamptz at time zone 'utc'";
    let batch = [parse("", text, &[]), run("", &[])].concat();
    let mut plain = Twin::new(&proxy);
    for _ in 0..3 {
        plain.ask(&batch);
    }
    for (setting, local) in [("DateStyle = 'German'", false), ("TimeZone = 'Asia/Tokyo'", true)] {
        let mut twin = Twin::new(&proxy);
        twin.ask(&query("begin"));
        let scope = if local { "local" } else { "session" };
        twin.ask(&query(&format!("set {scope} {setting}")));
        twin.ask(&batch);
        twin.ask(&[prepare("s", text), run("s", &[])].concat()[..prepare("s", text).len()]);
        twin.ask(&run("s", &[]));
        twin.ask(&query("commit"));
        twin.ask(&run("s", &[]));
    }
    let startup = [("options", "-c DateStyle=SQL,DMY")];
    let (mut other, reply) = Twin::log_in(&proxy, &startup);
    reply.ok();
    other.ask(&batch);
    plain.ask(&batch);
}

#[test]
fn an_unnamed_statement_that_comes_again_is_still_unnamed() {
    let proxy = pool_of_two();
    let mut twin = Twin::new(&proxy);
    for number in 0..5 {
        let given = number.to_string();
        assert_eq!(
            twin.ask(&[extended("select $1::int", &[Some(&given)]), sync()].concat()).value(),
            given
        );
    }
    let text = "select $1::int";
    twin.ask(&prepare("", text));
    let holder = occupy(&proxy);
    assert_eq!(twin.ask(&run("", &[Some("7")])).value(), "7");
    holder.close();
    // Replaced by the next, dropped by a failing one, a Query, a Close.
    for end in [query("select 1"), [parse("", "select nowhere", &[]), sync()].concat()] {
        twin.ask(&prepare("", text));
        twin.ask(&end);
        assert_eq!(twin.ask(&run("", &[Some("7")])).sqlstate().as_deref(), Some("26000"));
    }
    twin.ask(&prepare("", text));
    twin.ask(&[close(b'S', ""), sync()].concat());
    assert_eq!(twin.ask(&run("", &[Some("7")])).sqlstate().as_deref(), Some("26000"));
}

#[test]
fn the_present_is_not_frozen() {
    let proxy = pool_of_two();
    let mut wire = proxy.wire();
    let mut ask = |sql: &str| wire.extended(sql, &[]).ok().value();
    let seen: Vec<_> = (0..4).map(|_| ask("select 'now'::timestamptz::text")).collect();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

#[test]
fn a_text_that_comes_again_is_planned_once() {
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    for _ in 0..3 {
        wire.extended("select $1::int", &[Some("1")]).ok();
    }
    let shared = &format!("select count(*) from {} where name like 'steward\\_%'", everybodys());
    assert_eq!(wire.query(shared).value(), "1");
    // Another client has the same one.
    let mut other = proxy.wire();
    other.ask(&prepare("s", "select $1::int")).ok();
    assert_eq!(other.query(shared).value(), "1");
    let proxy = launch("size=1 prepared.unnamed=false");
    let mut wire = proxy.wire();
    for _ in 0..3 {
        wire.extended("select $1::int", &[Some("1")]).ok();
    }
    assert_eq!(wire.query(shared).value(), "0");
}

#[test]
fn the_list_of_prepared_statements_has_nothing_of_the_proxys() {
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    let list = "select name from pg_prepared_statements";
    for _ in 0..4 {
        // As asyncpg does: what it knows of the statement decides what it binds.
        wire.send(&[parse("", "select 1 as one", &[]), describe(b'S', ""), flush()].concat());
        wire.until(b'T');
        wire.ask(&[bind("", "", &[]), execute("", 0), sync()].concat()).ok();
    }
    assert_eq!(wire.query(list).ok().rows(), [""; 0]);
    assert_eq!(wire.extended(list, &[]).ok().rows(), [""; 0]);
}

#[test]
fn a_server_connection_keeps_so_many() {
    let proxy = launch("size=1 prepared.server_statements=16");
    let mut wire = proxy.wire();
    for number in 0..100 {
        wire.ask(&prepare(&format!("s{number}"), &format!("select {number}"))).ok();
    }
    let count = format!("select count(*) from {}", everybodys());
    let kept: u32 = wire.query(&count).value().parse().unwrap();
    assert!(kept <= 16, "{kept}");
    for number in 0..100 {
        let reply = wire.ask(&run(&format!("s{number}"), &[])).ok();
        assert_eq!(reply.value(), number.to_string());
    }
}

#[test]
fn a_client_that_prepares_without_end_keeps_its_server_connection() {
    let proxy = launch("size=1 prepared.client_statements=10");
    let mut wire = proxy.wire();
    for number in 0..2000 {
        wire.send(&prepare(&format!("s{number}"), &format!("select {number}")));
        wire.until_ready().ok();
    }
    for number in [0, 9, 10, 1999] {
        assert_eq!(wire.ask(&run(&format!("s{number}"), &[])).ok().value(), number.to_string());
    }
    // It was the only connection.
    drop(wire);
    proxy.wire().query("select 1").ok();
}

#[test]
fn a_text_goes_back_whose_generic_plan_is_slow() {
    Postgres::shared().psql(
        "drop table if exists skewed;
         create table skewed as select n, (n = 1)::int as kind from generate_series(1, 300000) n;
         create index on skewed (kind);
         -- Whether or not the sample has the one row of its kind.
         alter table skewed alter kind set (n_distinct = 1);
         analyze skewed",
    );
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    let generic_plans = &format!("select coalesce(sum(generic_plans), 0) from {}", everybodys());
    let text = "select count(*) from skewed where kind = $1 and n > 0";
    // The values that it is planned for have the whole table read; so does the plan for any value.
    for _ in 0..8 {
        wire.extended(text, &[Some("0")]).ok();
    }
    let mut last: u32 = 0;
    // One row through the index is what the later ones would be planned for.
    for _ in 0..100 {
        for _ in 0..20 {
            assert_eq!(wire.extended(text, &[Some("1")]).ok().value(), "1");
        }
        let now = wire.query(generic_plans).value().parse().unwrap();
        if now == last && now > 0 {
            return;
        }
        last = now;
    }
    panic!("still planned for any value after 2,000 runs");
}

#[test]
fn the_list_of_prepared_statements_is_each_clients_own() {
    let proxy = pool_of_two();
    let mut others: Vec<_> = (0..3).map(|_| Twin::new(&proxy)).collect();
    for other in &mut others {
        other.ask(&prepare("theirs", "select 'theirs'"));
        other.ask(&run("theirs", &[]));
    }
    let list = "select name, statement, parameter_types, from_sql from pg_prepared_statements order by name";
    let mut twin = Twin::new(&proxy);
    twin.ask(&query(list));
    twin.ask(&prepare("b", "select $1::int"));
    twin.ask(&prepare("a", "select 1"));
    twin.ask(&query(list));
    twin.ask(&[parse("", list, &[]), bind("", "", &[]), execute("", 0), sync()].concat());
    twin.ask(&[close(b'S', "a"), close(b'S', "b"), sync()].concat());
    for _ in 0..3 {
        twin.ask(&[parse("", list, &[]), bind("", "", &[]), execute("", 0), sync()].concat());
        twin.ask(&prepare("list", list));
        twin.ask(&run("list", &[]));
        twin.ask(&[close(b'S', "list"), sync()].concat());
    }
    for other in &mut others {
        other.ask(&run("theirs", &[]));
    }
}
