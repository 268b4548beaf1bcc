//! Arguments, configuration, run, exit code: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgsteward::cli::run()
}
