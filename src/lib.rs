//! pgsteward: a PostgreSQL wire-protocol proxy.
//!
//! The rows of modules, each importing from those below it only (`tests/tidy.rs` holds it):
//!
//! | row | what it owns |
//! | --- | --- |
//! | [`cli`] | subcommands |
//! | [`server`] | builds all parts: workers, listeners, signals, reload, succession of processes |
//! | [`admin`] | the operator's view: console, HTTP, metrics |
//! | [`session`] | one client from its first byte to its last |
//! | [`strategy`] | the relay: frames from client to server and back |
//! | [`pool`] | server connections and who gets them |
//! | [`client_state`] | memory of one client, no I/O |
//! | [`analysis`], [`auth`], [`net`] | what a text does; who somebody is; sockets |
//! | [`protocol`] | bytes and messages |
//! | [`telemetry`] | every metric, the log |
//! | [`config`] | from the file to what is used |
//! | [`ids`] | identifiers as types |
pub mod admin;
pub mod analysis;
pub mod auth;
pub mod cli;
pub mod client_state;
pub mod config;
pub mod ids;
pub mod net;
pub mod pool;
pub mod protocol;
pub mod server;
pub mod session;
pub mod strategy;
pub mod telemetry;
