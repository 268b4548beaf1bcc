//! State that outlives its transaction: its client keeps the server connection, and nobody else finds it.

use std::time::Duration;

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{
    bind, close, describe, execute, extended, function_call, parse, query, sync,
};
use crate::support::{Postgres, Proxy, Wire, eventually};

/// All that a session can leave behind, as its own next statement sees it.
const STATE: &str = "select \
    (select count(*) from pg_prepared_statements), \
    (select count(*) from pg_cursors), \
    (select count(*) from pg_listening_channels()), \
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
    (select count(*) from pg_class where relnamespace = pg_my_temp_schema()), \
    (select string_agg(name, ',') from pg_settings where source = 'session' \
        and name not in ('application_name', 'client_encoding', 'transaction_isolation')), \
    current_user = session_user, current_setting('search_path')";

const CLEAN: &str = "0|0|0|0|0||t|\"$user\", public";

fn server_pid(wire: &mut Wire) -> String {
    wire.query("select pg_backend_pid()").ok().value()
}

/// `act` keeps the only server connection with its client until it leaves; the next finds it clean.
/// `how` says whether the next one gets the same connection.
#[track_caller]
fn keeps(what: &str, next: Next, act: impl FnOnce(&mut Wire)) {
    let role = Role::new();
    let proxy = launch("size=1 share_listener=false");
    let mut owner = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    act(&mut owner);
    let pid = server_pid(&mut owner);
    other.send(&query(STATE));
    assert!(other.is_silent_for(Duration::from_millis(30)), "{what} did not keep the connection");
    assert_eq!(server_pid(&mut owner), pid, "{what}");
    owner.close();
    assert_eq!(other.until_ready().ok().rows(), [CLEAN], "left of {what}");
    let same = server_pid(&mut other) == pid;
    assert_eq!(same, next == Next::SameProcess, "{what}");
    assert_eq!(role.pids().len(), 1);
}

/// What the next client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same connection, after DISCARD ALL.
    SameProcess,
    /// A new one: the state outlives DISCARD ALL.
    NewProcess,
}

/// Temporary relations leave their schema behind.
fn next_after(sql: &str) -> Next {
    if sql.contains("temp") { Next::NewProcess } else { Next::SameProcess }
}

#[test]
fn state_keeps_the_connection_and_is_gone_with_its_client() {
    for sql in [
        "set session authorization postgres",
        "select set_config('work_' || 'mem', '5MB', false)",
        "listen news",
        "create temp table pinned (a int)",
        "select 1 as a into temp pinned",
        "create table pg_temp.pinned (a int)",
        "create temp sequence pinned",
        "prepare pinned as select 1",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock_shared(1, 2)",
        "begin; declare pinned cursor with hold for select 1; commit",
    ] {
        keeps(sql, next_after(sql), |wire| {
            wire.query(sql).ok();
        });
    }
}

#[test]
fn so_does_state_that_the_extended_protocol_makes() {
    for sql in [
        "listen news",
        "create temp table pinned (a int)",
        "prepare pinned as select 1",
        "select pg_advisory_lock($1::int)",
    ] {
        let parameters = [Some("1")];
        let parameters = if sql.contains('$') { &parameters[..] } else { &[] };
        keeps(sql, next_after(sql), |wire| {
            wire.extended(sql, parameters).ok();
        });
    }
    keeps("a statement that SQL looks for", Next::SameProcess, |wire| {
        wire.ask(&[parse("s", "select 1", &[]), sync()].concat()).ok();
        wire.query("execute s").ok();
    });
    let oid = Postgres::shared().psql("select 'set_config(text, text, bool)'::regprocedure::oid");
    keeps("a function call", Next::SameProcess, |wire| {
        let call = [Some("work_mem"), Some("5MB"), Some("f")];
        wire.ask(&function_call(oid.parse().unwrap(), &call)).ok();
    });
}

#[test]
fn a_library_closes_the_connection() {
    for sql in ["load 'plpgsql'", "select setseed(0.5)"] {
        keeps(sql, Next::NewProcess, |wire| {
            wire.query(sql).ok();
        });
    }
}

#[test]
fn a_statement_too_long_to_be_scanned_keeps_the_connection() {
    let proxy = launch("size=1 limits.statement_bytes=64KiB");
    let role = Role::new();
    let mut owner = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    let long = format!("/*{}*/ set work_mem = '5MB'", "x".repeat(1 << 20));
    for request in [query(&long), [extended(&long, &[]), sync()].concat()] {
        owner.ask(&request).ok();
        other.send(&query(STATE));
        assert!(other.is_silent_for(Duration::from_millis(30)));
        assert_eq!(owner.query("show work_mem").value(), "5MB");
        owner.close();
        assert_eq!(other.until_ready().ok().rows(), [CLEAN]);
        owner = role.wire(&proxy);
    }
}

#[test]
fn the_second_client_gets_another_connection_while_there_is_one() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut owner = role.wire(&proxy);
    owner.query("select pg_advisory_lock(1)").ok();
    let mut other = role.wire(&proxy);
    let mut third = role.wire(&proxy);
    let pid = server_pid(&mut owner);
    for _ in 0..3 {
        assert_ne!(server_pid(&mut other), pid);
        assert_ne!(server_pid(&mut third), pid);
        assert_eq!(server_pid(&mut owner), pid);
    }
    assert_eq!(other.query(STATE).rows(), [CLEAN]);
    assert_eq!(role.pids().len(), 2);
}

#[test]
fn clients_that_vanish_leave_nothing_either() {
    let proxy = launch("size=1 share_listener=false");
    let role = Role::new();
    let mut other = role.wire(&proxy);
    for sql in ["set work_mem = '5MB'", "begin; create temp table pinned (a int)", "listen news"] {
        let mut owner = role.wire(&proxy);
        owner.query(sql).ok();
        drop(owner);
        assert_eq!(other.query(STATE).ok().rows(), [CLEAN], "left of {sql}");
    }
    // One that waits for the connection of a client that has not left gets it at last.
    let mut owner = role.wire(&proxy);
    owner.query("begin; select pg_advisory_lock(7); select 1/0");
    other.send(&query(STATE));
    drop(owner);
    assert_eq!(other.until_ready().ok().rows(), [CLEAN]);
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn state_of_a_transaction_keeps_nothing() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    let pid = server_pid(&mut one);
    for sql in [
        "begin; set local work_mem = '5MB'; commit",
        "begin; select set_config('work_mem', '5MB', true); commit",
        "select set_config('work_mem', '5MB', true)",
        "select pg_advisory_xact_lock(1)",
        "begin; select pg_try_advisory_xact_lock(1); rollback",
        "begin; declare c cursor for select 1; fetch c; commit",
        "begin; declare c scroll cursor without hold for select 1; commit",
        "begin; set transaction isolation level serializable; commit",
        "begin; set constraints all deferred; commit",
        "begin; prepare transaction 'pins'",
        "rollback prepared 'pins'",
        "notify news",
        "reset all",
        "discard all",
        "unlisten *",
        "select 'set work_mem = 5'",
        "-- set work_mem = 5",
    ] {
        one.query(sql).ok();
        let reply = other.query(STATE).ok();
        assert_eq!(reply.rows(), [CLEAN], "after {sql}");
        assert_eq!(server_pid(&mut other), pid, "after {sql}");
    }
    let local = "select set_config('work_mem', '5MB', true)";
    one.extended(local, &[]).ok();
    assert_eq!(other.query(STATE).ok().rows(), [CLEAN]);
}

#[test]
fn an_unnamed_statement_keeps_nothing_and_is_each_clients_own() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    one.ask(&[parse("", "select 'one'", &[]), sync()].concat()).ok();
    other.ask(&[parse("", "select 'other'", &[]), sync()].concat()).ok();
    let run = [bind("", "", &[]), execute("", 0), sync()].concat();
    for _ in 0..3 {
        assert_eq!(one.ask(&run).ok().value(), "one");
        assert_eq!(other.ask(&run).ok().value(), "other");
    }
    // A client without one finds none.
    let mut third = role.wire(&proxy);
    assert_eq!(third.ask(&run).sqlstate().as_deref(), Some("26000"));
    one.ask(&[close(b'S', ""), sync()].concat()).ok();
    let gone = one.ask(&[describe(b'S', ""), sync()].concat());
    assert_eq!(gone.sqlstate().as_deref(), Some("26000"));
    assert_eq!(other.ask(&run).ok().value(), "other");
}

#[test]
fn a_long_named_statement_is_not_taken_for_the_unnamed_one() {
    let proxy = launch("size=1 limits.statement_bytes=64KiB");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    one.ask(&[parse("", "select 'one'", &[]), sync()].concat()).ok();
    other.ask(&[parse("", "select 'other'", &[]), sync()].concat()).ok();
    let long = format!("select 'named' /*{}*/", "x".repeat(1 << 20));
    let run = |name| [bind("", name, &[]), execute("", 0)].concat();
    let batch = [parse("s", &long, &[]), run("s"), run(""), sync()].concat();
    assert_eq!(one.ask(&batch).ok().rows(), ["named", "one"]);
}

#[test]
fn session_mode_discards_between_clients() {
    let proxy = launch("size=1 mode=session");
    let role = Role::new();
    let mut pids = Vec::new();
    for leave in [Wire::close, drop::<Wire>] {
        let mut wire = role.wire(&proxy);
        assert_eq!(wire.query(STATE).ok().rows(), [CLEAN]);
        wire.query("set work_mem = '5MB'; listen news").ok();
        wire.query("prepare p as select 1; select pg_advisory_lock(9)").ok();
        wire.ask(&[parse("s", "select 1", &[]), parse("", "select 2", &[]), sync()].concat()).ok();
        let left = wire.query(STATE).ok();
        assert_eq!(left.rows(), ["2|0|1|1|0|work_mem|t|\"$user\", public"]);
        pids.push(server_pid(&mut wire));
        leave(wire);
    }
    let mut wire = role.wire(&proxy);
    let run = [bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(wire.ask(&run).sqlstate().as_deref(), Some("26000"));
    assert_eq!(wire.query(STATE).ok().rows(), [CLEAN]);
    pids.push(server_pid(&mut wire));
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn startup_settings_survive_the_cleanup() {
    let proxy = launch("size=1");
    let role = Role::new();
    let log_in = |proxy: &Proxy| {
        let mut wire = Wire::connect(proxy.port());
        let login = [("user", role.name()), ("database", "postgres"), ("work_mem", "7MB")];
        wire.log_in(&login, None).ok();
        wire
    };
    let mut one = log_in(&proxy);
    one.query("set work_mem = '5MB'").ok();
    let pid = server_pid(&mut one);
    one.close();
    let mut two = log_in(&proxy);
    assert_eq!(two.query("show work_mem").value(), "7MB");
    assert_eq!(server_pid(&mut two), pid);
}

#[test]
fn a_connection_is_kept_no_longer_than_its_cause() {
    let proxy = launch("size=1 share_listener=false");
    let role = Role::new();
    let mut owner = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    let pid = server_pid(&mut owner);
    for (cause, end) in [
        ("select pg_advisory_lock(1), pg_advisory_lock(1)", "select pg_advisory_unlock(1)"),
        ("listen news", "unlisten news"),
        ("listen news; listen olds", "unlisten *"),
        ("create temp table pinned (a int)", "drop table pinned"),
        ("create function pg_temp.pinned() returns int return 1", "drop function pg_temp.pinned()"),
        ("create temp table pinned (a int)", "discard temp"),
        ("begin; declare pinned cursor with hold for select 1; commit", "close pinned"),
        ("set session authorization postgres", "reset session authorization"),
        ("select pg_advisory_lock(1); listen news", "discard all"),
        ("prepare pinned as select 1", "deallocate all"),
    ] {
        for by_extended in [false, true] {
            owner.query(cause).ok();
            let ends = if end.contains("unlock") { 2 } else { 1 };
            for _ in 0..ends {
                other.send(&query(STATE));
                assert!(other.is_silent_for(Duration::from_millis(20)), "{cause} was given up");
                // The other one still waits when the cause goes.
                if by_extended && !end.contains("all") {
                    owner.extended(end, &[]).ok();
                } else {
                    owner.query(end).ok();
                }
                if ends == 2 {
                    assert!(other.is_silent_for(Duration::from_millis(20)), "{cause}, half undone");
                    owner.query(end).ok();
                    break;
                }
            }
            assert_eq!(other.until_ready().ok().rows(), [CLEAN], "after {cause}; {end}");
            assert_eq!(server_pid(&mut other), pid, "after {cause}; {end}");
        }
    }
    // Undone with its transaction, it never was.
    for cause in [
        "begin; create temp table pinned (a int) on commit drop; commit",
        "begin; create temp table pinned (a int); rollback",
        "begin; listen news; rollback",
        "begin; declare pinned cursor with hold for select 1; rollback",
    ] {
        owner.query(cause).ok();
        assert_eq!(other.query(STATE).ok().rows(), [CLEAN], "after {cause}");
        assert_eq!(server_pid(&mut other), pid, "after {cause}");
    }
}

#[test]
fn no_more_connections_are_kept_than_may_be() {
    let proxy = launch("size=4 max_pinned_share=50 server.workers=2");
    let role = Role::new();
    let mut owners: Vec<_> = (0..3).map(|_| role.wire(&proxy)).collect();
    let lock = |number: usize| format!("select pg_advisory_lock({})", 900 + number);
    for (number, wire) in owners.iter_mut().enumerate().take(2) {
        wire.query(&lock(number)).ok();
        // Once is enough.
        wire.query("create temp table kept (a int)").ok();
    }
    let mut third = owners.pop().unwrap();
    for by_extended in [false, true] {
        let ask = |wire: &mut Wire, sql: &str| {
            if by_extended { wire.extended(sql, &[]) } else { wire.query(sql) }
        };
        let reply = ask(&mut third, &lock(2));
        assert_eq!((reply.sqlstate().as_deref(), reply.status()), (Some("53400"), Some('I')));
        assert!(reply.error_field('H').unwrap().contains("pool.max_pinned_share"), "{reply}");
        // What needs no connection for longer is served, and a transaction fails as with any error.
        assert_eq!(ask(&mut third, "select 1").ok().value(), "1");
        third.query("begin").ok();
        assert_eq!(ask(&mut third, &lock(2)).status(), Some('E'));
        assert_eq!(ask(&mut third, "select 1").sqlstate().as_deref(), Some("25P02"));
        third.query("rollback").ok();
        third.query("set work_mem = '5MB'; listen kept").ok();
    }
    third.ask(&[parse("s", &lock(2), &[]), sync()].concat()).ok();
    let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
    assert_eq!(third.ask(&run).sqlstate().as_deref(), Some("53400"));
    owners.pop().unwrap().close();
    eventually("there is a place", SOON, || third.ask(&run).sqlstate().is_none());
    assert_eq!(third.query("select pg_advisory_unlock(902)").ok().value(), "t");
}

#[test]
fn who_would_keep_one_more_can_wait() {
    let proxy = launch("size=2 max_pinned_share=50 over_pinned_share=wait wait_timeout=3s");
    let role = Role::new();
    let (mut owner, mut waiter, mut other) =
        (role.wire(&proxy), role.wire(&proxy), role.wire(&proxy));
    owner.query("select pg_advisory_lock(910)").ok();
    waiter.send(&query("select pg_advisory_lock(911)"));
    assert!(waiter.is_silent_for(Duration::from_millis(300)));
    // It holds none meanwhile.
    other.query("select 1").ok();
    owner.query("select pg_advisory_unlock(910)").ok();
    waiter.until_ready().ok();
    let reply = owner.query("select pg_advisory_lock(910)");
    assert_eq!(reply.sqlstate().as_deref(), Some("53400"));
    waiter.close();
    owner.query("select pg_advisory_lock(910)").ok();
}

#[test]
fn a_notice_tells_why_a_connection_is_kept() {
    let proxy = launch("size=2 pin_notice=true");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    assert_eq!(wire.query("set work_mem = '5MB'").ok().tags(), "CZ");
    let reply = wire.query("select pg_advisory_lock(920)").ok();
    assert_eq!(reply.tags(), "TDCNZ");
    let notice = reply.all(b'N').next().unwrap().field('M').unwrap();
    assert_eq!(notice, "the server connection stays with this client: advisory_lock");
    // Once.
    assert_eq!(wire.query("create temp table told (a int)").ok().tags(), "CZ");
    wire.query("select pg_advisory_unlock(920); drop table told").ok();
    wire.query("select 1").ok();
    assert_eq!(wire.extended("prepare told as select 1", &[]).ok().tags(), "12nCNZ");
}
