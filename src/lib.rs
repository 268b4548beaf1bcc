//! pgsteward: a PostgreSQL wire-protocol proxy.

pub mod cli;
pub mod config;
pub mod ids;
