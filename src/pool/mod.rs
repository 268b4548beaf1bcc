//! Server connections and who gets them.
//!
//! A client asks the [`Pool`] of its database and user for a [`Lease`]: at once ([`Pool::try_lend`]) or by
//! queueing ([`Pool::wait`]). A [`ServerConnection`] carries its [`Exchange`]: the [`Ledger`] of owed replies
//! and what else is under way. It comes back as it is only when that is clean, by way of a cleanup
//! (ROLLBACK, DISCARD ALL; a reset that leaves prepared statements), or not at all. What clients have set on it is its
//! [`Overlay`].
//!
//! Pools live on one worker each and take no locks. What the workers share is in [`quota`]: how many
//! server connections exist, and who waits.

mod attempt;
pub mod cancel;
mod cleanup;
mod deed;
pub mod dial;
mod exchange;
mod gates;
mod key;
mod lease;
mod ledger;
pub mod listen;
mod overlay;
#[expect(clippy::module_inception, reason = "the pool is this module's one concept")]
mod pool;
mod prepared;
mod quota;
mod registry;
mod report;
mod server;
mod statements;
mod ticket;

pub use attempt::{Attempt, Repeat};
pub use deed::{Deed, Drops};
pub use dial::{DialError, Dialled, Parameters};
pub use exchange::{Exchange, Fatal, Inquiry, Preparation, Sequences, Timing};
pub use gates::{Gates, Scope};
pub use key::{PoolKey, StartupSettings, Target, Variant};
pub use lease::Lease;
pub use ledger::{Asker, Failure, InFlight, Ledger, OutOfStep, Owed, Verdict};
pub use overlay::Overlay;
pub use pool::{Pool, PoolCounts};
pub use prepared::Prepared;
pub use quota::{Pin, PoolMail, SharedPools};
pub use registry::Pools;
pub use report::{PoolReport, ServerReport};
pub use server::{Backend, ServerConnection};
pub use statements::{Catalog, Statements};
pub use ticket::{Canceller, WaitError, Waiting};
