//! The distribution's PgBouncer as the reference: whoever reads its console finds the same columns here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;

use crate::launch::{SOON, launch};
use crate::support::children::{leashed, spawn, unprivileged};
use crate::support::install::make_directory;
use crate::support::postgres::free_port;
use crate::support::{Postgres, Wire, eventually};

/// A running PgBouncer.
struct PgBouncer {
    port: u16,
    process: Child,
    directory: PathBuf,
}

impl PgBouncer {
    fn start() -> Self {
        let port = free_port();
        let directory = crate::support::install::base().join(format!("pgbouncer.{port}"));
        make_directory(&directory);
        let users = directory.join("users.txt");
        fs::write(&users, "\"pgbouncer\" \"\"\n\"postgres\" \"\"\n").unwrap();
        let config = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\nadmin_users = pgbouncer\n\
             ignore_startup_parameters = extra_float_digits\n",
            Postgres::shared().port(),
            users.display()
        );
        fs::write(&config, text).unwrap();
        for path in [&users, &config] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut command = leashed("/usr/sbin/pgbouncer", "KILL", unprivileged());
        command.arg(&config).stderr(std::process::Stdio::null());
        let process = spawn(command).unwrap();
        eventually("PgBouncer listens", SOON, || Wire::try_connect(port).is_ok());
        Self { port, process, directory }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Columns, and whether each is a text or a number: versions of PgBouncer differ in which kind of number.
fn columns(console: &mut Wire, what: &str) -> Vec<(String, bool)> {
    let reply = console.query(&format!("SHOW {what}")).ok();
    let columns = reply.all(b'T').next().expect("columns").typed_columns();
    // As it is called since.
    let renamed =
        |name: String| if name == "reserve_pool" { "reserve_pool_size".to_owned() } else { name };
    columns.into_iter().map(|(name, oid)| (renamed(name), oid == 25)).collect()
}

#[test]
fn its_columns_are_here_in_their_order() {
    let peer = PgBouncer::start();
    let mut theirs = Wire::login(peer.port, "pgbouncer", "pgbouncer");
    Wire::login(peer.port, "postgres", "postgres").query("select 1").ok();
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    let mut ours = proxy.console();
    for what in [
        "STATS",
        "STATS_TOTALS",
        "STATS_AVERAGES",
        "TOTALS",
        "POOLS",
        "DATABASES",
        "LISTS",
        "CONFIG",
        "CLIENTS",
        "SERVERS",
        "SOCKETS",
        "ACTIVE_SOCKETS",
        "USERS",
        "MEM",
        "DNS_HOSTS",
        "DNS_ZONES",
        "VERSION",
    ] {
        let (theirs, ours) = (columns(&mut theirs, what), columns(&mut ours, what));
        let mut rest = ours.iter();
        for column in &theirs {
            assert!(
                rest.any(|known| known == column),
                "{what}: no {column:?} at its place in {ours:?}"
            );
        }
    }
}

#[test]
fn its_rows_of_lists_are_here() {
    let peer = PgBouncer::start();
    let mut theirs = Wire::login(peer.port, "pgbouncer", "pgbouncer");
    let proxy = launch("size=2");
    let mut ours = proxy.console();
    let names = |console: &mut Wire| -> Vec<String> {
        let reply = console.query("SHOW LISTS").ok();
        reply.all(b'D').filter_map(|row| row.columns().into_iter().next()?).collect()
    };
    let ours = names(&mut ours);
    for name in names(&mut theirs) {
        assert!(ours.contains(&name), "no {name} in {ours:?}");
    }
}

/// What a command answers in the same state: its tag, or whether it is refused.
#[test]
fn commands_answer_alike() {
    let peer = PgBouncer::start();
    let mut theirs = Wire::login(peer.port, "pgbouncer", "pgbouncer");
    Wire::login(peer.port, "postgres", "postgres").query("select 1").ok();
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    let mut ours = proxy.console();
    for sql in [
        "RESUME",
        "PAUSE",
        "PAUSE",
        "RESUME",
        "PAUSE postgres",
        "RESUME postgres",
        "RESUME postgres",
        "DISABLE postgres",
        "ENABLE postgres",
        "DISABLE",
        "RECONNECT",
        "RECONNECT postgres",
        "WAIT_CLOSE",
        "KILL postgres",
        "RESUME postgres",
        "RELOAD",
        "SHOW nothing",
        "nonsense",
        "SHUTDOWN sometime",
    ] {
        let (one, other) = (theirs.query(sql), ours.query(sql));
        let told = |reply: &crate::support::Reply| match reply.sqlstate() {
            Some(_) => vec!["refused".to_owned()],
            None => reply.commands(),
        };
        assert_eq!(told(&one), told(&other), "{sql}: {one:?} {other:?}");
    }
}
