//! LISTEN for many clients over one server connection: what a client is told is what PostgreSQL would tell it.

use std::time::Duration;

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{bind, describe, execute, flush, parse, query, sync};
use crate::support::{Frame, Postgres, Wire, eventually};
use crate::twin::Twin;

/// Channel and payload of a NotificationResponse.
fn told(frame: &Frame) -> (String, String) {
    let mut strings = frame.body[4..].split(|byte| *byte == 0);
    let mut string = || String::from_utf8(strings.next().unwrap().to_vec()).unwrap();
    (string(), string())
}

#[track_caller]
fn next(wire: &mut Wire) -> (String, String) {
    let frame = wire.frame();
    assert_eq!(frame.tag, b'A', "{frame:?}");
    told(&frame)
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

/// Channels that a database's listener connections listen on can't be seen from outside: whoever listens is told.
fn notify(channel: &str, payload: &str) {
    Postgres::shared().psql(&format!("select pg_notify('{channel}', '{payload}')"));
}

#[test]
fn listeners_keep_no_connection_and_are_told_everything_in_order() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut listeners: Vec<_> = (0..3).map(|_| role.wire(&proxy)).collect();
    for (number, wire) in listeners.iter_mut().enumerate() {
        assert_eq!(wire.query("listen lk_all").ok().tags(), "CZ");
        assert_eq!(wire.extended(&format!("listen lk_{number}"), &[]).ok().tags(), "12nCZ");
    }
    let mut other = role.wire(&proxy);
    for round in 0..3 {
        for number in 0..3 {
            other.query(&format!("notify lk_{number}, '{round}'")).ok();
        }
        other.query(&format!("notify lk_all, '{round}'")).ok();
    }
    for (number, wire) in listeners.iter_mut().enumerate() {
        for round in 0..3 {
            assert_eq!(next(wire), pair(&format!("lk_{number}"), &round.to_string()));
            assert_eq!(next(wire), pair("lk_all", &round.to_string()));
        }
        assert!(wire.is_silent_for(Duration::from_millis(20)));
        assert_eq!(wire.query("select 1").ok().tags(), "TDCZ");
    }
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn the_client_is_told_what_it_sends_itself_before_it_may_go_on() {
    let proxy = launch("size=2");
    let mut twin = Twin::new(&proxy);
    twin.query("listen own").ok();
    twin.query("create table own_rows (a int)").ok();
    twin.query(
        "create function own_told() returns trigger language plpgsql as \
         $$ begin perform pg_notify('own', new.a::text); return new; end $$; \
         create trigger own_told after insert on own_rows \
         for each row execute function own_told()",
    )
    .ok();
    for (sql, tags) in [
        ("notify own, 'one'", "CAZ"),
        ("select pg_notify('own', 'two')", "TDCAZ"),
        ("insert into own_rows values (3), (4)", "CAAZ"),
        ("do $$ begin perform pg_notify('own', 'five'); end $$", "CAZ"),
        ("notify elsewhere", "CZ"),
        ("begin; notify own, 'six'", "CCZ"),
        ("select 1", "TDCZ"),
        ("commit", "CAZ"),
        ("begin; notify own, 'never'; rollback", "CCCZ"),
        ("notify own, 'x'; select 1/0", "CEZ"),
        ("notify own; notify own; notify own, 'twice'; notify own, 'twice'", "CCCCAAZ"),
        ("listen own_too; notify own_too, 'at once'", "CCAZ"),
        ("unlisten own; notify own, 'no more'", "CCZ"),
    ] {
        assert_eq!(twin.query(sql).tags(), tags, "{sql}");
    }
    // In one pipeline.
    let groups = ["select pg_notify('own_too', 'a')", "select pg_notify('own_too', 'b')"];
    let bytes = groups.map(|sql| [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()]);
    let told = twin.each(|wire| {
        wire.send(&bytes.concat().concat());
        let mut frames = wire.until_ready().0;
        frames.append(&mut wire.until_ready().0);
        frames.iter().filter(|frame| frame.tag == b'A').map(told).collect::<Vec<_>>()
    });
    assert_eq!(told, [(); 2].map(|()| vec![pair("own_too", "a"), pair("own_too", "b")]));
    twin.query("drop table own_rows cascade; drop function own_told").ok();
    twin.close();
}

#[test]
fn transactions_decide_what_a_client_listens_on() {
    let proxy = launch("size=2");
    let mut twin = Twin::new(&proxy);
    let list = "select * from pg_listening_channels()";
    for sql in [
        "listen t_a",
        "begin; listen t_b; rollback",
        "begin; listen t_c; commit",
        "begin; savepoint s; listen t_d; rollback to s; commit",
        "begin; savepoint s; listen t_e; release s; commit",
        "listen t_f; select 1/0",
        "begin",
        "listen t_g",
        "select 1/0",
        "commit",
        "begin",
        "unlisten t_a",
        "rollback",
        "unlisten t_c; select 1/0",
        "begin; unlisten t_e; listen t_e; commit",
        "begin; listen t_h; unlisten t_h; commit",
        "begin; savepoint s; unlisten t_a; rollback to s; commit",
        "listen \"T \"\"x\"\" ,~ä\"",
        "listen T_UPPER",
        "listen t_long_567890123456789012345678901234567890123456789012345678901234567890",
        "unlisten nobody",
        "listen U&\"t_unicode\"",
        "unlisten t_unicode",
        "begin; unlisten *; rollback",
        "begin; unlisten t_a; commit",
        "begin; unlisten *; listen t_last; commit",
        "listen t_again; listen t_again",
        "discard all",
        "listen t_new",
        "unlisten *",
    ] {
        let is_over = twin.query(sql).status() == Some('I');
        if !is_over {
            // Within a transaction the list is not what it should be.
            continue;
        }
        let [direct, proxied] = twin.each(|wire| {
            let mut channels = wire.query(list).ok().rows();
            channels.sort();
            channels
        });
        assert_eq!(direct, proxied, "after {sql}");
        // The order in which it listens is not promised by anybody, but what it hears is.
        for channel in direct.iter().map(|name| name.replace('"', "\"\"")) {
            let reply = twin.query(&format!("notify \"{channel}\", 'x'")).ok();
            assert_eq!(reply.tags(), "CAZ", "{channel} after {sql}");
        }
    }
    twin.close();
}

#[test]
fn the_list_of_channels_is_the_clients_own() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut one = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    one.query("listen lc_b; listen lc_a").ok();
    other.query("listen lc_c").ok();
    let list = "select pg_listening_channels()";
    for _ in 0..2 {
        assert_eq!(one.query(list).ok().rows(), ["lc_b", "lc_a"]);
        assert_eq!(other.extended(list, &[]).ok().rows(), ["lc_c"]);
        one.ask(&[parse("s", list, &[]), describe(b'S', "s"), flush(), sync()].concat()).ok();
        let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
        assert_eq!(one.ask(&run).ok().rows(), ["lc_b", "lc_a"]);
        one.query("deallocate all").ok();
    }
    other.query("unlisten *").ok();
    assert_eq!(other.query(list).ok().rows(), [""; 0]);
    assert_eq!(role.pids().len(), 1);
}

#[test]
fn nothing_is_told_within_a_transaction() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("listen nt").ok();
    wire.query("begin").ok();
    notify("nt", "one");
    assert_eq!(wire.query("select 1").ok().tags(), "TDCZ");
    notify("nt", "two");
    assert!(wire.is_silent_for(Duration::from_millis(50)));
    let reply = wire.query("commit").ok();
    assert_eq!(reply.tags(), "CAAZ");
    assert_eq!(
        reply.all(b'A').map(told).collect::<Vec<_>>(),
        [pair("nt", "one"), pair("nt", "two")]
    );
    // Nor between the messages of a group.
    wire.send(&[parse("", "select 1", &[]), flush()].concat());
    assert_eq!(wire.frame().tag, b'1');
    notify("nt", "three");
    assert!(wire.is_silent_for(Duration::from_millis(50)));
    wire.send(&sync());
    let frames = [wire.frame().tag, wire.frame().tag];
    assert!(frames.contains(&b'A') && frames.contains(&b'Z'), "{frames:?}");
}

#[test]
fn a_client_that_listens_waits_for_a_connection_like_any_other() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut listener = role.wire(&proxy);
    listener.query("listen busy").ok();
    let mut owner = role.wire(&proxy);
    owner.query("begin").ok();
    // Told although no server connection is free.
    notify("busy", "one");
    assert_eq!(next(&mut listener), pair("busy", "one"));
    listener.send(&query("select 'mine'"));
    assert!(listener.is_silent_for(Duration::from_millis(20)));
    owner.query("commit").ok();
    assert_eq!(listener.until_ready().ok().value(), "mine");
}

#[test]
fn a_lost_listener_is_replaced() {
    let proxy = launch("size=2");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    wire.query("listen lost_a; listen lost_b").ok();
    let listener = kill_listener(&role);
    eventually("there is another listener", SOON, || {
        notify("lost_a", "again");
        !wire.is_silent_for(Duration::from_millis(20))
    });
    assert_eq!(next(&mut wire), pair("lost_a", "again"));
    assert!(proxy.log().contains("listening again"), "{}", proxy.log());
    let found = role_listeners(&role);
    assert!(found.len() == 1 && found != [listener], "{found:?}");
    // Those that are lost are lost; those of this pool's own connections are not.
    assert_eq!(wire.query("notify lost_b, 'x'").ok().tags(), "CAZ");
}

#[test]
fn a_lost_listener_ends_its_clients_if_they_are_to_know() {
    let proxy = launch("size=2 lost_listener=disconnect");
    let role = Role::new();
    let mut wire = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    wire.query("listen lost_c").ok();
    kill_listener(&role);
    let reply = wire.until_end();
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("E", Some("57P01")));
    other.query("select 1").ok();
    // It begins again.
    let mut wire = role.wire(&proxy);
    wire.query("listen lost_c").ok();
    notify("lost_c", "heard");
    assert_eq!(next(&mut wire), pair("lost_c", "heard"));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let proxy = launch("size=2 limits.notification_bytes=64KiB");
    let role = Role::new();
    let mut lazy = role.wire(&proxy);
    let mut other = role.wire(&proxy);
    lazy.query("listen lazy").ok();
    lazy.query("begin").ok();
    let flood =
        "select count(pg_notify('lazy', i || repeat('x', 1000))) from generate_series(1, 100) i";
    other.query(flood).ok();
    let reply = lazy.until_end();
    assert_eq!(reply.sqlstate().as_deref(), Some("53400"));
    assert_eq!(other.query("select 1").ok().value(), "1");
}

#[test]
fn listeners_of_all_workers_share_one_connection() {
    let proxy = launch("size=4 server.workers=3");
    let role = Role::new();
    let mut listeners: Vec<_> = (0..12).map(|_| role.wire(&proxy)).collect();
    for wire in &mut listeners {
        wire.query("listen workers").ok();
    }
    notify("workers", "all");
    for wire in &mut listeners {
        assert_eq!(next(wire), pair("workers", "all"));
    }
    assert_eq!(role_listeners(&role).len(), 1);
    // The last but one that leaves takes nothing with it.
    let mut last = listeners.pop().unwrap();
    drop(listeners);
    eventually("the others have left", SOON, || role.states().iter().all(|state| state == "idle"));
    notify("workers", "last");
    assert_eq!(next(&mut last), pair("workers", "last"));
}

#[test]
fn a_thousand_clients_are_told_ten_thousand_notifications_each() {
    const CLIENTS: usize = 1000;
    const ROUNDS: usize = 20;
    const OF_A_ROUND: usize = 500;
    let proxy = launch("size=4 server.workers=2");
    let role = Role::new();
    let mut listeners: Vec<_> = (0..CLIENTS).map(|_| role.wire(&proxy)).collect();
    for wire in &mut listeners {
        wire.send(&query("listen many"));
    }
    for wire in &mut listeners {
        assert_eq!(wire.until_ready().ok().tags(), "CZ");
    }
    assert_eq!(role_listeners(&role).len(), 1);
    let mut sender = Postgres::shared().wire();
    for round in 0..ROUNDS {
        for half in 0..2 {
            // Of one transaction, and of another: they come in the order of the commits.
            let from = round * OF_A_ROUND + half * OF_A_ROUND / 2;
            let numbers: Vec<_> =
                (from..from + OF_A_ROUND / 2).map(|n| format!("notify many, '{n}'")).collect();
            sender.query(&numbers.join(";")).ok();
        }
        for wire in &mut listeners {
            for number in round * OF_A_ROUND..(round + 1) * OF_A_ROUND {
                assert_eq!(next(wire), pair("many", &number.to_string()));
            }
        }
    }
    for wire in &mut listeners {
        assert_eq!(wire.query("unlisten *").ok().tags(), "CZ", "told twice");
    }
    assert!(role.pids().len() <= 4);
}

#[test]
fn other_encodings_are_told_in_their_own() {
    let proxy = launch("size=2");
    let (mut twin, _) = Twin::log_in(&proxy, &[("client_encoding", "LATIN1")]);
    twin.query("listen encoded").ok();
    let reply = twin.ask(&latin1_query("notify encoded, 'gr\u{fc}n'")).ok();
    assert_eq!(reply.tags(), "CAZ");
    twin.close();
    let (mut twin, _) = Twin::log_in(&proxy, &[]);
    twin.query("set client_encoding = 'LATIN1'; listen encoded").ok();
    twin.query("notify encoded, 'x'").ok();
    twin.close();
}

fn latin1_query(sql: &str) -> Vec<u8> {
    let mut body: Vec<u8> = sql.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    body.push(0);
    crate::support::frames::frame(b'Q', &body)
}

/// Process IDs of the listener connections that have logged in as this role.
fn role_listeners(role: &Role) -> Vec<i32> {
    let sql = format!(
        "select pid from pg_stat_activity where usename = '{}' \
         and application_name = 'pgsteward listener'",
        role.name()
    );
    let pids = Postgres::shared().wire().query(&sql).ok().rows();
    pids.iter().map(|pid| pid.parse().unwrap()).collect()
}

/// Ends the only listener connection of the role; gives its process ID.
fn kill_listener(role: &Role) -> i32 {
    let [listener] = role_listeners(role)[..] else { panic!("not one listener") };
    Postgres::shared().psql(&format!("select pg_terminate_backend({listener})"));
    eventually("it is gone", SOON, || !role_listeners(role).contains(&listener));
    listener
}
