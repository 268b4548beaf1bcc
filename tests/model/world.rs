//! Where a sequence runs: two equal databases, one reached directly, one through the proxy.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use crate::compare::{Difference, compare, differ};
use crate::connection::Connection;
use crate::direct::{self, Transcript};
use crate::proxied;
use crate::sequence::{CLIENTS, Sequence};
use crate::support::wait::holds_within;
use crate::support::{Options, Postgres, Proxy, Wire};

/// How the proxy is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) mode: &'static str,
    pub(crate) pool_size: usize,
    pub(crate) workers: usize,
}

/// A proxy and its two databases.
pub(crate) struct World {
    setup: Setup,
    proxy: Proxy,
    direct: Side,
    proxied: Side,
    sequences: usize,
}

/// One database, and the clients of the last sequence that are still there.
struct Side {
    port: u16,
    database: String,
    /// The harness's own connection, direct on both sides.
    control: Wire,
    clients: Vec<Option<Connection>>,
}

/// What went wrong in a sequence.
#[derive(Debug)]
pub(crate) enum Failure {
    Differs(Difference),
    Stuck {
        client: usize,
        step: usize,
        so_far: Difference,
    },
    Contents {
        direct: Vec<String>,
        proxied: Vec<String>,
    },
    /// Server connections that are not idle, or too many, when all clients are done.
    Unrest(String),
    /// The direct run itself: the sequence is not fit for a test.
    Unfit(String),
}

/// A row that a table begins with: all tables begin the same.
const CONTENTS: &str = "(1, 'one'), (2, 'two'), (3, 'three')";

/// Lines of the proxy's log that are shown with a failure.
const LOG_LINES: usize = 40;

// === impl World ===

impl World {
    pub(crate) fn new(setup: Setup, number: usize) -> Self {
        let postgres = postgres();
        let name = format!("{}_{}_{number}", setup.mode, setup.workers);
        let proxy = start_proxy(setup);
        Self {
            setup,
            direct: Side::new(postgres, postgres.port(), format!("direct_{name}")),
            proxied: Side::new(postgres, proxy.port(), format!("proxied_{name}")),
            proxy,
            sequences: 0,
        }
    }

    /// The last lines that the proxy has logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.proxy.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Begins anew after a failure: nothing of it is left.
    pub(crate) fn renew(&mut self) {
        self.direct.clients.clear();
        self.proxied.clients.clear();
        self.proxy = start_proxy(self.setup);
        self.proxied.port = self.proxy.port();
        let _ = self.settle();
        self.direct.refill();
        self.proxied.refill();
    }

    /// Runs a sequence both ways. A reply that stays away for `patience` is missing.
    pub(crate) fn run(&mut self, sequence: &Sequence, patience: Duration) -> Result<(), Failure> {
        self.direct.connect();
        self.proxied.connect();
        let mut transcripts = Vec::new();
        for (client, steps) in self.direct.clients.iter_mut().flatten().zip(&sequence.clients) {
            transcripts.push(direct::run(client, steps).map_err(Failure::Unfit)?);
        }
        let mut clients: Vec<_> = self.proxied.clients.drain(..).flatten().collect();
        let size = self.setup.pool_size;
        let outcome = proxied::run(&mut clients, sequence, &transcripts, size, patience);
        let both = || clients.iter().zip(&transcripts).enumerate();
        if let Some(difference) =
            both().filter(|_| outcome.is_ok()).find_map(|(number, (client, transcript))| {
                compare(number, &sequence.clients[number], transcript, &client.replies)
            })
        {
            return Err(Failure::Differs(difference));
        }
        if let Err(proxied::Stuck { client, step }) = outcome {
            let so_far = differ(client, &transcripts[client].replies, &clients[client].replies);
            return Err(Failure::Stuck { client, step, so_far });
        }
        self.settle()?;
        self.proxied.clients = clients.into_iter().map(Some).collect();
        self.recycle(&transcripts);
        self.compare_contents()
    }

    /// Waits until no server connection does anything, and there are no more than there may be.
    fn settle(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE pid <> pg_backend_pid() AND coalesce(state, 'idle') <> 'idle') = 0
                AND count(*) FILTER (WHERE datname = current_database()) <= {},
             string_agg(concat_ws(' ', datname, pid, state, query), '; ')
             FROM pg_stat_activity WHERE datname IN ('{}', '{}')",
            self.setup.pool_size + 1,
            self.direct.database,
            self.proxied.database
        );
        let mut seen = String::new();
        let control = &mut self.proxied.control;
        let settled = holds_within(Duration::from_secs(10), || {
            seen = control.query(&sql).ok().rows().concat();
            seen.starts_with("t|")
        });
        if settled { Ok(()) } else { Err(Failure::Unrest(seen)) }
    }

    /// Keeps those clients for the next sequence whose sessions are as new.
    fn recycle(&mut self, transcripts: &[Transcript]) {
        for (number, transcript) in transcripts.iter().enumerate() {
            for side in [&mut self.direct, &mut self.proxied] {
                let slot = &mut side.clients[number];
                match slot {
                    Some(client) if client.ended => *slot = None,
                    Some(client) if transcript.is_pinned => client.run("DISCARD ALL"),
                    Some(client) if transcript.has_names => client.run("DEALLOCATE ALL"),
                    Some(_) | None => {}
                }
            }
        }
    }

    fn compare_contents(&mut self) -> Result<(), Failure> {
        let direct = self.direct.contents();
        let proxied = self.proxied.contents();
        if direct != proxied {
            return Err(Failure::Contents { direct, proxied });
        }
        self.sequences += 1;
        for side in [&mut self.direct, &mut self.proxied] {
            if direct != ["1=one,2=two,3=three|1=one,2=two,3=three|1=one,2=two,3=three"] {
                side.refill();
            }
            if self.sequences.is_multiple_of(100) {
                side.control.query("VACUUM t0, t1, t2").ok();
            }
        }
        Ok(())
    }
}

// === impl Side ===

impl Side {
    fn new(postgres: &Postgres, port: u16, database: String) -> Self {
        postgres.psql(&format!("CREATE DATABASE {database} TEMPLATE model"));
        let control = Wire::login(postgres.port(), "postgres", &database);
        Self { port, database, control, clients: Vec::new() }
    }

    fn connect(&mut self) {
        self.clients.resize_with(CLIENTS, || None);
        for client in &mut self.clients {
            client.get_or_insert_with(|| Connection::open(self.port, &self.database));
        }
    }

    fn contents(&mut self) -> Vec<String> {
        let table = |number| {
            format!(
                "(SELECT string_agg(k || '=' || coalesce(v, 'NULL'), ',' ORDER BY k) FROM t{number})"
            )
        };
        let sql = format!("SELECT {}, {}, {}", table(0), table(1), table(2));
        self.control.query(&sql).ok().rows()
    }

    fn refill(&mut self) {
        let tables = (0..CLIENTS).map(|number| {
            format!("DELETE FROM t{number}; INSERT INTO t{number} VALUES {CONTENTS};")
        });
        self.control.query(&tables.collect::<String>()).ok();
    }
}

// === helpers ===

/// The one cluster, with the database that all others are copies of: even their OIDs are the same.
fn postgres() -> &'static Postgres {
    static CLUSTER: OnceLock<Postgres> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        // Thousands of errors and commits: neither is to cost a write.
        let quick = Options::default().setting("synchronous_commit=off");
        let postgres = Postgres::start(&quick.setting("log_min_messages=panic"));
        postgres.psql("CREATE DATABASE model");
        let mut wire = Wire::login(postgres.port(), "postgres", "model");
        for number in 0..CLIENTS {
            let table = format!("t{number}");
            wire.query(&format!("CREATE TABLE {table} (k int PRIMARY KEY, v text)")).ok();
            wire.query(&format!("INSERT INTO {table} VALUES {CONTENTS}")).ok();
        }
        wire.query("CREATE TABLE shared (k int PRIMARY KEY, v text)").ok();
        wire.query("INSERT INTO shared SELECT n, 'row ' || n FROM generate_series(1, 5) n").ok();
        wire.close();
        postgres
    })
}

fn start_proxy(setup: Setup) -> Proxy {
    let upstream = format!("postgres://127.0.0.1:{}", postgres().port());
    Proxy::builder()
        .args(["--upstream", &upstream])
        .set(&format!("pool.mode={}", setup.mode))
        .set(&format!("pool.size={}", setup.pool_size))
        .set(&format!("server.workers={}", setup.workers))
        .set(&format!(
            "log.level={}",
            std::env::var("PGSTEWARD_MODEL_LOG").as_deref().unwrap_or("info")
        ))
        .start()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(difference) => difference.fmt(f),
            Self::Stuck { client, step, so_far } => {
                write!(f, "client {client} waits in vain after step {step}; {so_far}")
            }
            Self::Contents { direct, proxied } => {
                write!(f, "the tables differ:\n  direct  {direct:?}\n  proxied {proxied:?}")
            }
            Self::Unrest(seen) => {
                write!(f, "the clients are done, their server connections not: {seen}")
            }
            Self::Unfit(why) => write!(f, "not fit for a test: {why}"),
        }
    }
}
