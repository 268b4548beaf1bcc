//! The throw-away server and its directory.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use super::children::{Account, Running, exists, finish, leashed, quietly};
use super::client::Client;
use super::error::DemoError;
use super::install::Install;
use super::interrupt::Interrupt;

/// A directory that is removed when dropped: the cluster, logs, Unix sockets.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// A running server; its superuser is `postgres`, without a password.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) address: SocketAddr,
    process: Running,
}

/// `pgsteward-demo.PID`.
const DIRECTORY_PREFIX: &str = "pgsteward-demo.";

/// Longest wait for the server's start.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// The path of a Unix socket has at most 107 bytes; its name in the directory takes some of them.
const SOCKET_DIRECTORY_MAX: usize = 88;

/// For speed, and for a server that may be thrown away.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "max_connections=100",
    "shared_buffers=32MB",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "autovacuum=off",
];

// === impl Directory ===

impl Directory {
    /// A new directory that only the server's account may enter.
    pub(super) fn new(account: Option<&Account>) -> Result<Self, DemoError> {
        let parents = [std::env::temp_dir(), PathBuf::from("/tmp")];
        let reached =
            |path: &&PathBuf| quietly(leashed("test", "KILL", account).arg("-x").arg(path));
        let [temporary, _] = &parents;
        let parent = parents.iter().find(reached).unwrap_or(temporary);
        sweep(parent);
        let path = parent.join(format!("{DIRECTORY_PREFIX}{}", process::id()));
        let failed = || DemoError::system(path.display().to_string());
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed())?;
        let directory = Self { path: path.clone() };
        if let Some(Account { uid, gid }) = account {
            chown(&path, Some(*uid), Some(*gid)).map_err(failed())?;
        }
        Ok(directory)
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster and starts its server; waits until it answers.
    pub(super) fn start(
        install: &Install,
        directory: &Directory,
        account: Option<&Account>,
        interrupt: &Interrupt,
    ) -> Result<Self, DemoError> {
        let data = directory.join("data");
        let mut initdb = leashed(install.program("initdb"), "KILL", account);
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--pgdata"]).arg(&data);
        finish("initdb", initdb, &directory.join("initdb.log"), interrupt)?;

        let address = free_address()?;
        let mut server = leashed(install.program("postgres"), "QUIT", account);
        server.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        server.args(["-c", &format!("unix_socket_directories={}", sockets(&directory.path))]);
        let log = directory.join("postgres.log");
        let mut process = Running::start("PostgreSQL", server, "INT", &log)?;
        interrupt.until("the start of PostgreSQL", START_TIME_MAX, || {
            process.still_runs()?;
            Ok(Client::connect(address, "postgres").ok())
        })?;
        Ok(Self { address, process })
    }

    /// An error if it has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        self.process.still_runs()
    }
}

// === helpers ===

/// An address that nobody listens on now, with a port below those that the kernel gives to outgoing
/// connections: one of those could take it before the server does.
fn free_address() -> Result<SocketAddr, DemoError> {
    // Another demonstration begins elsewhere.
    let first = process::id() * 37 % 10_000;
    let addresses = (first..first + 1_000).map(|number| {
        let port = 20_000 + u16::try_from(number).unwrap_or_default();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(DemoError::System { what: "no free port".to_owned(), error: last })
}

/// The directory for Unix sockets; none if its path is too long for them.
fn sockets(directory: &Path) -> String {
    let path = directory.display().to_string();
    if path.len() > SOCKET_DIRECTORY_MAX { String::new() } else { path }
}

/// Removes what killed demonstrations left behind.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY_PREFIX));
        let owner = owner.and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !exists(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
