//! Operators at work, all at once: the configuration is reloaded every 100 ms, databases are paused and resumed, server
//! connections replaced, clients killed, while clients work and check every answer. Nobody gets a wrong one, nobody
//! gets stuck, and who is not killed notices nothing.
//!
//! Each client owns a row. What it knows of it after each commit is what it must find; after it was killed in the middle
//! of a commit, the row has one more or not. `PGSTEWARD_CHAOS_SECONDS` (20) is the length, `PGSTEWARD_SEED` the seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a helper that fails fails its test"
)]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::frames::{bind, execute, parse, sync};
use support::{Options, Postgres, Proxy, Reply, Wire};
use tokio::time::Instant;

const CLIENTS: u64 = 8;

/// Longest time that a client may take for one transaction: pauses are short.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the configuration changes.
const RELOAD_PERIOD: Duration = Duration::from_millis(100);

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn config(postgres: &Postgres, size: u64) -> String {
    let port = postgres.port();
    format!(
        "[server]\nworkers = 2\n[pool]\nsize = {size}\nwait_timeout = \"15s\"\n[databases.postgres]\n\
         host = \"127.0.0.1\"\nport = {port}\n[databases.template1]\nhost = \"127.0.0.1\"\nport = {port}\n"
    )
}

/// A client that is killed now and then.
struct Client {
    number: u64,
    wire: Wire,
    /// What its row holds.
    known: u64,
    /// A commit may have been lost on the way.
    is_in_doubt: bool,
    port: u16,
    deaths: u64,
}

impl Client {
    fn new(number: u64, port: u16) -> Self {
        Self { number, wire: login(port), known: 0, is_in_doubt: false, port, deaths: 0 }
    }

    /// One transaction; what was done by a client that died is looked at by its next life.
    fn transact(&mut self) {
        if self.attempt().is_none() {
            self.deaths += 1;
            self.wire = login(self.port);
        }
    }

    fn attempt(&mut self) -> Option<()> {
        let number = self.number.to_string();
        self.ask("begin")?;
        // Locked: a commit of the life before may still be on its way.
        let read = [
            parse("own", "select n from chaos where id = $1 for update", &[]),
            bind("", "own", &[Some(&number)]),
            execute("", 0),
            support::frames::close(b'S', "own"),
            sync(),
        ];
        let found = self.exchange(&read.concat())?;
        let found: u64 = found.ok().value().parse().unwrap();
        let is_right = found == self.known || (self.is_in_doubt && found == self.known + 1);
        assert!(is_right, "client {number} found {found} after {}", self.known);
        (self.known, self.is_in_doubt) = (found, false);
        self.ask(&format!("update chaos set n = n + 1 where id = {number}"))?;
        self.is_in_doubt = true;
        self.ask("commit")?;
        self.known += 1;
        self.is_in_doubt = false;
        Some(())
    }

    fn ask(&mut self, sql: &str) -> Option<Reply> {
        self.exchange(&support::frames::query(sql))
    }

    /// `None`: it was killed. Any other error is a fault.
    fn exchange(&mut self, request: &[u8]) -> Option<Reply> {
        if self.wire.try_send(request).is_err() {
            return None;
        }
        let mut frames = Vec::new();
        loop {
            let frame = match self.wire.try_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("client {}: {error}", self.number),
            };
            let tag = frame.tag;
            frames.push(frame);
            match tag {
                b'Z' => return Some(Reply(frames).ok()),
                b'E' if frames.last().unwrap().field('C').as_deref() == Some("57P01") => {
                    return None;
                }
                _ => {}
            }
        }
    }
}

fn login(port: u16) -> Wire {
    let mut wire = Wire::login(port, "postgres", "postgres");
    wire.set_timeout(PATIENCE);
    wire
}

/// One act of an operator.
fn operate(console: &mut Wire, random: &mut Random) {
    match random.below(10) {
        0 | 1 => {
            console.query("PAUSE postgres").ok();
            console.query("RESUME postgres").ok();
        }
        2 => {
            console.query("PAUSE").ok();
            console.query("RESUME").ok();
        }
        3 | 4 => _ = console.query("RECONNECT").ok(),
        5 => {
            console.query("DISABLE template1").ok();
            console.query("ENABLE template1").ok();
        }
        6 | 7 => _ = console.query("SHOW POOLS; SHOW CLIENTS; SHOW STATS").ok(),
        _ => kill_one(console, random),
    }
}

/// Only clients of the test's own: pgbench must not notice anything.
fn kill_one(console: &mut Wire, random: &mut Random) {
    let clients = console.query("SHOW CLIENTS").ok();
    let names = clients.all(b'T').next().unwrap().column_names();
    let place = |name: &str| names.iter().position(|known| known == name).unwrap();
    let (id, user) = (place("id"), place("user"));
    let rows = clients.all(b'D').map(support::Frame::columns);
    let own = rows.filter(|row| row[user].as_deref() == Some("postgres"));
    let ids: Vec<String> = own.filter_map(|row| row[id].clone()).collect();
    if !ids.is_empty() {
        let at = usize::try_from(random.below(ids.len() as u64)).unwrap();
        // It may have left in the meantime.
        console.query(&format!("KILL_CLIENT {}", ids[at]));
    }
}

#[test]
fn operators_at_work_are_not_noticed() {
    let seconds = number_from("PGSTEWARD_CHAOS_SECONDS", 20);
    let seed = number_from("PGSTEWARD_SEED", u64::from(std::process::id()));
    eprintln!("chaos: seed {seed}, {seconds} s");
    let postgres = Postgres::start(&Options::default());
    postgres.psql("create table chaos (id int primary key, n int not null)");
    postgres.psql(&format!("insert into chaos select i, 0 from generate_series(0, {CLIENTS}) i"));
    postgres.psql("create role bencher superuser login");
    let proxy = Proxy::with_config(&config(&postgres, 4));
    pgbench(&proxy, &["-i", "-q"]);
    let (is_over, reloads) = (AtomicBool::new(false), AtomicU64::new(0));
    let over = || is_over.load(Ordering::Relaxed);
    let ends = Instant::now() + Duration::from_secs(seconds);
    let (transactions, deaths) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (transactions, deaths, port) = (&transactions, &deaths, proxy.port());
            scope.spawn(move || {
                let mut client = Client::new(number, port);
                while !over() {
                    client.transact();
                }
                // Nobody is stuck, and nothing was lost.
                while client.attempt().is_none() {
                    client.wire = login(port);
                }
                transactions.fetch_add(client.known, Ordering::Relaxed);
                deaths.fetch_add(client.deaths, Ordering::Relaxed);
            });
        }
        let bench = scope.spawn(|| {
            let seconds = seconds.to_string();
            // A thread each: pgbench waits for a Parse with all clients of its thread, whose transactions a pause waits for.
            pgbench(&proxy, &["-n", "-c", "4", "-j", "4", "-T", &seconds, "-M", "prepared"]);
        });
        scope.spawn(|| {
            let mut random = Random(seed ^ 1);
            while !over() {
                // Whole at any moment: the proxy must never read half of it.
                let next = proxy.config_file().with_extension("next");
                fs::write(&next, config(&postgres, 2 + random.below(5))).unwrap();
                fs::rename(&next, proxy.config_file()).unwrap();
                proxy.signal("HUP");
                reloads.fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(RELOAD_PERIOD);
            }
        });
        let mut random = Random(seed);
        let mut console = proxy.console();
        console.set_timeout(PATIENCE);
        while Instant::now() < ends {
            operate(&mut console, &mut random);
            thread::park_timeout(Duration::from_millis(random.below(30)));
        }
        bench.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
    });
    let (transactions, deaths) = (transactions.into_inner(), deaths.into_inner());
    eprintln!("chaos: {transactions} transactions, {deaths} clients killed, {reloads:?} reloads");
    assert!(transactions > 10 * CLIENTS && deaths > 0);
    let mut console = proxy.console();
    let used = console.query("SHOW POOLS").ok();
    assert!(!used.rows().is_empty());
}

fn pgbench(proxy: &Proxy, arguments: &[&str]) {
    let done = Command::new("pgbench")
        .args(["-h", "127.0.0.1", "-U", "bencher", "-p", &proxy.port().to_string()])
        .args(arguments)
        .arg("postgres")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !told.contains("aborted"), "{told}");
}
