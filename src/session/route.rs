//! Where a client's statements go.

use std::sync::Arc;

use crate::auth::server_password;
use crate::config::{Config, PoolMode};
use crate::pool::{PoolKey, Target};
use crate::protocol::{LocalError, SqlState};

/// Which database, as whom, in which mode.
///
/// The user on the server is the database's `user`, else the `server_user` of the client's `[[users]]`
/// entry, else the client's own name; the password belongs to whichever it is.
pub(super) fn route(
    config: &Config,
    name: &str,
    login: &str,
) -> Result<(Target, PoolMode), LocalError> {
    let database = config.databases.find(name).ok_or_else(|| {
        let message = format!("database \"{name}\" does not exist");
        LocalError::fatal(SqlState::UNDEFINED_DATABASE, message)
    })?;
    let entry = config.users.get(login);
    let (user, password) = match (&database.user, entry) {
        (Some(user), _) => (user.clone(), database.password.clone()),
        (None, Some(entry)) => (
            entry.server_user.clone().unwrap_or_else(|| login.to_owned()),
            server_password(entry).cloned(),
        ),
        (None, None) => (login.to_owned(), database.password.clone()),
    };
    let mut settings = database.pool.clone();
    if let Some(size) = entry.and_then(|entry| entry.pool_size) {
        settings.size = size;
        settings.min = settings.min.min(size);
    }
    let mode = entry.and_then(|entry| entry.pool_mode).unwrap_or(settings.mode);
    let target = Target {
        key: PoolKey { database: Arc::from(name), user: Arc::from(user) },
        address: database.address.clone(),
        dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
        password,
        settings,
    };
    Ok((target, mode))
}
