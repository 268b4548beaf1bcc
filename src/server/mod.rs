//! The composition root: builds all parts, starts them, stops them.
//!
//! ```text
//!   main thread (control plane)          worker threads (data plane)
//!   signals ─── drain, stop ───────────▶ sessions, pools; the first one accepts
//!                                          │  ▲
//!                                          └──┘ new clients, cancels, idle server connections
//! ```
//!
//! Each worker is one thread with a current-thread runtime. A client and the server connections that it
//! uses live on one worker; a new client goes to the worker with the fewest.

mod acceptor;
mod descriptors;
mod shutdown;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use shutdown::Outcome;

use crate::auth::Credentials;
use crate::config::Config;
use crate::ids::WorkerId;
use crate::net::bind;
use crate::pool::SharedPools;
use crate::pool::listen::SharedHubs;
use crate::session::CancelRouter;
use acceptor::Door;
use worker::{Control, Load, Mailbox, Shared, Worker};

/// Why the proxy can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// `server.listen`.
        address: std::net::SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No thread, no epoll, no signal handler.
    #[error("can't start: {0}")]
    System(#[from] io::Error),
}

/// Runs the proxy until it is told to stop.
pub fn run(config: Config) -> Result<Outcome, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Arc::new(config)))
}

async fn serve(config: Arc<Config>) -> Result<Outcome, StartError> {
    let credentials = Arc::new(Credentials::new(&config));
    for (user, why) in credentials.unusable() {
        tracing::warn!(user, "can't log in: {why}");
    }
    let deriving = Arc::clone(&credentials);
    // The first login of a user need not wait for PBKDF2 then.
    tokio::task::spawn_blocking(move || deriving.derive_all());

    let clients = Arc::new(AtomicUsize::new(0));
    descriptors::raise_limit(config.limits.clients);
    let address = config.listen;
    let listener =
        bind(address, &config.net).map_err(|error| StartError::Listen { address, error })?;
    let workers = start_workers(&config, &credentials, &clients)?;
    tracing::info!("listening on {} with {} worker(s)", listener.local_addr()?, config.workers);
    let handles = workers.iter().map(|worker| (worker.control.clone(), Arc::clone(&worker.load)));
    let door = Door { listener, workers: handles.collect(), clients: Arc::clone(&clients) };
    if let Some(first) = workers.first() {
        // One that has ended says why itself.
        let _ = first.control.send(Control::Accept(door));
    }
    Ok(shutdown::run_until_told(workers, &clients, config.shutdown_grace).await?)
}

fn start_workers(
    config: &Arc<Config>,
    credentials: &Arc<Credentials>,
    clients: &Arc<AtomicUsize>,
) -> io::Result<Vec<Worker>> {
    let (pool_boxes, pool_mail): (Vec<_>, Vec<_>) =
        (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let (hub_boxes, hub_mail): (Vec<_>, Vec<_>) =
        (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let (cancel_boxes, cancel_mail): (Vec<_>, Vec<_>) =
        (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let shared = Shared {
        config: Arc::clone(config),
        credentials: Arc::clone(credentials),
        pools: Arc::new(SharedPools::new(pool_boxes)),
        hubs: Arc::new(SharedHubs::new(hub_boxes)),
        cancels: Arc::new(CancelRouter::new(cancel_boxes)),
        clients: Arc::clone(clients),
        epoch: Instant::now(),
    };
    (0..config.workers)
        .zip(pool_mail.into_iter().zip(hub_mail).zip(cancel_mail))
        .map(|(number, ((pools, hubs), cancels))| {
            let (sender, control) = mpsc::unbounded_channel();
            let mailbox = Mailbox { control, pools, hubs, cancels };
            Worker::start(WorkerId(number), shared.clone(), mailbox, sender, Load::default())
        })
        .collect()
}
