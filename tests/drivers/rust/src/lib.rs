//! What the Rust scripts share: numbered steps, values and errors printed the same way each time.

use std::cell::Cell;
use std::env;
use std::fmt::{Debug, Display};
use std::process::ExitCode;

/// An error that no step expected ends the script.
pub type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A query whose columns have many types.
pub const TYPES: &str = include_str!("../../common/types.sql");

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// Begins a step.
pub fn step(title: &str) {
    NUMBER.set(NUMBER.get() + 1);
    println!("[{}] {title}", NUMBER.get());
}

/// Prints a result.
pub fn show(value: impl Debug) {
    println!("  {value:?}");
}

/// Prints the error that an action must end with.
pub fn fails<T, E: Display>(result: Result<T, E>, told: impl Fn(&E) -> String) {
    match result {
        Ok(_) => println!("  does not fail"),
        Err(error) => println!("  fails: {}", told(&error)),
    }
}

/// A setting that the runner passes on, `PGHOST` and so on.
pub fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is set by run.py"))
}

/// How the script ends.
pub fn ended(result: Done) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
