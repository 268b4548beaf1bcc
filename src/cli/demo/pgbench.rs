//! A short pgbench through the proxy, if the machine has one.

use std::path::PathBuf;

use super::children::{finish, leashed};
use super::claims::report;
use super::error::DemoError;
use super::install::{Install, search_path};
use super::postgres::Directory;
use super::shop::{DATABASE, Shop};
use crate::cli::say;

const SENTENCE: &str = "pgbench: 20 clients for 3 seconds, every transaction done";

const RUN: &[&str] = &["--no-vacuum", "--client=20", "--jobs=2", "--time=3"];

/// Runs it; whether every transaction was done. True without a pgbench.
pub(super) fn check(
    shop: &Shop<'_>,
    install: &Install,
    directory: &Directory,
) -> Result<bool, DemoError> {
    let Some(program) = find(install) else {
        say("pgbench: not found next to the server's programs or in PATH, so no speed is measured");
        return Ok(true);
    };
    let run = |name: &'static str, arguments: &[&str]| {
        let mut command = leashed(&program, "KILL", None);
        command.args(["-h", &shop.proxy.ip().to_string(), "-p", &shop.proxy.port().to_string()]);
        command.args(["-U", "postgres"]).args(arguments).arg(DATABASE);
        finish(name, command, &directory.join("pgbench.log"), shop.interrupt)
    };
    let fill = ["--initialize", "--scale=5", "--quiet"];
    let held = run("pgbench --initialize", &fill).and_then(|_| run("pgbench", RUN));
    report(SENTENCE, held.and_then(|output| summary(&output)))
}

fn find(install: &Install) -> Option<PathBuf> {
    let beside = [install.bin.clone()];
    let directories = beside.into_iter().chain(search_path());
    directories.map(|bin| bin.join("pgbench")).find(|program| program.exists())
}

/// `1234 transactions per second`, from what pgbench prints.
fn summary(output: &str) -> Result<String, DemoError> {
    let field = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    // Not printed before PostgreSQL 15.
    if let Some(failed) = field("number of failed transactions:").filter(|failed| *failed != "0") {
        return Err(DemoError::Refuted(format!("{failed} failed")));
    }
    let tps = field("tps =").and_then(|tps| tps.split('.').next());
    let tps = tps.ok_or_else(|| DemoError::Refuted(format!("no tps in:\n{output}")))?;
    Ok(format!("{tps} transactions per second"))
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_speed_is_read() {
        let output = "number of failed transactions: 0 (0.000%)\ntps = 1234.56 (without ...)\n";
        assert_eq!(summary(output).unwrap(), "1234 transactions per second");
        assert!(summary("number of failed transactions: 2 (0.1%)\ntps = 1.0\n").is_err());
        assert!(summary("").is_err());
    }
}
