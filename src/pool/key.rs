//! What a pool is for, and with which startup settings its server connections were made.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::overlay::Overlays;
use crate::config::{Address, PoolSettings, Secret};

/// A pool: one database as clients name it, one user on the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Database name that clients give.
    pub database: Arc<str>,
    /// User name on the server.
    pub user: Arc<str>,
}

/// Where and how a pool logs in.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which pool.
    pub key: PoolKey,
    /// The server.
    pub address: Address,
    /// Database name on the server.
    pub dbname: String,
    /// Password of the user.
    pub password: Option<Secret>,
    /// Size, limits and times.
    pub settings: PoolSettings,
}

/// Settings of a client's startup packet that the server must get: its name and value pairs, in order.
pub type StartupSettings = Vec<(Vec<u8>, Vec<u8>)>;

/// Interned startup settings: server connections of one variant are alike.
#[derive(Debug)]
pub struct Variant {
    /// The settings.
    pub settings: StartupSettings,
    /// What its clients have set since, and prepared.
    pub overlays: Overlays,
}

/// Whether two are the same interned variant.
pub(super) fn is_same(one: &Rc<Variant>, other: &Rc<Variant>) -> bool {
    Rc::ptr_eq(one, other)
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.database, self.user)
    }
}
