//! Real drivers and tools: one client script each, run direct and through the proxy; what they print must be
//! the same, byte for byte. The scripts and their runner are beside this file; `make setup` installs the drivers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use support::{Options, Postgres, Proxy};

/// One driver at a time: they share the machine, and each makes and drops its own databases.
static TURN: Mutex<()> = Mutex::new(());

/// A label for the output, a pool's mode and size. No script holds more than three connections at once, so three
/// server connections suffice ("tight") even where each client keeps its own.
const POOLS: [(&str, &str, u32); 4] = [
    ("transaction", "transaction", 20),
    ("session", "session", 20),
    ("tight", "transaction", 3),
    (CROWDED, "transaction", 2),
];

/// The pool of the scripts that have eight clients at once, none of which keeps a server connection.
const CROWDED: &str = "crowded";

/// What the scripts are run through.
struct World {
    server: Postgres,
    proxies: Vec<(&'static str, Proxy)>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let options =
        Options::default().setting("max_prepared_transactions=10").setting("max_connections=200");
    let server = Postgres::start(&options);
    let upstream = format!("postgres://127.0.0.1:{}", server.port());
    let proxies = POOLS.map(|(label, mode, size)| {
        let proxy = Proxy::builder()
            .args(["--upstream", &upstream])
            .set(&format!("pool.mode={mode}"))
            .set(&format!("pool.size={size}"));
        (label, proxy.start())
    });
    World { server, proxies: Vec::from(proxies) }
});

fn same_as_direct(driver: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut command = runner();
    command.args(["--only", driver, "--direct", &address(WORLD.server.port())]);
    let is_crowd = driver.starts_with("crowd-");
    let proxies = WORLD.proxies.iter().filter(|(label, _)| is_crowd == (*label == CROWDED));
    for (label, proxy) in proxies {
        command.args(["--proxy", &format!("{label}={}", address(proxy.port()))]);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{driver}:\n{printed}{errors}");
}

fn runner() -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/run.py"));
    command
}

macro_rules! drivers {
    ($($name:ident = $driver:literal,)*) => {
        const TESTED: &[&str] = &[$($driver),*];
        $(
            #[test]
            fn $name() {
                same_as_direct($driver);
            }
        )*
    };
}

drivers! {
    psql = "psql",
    pgbench = "pgbench",
    pg_dump = "pg_dump",
    psycopg3_sync = "psycopg3-sync",
    psycopg3_prepared = "psycopg3-prepared",
    psycopg3_async = "psycopg3-async",
    psycopg3_pipeline = "psycopg3-pipeline",
    migrations = "migrations",
    psycopg2 = "psycopg2",
    asyncpg = "asyncpg",
    node_postgres = "node-postgres",
    postgres_js = "postgres-js",
    tokio_postgres = "tokio-postgres",
    sqlx = "sqlx",
    jdbc = "jdbc",
    crowd_pgbench = "crowd-pgbench",
    crowd_psycopg3 = "crowd-psycopg3",
    crowd_asyncpg = "crowd-asyncpg",
    crowd_node_postgres = "crowd-node-postgres",
    crowd_postgres_js = "crowd-postgres-js",
    crowd_sqlx = "crowd-sqlx",
    crowd_jdbc = "crowd-jdbc",
}

/// There is nothing to compare it with: the scripts know what they must find.
#[test]
fn the_console() {
    let upstream = format!("postgres://127.0.0.1:{}", WORLD.server.port());
    let proxy = Proxy::builder().args(["--upstream", &upstream]).start();
    proxy.wire().query("select 1").ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = root.join("target/drivers");
    let scripts = root.join("tests/drivers/console");
    let python = built.join("venv/bin/python");
    for (runtime, script) in [(python.as_path(), "main.py"), (Path::new("node"), "main.js")] {
        let mut command = Command::new(runtime);
        command.arg(scripts.join(script)).arg(proxy.port().to_string());
        let output = command.env("NODE_PATH", built.join("node/node_modules")).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}:\n{printed}{errors}\n{}", proxy.log());
    }
}

#[test]
fn every_script_has_its_test() {
    let listed = runner().arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), TESTED);
}
