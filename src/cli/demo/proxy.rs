//! The proxy: `pgsteward serve` of this very binary, as a child.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use super::children::{Running, leashed};
use super::error::DemoError;
use super::interrupt::Interrupt;
use super::postgres::Directory;

/// A running proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    process: Running,
}

/// Server connections of a pool.
pub(super) const POOL_SIZE: usize = 5;

/// What is not left at its default. [`POOL_SIZE`] is part of it.
pub(super) const ARGUMENTS: &[&str] = &[
    "serve",
    "--admin-listen",
    "127.0.0.1:0",
    "--set",
    "pool.size=5",
    "--set",
    "server.shutdown_grace=2s",
];

/// Where it listens, first choice first: its default, or any free port.
const ADDRESSES: &[&str] = &["127.0.0.1:6432", "127.0.0.1:0"];

/// Longest wait for its start.
const START_TIME_MAX: Duration = Duration::from_secs(10);

impl Proxy {
    /// Starts it in front of `server` and waits until it listens.
    pub(super) fn start(
        server: SocketAddr,
        listen: Option<SocketAddr>,
        directory: &Directory,
        interrupt: &Interrupt,
    ) -> Result<Self, DemoError> {
        let wanted = listen.map(|address| vec![address.to_string()]);
        let mut addresses =
            wanted.unwrap_or_else(|| ADDRESSES.iter().map(|&address| address.to_owned()).collect());
        let last = addresses.pop().unwrap_or_default();
        for address in addresses {
            match Self::start_at(&address, server, directory, interrupt) {
                // Taken, most likely; if it is something else, the last address fails as well.
                Err(DemoError::Program { .. }) => {}
                result => return result,
            }
        }
        Self::start_at(&last, server, directory, interrupt)
    }

    /// An error if it has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        self.process.still_runs()
    }

    fn start_at(
        listen: &str,
        server: SocketAddr,
        directory: &Directory,
        interrupt: &Interrupt,
    ) -> Result<Self, DemoError> {
        let binary = env::current_exe().map_err(DemoError::system("pgsteward's own path"))?;
        let mut command = leashed(binary, "KILL", None);
        command.args(ARGUMENTS).args(["--listen", listen]);
        command.args(["--upstream", &format!("postgres://postgres@{server}")]);
        let log = directory.join("proxy.log");
        let mut process = Running::start("pgsteward serve", command, "TERM", &log)?;
        let address = interrupt.until("the start of pgsteward serve", START_TIME_MAX, || {
            process.still_runs()?;
            Ok(address_in(&process.log()))
        })?;
        Ok(Self { address, process })
    }
}

/// The address of the log line that says `listening on ADDRESS`.
fn address_in(log: &str) -> Option<SocketAddr> {
    // The last line may be written in part.
    let whole = log.get(..log.rfind('\n')?)?;
    whole.lines().find_map(|line| {
        let (_, rest) = line.split_once("listening on ")?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_it_listens() {
        let log =
            "INFO configuration: --upstream\nINFO listening on 127.0.0.1:41 with 1 worker(s)\n";
        assert_eq!(address_in(log), Some(SocketAddr::from(([127, 0, 0, 1], 41))));
        assert_eq!(address_in("INFO listening on 127.0.0.1:4"), None);
    }

    #[test]
    fn the_pool_has_the_size_that_is_claimed() {
        assert!(ARGUMENTS.contains(&format!("pool.size={POOL_SIZE}").as_str()));
    }
}
