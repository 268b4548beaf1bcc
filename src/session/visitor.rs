//! Clients of the console: they log in like any other, and leave the data plane.

use std::rc::Rc;

use super::context::Context;
use super::handle::new_key;
use super::wire::Wire;
use crate::config::Config;
use crate::net::{Detached, Peer};
use crate::protocol::startup::SessionRequest;
use crate::protocol::{LocalError, SqlState, TransactionStatus, writer};

/// The console's database, and its name at PgBouncer's.
const NAMES: [&str; 2] = ["pgsteward", "pgbouncer"];

/// Drivers take this for the version of a server: what it can't do is refused statement by statement.
const SERVER_VERSION: &str = concat!("15.0 (pgsteward ", env!("CARGO_PKG_VERSION"), ")");

/// A logged-in client of the console.
#[derive(Debug)]
pub struct Visitor {
    /// Its socket.
    pub stream: Detached,
    /// What was read of it and not used yet.
    pub received: Vec<u8>,
    /// Who it is.
    pub user: String,
    /// Where it comes from.
    pub peer: Peer,
    /// What it may do.
    pub rights: Rights,
}

/// What a client of the console may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything (`admin.admin_users`).
    All,
    /// Look (`admin.stats_users`).
    Show,
}

/// Whether a client asks for the console. A database of that name in the configuration comes first.
pub(super) fn is_console(config: &Config, database: &str) -> bool {
    NAMES.contains(&database) && !config.databases.named.contains_key(database)
}

/// What the user may do at the console.
pub(super) fn rights(config: &Config, user: &str) -> Result<Rights, LocalError> {
    let is_in = |users: &[String]| users.iter().any(|known| known == user);
    if is_in(&config.admin.admin_users) {
        return Ok(Rights::All);
    }
    if is_in(&config.admin.stats_users) {
        return Ok(Rights::Show);
    }
    let message = format!("user \"{user}\" is not allowed to use the console");
    Err(LocalError::fatal(SqlState::INVALID_AUTHORIZATION, message)
        .hint("Add the name to admin.admin_users or admin.stats_users."))
}

/// Greets an authenticated client of the console and takes it off this worker.
pub(super) async fn leave_for_console(
    mut wire: Wire,
    context: &Rc<Context>,
    request: &SessionRequest,
    rights: Rights,
) -> std::io::Result<()> {
    let mut out = Vec::new();
    writer::authentication_ok(&mut out);
    for (name, value) in [
        ("server_version", SERVER_VERSION),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("session_authorization", request.user.as_str()),
    ] {
        writer::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    // Nothing of the console's can be cancelled: a key that fits nobody.
    let (pid, key) = new_key(context.worker).unwrap_or((1, vec![0; 4]));
    writer::backend_key_data(&mut out, pid, &key);
    writer::ready_for_query(&mut out, TransactionStatus::Idle);
    wire.send(&out).await?;
    let visitor = Visitor {
        stream: wire.stream.detach()?,
        received: wire.received,
        user: request.user.clone(),
        peer: wire.peer,
        rights,
    };
    // Without a control plane the socket closes.
    let _ = context.console.send(visitor);
    Ok(())
}
