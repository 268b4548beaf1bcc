//! What end-to-end tests stand on: a throw-away PostgreSQL, the proxy's own binary, a raw protocol client.
//!
//! A test binary takes it in with `#[path = "../support/mod.rs"] mod support;`.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its own part of this module"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

pub mod children;
pub mod frames;
pub mod install;
pub mod postgres;
pub mod proxy;
pub mod reply;
pub mod wait;
pub mod wire;

pub use postgres::{Options, Postgres, StopMode};
pub use proxy::Proxy;
pub use reply::{Frame, Reply};
pub use wait::eventually;
pub use wire::Wire;
