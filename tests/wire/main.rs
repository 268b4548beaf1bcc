//! Bytes in, bytes out: one topic a module.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a helper that fails fails its test"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod launch;
mod listen;
mod twin;

mod cancel;
mod check;
mod copy;
mod ending;
mod extended;
mod faults;
mod garbage;
mod idle;
mod login;
mod pins;
mod pools;
mod prepared;
mod proxy_selftest;
mod relay;
mod repair;
mod replication;
mod server_lost;
mod settings;
mod shutdown;
mod simple;
mod startup;
mod support_selftest;
mod waiting;
