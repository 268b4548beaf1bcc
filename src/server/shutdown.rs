//! SIGTERM and SIGINT: stop accepting, let transactions end, close idle clients (57P01), all within
//! `shutdown_grace`. A second signal ends at once.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::acceptor::Acceptor;
use super::worker::Control;

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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancel safe.
    async fn any(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Accepts clients until a signal comes, then drains.
pub(super) async fn run_until_told(mut acceptor: Acceptor, grace: Duration) -> io::Result<Outcome> {
    let mut signals = Signals::new()?;
    let name = tokio::select! {
        name = signals.any() => name,
        () = acceptor.accept() => "the end of accepting",
    };
    tracing::info!("{name}: shutting down, waiting for transactions to end (at most {grace:?})");
    acceptor.stop_listening();
    acceptor.tell(|| Control::Drain);
    let outcome = tokio::select! {
        () = all_left(&acceptor) => Outcome::Drained,
        () = tokio::time::sleep(grace) => Outcome::Cut,
        _ = signals.any() => Outcome::Cut,
    };
    let left = acceptor.clients.load(Ordering::Relaxed);
    if outcome == Outcome::Cut && left > 0 {
        tracing::warn!(clients = left, "cutting off the clients that are left");
    }
    acceptor.tell(|| Control::Stop);
    for worker in acceptor.workers {
        if worker.thread.join().is_err() {
            tracing::error!("a worker has panicked");
        }
    }
    tracing::info!("stopped");
    Ok(outcome)
}

async fn all_left(acceptor: &Acceptor) {
    while acceptor.clients.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
