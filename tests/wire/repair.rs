//! What becomes of prepared statements when they are gone, or the catalog has changed: by a client of the proxy, or
//! past it.

use crate::launch::launch;
use crate::support::frames::{bind, close, describe, execute, parse, query, sync};
use crate::support::{Postgres, Proxy, Wire};
use crate::twin::Twin;

fn pool_of_two() -> Proxy {
    launch("size=2")
}

/// Takes the server connection used last out of the way, so that the next client gets the other one.
fn occupy(proxy: &Proxy) -> Wire {
    let mut wire = proxy.wire();
    wire.query("begin").ok();
    wire
}

/// Asks for the columns too.
fn run(statement: &str) -> Vec<u8> {
    [bind("", statement, &[]), describe(b'P', ""), execute("", 0), sync()].concat()
}

/// Relies on the columns that it was told before.
fn run_again(statement: &str) -> Vec<u8> {
    [bind("", statement, &[]), execute("", 0), sync()].concat()
}

fn prepare(name: &str, sql: &str) -> Vec<u8> {
    [parse(name, sql, &[]), describe(b'S', name), sync()].concat()
}

fn table(name: &str) -> String {
    Postgres::shared().psql(&format!(
        "drop table if exists {name}; create table {name} (a int); insert into {name} values (1)"
    ));
    format!("select * from {name}")
}

fn assert_plan_changed(told: &crate::support::Reply) {
    assert_eq!(told.sqlstate().as_deref(), Some("0A000"));
    assert_eq!(told.error_field('R').as_deref(), Some("RevalidateCachedQuery"));
}

#[test]
fn who_parses_after_a_change_sees_it() {
    let proxy = pool_of_two();
    let text = table("changed_seen");
    let mut before = proxy.wire();
    before.ask(&prepare("s", &text)).ok();
    before.ask(&run("s")).ok();
    let mut changer = proxy.wire();
    changer.query("alter table changed_seen add b text default 'new'").ok();
    let mut after = proxy.wire();
    for name in ["", "s", "t"] {
        assert_eq!(after.ask(&prepare(name, &text)).ok().tags(), "1tTZ");
        assert_eq!(after.ask(&run(name)).ok().rows(), ["1|new"]);
    }
    // Direct, who has parsed it before hears that; on any server connection.
    let _holder = occupy(&proxy);
    for _ in 0..2 {
        assert_plan_changed(&before.ask(&run_again("s")));
    }
    before.ask(&[close(b'S', "s"), sync()].concat()).ok();
    before.ask(&prepare("s", &text)).ok();
    assert_eq!(before.ask(&run_again("s")).ok().rows(), ["1|new"]);
}

#[test]
fn who_asks_for_the_columns_gets_the_new_ones() {
    for kind in ["P", "S"] {
        let proxy = pool_of_two();
        let text = table("changed_described");
        let mut wire = proxy.wire();
        wire.ask(&prepare("s", &text)).ok();
        wire.ask(&run("s")).ok();
        Postgres::shared().psql("alter table changed_described add b text default 'new'");
        if kind == "S" {
            assert_eq!(wire.ask(&[describe(b'S', "s"), sync()].concat()).ok().tags(), "tTZ");
        }
        // On a server connection that has it as it was, and on one that hasn't got it.
        for _ in 0..2 {
            let told = wire.ask(&run("s")).ok();
            assert_eq!((told.tags().as_str(), told.rows()), ("2TDCZ", vec!["1|new".to_owned()]));
        }
        let _holder = occupy(&proxy);
        assert_eq!(wire.ask(&run("s")).ok().rows(), ["1|new"]);
    }
}

#[test]
fn what_would_be_executed_twice_is_not_repaired() {
    let proxy = launch("size=1");
    let text = table("changed_halfway");
    Postgres::shared().psql("drop table if exists changed_log; create table changed_log (n int)");
    let mut wire = proxy.wire();
    wire.ask(&prepare("s", &text)).ok();
    wire.ask(&prepare("log", "insert into changed_log values (1)")).ok();
    Postgres::shared().psql("alter table changed_halfway add b text");
    // An execution in front of it, and a transaction.
    let told = wire.ask(&[bind("", "log", &[]), execute("", 0), run("s")].concat());
    assert_eq!(told.tags(), "2CEZ");
    assert_plan_changed(&told);
    wire.query("begin").ok();
    assert_plan_changed(&wire.ask(&run("s")));
    wire.query("rollback").ok();
    assert_eq!(wire.query("select count(*) from changed_log").value(), "0");
    wire.ask(&run("s")).ok();
}

#[test]
fn who_never_had_it_described_hears_nothing_of_a_change() {
    let proxy = launch("size=1");
    let text = table("changed_shared");
    let mut first = proxy.wire();
    first.ask(&prepare("s", &text)).ok();
    Postgres::shared().psql("alter table changed_shared add b text default 'new'");
    // Answered by the proxy, which can't know of the change yet.
    let mut other = proxy.wire();
    let whole = [parse("t", &text, &[]), run_again("t")].concat();
    let told = other.ask(&whole).ok();
    assert_eq!((told.tags().as_str(), told.rows()), ("12DCZ", vec!["1|new".to_owned()]));
    assert_plan_changed(&first.ask(&run_again("s")));
}

#[test]
fn pipelined_groups_stay_in_order_behind_a_repair() {
    let proxy = launch("size=1");
    let text = table("changed_pipeline");
    let mut wire = proxy.wire();
    wire.ask(&prepare("s", &text)).ok();
    Postgres::shared().psql("alter table changed_pipeline add b text default 'new'");
    wire.send(&run("s"));
    wire.send(&query("select 'behind'"));
    let (first, second) = (wire.until_ready(), wire.until_ready());
    // Sent at once, the group may not be alone in flight: then it fails as on PostgreSQL.
    assert!(first.sqlstate().as_deref() == Some("0A000") || first.rows() == ["1|new"]);
    assert_eq!(second.value(), "behind");
}

#[test]
fn a_change_on_the_way_to_another_server_connection_is_noticed() {
    let proxy = pool_of_two();
    let text = table("changed_unseen");
    let mut wire = proxy.wire();
    wire.ask(&prepare("s", &text)).ok();
    Postgres::shared().psql("alter table changed_unseen add b text");
    let _holder = occupy(&proxy);
    assert_eq!(wire.ask(&run_again("s")).sqlstate().as_deref(), Some("0A000"));
    let mut after = proxy.wire();
    after.ask(&[parse("s", &text, &[]), run_again("s")].concat()).ok();
}

#[test]
fn a_table_made_anew_is_the_same_to_a_statement() {
    let proxy = pool_of_two();
    let text = table("made_anew");
    let mut wire = proxy.wire();
    wire.ask(&prepare("s", &text)).ok();
    let mut changer = proxy.wire();
    changer.query("drop table made_anew").ok();
    assert_eq!(wire.ask(&run_again("s")).sqlstate().as_deref(), Some("42P01"));
    changer.query("create table made_anew (a int)").ok();
    assert_eq!(wire.ask(&run_again("s")).ok().commands(), ["SELECT 0"]);
}

#[test]
fn a_statement_that_is_gone_is_prepared_again() {
    Postgres::shared().psql(
        "create or replace function forget() returns void language plpgsql as
         $$ begin execute 'deallocate all'; end $$",
    );
    let proxy = launch("size=1");
    let mut wire = proxy.wire();
    wire.ask(&prepare("s", "select 'still there'")).ok();
    let mut other = proxy.wire();
    for request in [run("s"), run_again("s"), [describe(b'S', "s"), sync()].concat()] {
        other.query("select forget()").ok();
        wire.ask(&request).ok();
    }
    // In a transaction it is PostgreSQL's error; afterwards all is well.
    wire.query("begin").ok();
    wire.query("select forget()").ok();
    let told = wire.ask(&run("s"));
    assert_eq!(told.sqlstate().as_deref(), Some("26000"));
    assert!(told.error_field('M').unwrap().contains("\"s\""), "{told:?}");
    wire.query("rollback").ok();
    assert_eq!(wire.ask(&run("s")).ok().value(), "still there");
}

#[test]
fn deallocate_all_in_a_do_body_is_the_clients_own_doing() {
    let proxy = launch("size=2 after_unknown=pin");
    let mut twin = Twin::new(&proxy);
    twin.ask(&prepare("s", "select 1"));
    twin.ask(&query("do $$ begin execute 'deallocate all'; end $$"));
    twin.ask(&run("s"));
    twin.ask(&prepare("s", "select 2"));
    twin.ask(&run("s"));
}
