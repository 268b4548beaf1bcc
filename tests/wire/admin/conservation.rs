//! Nothing is counted twice and nothing is lost, while everything moves: clients by state are the clients that are
//! connected, server connections by state are the pool's, sums are the sums of their parts.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{number, show};
use crate::launch::{Role, launch};
use crate::support::{Postgres, Proxy};

/// How long pgbench works.
const SECONDS: u32 = 3;

const CLIENTS: u64 = 12;

fn pgbench(proxy: &Proxy, arguments: &[&str]) -> Command {
    let mut command = Command::new("pgbench");
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &proxy.port().to_string()]);
    command.args(arguments).arg("postgres");
    command
}

fn run(proxy: &Proxy, arguments: &[&str]) -> String {
    let done = pgbench(proxy, arguments).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

fn processed(report: &str) -> u64 {
    let line = report.lines().find(|line| line.contains("actually processed")).unwrap();
    line.rsplit(' ').next().unwrap().split('/').next().unwrap().parse().unwrap()
}

#[test]
fn every_look_under_load_adds_up() {
    let postgres = Postgres::start(&crate::support::Options::default());
    let proxy = crate::launch::launch_at(postgres.port(), "size=5 server.workers=2");
    run(&proxy, &["-i", "-q"]);
    let is_over = AtomicBool::new(false);
    let mut looks = 0;
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let seconds = SECONDS.to_string();
            let clients = CLIENTS.to_string();
            let report = run(&proxy, &["-n", "-c", &clients, "-j", "2", "-T", &seconds]);
            is_over.store(true, Ordering::Relaxed);
            report
        });
        let mut console = proxy.console();
        while !is_over.load(Ordering::Relaxed) {
            look(&mut console);
            looks += 1;
        }
        work.join().unwrap();
    });
    assert!(looks > 20, "only {looks} looks");
}

/// Each table is of one moment, and each of another one.
fn look(console: &mut crate::support::Wire) {
    let clients = show(console, "CLIENTS");
    assert!(clients.len() as u64 <= CLIENTS + 1, "{clients:?}");
    let pools = show(console, "POOLS");
    for pool in &pools {
        let servers: u64 = ["sv_active", "sv_idle", "sv_tested", "sv_being_canceled", "sv_login"]
            .iter()
            .map(|state| number(pool, state))
            .sum();
        assert!(servers <= 5, "{pool:?}");
        let clients = number(pool, "cl_active") + number(pool, "cl_waiting");
        // A connection is active for one client, which may have been granted it just now.
        assert!(number(pool, "sv_active") <= clients, "{pool:?}");
        assert!(clients <= CLIENTS + 1, "{pool:?}");
    }
    let sums = show(console, "TOTALS");
    let parts = show(console, "STATS");
    let total =
        |name: &str| number(sums.iter().find(|row| row["name"] == name).expect("a total"), "value");
    // The parts were asked for later: they may have grown.
    for name in ["total_xact_count", "total_query_count", "total_received"] {
        let part: u64 = parts.iter().map(|row| number(row, name)).sum();
        assert!(part >= total(name), "{name}");
    }
}

#[test]
fn all_tables_agree_when_nothing_moves() {
    let role = Role::new();
    let proxy = launch("size=4 server.workers=2");
    let mut console = proxy.console();
    let mut clients: Vec<_> = (0..6).map(|_| role.wire(&proxy)).collect();
    clients[0].query("begin").ok();
    clients[1].query("create temp table kept (a int)").ok();
    let pools = show(&mut console, "POOLS");
    let sum = |column: &str| pools.iter().map(|row| number(row, column)).sum::<u64>();
    assert_eq!(sum("cl_active") + sum("cl_waiting"), 6);
    assert_eq!(show(&mut console, "CLIENTS").len(), 6);
    let servers = show(&mut console, "SERVERS").len() as u64;
    let states = ["sv_active", "sv_idle", "sv_tested", "sv_being_canceled", "sv_login"];
    assert_eq!(states.iter().map(|state| sum(state)).sum::<u64>(), servers);
    assert_eq!(role.pids().len() as u64, servers);
    let lists = show(&mut console, "LISTS");
    let items = |list: &str| number(lists.iter().find(|row| row["list"] == list).unwrap(), "items");
    assert_eq!(
        (items("used_clients"), items("used_servers"), items("login_clients")),
        (6, servers, 0)
    );
    let databases = show(&mut console, "DATABASES");
    let total = |column: &str| databases.iter().map(|row| number(row, column)).sum::<u64>();
    assert_eq!((total("current_client_connections"), total("current_connections")), (6, servers));
    let users = show(&mut console, "USERS");
    let of_users = |column: &str| users.iter().map(|row| number(row, column)).sum::<u64>();
    assert_eq!(
        (of_users("current_client_connections"), of_users("current_connections")),
        (6, servers)
    );
    clients[0].query("commit").ok();
}

/// pgbench tells how many transactions it has run.
#[test]
fn counts_are_pgbench_s_own() {
    let postgres = Postgres::start(&crate::support::Options::default());
    let proxy = crate::launch::launch_at(postgres.port(), "size=4 server.workers=2");
    run(&proxy, &["-i", "-q"]);
    let mut console = proxy.console();
    for (arguments, queries_each) in [
        (&["-n", "-S", "-c", "5", "-t", "200"][..], 1),
        (&["-n", "-c", "5", "-t", "50"], 7),
        (&["-n", "-S", "-M", "extended", "-c", "5", "-t", "200"], 1),
        (&["-n", "-S", "-M", "prepared", "-c", "5", "-t", "200"], 1),
    ] {
        let before = show(&mut console, "STATS_TOTALS").remove(0);
        let began = Instant::now();
        let transactions = processed(&run(&proxy, arguments));
        let took = began.elapsed();
        // pgbench may leave before its last reply is counted: the row is asked for when all have left.
        while !show(&mut console, "CLIENTS").is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        let after = show(&mut console, "STATS_TOTALS").remove(0);
        let counted = |column: &str| number(&after, column) - number(&before, column);
        // Before it begins, pgbench counts the branches and asks how the accounts are partitioned; each client that
        // prepares does so in a group of its own.
        let own = if arguments.contains(&"prepared") { 2 + 5 } else { 2 };
        assert_eq!(counted("xact_count"), transactions + own, "{arguments:?}");
        assert_eq!(counted("query_count"), transactions * queries_each + own, "{arguments:?}");
        assert_eq!(counted("client_login_count"), 6, "{arguments:?}");
        let in_transactions = Duration::from_micros(counted("xact_time"));
        assert!(in_transactions < took * 5, "{in_transactions:?} in {took:?}");
        // Each is rounded down.
        assert!(counted("query_time") <= counted("xact_time") + 1, "{before:?} {after:?}");
        if arguments.contains(&"extended") {
            assert_eq!(counted("client_parse_count"), transactions);
            assert_eq!(counted("bind_count"), transactions);
            assert!(counted("server_parse_count") < transactions / 2);
        }
    }
}
