//! SIGTERM and SIGINT: stop accepting, let transactions end, close idle clients (57P01), all within
//! `shutdown_grace`. A second signal ends at once.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::worker::{Control, Worker};

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

/// Lets the workers work until a signal comes, then drains.
pub(super) async fn run_until_told(
    workers: Vec<Worker>,
    clients: &AtomicUsize,
    grace: Duration,
) -> io::Result<Outcome> {
    let mut signals = Signals::new()?;
    let name = signals.any().await;
    tracing::info!("{name}: shutting down, waiting for transactions to end (at most {grace:?})");
    tell(&workers, || Control::Drain);
    let outcome = tokio::select! {
        () = all_left(clients) => Outcome::Drained,
        () = tokio::time::sleep(grace) => Outcome::Cut,
        _ = signals.any() => Outcome::Cut,
    };
    let left = clients.load(Ordering::Relaxed);
    if outcome == Outcome::Cut && left > 0 {
        tracing::warn!(clients = left, "cutting off the clients that are left");
    }
    tell(&workers, || Control::Stop);
    for worker in workers {
        if worker.thread.join().is_err() {
            tracing::error!("a worker has panicked");
        }
    }
    tracing::info!("stopped");
    Ok(outcome)
}

fn tell(workers: &[Worker], message: impl Fn() -> Control) {
    for worker in workers {
        // One that has ended needs not be told.
        let _ = worker.control.send(message());
    }
}

async fn all_left(clients: &AtomicUsize) {
    while clients.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
