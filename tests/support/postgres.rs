//! A throw-away PostgreSQL cluster on a free port, gone when the test process ends.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::children::{children_of, exists, leashed, signal, spawn, unprivileged};
use super::install::{Install, base, make_directory, run};
use super::wait::{eventually, holds_within};
use super::wire::Wire;

/// A running cluster; its superuser is `postgres`, without a password.
#[derive(Debug)]
pub struct Postgres {
    install: &'static Install,
    port: u16,
    directory: PathBuf,
    settings: Vec<String>,
    server: Mutex<Option<Child>>,
}

/// What a cluster is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// `max_connections`.
    pub max_connections: u32,
    /// Further settings, `name=value`.
    pub settings: Vec<String>,
    /// Lines of pg_hba.conf before those of `users` and the last one, which trusts everybody.
    pub hba: Vec<String>,
    /// Roles that log in with a password.
    pub users: Vec<User>,
}

/// A role that logs in with a password.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// Method of pg_hba.conf: `password`, `md5`, `scram-sha-256`.
    pub method: String,
}

/// How a cluster stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits until all clients have left.
    Smart,
    /// Ends all clients with 57P01.
    Fast,
    /// Ends all clients with 57P02; the next start recovers.
    Immediate,
    /// `kill -9` for all of its processes, as when the machine goes down; the next start recovers.
    Kill,
}

/// Longest wait for a start, stop or recovery.
const PATIENCE: Duration = Duration::from_secs(60);

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 200, settings: Vec::new(), hba: Vec::new(), users: Vec::new() }
    }
}

impl Options {
    /// Adds a setting, `name=value`.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Adds a role that logs in with a password.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, method: &str) -> Self {
        self.users.push(User {
            name: name.to_owned(),
            password: password.to_owned(),
            method: method.to_owned(),
        });
        self
    }
}

// === impl Postgres ===

impl Postgres {
    /// The one cluster that all tests of a binary share: tests that stop it, or change it for others, start their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Options::default()))
    }

    /// A cluster of one's own.
    pub fn start(options: &Options) -> Self {
        let cluster = Self {
            install: Install::chosen(),
            port: free_port(),
            directory: new_directory(),
            settings: settings(options),
            server: Mutex::new(None),
        };
        let data = cluster.data();
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]);
        run(copy.arg(cluster.install.template()).arg(&data));
        fs::write(data.join("pg_hba.conf"), hba(options)).expect("a cluster of our own");
        cluster.start_again();
        for user in &options.users {
            cluster.create_user(user);
        }
        cluster
    }

    /// TCP port on 127.0.0.1; the Unix socket is `/tmp/.s.PGSQL.PORT`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Major version of the server.
    pub fn major(&self) -> u32 {
        self.install.major()
    }

    /// A connection string: `postgres://user@127.0.0.1:port/database`.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new connection as the superuser.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        Wire::login(self.port, "postgres", "postgres")
    }

    /// Runs SQL as the superuser; the rows as `psql -At` prints them. Panics on an error.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.wire().query(sql).ok().rows().join("\n")
    }

    /// Process ID of the postmaster; panics when the cluster is stopped.
    pub fn pid(&self) -> u32 {
        self.with_server(|server| server.as_ref().map(Child::id)).expect("a running cluster")
    }

    /// Stops the server and waits until it has ended.
    #[track_caller]
    pub fn stop(&self, mode: StopMode) {
        let Some(mut server) = self.with_server(Option::take) else {
            return;
        };
        let children = if mode == StopMode::Kill { children_of(server.id()) } else { Vec::new() };
        signal(server.id(), mode.signal());
        for child in children {
            signal(child, mode.signal());
            assert!(holds_within(PATIENCE, || !exists(child)), "process {child} did not end");
        }
        let ended =
            holds_within(PATIENCE, || server.try_wait().is_ok_and(|status| status.is_some()));
        if !ended {
            let _ = server.kill();
            panic!("PostgreSQL did not stop ({mode:?}):\n{}", self.log());
        }
    }

    /// Starts a stopped server on its old port and waits until it answers.
    #[track_caller]
    pub fn start_again(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a log file in our own directory");
        let mut command = leashed(self.install.program("postgres"), "QUIT", unprivileged());
        command.arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string()]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(process::Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let server = spawn(command).expect("setpriv of util-linux");
        self.with_server(|slot| *slot = Some(server));
        let ready = holds_within(PATIENCE, || {
            let ended = self.with_server(|server| {
                let server = server.as_mut().expect("just started");
                server.try_wait().is_ok_and(|status| status.is_some())
            });
            assert!(!ended, "PostgreSQL ended at once:\n{}", self.log());
            self.accepts()
        });
        assert!(ready, "PostgreSQL does not answer:\n{}", self.log());
    }

    /// Stops the server as `pg_ctl restart` does (57P01 for clients) and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        self.stop(StopMode::Fast);
        self.start_again();
    }

    /// Makes the server a standby, of which nobody knows the primary.
    #[track_caller]
    pub fn become_standby(&self) {
        self.stop(StopMode::Fast);
        fs::write(self.data().join("standby.signal"), "").expect("a cluster of our own");
        self.start_again();
    }

    /// Sends a signal to the postmaster: `STOP` makes it deaf, `CONT` lets it go on, `HUP` reloads.
    pub fn signal(&self, name: &str) {
        assert!(signal(self.pid(), name), "no postmaster");
    }

    /// Ends one backend with 57P01 and waits until it is gone.
    #[track_caller]
    pub fn kill_backend(&self, pid: i32) {
        self.psql(&format!("select pg_terminate_backend({pid})"));
        eventually("the backend is gone", PATIENCE, || {
            let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
            self.psql(&alive) == "0"
        });
    }

    /// Process IDs of client backends other than the one that asks, oldest first.
    pub fn backends(&self) -> Vec<i32> {
        let sql = "select pid from pg_stat_activity where backend_type = 'client backend' \
                   and pid <> pg_backend_pid() order by backend_start";
        let pids = self.psql(sql);
        pids.lines().map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn accepts(&self) -> bool {
        let Ok(mut wire) = Wire::try_connect(self.port) else {
            return false;
        };
        let reply = wire.log_in(&[("user", "postgres"), ("database", "postgres")], None);
        reply.status().is_some()
    }

    fn create_user(&self, user: &User) {
        let User { name, password, .. } = user;
        let encryption = match user.method.as_str() {
            "md5" => "md5",
            _ => "scram-sha-256",
        };
        self.psql(&format!(
            "set password_encryption = '{encryption}'; create role \"{name}\" login password '{password}'"
        ));
    }

    fn with_server<T>(&self, use_it: impl FnOnce(&mut Option<Child>) -> T) -> T {
        use_it(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.with_server(Option::take) {
            signal(server.id(), StopMode::Immediate.signal());
            // A test that has failed may have left it stopped.
            signal(server.id(), "CONT");
            let _ = server.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl StopMode {
    fn signal(self) -> &'static str {
        match self {
            Self::Smart => "TERM",
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

// === helpers ===

/// A port that nobody listens on now, from below the range that the kernel gives to outgoing
/// connections: one of those could take it before the server, or while the server is stopped.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    loop {
        // Other test processes begin elsewhere.
        let number = process::id() * 37 + TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from(number % 12_000).expect("below 12000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `cluster.PID.NUMBER`, which a later test process removes if this one can't.
fn new_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = base().join(format!("cluster.{}.{number}", process::id()));
    make_directory(Path::new(&directory));
    directory
}

fn settings(options: &Options) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=/tmp",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=32MB",
        "max_wal_size=64MB",
        "min_wal_size=8MB",
        "wal_level=logical",
        "max_prepared_transactions=20",
        "autovacuum=off",
        "log_line_prefix=%m [%p] %u@%d ",
    ]
    .map(str::to_owned)
    .into();
    settings.push(format!("max_connections={}", options.max_connections));
    settings.extend(options.settings.iter().cloned());
    settings
}

fn hba(options: &Options) -> String {
    let users = options.users.iter().map(|User { name, method, .. }| {
        format!("host all \"{name}\" 127.0.0.1/32 {method}\nlocal all \"{name}\" {method}\n")
    });
    let before: String = options.hba.iter().map(|line| format!("{line}\n")).chain(users).collect();
    format!(
        "{before}local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
    )
}
