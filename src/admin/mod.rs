//! The operator's view: the console, health, metrics.
//!
//! ```text
//!   console client ── session::Visitor ──▶ console ─┐                 ┌─▶ show  (tables)
//!   HTTP client ─────────────────────────▶ http ────┼─▶ Admin ────────┼─▶ operate (commands)
//!                                                   │   fleet: orders │   exposition (/metrics)
//!   workers ◀── session::Order, reports ────────────┴─────────────────┘   readiness (/readyz)
//! ```
//!
//! Everything here runs on the control plane's thread. What it knows of the data plane it has asked for: each worker
//! reports between two of its sessions' turns, so that what one worker says fits together.

mod averages;
mod command;
mod console;
mod exposition;
mod fleet;
mod http;
mod operate;
mod process;
mod readiness;
mod show;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

pub use fleet::Fleet;

use crate::config::Config;
use crate::session::Visitor;
use crate::telemetry::ProcessCells;
use averages::Averages;
use readiness::Probes;

/// What operators ask of the whole process.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again and work with it.
    Reload(oneshot::Sender<Result<Reloaded, String>>),
    /// The same, with one more `section.key=value`, until the next reload.
    Set(String, oneshot::Sender<Result<Reloaded, String>>),
    /// End.
    Shutdown(ShutdownMode),
}

/// What a reload has to tell.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Keys whose new values take a restart.
    pub kept: Vec<String>,
    /// What is allowed and most likely not meant.
    pub warnings: Vec<String>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// At once.
    Now,
    /// When no transaction is open any more; idle clients are told to leave.
    WaitForServers,
    /// When all clients have left by themselves.
    WaitForClients,
}

/// The control plane's memory of the process.
#[derive(Debug)]
pub struct Admin {
    fleet: Fleet,
    config: RwLock<Arc<Config>>,
    process: Arc<ProcessCells>,
    /// Connections of clients, those that are logging in included.
    clients: Arc<AtomicUsize>,
    requests: UnboundedSender<Request>,
    averages: Mutex<Averages>,
    probes: Probes,
    started: SystemTime,
}

impl Admin {
    /// Of a process that has just started.
    pub fn new(
        fleet: Fleet,
        config: Arc<Config>,
        process: Arc<ProcessCells>,
        clients: Arc<AtomicUsize>,
        requests: UnboundedSender<Request>,
    ) -> Self {
        Self {
            fleet,
            config: RwLock::new(config),
            process,
            clients,
            requests,
            averages: Mutex::default(),
            probes: Probes::default(),
            started: SystemTime::now(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another configuration is in force.
    pub fn set_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// What the process has counted.
    pub fn process(&self) -> &Arc<ProcessCells> {
        &self.process
    }

    /// The way to the workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn connections(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

/// Serves the console's clients, one task each, as they come from the workers.
pub async fn serve_console(admin: Arc<Admin>, mut visitors: UnboundedReceiver<Visitor>) {
    while let Some(visitor) = visitors.recv().await {
        tokio::spawn(console::serve(Arc::clone(&admin), visitor));
    }
}

/// Serves HTTP.
pub async fn serve_http(admin: Arc<Admin>, listener: TcpListener) {
    http::serve(admin, listener).await;
}

/// Keeps the averages of SHOW STATS, and writes the counts to the log if that is wanted.
pub async fn keep_averages(admin: Arc<Admin>) {
    let mut last_log = tokio::time::Instant::now();
    loop {
        let (period, log) = {
            let config = admin.config();
            (config.admin.stats_period, config.log.stats)
        };
        tokio::time::sleep(log.map_or(period, |log| log.min(period)).max(TICK_MIN)).await;
        let state = admin.fleet.state().await;
        let totals = state.totals_by_database();
        let is_log_due = log.is_some_and(|log| last_log.elapsed() >= log);
        let mut averages = admin.averages.lock().unwrap_or_else(PoisonError::into_inner);
        averages.note(&totals, period);
        if is_log_due {
            last_log = tokio::time::Instant::now();
            averages.log();
        }
    }
}

/// Averages are made over no less.
const TICK_MIN: Duration = Duration::from_millis(100);
