//! Identifiers as types: a session is never mistaken for a server process.

use std::fmt;

/// Number of a worker thread, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A client's session: unique in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// A server connection: unique in the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerId(pub u64);

/// Process ID of a PostgreSQL backend, from its BackendKeyData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerPid(pub i32);

/// The number that a client knows as its backend's process ID: ours, not PostgreSQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientPid(pub i32);

/// Low bits of an identifier that name the worker that made it.
const WORKER_BITS: u32 = 6;

impl SessionId {
    /// The worker's so-manieth.
    pub fn new(worker: WorkerId, count: u64) -> Self {
        Self(numbered(worker, count))
    }
}

impl ServerId {
    /// The worker's so-manieth.
    pub fn new(worker: WorkerId, count: u64) -> Self {
        Self(numbered(worker, count))
    }
}

fn numbered(worker: WorkerId, count: u64) -> u64 {
    count << WORKER_BITS | u64::from(worker.0)
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for ServerPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
