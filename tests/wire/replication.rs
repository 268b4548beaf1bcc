//! Walsenders: a server connection of their own, bytes both ways.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{copy_done, query};
use crate::support::install::{Install, run};
use crate::support::{Postgres, Proxy, Wire, eventually};

fn walsender(proxy: &Proxy, user: &str) -> Wire {
    let mut wire = Wire::connect(proxy.port());
    let login = [("user", user), ("database", "postgres"), ("replication", "database")];
    wire.log_in(&login, None).ok();
    wire
}

#[test]
fn pg_basebackup_works() {
    let program = Install::chosen().program("pg_basebackup");
    if !program.exists() {
        // The npm package has servers only, and another version's program refuses them.
        eprintln!("not run: there is no {}", program.display());
        return;
    }
    let proxy = launch("size=1");
    for method in ["fetch", "stream"] {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("basebackup.{}.{method}", std::process::id()));
        let mut command = Command::new(&program);
        command.args(["-h", "127.0.0.1", "-p", &proxy.port().to_string(), "-U", "postgres"]);
        command.args(["--no-sync", "--checkpoint=fast", "-X", method, "-D"]).arg(&directory);
        run(&mut command);
        assert!(directory.join("backup_manifest").exists());
        assert!(fs::read_dir(directory.join("pg_wal")).unwrap().count() > 1);
        let mut verify = Command::new(Install::chosen().program("pg_verifybackup"));
        run(verify.arg(&directory));
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn the_log_is_streamed_until_the_client_ends_it() {
    let proxy = launch("size=1");
    let server = Postgres::shared();
    let mut wire = walsender(&proxy, "postgres");
    let system = wire.query("IDENTIFY_SYSTEM").ok().rows();
    let columns: Vec<_> = system[0].split('|').collect();
    assert_eq!(columns[3], "postgres");
    wire.send(&query(&format!("START_REPLICATION {}", columns[2])));
    assert_eq!(wire.until(b'W').tags(), "W");
    server.psql("create table replication_noise as select generate_series(1, 10000) a");
    let mut bytes = 0;
    while bytes < 300_000 {
        let frame = wire.frame();
        assert_eq!(frame.tag, b'd', "{frame}");
        if frame.body[0] == b'w' {
            bytes += frame.body.len();
        }
    }
    server.psql("drop table replication_noise");
    // Both directions end by themselves; then the connection takes commands again.
    let rest = wire.ask(&copy_done()).ok();
    assert!(rest.tags().trim_start_matches('d').starts_with("cC"), "{rest}");
    wire.query("IDENTIFY_SYSTEM").ok();
    wire.close();
}

#[test]
fn a_walsender_is_outside_of_the_pool() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut holder = role.wire(&proxy);
    holder.query("begin").ok();
    let mut one = walsender(&proxy, role.name());
    let mut two = walsender(&proxy, role.name());
    let pid = |wire: &mut Wire| wire.query("select pg_backend_pid()").ok().value();
    assert_ne!(pid(&mut one), pid(&mut two));
    // SQL works on it, and no state keeps it from anybody.
    one.query("set work_mem = '5MB'").ok();
    assert_eq!(one.query("show work_mem").ok().value(), "5MB");
    assert_eq!(two.query("show work_mem").ok().value(), "4MB");
    holder.query("commit").ok();
    assert_eq!(holder.query("show work_mem").value(), "4MB");
    one.close();
    drop(two);
    let senders = "select count(*) from pg_stat_activity where backend_type = 'walsender'";
    let own = format!("{senders} and usename = '{}'", role.name());
    eventually("its server connections are closed", SOON, || Postgres::shared().psql(&own) == "0");
}

#[test]
fn a_walsenders_statement_can_be_cancelled() {
    let proxy = launch("");
    let role = Role::new();
    let mut wire = walsender(&proxy, role.name());
    wire.send(&query("select pg_sleep(60)"));
    let sleeps = format!(
        "select count(*) from pg_stat_activity where usename = '{}' and wait_event = 'PgSleep'",
        role.name()
    );
    eventually("it sleeps", SOON, || Postgres::shared().psql(&sleeps) == "1");
    wire.cancel(proxy.port());
    assert_eq!(wire.until_ready().sqlstate().as_deref(), Some("57014"));
}

#[test]
fn a_lost_walsender_is_seen() {
    let proxy = launch("");
    let role = Role::new();
    let mut wire = walsender(&proxy, role.name());
    let pid = wire.query("select pg_backend_pid()").ok().value();
    Postgres::shared().psql(&format!("select pg_terminate_backend({pid})"));
    assert_eq!(wire.until_end().sqlstate().as_deref(), Some("57P01"));
}
