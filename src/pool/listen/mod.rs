//! LISTEN for many clients over one server connection for each database.
//!
//! ```text
//!   session ── Subscription ─┐                                    ┌─ server connection
//!   session ── Subscription ─┼─ Listeners (one for each worker) ──┤  of the hub, which
//!   session ── Subscription ─┘     ▲                              │  runs on one worker
//!                                  └───────── HubMail ────────────┘
//! ```
//!
//! The hub ([`hub`]) listens on every channel that some worker wants, and sends what it hears to those workers, in
//! PostgreSQL's order; a worker ([`station`]) hands it to its sessions. A session is told nothing in the middle of a
//! transaction: what waits for it is bounded by `limits.notification_bytes`.
//!
//! The hub logs in as whoever listened last; channels belong to the database, not to a user. It begins with the first
//! channel and ends [`hub::IDLE_MAX`] after the last. When its connection is lost, it dials again and listens on all
//! channels again; what was sent in between nobody is told: that is logged, and by `pool.lost_listener` the sessions
//! end.

mod connection;
mod hub;
mod station;

use std::sync::Arc;

pub use hub::{HubMail, SharedHubs};
pub use station::{Answer, Listeners, Subscription, Trouble};

use crate::config::Address;

/// A channel's name.
pub type Channel = Arc<[u8]>;

/// What a hub listens to.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HubKey {
    /// The server.
    pub address: Address,
    /// Name of the database there.
    pub dbname: String,
    /// Names and payloads come in this client encoding.
    pub encoding: Vec<u8>,
}

/// A notification: the channel, and the whole NotificationResponse.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The channel.
    pub channel: Channel,
    /// The message.
    pub frame: Arc<[u8]>,
}
