//! Taking a changed configuration over: read and checked whole, then given to everybody at once; with a fault in it,
//! nothing changes.

use std::sync::Arc;

use super::credentials;
use crate::admin::{Admin, Reloaded};
use crate::config::{Source, load};
use crate::session::Order;
use crate::telemetry;
use crate::telemetry::metrics::ProcessCounter;

/// Knows where the configuration comes from.
pub(super) struct Reloader {
    admin: Arc<Admin>,
    source: Source,
    /// SET at the console since the last reload.
    set: Vec<String>,
}

impl Reloader {
    pub(super) fn new(admin: Arc<Admin>, source: Source) -> Self {
        Self { admin, source, set: Vec::new() }
    }

    /// Reads the configuration again; what was SET is forgotten.
    pub(super) fn reload(&mut self) -> Result<Reloaded, String> {
        let reloaded = self.take_over(&[])?;
        self.set.clear();
        Ok(reloaded)
    }

    /// Reads it again with one more `section.key=value`.
    pub(super) fn set(&mut self, assignment: String) -> Result<Reloaded, String> {
        // The last one of a key counts.
        let key = |assignment: &str| assignment.split('=').next().map(str::to_owned);
        let mut set = self.set.clone();
        set.retain(|known| key(known) != key(&assignment));
        set.push(assignment);
        let reloaded = self.take_over(&set)?;
        self.set = set;
        Ok(reloaded)
    }

    fn take_over(&self, set: &[String]) -> Result<Reloaded, String> {
        let mut source = self.source.clone();
        source.set.extend_from_slice(set);
        let loaded = load(&source).map_err(|faults| {
            self.admin.process().count(ProcessCounter::ReloadFailures);
            tracing::error!(
                "the configuration was refused, and the one before stays in force:\n{faults}"
            );
            faults.to_string()
        })?;
        let mut config = loaded.config;
        let kept = config.keep_fixed(&self.admin.config());
        let config = Arc::new(config);
        telemetry::logging::set_level(config.log.level);
        let credentials = credentials(&config);
        self.admin.set_config(Arc::clone(&config));
        self.admin
            .fleet()
            .tell(|| Order::Reconfigure(Arc::clone(&config), Arc::clone(&credentials)));
        self.admin.process().count(ProcessCounter::Reloads);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        for key in &kept {
            tracing::warn!("{key}: the new value takes effect at the next restart");
        }
        tracing::info!("configuration taken over: {}", loaded.name);
        Ok(Reloaded { kept, warnings: loaded.warnings })
    }
}
