//! The relay: chunks in, chunks out, no sockets.
//!
//! [`from_client`] and [`from_server`] walk the frames of one chunk, keep the client's memory and the server
//! connection's ledger right, and say which bytes go on ([`Splice`]). A frame that is only passed on is
//! never held: what is not there yet follows with the next chunk. A frame that must be looked at whole (a
//! statement) is left in the chunk until it is whole; who drives the relay keeps the rest.

mod client;
mod deeds;
mod lost;
mod server;
mod settings;
mod splice;
mod statements;
#[cfg(test)]
mod tests;

pub use client::{Stop, Taken, from_client};
pub use lost::{Farewell, server_lost};
pub use server::{ServerFault, from_server};
pub use settings::{apply, ask, forget_values};
pub use splice::Splice;
