//! The composition root: builds all parts, starts them, stops them.
//!
//! ```text
//!   main thread (control plane)          worker threads (data plane)
//!   signals, console, HTTP ── orders ──▶ sessions, pools; the first one accepts
//!          ▲                               │  ▲
//!          └── reports, console clients ───┘  └─ new clients, cancels, idle server connections
//! ```
//!
//! Each worker is one thread with a current-thread runtime. A client and the server connections that it
//! uses live on one worker; a new client goes to the worker with the fewest.

mod acceptor;
mod control;
mod descriptors;
mod reload;
mod succession;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use thiserror::Error;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use control::Outcome;

use crate::admin::{self, Admin, Fleet};
use crate::auth::Credentials;
use crate::config::{Config, Source};
use crate::ids::WorkerId;
use crate::net::bind;
use crate::pool::SharedPools;
use crate::pool::listen::SharedHubs;
use crate::session::{CancelRouter, Common, Order, Visitor};
use crate::telemetry::ProcessCells;
use acceptor::Door;
use control::Control;
use succession::{Kept, Station};
use worker::{Load, Mailbox, Shared, Worker};

/// Why the proxy can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("{key}: can't listen on {address}: {error}")]
    Listen {
        /// Its key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has the sockets and doesn't hand them on, or the path can't be used.
    #[error("server.handover: {0}")]
    Handover(io::Error),
    /// No thread, no epoll, no signal handler.
    #[error("can't start: {0}")]
    System(#[from] io::Error),
}

/// Runs the proxy until it is told to stop. `source` is what a reload reads.
pub fn run(config: Config, source: Source) -> Result<Outcome, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Arc::new(config), source))
}

async fn serve(config: Arc<Config>, source: Source) -> Result<Outcome, StartError> {
    let credentials = credentials(&config);
    let clients = Arc::new(AtomicUsize::new(0));
    let process = Arc::new(ProcessCells::default());
    descriptors::raise_limit(config.limits.clients);
    let sockets = succession::inherit(config.handover.as_deref()).map_err(StartError::Handover)?;
    let listener = listen(sockets.clients, "server.listen", config.listen, &config)?;
    let http = config
        .admin_listen
        .map(|address| listen(sockets.http, "server.admin_listen", address, &config))
        .transpose()?;

    let (console, visitors) = mpsc::unbounded_channel();
    let common = Common {
        config: Arc::clone(&config),
        credentials,
        cancels: Arc::default(),
        process: Arc::clone(&process),
        clients: Arc::clone(&clients),
        console,
    };
    let (workers, orders, cancels) = start_workers(common, sockets.predecessors.clone())?;
    let (requests, asked) = mpsc::unbounded_channel();
    let fleet = Fleet::new(orders);
    let admin =
        Arc::new(Admin::new(fleet, Arc::clone(&config), process, Arc::clone(&clients), requests));
    let mut kept = Kept { clients: Some(listener.try_clone()?), http: None };
    if let Some(http) = &http {
        tracing::info!("admin HTTP on {}", http.local_addr()?);
        kept.http = Some(http.try_clone()?);
    }
    let http = start_admin(&admin, visitors, http)?;

    tracing::info!("listening on {} with {} worker(s)", listener.local_addr()?, config.workers);
    let handles = workers.iter().map(|worker| (worker.control.clone(), Arc::clone(&worker.load)));
    let process = Arc::clone(admin.process());
    let door =
        Door { listener, workers: handles.collect(), clients: Arc::clone(&clients), process };
    if let Some(first) = workers.first() {
        // One that has ended says why itself.
        let _ = first.control.send(worker::Control::Accept(door));
    }
    let (successors, asking) = mpsc::unbounded_channel();
    let station = config
        .handover
        .as_deref()
        .map(|path| Station::open(path, sockets.predecessors, cancels, successors))
        .transpose()
        .map_err(StartError::Handover)?;
    let pid = std::process::id();
    succession::notify(&[sd_notify::NotifyState::MainPid(pid), sd_notify::NotifyState::Ready]);
    let door = control::Door { station, asking, kept, http };
    Ok(Control::new(workers, clients, admin, source, asked, door)?.run().await)
}

/// Users and their verifiers; they are derived in the background.
fn credentials(config: &Config) -> Arc<Credentials> {
    let credentials = Arc::new(Credentials::new(config));
    for (user, why) in credentials.unusable() {
        tracing::warn!(user, "can't log in: {why}");
    }
    let deriving = Arc::clone(&credentials);
    // The first login of a user need not wait for PBKDF2 then.
    tokio::task::spawn_blocking(move || deriving.derive_all());
    credentials
}

/// A socket that was handed on, if it listens where it should; else a new one.
fn listen(
    inherited: Option<TcpListener>,
    key: &'static str,
    address: SocketAddr,
    config: &Config,
) -> Result<TcpListener, StartError> {
    match inherited.filter(|listener| succession::fits(listener, address)) {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            Ok(listener)
        }
        None => {
            bind(address, &config.net).map_err(|error| StartError::Listen { key, address, error })
        }
    }
}

fn start_admin(
    admin: &Arc<Admin>,
    visitors: UnboundedReceiver<Visitor>,
    http: Option<TcpListener>,
) -> io::Result<Option<JoinHandle<()>>> {
    tokio::spawn(admin::serve_console(Arc::clone(admin), visitors));
    tokio::spawn(admin::keep_averages(Arc::clone(admin)));
    let serve = |listener| {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(tokio::spawn(admin::serve_http(Arc::clone(admin), listener)))
    };
    http.map(serve).transpose()
}

/// One mailbox for each worker.
fn mailboxes<T>(workers: u16) -> (Vec<UnboundedSender<T>>, Vec<UnboundedReceiver<T>>) {
    (0..workers).map(|_| mpsc::unbounded_channel()).unzip()
}

/// The workers, the way to give them orders, and the way to their sessions for CancelRequests.
type Started = (Vec<Worker>, Vec<UnboundedSender<Order>>, Arc<CancelRouter>);

fn start_workers(common: Common, predecessors: Vec<PathBuf>) -> io::Result<Started> {
    let number = common.config.workers;
    let (pool_boxes, pool_mail) = mailboxes(number);
    let (hub_boxes, hub_mail) = mailboxes(number);
    let (cancel_boxes, cancel_mail) = mailboxes(number);
    let (order_boxes, orders) = mailboxes(number);
    let cancels = Arc::new(CancelRouter::new(cancel_boxes, predecessors));
    let shared = Shared {
        sessions: Common { cancels: Arc::clone(&cancels), ..common },
        pools: Arc::new(SharedPools::new(pool_boxes)),
        hubs: Arc::new(SharedHubs::new(hub_boxes)),
        epoch: Instant::now(),
    };
    let mail = pool_mail.into_iter().zip(hub_mail).zip(cancel_mail.into_iter().zip(orders));
    let start = |(number, ((pools, hubs), (cancels, orders)))| {
        let (sender, control) = mpsc::unbounded_channel();
        let mailbox = Mailbox { control, orders, pools, hubs, cancels };
        Worker::start(WorkerId(number), shared.clone(), mailbox, sender, Load::default())
    };
    let workers = (0..number).zip(mail).map(start).collect::<io::Result<_>>()?;
    Ok((workers, order_boxes, cancels))
}
