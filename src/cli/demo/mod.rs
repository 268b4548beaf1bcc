//! `pgsteward demo`: a throw-away PostgreSQL, the proxy in front of it, and what the proxy promises, shown.
//!
//! Everything is an ordinary use of the program from outside: the proxy is a child process of this very
//! binary, and all statements go over TCP. Nothing is left behind: the children end with this process,
//! however it ends, and the directory goes with it (after a SIGKILL, at the next demonstration).

mod children;
mod claims;
mod client;
mod error;
mod install;
mod interrupt;
mod pgbench;
mod postgres;
mod proxy;
mod shop;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{complain, say};
use children::unprivileged;
use error::DemoError;
use install::Install;
use interrupt::Interrupt;
use postgres::{Directory, Postgres};
use proxy::Proxy;
use shop::Shop;

/// Options of the demonstration.
#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// End after the last claim instead of staying up until Ctrl-C
    #[arg(long)]
    exit: bool,
    /// Where the proxy listens [default: 127.0.0.1:6432, or a free port if that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

/// How often it is looked whether both children still run while the demonstration stays up.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Exit code 0 only if every claim held.
pub(super) fn run(arguments: &DemoArguments) -> ExitCode {
    match perform(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            complain("demo: not every claim held");
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The demonstration; whether every claim held. What it has started ends in the opposite order.
fn perform(arguments: &DemoArguments) -> Result<bool, DemoError> {
    let interrupt = Interrupt::listen()?;
    let account = unprivileged()?;
    let install = Install::find(account.as_ref())?;
    let directory = Directory::new(account.as_ref())?;
    let mut server = Postgres::start(&install, &directory, account.as_ref(), &interrupt)?;
    say(&format!("PostgreSQL {} on {} ({})", install.version, server.address, directory));
    let mut proxy = Proxy::start(server.address, arguments.listen, &directory, &interrupt)?;
    say(&format!("pgsteward {} on {}\n", proxy::ARGUMENTS.join(" "), proxy.address));

    let shop = Shop { proxy: proxy.address, server: server.address, interrupt: &interrupt };
    shop.load()?;
    let mut held = claims::check_all(&shop)?;
    held &= pgbench::check(&shop, &install, &directory)?;
    if !arguments.exit {
        say(&how_to_connect(&shop, &directory));
        while !interrupt.wait(WATCH_INTERVAL) {
            proxy.still_runs()?;
            server.still_runs()?;
        }
        say("\nstopping");
    }
    Ok(held)
}

fn how_to_connect(shop: &Shop<'_>, directory: &Directory) -> String {
    let (host, port) = (shop.proxy.ip(), shop.proxy.port());
    let database = shop::DATABASE;
    format!(
        "\nConnect:  psql -h {host} -p {port} -U postgres {database}\n\
         or:       postgres://postgres@{}/{database}\n\
         Logs:     {directory}/proxy.log, {directory}/postgres.log\n\
         Ctrl-C ends both and removes the directory.",
        shop.proxy
    )
}
