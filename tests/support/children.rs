//! Child processes that never outlive the test process, their signals and their use of the machine.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// A user that a server runs as when the tests run as root (PostgreSQL refuses root).
#[derive(Clone, Debug)]
pub struct Account {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// The account for servers; `None` when the tests don't run as root, so nothing has to be dropped.
pub fn unprivileged() -> Option<&'static Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    ACCOUNT
        .get_or_init(|| {
            if id(&["-u"]) != Some(0) {
                return None;
            }
            let found = ["postgres", "nobody"].iter().find_map(|name| {
                Some(Account { uid: id(&["-u", name])?, gid: id(&["-g", name])? })
            });
            Some(found.expect("root needs a user `postgres` or `nobody` to run PostgreSQL as"))
        })
        .as_ref()
}

/// A command that gets `signal` when the test process ends, however it ends.
///
/// With `account` it first drops root. Start it with [`spawn`], or with `output` while the caller waits.
pub fn leashed(program: impl AsRef<OsStr>, signal: &str, account: Option<&Account>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    if let Some(account) = account {
        command
            .arg(format!("--reuid={}", account.uid))
            .arg(format!("--regid={}", account.gid))
            .arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// Starts a [`leashed`] command.
///
/// The kernel sends the parent-death signal when the *thread* that started the child ends, so all
/// children are started by one thread that lives as long as the process.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("starter".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .expect("a thread to start children");
        sender
    });
    let (sender, result) = mpsc::channel();
    starter
        .send(Box::new(move || {
            let _ = sender.send(command.spawn());
        }))
        .expect("the starter thread never ends");
    result.recv().expect("the starter thread answers each job")
}

/// Sends a signal (`"TERM"`, `"STOP"`, ...); false when there is no such process.
pub fn signal(pid: u32, signal: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid} 2>/dev/null")])
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a process exists (a zombie does too).
pub fn exists(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

/// The processes that a process has started.
pub fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Resident memory in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// CPU time of all living threads in microseconds, user and system.
pub fn cpu_us(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let nanoseconds: u64 = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanoseconds / 1000
}

/// Open file descriptors.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// One number printed by `id`.
fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
