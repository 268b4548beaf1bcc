//! The leak hunt: random clients leave random state behind on a pool of few server connections. After each step
//! somebody who has set nothing looks at all idle server connections, and each client looks at its own session: the
//! first must find nothing, the second what the same client finds that is connected to PostgreSQL directly.
//!
//! A share in `make test`; `PGSTEWARD_LEAK_STEPS=20000` for long. The seed is printed; `PGSTEWARD_SEED` sets it.
//! `tests/leaks/mutate.py` switches off each kind of tracking, pin and reset in turn and shows that the hunt notices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a helper that fails fails its test; the figures are the long run's result"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../model/random.rs"]
#[expect(dead_code, reason = "made for another test")]
mod random;

mod act;
mod pair;
mod view;

use act::Act;
use pair::Pair;
use random::Random;
use support::{Postgres, Proxy, Wire};

/// Server connections of the pool.
const POOL_SIZE: usize = 3;

/// Clients that set things.
const CLIENTS: usize = 5;

/// So many of them may hold a server connection.
const PINNED_MAX: usize = POOL_SIZE - 1;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_leaks_and_nothing_is_lost() {
    let steps = from_environment("PGSTEWARD_LEAK_STEPS", 1200);
    let seed = from_environment("PGSTEWARD_SEED", u64::from(std::process::id()));
    eprintln!("leak hunt: {steps} steps, PGSTEWARD_SEED={seed}");
    let mut world = World::new();
    let mut random = Random::new(seed);
    for step in 0..steps {
        world.step(step, &mut random);
    }
}

struct World {
    proxy: Proxy,
    direct: u16,
    pairs: Vec<Pair>,
    /// Clients that never set anything.
    probes: Vec<Wire>,
    /// What was done, for who has to find out why.
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        let postgres = Postgres::shared();
        for name in [pair::DIRECT, pair::PROXIED] {
            postgres.psql(&format!("create database {name}"));
            let mut wire = Wire::login(postgres.port(), "postgres", name);
            wire.query(act::SCHEMA).ok();
        }
        postgres.psql("create role hunted; create role hunter superuser login");
        let upstream = format!("postgres://127.0.0.1:{}", postgres.port());
        let proxy = Proxy::builder()
            .args(["--upstream", &upstream])
            .set(&format!("pool.size={POOL_SIZE}"))
            .start();
        let probes =
            (0..POOL_SIZE).map(|_| Wire::login(proxy.port(), "hunter", pair::PROXIED)).collect();
        let direct = postgres.port();
        let pairs = (0..CLIENTS).map(|client| Pair::new(direct, proxy.port(), client)).collect();
        Self { proxy, direct, pairs, probes, log: Vec::new() }
    }

    fn step(&mut self, step: u64, random: &mut Random) {
        let client = random.below(CLIENTS);
        let pinned = self.pairs.iter().filter(|pair| pair.may_be_pinned()).count();
        let is_pinned = self.pairs[client].may_be_pinned();
        let may_pin = pinned < PINNED_MAX || is_pinned;
        if random.percent(3) {
            self.note(format!("{step}: client {client} leaves"));
            let pair = Pair::new(self.direct, self.proxy.port(), client);
            std::mem::replace(&mut self.pairs[client], pair).leave(random.percent(50));
        } else {
            let act = Act::random(random, client, may_pin, is_pinned);
            self.note(format!("{step}: client {client} {act:?}"));
            self.pairs[client].run(&act);
        }
        // A client's own look may clear up what it has left behind.
        let idle_first = random.percent(50);
        if idle_first {
            self.check_idle();
        }
        self.check_own(client);
        if random.percent(30) {
            let other = random.below(CLIENTS);
            self.check_own(other);
        }
        if !idle_first {
            self.check_idle();
        }
    }

    fn note(&mut self, what: String) {
        self.log.push(what);
    }

    /// The client finds what it would find without the proxy.
    fn check_own(&mut self, client: usize) {
        let (direct, proxied) = self.pairs[client].views();
        if direct != proxied {
            self.fail(&format!("client {client} differs\n direct: {direct}\nproxied: {proxied}"));
        }
    }

    /// Who has set nothing finds nothing, on no server connection that is free.
    fn check_idle(&mut self) {
        let pinned = self.pairs.iter().filter(|pair| pair.may_be_pinned()).count();
        let free = POOL_SIZE - pinned;
        let mut seen = Vec::new();
        for probe in self.probes.iter_mut().take(free) {
            seen.push(view::of_probe(probe));
        }
        for probe in self.probes.iter_mut().take(free) {
            probe.query("commit").ok();
            let last = view::last_value(probe);
            if last != "55000" {
                seen.push(format!("the last value of a sequence, {last}"));
            }
        }
        for found in seen {
            if found != view::CLEAN {
                self.fail(&format!("a client that has set nothing finds {found}"));
            }
        }
    }

    #[expect(clippy::unused_self, reason = "its drop tells what led there")]
    fn fail(&self, what: &str) -> ! {
        panic!("{what}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(60);
            eprintln!("after\n{}", self.log[from..].join("\n"));
        }
    }
}
