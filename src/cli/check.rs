//! `pgsteward check`: is the configuration right, and what does it mean?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::options::ConfigArguments;
use super::{complain, say};
use crate::auth::Credentials;
use crate::config::{Config, Database, Loaded, Source, load, pgbouncer};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print the equivalent of a pgbouncer.ini, and what can't be carried over
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "upstream", "set"])]
    from_pgbouncer: Option<PathBuf>,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    match &arguments.from_pgbouncer {
        Some(path) => translate(path),
        None => check(&arguments.config.source()),
    }
}

/// Files that it names are looked for where PgBouncer would, then beside it.
fn translate(path: &Path) -> ExitCode {
    let ini = match fs::read_to_string(path) {
        Ok(ini) => ini,
        Err(error) => {
            complain(&format!("{}: can't be read: {error}", path.display()));
            return ExitCode::FAILURE;
        }
    };
    let beside = path.parent().unwrap_or(Path::new("."));
    let read = |name: &str| {
        let named = fs::read_to_string(name).or_else(|_missing| {
            let file = Path::new(name).file_name().unwrap_or_default();
            fs::read_to_string(beside.join(file))
        });
        named.ok()
    };
    say(&pgbouncer::translate(&ini, read).toml);
    ExitCode::SUCCESS
}

fn check(source: &Source) -> ExitCode {
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
