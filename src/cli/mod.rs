//! The command line: one subcommand a file.

use std::process::ExitCode;

/// Runs the subcommand that the arguments name.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
