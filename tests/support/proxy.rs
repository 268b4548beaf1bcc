//! The proxy under test: the built binary on a free port, killed when dropped.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::children::{cpu_us, leashed, open_files, rss_kib, signal, spawn};
use super::postgres::Postgres;
use super::wait::holds_within;
use super::wire::Wire;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    process: Child,
    log: Log,
    config: Option<PathBuf>,
}

/// Arguments and environment of a proxy to be.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Option<String>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

/// A proxy that ended instead of listening.
#[derive(Debug)]
pub struct Refusal {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard error.
    pub log: String,
}

/// Lines of standard error, read by a thread until the process ends.
type Log = Arc<Mutex<Vec<String>>>;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl Proxy ===

impl Proxy {
    /// A sidecar without a configuration file: any database, each client by its own name.
    #[track_caller]
    pub fn sidecar(server: &Postgres) -> Self {
        let upstream = format!("postgres://127.0.0.1:{}", server.port());
        Self::builder().args(["--upstream", &upstream]).start()
    }

    /// A proxy with this configuration; its `listen` is replaced by a free port.
    #[track_caller]
    pub fn with_config(config: &str) -> Self {
        Self::builder().config(config).start()
    }

    /// A proxy with `[databases."*"]` on this server, `pool` as its `[pool]` section, and more sections if need be.
    #[track_caller]
    pub fn pooled(server: &Postgres, pool: &str, more: &str) -> Self {
        let port = server.port();
        Self::with_config(&format!(
            "[pool]\n{pool}\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\n{more}\n"
        ))
    }

    /// Any other proxy.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// TCP port of the admin HTTP server.
    #[track_caller]
    pub fn admin_port(&self) -> u16 {
        let log = self.log();
        let address = log.split("admin HTTP on ").nth(1).and_then(|rest| rest.lines().next());
        let port = address.and_then(|address| address.trim().rsplit_once(':')?.1.parse().ok());
        port.expect("it says where HTTP is")
    }

    /// A client of the console.
    #[track_caller]
    pub fn console(&self) -> Wire {
        Wire::login(self.port, "pgsteward", "pgsteward")
    }

    /// Gets a page of the admin HTTP server: status, body.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// The same with more header lines, each with its line end.
    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.admin_port()))
            .expect("it listens there");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in UTF-8");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status line"), body.expect("a body"))
    }

    /// The file of its configuration.
    #[track_caller]
    pub fn config_file(&self) -> &Path {
        self.config.as_deref().expect("it was started with one")
    }

    /// A new connection as `postgres` to database `postgres`.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        Wire::login(self.port, "postgres", "postgres")
    }

    /// Process ID.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        rss_kib(self.pid())
    }

    /// CPU time so far in microseconds, user and system.
    pub fn cpu_us(&self) -> u64 {
        cpu_us(self.pid())
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        open_files(self.pid())
    }

    /// Sends a signal: `TERM`, `HUP`, `STOP` ...
    pub fn signal(&self, name: &str) {
        assert!(signal(self.pid(), name), "the proxy is gone:\n{}", self.log());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        holds_within(PATIENCE, || {
            status = self.process.try_wait().expect("our own child");
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("the proxy does not end:\n{}", self.log()))
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        joined(&self.log)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(config) = &self.config {
            let _ = fs::remove_file(config);
        }
        if thread::panicking() {
            show(&format!("--- log of the proxy\n{}", self.log()));
        }
    }
}

// === impl Builder ===

impl Builder {
    /// The text of the configuration file.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// More arguments of `pgsteward serve`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// `--set section.key=value`.
    #[must_use]
    pub fn set(self, setting: &str) -> Self {
        self.args(["--set", setting])
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the proxy and waits until it listens; panics with its log if it doesn't.
    #[track_caller]
    pub fn start(self) -> Proxy {
        self.try_start().unwrap_or_else(|refusal| panic!("the proxy did not start: {refusal:?}"))
    }

    /// Starts the proxy, or tells how it ended.
    #[track_caller]
    pub fn try_start(self) -> Result<Proxy, Refusal> {
        let config = self.config.as_deref().map(write_config);
        let mut command = leashed(env!("CARGO_BIN_EXE_pgsteward"), "KILL", None);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        if let Some(path) = &config {
            command.arg("--config").arg(path);
        }
        command
            .args(self.arguments)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = spawn(command).expect("setpriv of util-linux");
        let log = Log::default();
        let reader = follow(process.stderr.take().expect("a pipe"), Arc::clone(&log));
        let mut status = None;
        let mut port = None;
        holds_within(PATIENCE, || {
            status = process.try_wait().expect("our own child");
            port = port_in(&log);
            port.is_some() || status.is_some()
        });
        let mut proxy = Proxy { port: port.unwrap_or_default(), process, log, config };
        match (port, status) {
            (Some(_), _) => Ok(proxy),
            (None, None) => panic!("the proxy does not say where it listens:\n{}", proxy.log()),
            (None, Some(status)) => {
                proxy.wait_exit();
                reader.join().expect("it reads to the end");
                Err(Refusal { status, log: proxy.log() })
            }
        }
    }
}

// === helpers ===

/// Prints for the test harness, which shows it with the failure.
#[expect(clippy::print_stdout, reason = "the harness captures this")]
fn show(text: &str) {
    println!("{text}");
}

fn write_config(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("proxy.{}.{number}.toml", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("target/tmp is ours");
    path
}

fn follow(stderr: ChildStderr, log: Log) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines(&log).push(line);
        }
    })
}

/// The port of the line that says `listening on ADDRESS:PORT`.
fn port_in(log: &Log) -> Option<u16> {
    let lines = lines(log);
    lines.iter().filter(|line| !line.contains("admin")).find_map(|line| {
        // The warning of a wide-open address has a comma after it.
        let address = line.split("listening on ").nth(1)?.split(' ').next()?;
        address.rsplit_once(':')?.1.parse().ok()
    })
}

fn joined(log: &Log) -> String {
    lines(log).join("\n")
}

fn lines(log: &Log) -> std::sync::MutexGuard<'_, Vec<String>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
