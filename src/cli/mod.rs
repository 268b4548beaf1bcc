//! The command line: one subcommand a file.

mod check;
mod demo;
mod options;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A PostgreSQL proxy that pools connections and relays every kind of traffic exactly.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    Serve(options::ConfigArguments),
    /// Check a configuration and say what it means.
    Check(check::CheckArguments),
    /// See it work: a throw-away PostgreSQL, the proxy in front of it, and what it promises.
    Demo(demo::DemoArguments),
}

/// Runs the subcommand that the arguments name.
///
/// Exit codes: 0 all went well (for `serve`: all clients had left), 1 a configuration or start that failed, 2
/// wrong arguments, 3 clients were cut off at the shutdown.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments.source()),
        Command::Check(arguments) => check::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

/// Writes lines to standard output; whoever closed it needs no more of them.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes lines to standard error.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
