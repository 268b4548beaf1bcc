//! Bytes and messages: no I/O, no panic, no state beyond one frame.
//!
//! The rules rest on the manual's chapter 55, "Frontend/Backend Protocol", and where it is silent on what
//! `src/backend/tcop/postgres.c` and `src/backend/libpq/pqcomm.c` do.

pub mod frame;
pub mod message;
pub mod reader;
pub mod sqlstate;
pub mod startup;
pub mod writer;

pub use frame::{FrameError, Header};
pub use message::{ServerError, TransactionStatus};
pub use sqlstate::SqlState;
pub use writer::{LocalError, Severity};
