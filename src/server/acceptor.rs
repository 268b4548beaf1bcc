//! Accepting clients: each goes to the worker that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use super::StartError;
use super::worker::{Control, Counted, Worker};
use crate::config::Config;
use crate::net::bind;

/// Pause after a failed accept (no file descriptor is free, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening socket and the workers that it feeds.
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    pub(super) workers: Vec<Worker>,
    /// Clients of all workers.
    pub(super) clients: Arc<AtomicUsize>,
}

impl Acceptor {
    pub(super) fn bind(
        config: &Config,
        workers: Vec<Worker>,
        clients: Arc<AtomicUsize>,
    ) -> Result<Self, StartError> {
        let address = config.listen;
        let listener = bind(address, &config.net)
            .and_then(TcpListener::from_std)
            .map_err(|error| StartError::Listen { address, error })?;
        Ok(Self { listener: Some(listener), workers, clients })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Accepts for ever. Cancel safe: a client that is not accepted stays in the listener's queue.
    pub(super) async fn accept(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        loop {
            match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => self.hand_over(stream),
                Err(error) => {
                    tracing::error!(%error, "could not accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn hand_over(&self, stream: std::net::TcpStream) {
        let Some(worker) =
            self.workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed))
        else {
            return;
        };
        let counted = Counted::new([Arc::clone(&self.clients), Arc::clone(&worker.load)]);
        // A worker that has ended takes nobody: the socket closes.
        let _ = worker.control.send(Control::Client(stream, counted));
    }

    /// Closes the listening socket.
    pub(super) fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// Tells all workers.
    pub(super) fn tell(&self, message: impl Fn() -> Control) {
        for worker in &self.workers {
            // One that has ended needs not be told.
            let _ = worker.control.send(message());
        }
    }
}
