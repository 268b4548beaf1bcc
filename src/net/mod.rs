//! Sockets of both sides: what is the same for TCP and Unix-domain sockets.

pub mod handover;
mod peer;
mod socket;
pub mod stream;

pub use peer::Peer;
pub use socket::{bind, tune};
pub use stream::{Detached, Stream};

/// Bytes read at once. Measured: 16 KiB is best for bulk results, more spills the cache.
pub const CHUNK_BYTES: usize = 16 * 1024;
