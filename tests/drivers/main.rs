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

/// What the scripts are run through.
struct World {
    server: Postgres,
    transaction: Proxy,
    session: Proxy,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let options =
        Options::default().setting("max_prepared_transactions=10").setting("max_connections=200");
    let server = Postgres::start(&options);
    let proxy = |mode: &str| {
        let upstream = format!("postgres://127.0.0.1:{}", server.port());
        let mode = format!("pool.mode={mode}");
        Proxy::builder().args(["--upstream", &upstream]).set(&mode).set("pool.size=20").start()
    };
    let (transaction, session) = (proxy("transaction"), proxy("session"));
    World { server, transaction, session }
});

fn same_as_direct(driver: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let address = |port: u16| format!("127.0.0.1:{port}");
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/run.py"))
        .args(["--only", driver, "--direct", &address(WORLD.server.port())])
        .args(["--proxy", &format!("transaction={}", address(WORLD.transaction.port()))])
        .args(["--proxy", &format!("session={}", address(WORLD.session.port()))])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{driver}:\n{printed}{errors}");
}

macro_rules! drivers {
    ($($name:ident = $driver:literal,)*) => {
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
    psycopg2 = "psycopg2",
    asyncpg = "asyncpg",
    node_postgres = "node-postgres",
}
