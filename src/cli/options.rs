//! Arguments that say where the configuration comes from.

use std::path::PathBuf;

use clap::Args;

use crate::config::Source;

/// The server's URL from the environment.
const UPSTREAM_VARIABLE: &str = "PGSTEWARD_UPSTREAM";

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// Configuration file [default: proxy.toml, unless there is an upstream]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key: section.key=value
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Send every database to this server, without a file; also PGSTEWARD_UPSTREAM, unless --config is given
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients connect (server.listen)
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where the admin HTTP server listens, or "off" (server.admin_listen)
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<String>,
}

impl ConfigArguments {
    pub(super) fn source(&self) -> Source {
        let from_environment = || match self.config {
            Some(_) => None,
            None => std::env::var(UPSTREAM_VARIABLE).ok().filter(|url| !url.is_empty()),
        };
        Source {
            file: self.config.clone(),
            upstream: self.upstream.clone().or_else(from_environment),
            set: self.set.clone(),
            listen: self.listen.clone(),
            admin_listen: self.admin_listen.clone(),
        }
    }
}
