//! Many clients that connect, work, cancel and die at random: nobody gets stuck, nothing leaks, nothing grows.
//!
//! A few seconds in `make test`; `make soak SECONDS=600` for long. The seed is printed; `PGSTEWARD_SEED` sets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a helper that fails fails its test; the figures are the long run's result"
)]

#[path = "../support/mod.rs"]
mod support;

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{Options, Postgres, Proxy, eventually};

/// Server connections of the pool.
const POOL_SIZE: usize = 20;

/// What the clients did together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acts: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) died: AtomicU64,
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn clients_come_work_cancel_and_die() {
    let seconds = from_environment("PGSTEWARD_SOAK_SECONDS", 8);
    let clients = from_environment("PGSTEWARD_SOAK_CLIENTS", if seconds > 30 { 200 } else { 60 });
    let seed = from_environment("PGSTEWARD_SEED", u64::from(std::process::id()));
    eprintln!("soak: {clients} clients, {seconds} s, seed {seed}");

    let postgres = Postgres::start(&Options::default().setting("max_connections=100"));
    postgres.psql("CREATE TABLE soak (client int, note text)");
    let upstream = format!("postgres://postgres@127.0.0.1:{}", postgres.port());
    let proxy = Proxy::builder()
        .args(["--upstream", &upstream])
        .set(&format!("pool.size={POOL_SIZE}"))
        .set("server.workers=2")
        .set("limits.clients=2000")
        .start();

    let tally = Arc::new(Tally::default());
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let (tally, over, port) = (Arc::clone(&tally), Arc::clone(&over), proxy.port());
            thread::spawn(move || client::live(number, seed, port, &tally, &over))
        })
        .collect();
    let memory = watch(&proxy, &postgres, seconds);
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a client was stuck or got a wrong answer");
    }
    check_the_end(&proxy, &postgres, &tally, &memory);
}

/// Watches until the time is over; resident KiB of each second.
fn watch(proxy: &Proxy, postgres: &Postgres, seconds: u64) -> Vec<u64> {
    let mut memory = Vec::new();
    for _ in 0..seconds {
        thread::sleep(Duration::from_secs(1));
        memory.push(proxy.rss_kib());
        let servers = postgres.backends().len();
        // One more: whoever asks.
        assert!(servers <= POOL_SIZE + 1, "{servers} server connections, the pool has {POOL_SIZE}");
    }
    memory
}

fn check_the_end(proxy: &Proxy, postgres: &Postgres, tally: &Tally, memory: &[u64]) {
    eventually("all server connections are idle", Duration::from_secs(20), || {
        postgres.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
             AND pid <> pg_backend_pid() AND state <> 'idle'",
        ) == "0"
    });
    let committed = tally.committed.load(Ordering::Relaxed);
    assert_eq!(
        postgres.psql("SELECT count(*) FROM soak WHERE note = 'kept'"),
        committed.to_string()
    );
    assert_eq!(postgres.psql("SELECT count(*) FROM soak WHERE note <> 'kept'"), "0");
    let warm = memory.get(memory.len() / 3).copied().unwrap_or_default();
    let last = memory.last().copied().unwrap_or_default();
    eprintln!(
        "soak: {} acts, {committed} commits, {} cancels, {} deaths; resident {warm} KiB after a third, \
         {last} KiB at the end; {} files open",
        tally.acts.load(Ordering::Relaxed),
        tally.cancelled.load(Ordering::Relaxed),
        tally.died.load(Ordering::Relaxed),
        proxy.open_files(),
    );
    assert!(last <= warm + warm / 4 + 4096, "memory grew: {memory:?}");
    // The pool's connections and the process's own few.
    eventually("all client sockets are closed", Duration::from_secs(20), || {
        proxy.open_files() <= POOL_SIZE + 40
    });
}
