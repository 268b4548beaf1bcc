//! Child processes that end with this one, however it ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::error::DemoError;
use super::interrupt::Interrupt;

/// The user that PostgreSQL runs as when we are root.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A child process that is ended when dropped.
#[derive(Debug)]
pub(super) struct Running {
    name: &'static str,
    child: Child,
    /// Ends it in good order.
    signal: &'static str,
    log: PathBuf,
}

/// A child that has not ended so long after its signal is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Longest run of a program that ends by itself.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(60);

/// Lines of a log that an error repeats.
const LOG_LINES_SHOWN: usize = 15;

// === impl Running ===

impl Running {
    /// Starts the command; what it writes goes to the file `log`.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        signal: &'static str,
        log: &Path,
    ) -> Result<Self, DemoError> {
        let failed = || DemoError::system(format!("can't start {name}"));
        let file = File::create(log).map_err(failed())?;
        let also = file.try_clone().map_err(failed())?;
        // A group of its own: Ctrl-C is for this process, which then ends its children in order.
        command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(also);
        let child = command.spawn().map_err(failed())?;
        Ok(Self { name, child, signal, log: log.to_owned() })
    }

    /// An error with the end of its log if it has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.failure(status)),
        }
    }

    /// All that it has written.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        self.child.try_wait().map_err(DemoError::system(self.name))
    }

    fn failure(&self, status: ExitStatus) -> DemoError {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let log = lines.get(last..).unwrap_or_default().join("\n");
        DemoError::Program { what: format!("{} has ended ({status})", self.name), log }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        send(self.child.id(), self.signal);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > GRACE {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

// === helpers ===

/// Runs a program to its end; what it has written.
pub(super) fn finish(
    name: &'static str,
    command: Command,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<String, DemoError> {
    let mut running = Running::start(name, command, "KILL", log)?;
    let status = interrupt.until(name, PROGRAM_TIME_MAX, || running.ended())?;
    if status.success() { Ok(running.log()) } else { Err(running.failure(status)) }
}

/// A command that gets `signal` when this process ends, where `setpriv` can arrange that (util-linux
/// 2.33), and that runs as `account`.
///
/// The kernel sends the signal when the *thread* that started the child ends: only the main thread may.
pub(super) fn leashed(
    program: impl AsRef<OsStr>,
    signal: &str,
    account: Option<&Account>,
) -> Command {
    let mut command = if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal]);
        if let Some(Account { uid, gid }) = account {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
            command.arg("--clear-groups");
        }
        command.arg("--").arg(program);
        command
    } else {
        let mut command = Command::new(program);
        if let Some(Account { uid, gid }) = account {
            // Further groups are dropped with root.
            command.uid(*uid).gid(*gid);
        }
        command
    };
    // PGHOST, PGDATA and the like are meant for other servers.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG") && !text.starts_with("PGSTEWARD_") {
            command.env_remove(&name);
        }
    }
    command.current_dir("/");
    command
}

/// The account for PostgreSQL; `None` when we aren't root, so that nothing has to be dropped.
pub(super) fn unprivileged() -> Result<Option<Account>, DemoError> {
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    let account = |name| Some(Account { uid: id(&["-u", name])?, gid: id(&["-g", name])? });
    let found = ["postgres", "nobody"].into_iter().find_map(account);
    found.map(Some).ok_or(DemoError::NoAccount)
}

/// Whether a process is there.
pub(super) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn has_setpriv() -> bool {
    quietly(Command::new("setpriv").args(["--pdeathsig", "keep", "--", "true"]))
}

fn send(pid: u32, signal: &str) {
    quietly(Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]));
}

/// Runs a command that says nothing; whether it succeeded.
pub(super) fn quietly(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A number that `id` prints.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
