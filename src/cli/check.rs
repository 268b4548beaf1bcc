//! `pgsteward check`: is the configuration right, and what does it mean?

use std::process::ExitCode;

use super::{complain, say};
use crate::auth::Credentials;
use crate::config::{Config, Database, Loaded, Source, load};

pub(super) fn run(source: &Source) -> ExitCode {
    match load(source) {
        Ok(loaded) => {
            say(&summary(&loaded));
            ExitCode::SUCCESS
        }
        Err(faults) => {
            complain(&faults.to_string());
            ExitCode::FAILURE
        }
    }
}

fn summary(loaded: &Loaded) -> String {
    let Config { listen, workers, databases, users, .. } = &loaded.config;
    let mut lines = vec![format!("{}: ok", loaded.name)];
    lines.push(format!("clients connect to {listen}, served by {workers} worker(s)"));
    let named = databases.named.iter().map(|(name, database)| (name.as_str(), database));
    for (name, database) in named.chain(databases.any.as_ref().map(|any| ("*", any))) {
        lines.push(format!("database {name}: {}", describe(database)));
    }
    lines.push(format!("{} user(s) with settings of their own", users.len()));
    for (user, why) in Credentials::new(&loaded.config).unusable() {
        lines.push(format!("warning: user {user} can't log in with a password: {why}"));
    }
    lines.extend(loaded.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

fn describe(database: &Database) -> String {
    let name = database.dbname.as_deref().unwrap_or("the client's database");
    let user = database.user.as_deref().unwrap_or("the client's own name");
    let pool = &database.pool;
    format!(
        "{name} at {} as {user}, pool of {} ({} mode)",
        database.address,
        pool.size,
        pool.mode.as_str()
    )
}
