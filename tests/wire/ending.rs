//! How clients leave, and what becomes of their server connection: nothing is completed on their behalf.

use std::time::Duration;

use crate::launch::{Role, launch};
use crate::support::frames::{
    bind, copy_data, execute, extended, flush, parse, query, sync, terminate,
};
use crate::support::{Postgres, Proxy, Reply, Wire, eventually};
use crate::twin::Twin;

/// How long a server process may outlive its client's statement.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);

fn insert(table: &str) -> Vec<u8> {
    let sql = format!("insert into {table} values (1)");
    [parse("", &sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

/// A table of one test's own.
struct Table(&'static str);

impl Table {
    fn new(name: &'static str) -> Self {
        Postgres::shared().psql(&format!("create table {name} (a int)"));
        Self(name)
    }

    /// Waits until this many rows were committed.
    #[track_caller]
    fn await_rows(&self, rows: usize) {
        let count = format!("select count(*) from {}", self.0);
        eventually(&format!("{rows} rows"), CANCELLED_WITHIN, || {
            Postgres::shared().psql(&count) == rows.to_string()
        });
    }

    /// Nothing was committed, and nothing is under way that still could.
    #[track_caller]
    fn assert_empty(&self) {
        // The lock is granted when every transaction that has written has ended.
        let sql = format!("begin; lock table {0}; select count(*) from {0}; commit", self.0);
        assert_eq!(Postgres::shared().psql(&sql), "0");
    }
}

/// Ways to leave: with Terminate, without, and with a reset.
#[derive(Clone, Copy, Debug)]
enum Way {
    Terminate,
    Close,
    Reset,
}

impl Way {
    const ALL: [Self; 3] = [Self::Terminate, Self::Close, Self::Reset];

    fn leave(self, mut wire: Wire) {
        match self {
            Self::Terminate => wire.send(&terminate()),
            Self::Close => {}
            Self::Reset => {
                let socket = socket2::SockRef::from(wire.stream());
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
}

#[test]
fn leaving_idle_leaves_the_server_connection() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut pids = Vec::new();
    for way in Way::ALL {
        let mut wire = role.wire(&proxy);
        wire.query("select 1").ok();
        pids.extend(role.pids());
        way.leave(wire);
    }
    role.await_states(&["idle"]);
    pids.dedup();
    assert_eq!(pids.len(), 1);
}

#[test]
fn leaving_before_the_first_statement() {
    let proxy = launch("size=1");
    let role = Role::new();
    for way in Way::ALL {
        way.leave(role.wire(&proxy));
    }
    assert_eq!(role.wire(&proxy).query("select 1").value(), "1");
}

#[test]
fn an_open_transaction_is_rolled_back_and_the_connection_used_again() {
    let proxy = launch("size=1");
    let role = Role::new();
    let table = Table::new("ending_block");
    let mut pids = Vec::new();
    for way in Way::ALL {
        for fails in [false, true] {
            let mut wire = role.wire(&proxy);
            wire.query("begin; insert into ending_block values (1)").ok();
            if fails {
                wire.query("select 1/0");
            }
            pids.extend(role.pids());
            way.leave(wire);
            role.await_states(&["idle"]);
        }
    }
    table.assert_empty();
    pids.dedup();
    assert_eq!(pids.len(), 1);
}

#[test]
fn a_batch_without_sync_is_never_committed() {
    let proxy = launch("size=1");
    let role = Role::new();
    let table = Table::new("ending_batch");
    for way in Way::ALL {
        for end in [flush(), Vec::new()] {
            let mut wire = role.wire(&proxy);
            wire.send(&[insert("ending_batch"), end.clone()].concat());
            if !end.is_empty() {
                wire.until(b'C');
            }
            way.leave(wire);
            assert_eq!(role.wire(&proxy).query("select 1").value(), "1");
            table.assert_empty();
        }
    }
    role.await_states(&["idle"]);
}

#[test]
fn half_a_message_is_never_completed() {
    let proxy = launch("size=1");
    let role = Role::new();
    let table = Table::new("ending_half");
    let big = format!("insert into ending_half values (1) -- {}", "x".repeat(3_000_000));
    let halves = [
        query(&big)[..100].to_vec(),
        query(&big)[..2_999_000].to_vec(),
        [insert("ending_half"), sync()[..3].to_vec()].concat(),
        [insert("ending_half"), b"S\0\0\0\x05".to_vec()].concat(),
        query("insert into ending_half values (1)")[..20].to_vec(),
    ];
    for way in [Way::Close, Way::Reset] {
        for half in &halves {
            let mut wire = role.wire(&proxy);
            wire.send(half);
            way.leave(wire);
            assert_eq!(role.wire(&proxy).query("select 1").value(), "1");
        }
    }
    table.assert_empty();
    role.await_states(&["idle"]);
}

#[test]
fn what_was_asked_before_terminate_is_done() {
    let proxy = launch("size=1");
    let role = Role::new();
    let table = Table::new("ending_asked");
    let statement = "insert into ending_asked select 1 from pg_sleep(0.05)";
    let mut rows = 0;
    for way in [Way::Terminate, Way::Close] {
        for asked in [query(statement), [extended(statement, &[]), sync()].concat()] {
            let mut wire = role.wire(&proxy);
            wire.send(&[asked.clone(), asked].concat());
            way.leave(wire);
            rows += 2;
            table.await_rows(rows);
        }
    }
    role.await_states(&["idle"]);
}

#[test]
fn replies_owed_arrive_before_the_end() {
    let proxy = launch("");
    let mut cases = vec![
        query("select pg_sleep(0.1), 1"),
        query("select generate_series(1, 100000)"),
        [extended("select pg_sleep(0.1), 2", &[]), sync(), query("select 3")].concat(),
        [extended("select 1/0", &[]), sync(), sync()].concat(),
        query("begin; select 1"),
        sync(),
        Vec::new(),
    ];
    cases.push((0..200).flat_map(|i| query(&format!("select {i}"))).collect());
    for case in cases {
        let mut twin = Twin::new(&proxy);
        twin.both(|wire| {
            wire.send(&case);
            wire.half_close();
            wire.until_end()
        });
        let mut twin = Twin::new(&proxy);
        twin.ask_last(&[case, terminate()].concat());
    }
}

#[test]
fn flushed_replies_arrive_before_the_end() {
    let proxy = launch("");
    let case = [extended("select 1, pg_sleep(0.05)", &[]), flush()].concat();
    let mut twin = Twin::new(&proxy);
    let reply = twin.both(|wire| {
        wire.send(&case);
        wire.half_close();
        wire.until_end()
    });
    assert_eq!(reply.tags(), "12TDC");
    let mut twin = Twin::new(&proxy);
    twin.ask_last(&[case, terminate()].concat());
}

#[test]
fn a_half_closed_client_is_served_for_as_long_as_it_reads() {
    let proxy = launch("");
    let mut wire = proxy.wire();
    wire.send(&query("select pg_sleep(2.5), 'late'"));
    wire.half_close();
    // The proxy may ask for signs of life meanwhile.
    let reply = wire.until_end().without_async();
    assert_eq!((reply.tags().as_str(), reply.rows()), ("TDCZ", vec!["|late".to_owned()]));
}

#[test]
fn a_vanished_clients_statement_is_cancelled() {
    let proxy = launch("size=3");
    let role = Role::new();
    let sleep = [
        query("select pg_sleep(60)"),
        [extended("select pg_sleep(60)", &[]), sync()].concat(),
        [extended("select pg_sleep(60)", &[]), flush()].concat(),
    ];
    let wires: Vec<_> = sleep
        .iter()
        .map(|request| {
            let mut wire = role.wire(&proxy);
            wire.send(request);
            role.await_sleeper();
            wire
        })
        .collect();
    for (wire, way) in wires.into_iter().zip([Way::Close, Way::Reset, Way::Close]) {
        way.leave(wire);
    }
    eventually("nothing runs any more", CANCELLED_WITHIN, || {
        role.states().iter().all(|state| state == "idle")
    });
    assert_eq!(role.wire(&proxy).query("select 1").value(), "1");
}

#[test]
fn who_leaves_the_queue_is_forgotten() {
    let proxy = launch("size=1");
    let role = Role::new();
    let table = Table::new("ending_queue");
    let mut holder = role.wire(&proxy);
    holder.query("begin").ok();
    for way in [Way::Reset, Way::Reset] {
        let mut wire = role.wire(&proxy);
        wire.send(&query("insert into ending_queue values (1)"));
        crate::launch::barrier(&mut holder);
        way.leave(wire);
        crate::launch::barrier(&mut holder);
    }
    // This one has asked, and only then said good-bye: it is served.
    let mut wire = role.wire(&proxy);
    wire.send(&[query("insert into ending_queue values (1)"), terminate()].concat());
    crate::launch::barrier(&mut holder);
    holder.query("commit").ok();
    assert_eq!(wire.until_end().tags(), "CZ");
    table.await_rows(1);
    role.await_states(&["idle"]);
}

#[test]
fn many_that_leave_in_every_way_leave_no_trace() {
    let proxy = launch("size=3 server.workers=2");
    let role = Role::new();
    let table = Table::new("ending_many");
    let mut witness = role.wire(&proxy);
    witness.query("select 1").ok();
    let states = [
        query("begin; insert into ending_many values (1)"),
        insert("ending_many"),
        [insert("ending_many"), flush()].concat(),
        query("select generate_series(1, 1000000)"),
        query("select pg_sleep(60)"),
        [query("copy ending_many from stdin"), copy_data(b"1\n")].concat(),
        parse("", "select 1", &[]),
        query("select 1")[..7].to_vec(),
    ];
    for round in 0..4 {
        for (number, state) in states.iter().enumerate() {
            let mut wire = role.wire(&proxy);
            wire.send(state);
            // pg_sleep under a Terminate runs to its end, as PostgreSQL would let it.
            let way = if number == 4 { Way::Reset } else { Way::ALL[(round + number) % 3] };
            way.leave(wire);
            assert!(role.pids().len() <= 3);
        }
        assert_eq!(witness.query("select 1").value(), "1");
    }
    eventually("all is idle", CANCELLED_WITHIN, || {
        role.states().iter().all(|state| state == "idle")
    });
    table.assert_empty();
    assert!(role.pids().len() <= 3);
    served(&proxy, &role);
}

fn served(proxy: &Proxy, role: &Role) {
    let mut wires: Vec<_> = (0..3).map(|_| role.wire(proxy)).collect();
    for wire in &mut wires {
        wire.query("begin").ok();
    }
    let replies: Vec<Reply> = wires.iter_mut().map(|wire| wire.query("select 1")).collect();
    assert!(replies.iter().all(|reply| reply.status() == Some('T')));
}
