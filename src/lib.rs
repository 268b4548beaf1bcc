//! pgsteward: a PostgreSQL wire-protocol proxy.
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
