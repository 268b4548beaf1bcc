//! `/readyz`: whether clients can be served, with a reason for each database.
//!
//! A database is ready if a server connection of it is open, or its server takes connections: the latter is tried at
//! most once in [`PROBE_PERIOD`]. The proxy is ready if it takes clients and at least one database is ready: one
//! database that is down must not take those that are up out of service.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout};

use super::Admin;
use super::fleet::State;
use crate::config::{Address, Database};
use crate::pool::dial::connect;

/// A server is tried no more often.
const PROBE_PERIOD: Duration = Duration::from_secs(2);

/// A server that has not answered by then is out of reach.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// What trying servers has told.
#[derive(Debug, Default)]
pub(super) struct Probes {
    known: Mutex<Known>,
}

/// When a server was tried, and what came of it.
type Known = HashMap<Address, (Instant, Result<(), String>)>;

/// The answer.
pub(super) struct Readiness {
    pub(super) is_ready: bool,
    /// With a reason for each database.
    pub(super) details: Json,
}

impl Admin {
    /// Whether clients can be served.
    pub(super) async fn readiness(&self) -> Readiness {
        let state = self.fleet().state().await;
        let config = self.config();
        let any = config.databases.any.iter().map(|database| ("*", database));
        let named = config.databases.named.iter().map(|(name, database)| (name.as_str(), database));
        let mut databases = serde_json::Map::new();
        let mut is_any_ready = false;
        for (name, database) in named.chain(any) {
            let verdict = self.judge(&state, name, database).await;
            is_any_ready |= verdict.is_ok();
            let (is_ready, reason) = match &verdict {
                Ok(reason) => (true, (*reason).to_owned()),
                Err(reason) => (false, reason.clone()),
            };
            databases.insert(name.to_owned(), json!({ "ready": is_ready, "reason": reason }));
        }
        let is_ready = is_any_ready && !state.is_draining;
        let details = json!({
            "ready": is_ready,
            "draining": state.is_draining,
            "databases": databases,
        });
        Readiness { is_ready, details }
    }

    async fn judge(
        &self,
        state: &State,
        name: &str,
        database: &Database,
    ) -> Result<&'static str, String> {
        if state.gates.is_paused(name) {
            return Err("paused at the console".to_owned());
        }
        if state.gates.is_disabled(name) {
            return Err("disabled at the console".to_owned());
        }
        let pools = || state.pools.values().filter(|pool| *pool.key.database == *name);
        if let Some(trouble) = pools().find_map(|pool| pool.trouble.clone()) {
            return Err(trouble);
        }
        if pools().any(|pool| !pool.servers.is_empty()) {
            return Ok("a server connection is open");
        }
        self.probes.ask(&database.address).await.map(|()| "the server takes connections")
    }
}

impl Probes {
    async fn ask(&self, address: &Address) -> Result<(), String> {
        let known = self.lock().get(address).cloned();
        if let Some((at, result)) = known
            && at.elapsed() < PROBE_PERIOD
        {
            return result;
        }
        let result = match timeout(PROBE_LIMIT, connect(address)).await {
            Ok(Ok(_stream)) => Ok(()),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_elapsed) => Err(format!("{address}: no answer within {PROBE_LIMIT:?}")),
        };
        self.lock().insert(address.clone(), (Instant::now(), result.clone()));
        result
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
