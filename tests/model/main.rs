//! The proxy against its model, which is PostgreSQL itself: random sequences of messages, valid and half
//! valid, by three clients over two server connections; the replies and what is left in the tables must be
//! the same as without the proxy, byte for byte.
//!
//! A sequence is all in its seed. `PGSTEWARD_SEED` repeats one (or begins a run there),
//! `PGSTEWARD_MODEL_SEQUENCES` makes a long run:
//!
//! ```sh
//! PGSTEWARD_MODEL_SEQUENCES=10000 cargo test --test model -- --nocapture
//! PGSTEWARD_SEED=42 PGSTEWARD_MODEL_SEQUENCES=1 cargo test --test model transaction_mode
//! ```
//!
//! The way of a sequence: [`generate`] writes it, [`direct`] runs each client on PostgreSQL and notes how far
//! the replies had come at each step, [`proxied`] runs all clients in turns through the proxy, [`compare`]
//! looks at the replies, [`world`] at the tables and the server connections, and [`shrink`] makes what fails
//! small. Whether a client must be served while others hold server connections is [`tenancy`]'s judgement.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod compare;
mod connection;
mod direct;
mod generate;
mod message;
mod proxied;
mod random;
mod sequence;
mod shrink;
mod sql;
#[path = "../support/mod.rs"]
mod support;
mod tenancy;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use world::{Setup, World};

/// Without `PGSTEWARD_MODEL_SEQUENCES` a test ends after this long.
const SHORT_RUN: Duration = Duration::from_secs(20);

/// And after so many sequences.
const SHORT_RUN_SEQUENCES: u64 = 300;

/// The first seed of a short run: the same sequences each time, so that a change is what makes them fail.
const SHORT_RUN_SEED: u64 = 1;

/// A reply that stays away for this long is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sequences run side by side, each in databases of its own.
const THREADS: usize = 4;

#[test]
fn transaction_mode() {
    run(Setup { mode: "transaction", pool_size: 2, workers: 1 });
}

#[test]
fn transaction_mode_with_two_workers() {
    run(Setup { mode: "transaction", pool_size: 2, workers: 2 });
}

#[test]
fn session_mode() {
    run(Setup { mode: "session", pool_size: 3, workers: 1 });
}

/// One run at a time: they share the machine.
static TURN: Mutex<()> = Mutex::new(());

/// Runs sequences of consecutive seeds until there are enough, or the first one fails.
fn run(setup: Setup) {
    let _turn = TURN.lock();
    let sequences = number("PGSTEWARD_MODEL_SEQUENCES");
    let first = number("PGSTEWARD_SEED")
        .unwrap_or_else(|| if sequences.is_some() { random_seed() } else { SHORT_RUN_SEED });
    let began = Instant::now();
    let deadline = sequences.is_none().then(|| began + SHORT_RUN);
    let end = first + sequences.unwrap_or(SHORT_RUN_SEQUENCES);
    say(&format!("{setup:?}: PGSTEWARD_SEED={first}"));
    let next = AtomicU64::new(first);
    let failure = thread::scope(|scope| {
        let work = |number| work(setup, number, &next, end, deadline);
        let threads: Vec<_> =
            (0..THREADS).map(|number| scope.spawn(move || work(number))).collect();
        let results = threads.into_iter().map(|thread| thread.join().expect("a result"));
        results.collect::<Vec<_>>().into_iter().flatten().next()
    });
    let done = next.load(Ordering::Relaxed).min(end) - first;
    say(&format!("{setup:?}: {done} sequences in {:.1?}", began.elapsed()));
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// One thread's share; the text of a failure.
fn work(
    setup: Setup,
    number: usize,
    next: &AtomicU64,
    end: u64,
    deadline: Option<Instant>,
) -> Option<String> {
    let mut world = World::new(setup, number);
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            break;
        }
        let sequence = generate::sequence(seed);
        if let Err(failure) = world.run(&sequence, PATIENCE) {
            // The others stop.
            next.fetch_max(end, Ordering::Relaxed);
            let log = world.log_tail();
            let at_first = format!("{failure}\n{sequence}--- log of the proxy\n{log}");
            let (small, failure) = shrink::shrink(&mut world, sequence, failure);
            return Some(format!(
                "{setup:?}: repeat with PGSTEWARD_SEED={seed} PGSTEWARD_MODEL_SEQUENCES=1\n\
                 {at_first}\n--- shrunk to\n{failure}\n{small}"
            ));
        }
    }
    None
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value:?}")))
}

fn random_seed() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("random bytes");
    u64::from(u32::from_le_bytes(bytes))
}

#[expect(clippy::print_stdout, reason = "the harness captures this")]
fn say(text: &str) {
    println!("{text}");
}
