//! `pgsteward serve`: run the proxy until it is told to stop.

use std::process::ExitCode;

use super::complain;
use crate::config::{Source, load};
use crate::server::{self, Outcome};
use crate::telemetry;

/// Clients were cut off at the shutdown.
const EXIT_CUT: u8 = 3;

pub(super) fn run(source: &Source) -> ExitCode {
    let loaded = match load(source) {
        Ok(loaded) => loaded,
        Err(faults) => {
            complain(&faults.to_string());
            return ExitCode::FAILURE;
        }
    };
    telemetry::logging::start(loaded.config.log.level, loaded.config.log.format);
    tracing::info!("configuration: {}", loaded.name);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match server::run(loaded.config, source.clone()) {
        Ok(Outcome::Drained) => ExitCode::SUCCESS,
        Ok(Outcome::Cut) => ExitCode::from(EXIT_CUT),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
