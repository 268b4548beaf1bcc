//! Proxies and server users of one test's own, and what PostgreSQL says of its connections.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::proxy::Builder;
use crate::support::{Postgres, Proxy, Wire, eventually};

/// Longest wait for something that takes no time by itself.
pub(crate) const SOON: Duration = Duration::from_secs(4);

/// A proxy on the shared cluster with settings of the configuration: `size=1 server.workers=2`; a name
/// without a section is one of the pool's.
#[track_caller]
pub(crate) fn launch(settings: &str) -> Proxy {
    launch_at(Postgres::shared().port(), settings)
}

/// A proxy for whatever listens on this port.
#[track_caller]
pub(crate) fn launch_at(port: u16, settings: &str) -> Proxy {
    let upstream = format!("postgres://127.0.0.1:{port}");
    let builder = Proxy::builder().args(["--upstream", &upstream]);
    let set = |builder: Builder, setting: &str| match setting.split_once('.') {
        Some(_) => builder.set(setting),
        None => builder.set(&format!("pool.{setting}")),
    };
    settings.split_whitespace().fold(builder, set).start()
}

/// A superuser of the shared cluster that no other test uses: it tells the test's server connections from others.
#[derive(Debug)]
pub(crate) struct Role(String);

impl Role {
    /// A new one.
    #[track_caller]
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("role_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Postgres::shared().psql(&format!("create role {name} superuser login"));
        Self(name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// A connection through `proxy`.
    #[track_caller]
    pub(crate) fn wire(&self, proxy: &Proxy) -> Wire {
        Wire::login(proxy.port(), &self.0, "postgres")
    }

    /// Its server connections: `idle`, `active`, `idle in transaction` ..., the oldest first.
    pub(crate) fn states(&self) -> Vec<String> {
        self.activity("state")
    }

    /// Process IDs of its server connections, the oldest first.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let pids = self.activity("pid");
        pids.iter().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until its server connections are in these states.
    #[track_caller]
    pub(crate) fn await_states(&self, states: &[&str]) {
        let mut found = Vec::new();
        let what = format!("server connections of {} are {states:?}", self.0);
        eventually(&what, SOON, || {
            found = self.states();
            found == states
        });
    }

    /// Waits until a statement of it sleeps in `pg_sleep`; gives the process.
    #[track_caller]
    pub(crate) fn await_sleeper(&self) -> i32 {
        let mut pids = Vec::new();
        eventually("a statement sleeps", SOON, || {
            pids = self.activity("case wait_event when 'PgSleep' then pid end");
            pids.retain(|pid| !pid.is_empty());
            !pids.is_empty()
        });
        pids[0].parse().unwrap()
    }

    fn activity(&self, what: &str) -> Vec<String> {
        let sql = format!(
            "select {what} from pg_stat_activity where usename = '{}' \
             and backend_type = 'client backend' and application_name <> 'pgsteward listener' \
             order by backend_start",
            self.0
        );
        Postgres::shared().wire().query(&sql).ok().rows()
    }
}

/// Comes back when the proxy's (only) worker has dealt with all that its clients had sent before: it hears
/// them in the order in which their bytes came, and answers a lone Sync at once.
#[track_caller]
pub(crate) fn barrier(wire: &mut Wire) {
    for _ in 0..2 {
        wire.ask(&crate::support::frames::sync()).ok();
    }
}
