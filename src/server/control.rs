//! Signals, and what operators ask of the whole process.
//!
//! * SIGTERM, SIGINT: no new clients; idle ones are told to leave (57P01), transactions may end within
//!   `server.shutdown_grace`. A second signal ends at once.
//! * SIGHUP and RELOAD: the configuration is read again ([`super::reload`]).
//! * SHUTDOWN: at once; or when no transaction is open; or when all clients have left by themselves.
//!
//! While the process waits for its end, the console and HTTP go on.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::reload::Reloader;
use super::succession::{self, Kept, Station};
use super::worker::{self, Worker};
use crate::admin::{Admin, Request, ShutdownMode};
use crate::config::Source;

/// How often it is looked whether all clients have left.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How the proxy came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All clients had left.
    Drained,
    /// Clients were cut off: the grace was over, or there was a second signal.
    Cut,
}

/// The main thread.
pub(super) struct Control {
    workers: Vec<Worker>,
    /// Clients of all workers.
    clients: Arc<AtomicUsize>,
    admin: Arc<Admin>,
    reloader: Reloader,
    requests: UnboundedReceiver<Request>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    door: Door,
    phase: Phase,
}

/// What lets clients in, and goes on to the next process.
#[derive(Debug)]
pub(super) struct Door {
    /// Where the next process asks.
    pub(super) station: Option<Station>,
    pub(super) asking: UnboundedReceiver<UnixStream>,
    /// The listening sockets, once more.
    pub(super) kept: Kept,
    /// The HTTP server.
    pub(super) http: Option<JoinHandle<()>>,
}

/// Where the process is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Serving,
    /// No new clients; it ends when all have left, or then.
    Ending {
        until: Option<Instant>,
    },
}

/// What has happened.
enum Event {
    Signal(&'static str),
    Hangup,
    Request(Request),
    /// The next process asks for the sockets.
    Successor(UnixStream),
    AllLeft,
    GraceOver,
}

impl Control {
    pub(super) fn new(
        workers: Vec<Worker>,
        clients: Arc<AtomicUsize>,
        admin: Arc<Admin>,
        source: Source,
        requests: UnboundedReceiver<Request>,
        door: Door,
    ) -> io::Result<Self> {
        Ok(Self {
            workers,
            clients,
            reloader: Reloader::new(Arc::clone(&admin), source),
            admin,
            requests,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            door,
            phase: Phase::Serving,
        })
    }

    /// Lets the workers work until the end, and ends them.
    pub(super) async fn run(mut self) -> Outcome {
        let outcome = loop {
            let event = self.next().await;
            if let Some(outcome) = self.handle(event) {
                break outcome;
            }
        };
        self.stop(outcome);
        outcome
    }

    /// Cancel safe in all its branches: signals and requests stay where they are.
    async fn next(&mut self) -> Event {
        let (is_ending, until) = match self.phase {
            Phase::Serving => (false, None),
            Phase::Ending { until } => (true, until),
        };
        tokio::select! {
            _ = self.terminate.recv() => Event::Signal("SIGTERM"),
            _ = self.interrupt.recv() => Event::Signal("SIGINT"),
            _ = self.hangup.recv() => Event::Hangup,
            Some(request) = self.requests.recv() => Event::Request(request),
            Some(successor) = self.door.asking.recv() => Event::Successor(successor),
            () = all_left(&self.clients), if is_ending => Event::AllLeft,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => Event::GraceOver,
        }
    }

    fn handle(&mut self, event: Event) -> Option<Outcome> {
        match event {
            Event::AllLeft => return Some(Outcome::Drained),
            Event::GraceOver | Event::Request(Request::Shutdown(ShutdownMode::Now)) => {
                let is_empty = self.clients.load(Ordering::Relaxed) == 0;
                return Some(if is_empty { Outcome::Drained } else { Outcome::Cut });
            }
            Event::Successor(successor) => self.hand_on(&successor),
            Event::Hangup => {
                tracing::info!("SIGHUP: reading the configuration again");
                // It has said in the log what was wrong.
                let _ = self.reloader.reload();
            }
            Event::Request(Request::Reload(to)) => _ = to.send(self.reloader.reload()),
            Event::Request(Request::Set(assignment, to)) => {
                _ = to.send(self.reloader.set(assignment));
            }
            Event::Request(Request::Shutdown(ShutdownMode::WaitForServers)) => {
                tracing::info!("SHUTDOWN: waiting for transactions to end");
                self.end(&|| worker::Control::Drain, None);
            }
            Event::Request(Request::Shutdown(ShutdownMode::WaitForClients)) => {
                tracing::info!("SHUTDOWN: waiting for clients to leave");
                self.end(&|| worker::Control::Close, None);
            }
            Event::Signal(_) if matches!(self.phase, Phase::Ending { until: Some(_) }) => {
                return Some(Outcome::Cut);
            }
            Event::Signal(name) => {
                let grace = self.admin.config().shutdown_grace;
                tracing::info!(
                    "{name}: shutting down, waiting for transactions to end (at most {grace:?})"
                );
                self.end(&|| worker::Control::Drain, Some(Instant::now() + grace));
            }
        }
        None
    }

    /// The next process accepts from now on; this one ends when its clients have left.
    fn hand_on(&mut self, successor: &UnixStream) {
        let Some(station) = &self.door.station else { return };
        match station.hand_on(successor, &self.door.kept.all()) {
            Err(error) => tracing::error!(%error, "the listening sockets could not be handed on"),
            // Asked too late: it finds no sockets in the answer.
            Ok(()) if self.door.kept.clients.is_none() => {}
            Ok(()) => {
                tracing::info!("listening sockets handed on; waiting for clients to leave");
                if let Some(http) = self.door.http.take() {
                    // Requests are the next one's; those under way are answered.
                    http.abort();
                }
                self.end(&|| worker::Control::Close, None);
            }
        }
    }

    fn end(&mut self, message: &dyn Fn() -> worker::Control, until: Option<Instant>) {
        self.phase = Phase::Ending { until };
        // With the last descriptor the socket closes: nobody waits in a queue in vain.
        self.door.kept = Kept::default();
        self.tell(message);
    }

    fn tell(&self, message: &dyn Fn() -> worker::Control) {
        for worker in &self.workers {
            // One that has ended needs not be told.
            let _ = worker.control.send(message());
        }
    }

    fn stop(self, outcome: Outcome) {
        succession::notify(&[sd_notify::NotifyState::Stopping]);
        let left = self.clients.load(Ordering::Relaxed);
        if outcome == Outcome::Cut && left > 0 {
            tracing::warn!(clients = left, "cutting off the clients that are left");
        }
        self.tell(&|| worker::Control::Stop);
        for worker in self.workers {
            if worker.thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
        tracing::info!("stopped");
    }
}

async fn all_left(clients: &AtomicUsize) {
    while clients.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
