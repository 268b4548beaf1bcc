//! Accepting clients: each goes to the worker that has the fewest.
//!
//! The first worker accepts, between its sessions: with one worker, a client never changes threads.

use std::future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

use super::worker::{Control, Counted, Load};
use crate::net::Peer;
use crate::telemetry::ProcessCells;
use crate::telemetry::metrics::ProcessCounter;

/// Pause after a failed accept (no file descriptor is free, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the accepting worker is given.
pub(super) struct Door {
    pub(super) listener: StdTcpListener,
    /// All workers, the accepting one first.
    pub(super) workers: Vec<(UnboundedSender<Control>, Load)>,
    /// Clients of all workers.
    pub(super) clients: Arc<AtomicUsize>,
    pub(super) process: Arc<ProcessCells>,
}

/// The listening socket on its worker.
pub(super) struct Acceptor {
    listener: TcpListener,
    workers: Vec<(UnboundedSender<Control>, Load)>,
    clients: Arc<AtomicUsize>,
    process: Arc<ProcessCells>,
}

/// A client that has come in.
pub(super) struct Arrival<S> {
    pub(super) stream: S,
    pub(super) peer: Peer,
    pub(super) counted: Counted,
}

impl Acceptor {
    pub(super) fn new(door: Door) -> io::Result<Self> {
        let Door { listener, workers, clients, process } = door;
        Ok(Self { listener: TcpListener::from_std(listener)?, workers, clients, process })
    }

    /// The next client that this worker has to serve itself; without an acceptor, none ever. Cancel safe: a client
    /// that is not accepted stays in the listener's queue.
    pub(super) async fn next(acceptor: Option<&Self>) -> Arrival<TcpStream> {
        let Some(acceptor) = acceptor else { return future::pending().await };
        loop {
            match acceptor.listener.accept().await {
                Ok((stream, address)) => {
                    acceptor.process.count(ProcessCounter::Accepted);
                    if let Some(own) = acceptor.hand_over(stream, address) {
                        return own;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "could not accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn hand_over(&self, stream: TcpStream, address: SocketAddr) -> Option<Arrival<TcpStream>> {
        let loads = self.workers.iter().map(|(_, load)| load.load(Ordering::Relaxed));
        let (number, _) = loads.enumerate().min_by_key(|(_, load)| *load)?;
        let (worker, load) = self.workers.get(number)?;
        let counted = Counted::new([Arc::clone(&self.clients), Arc::clone(load)]);
        let peer = Peer(address);
        if number == 0 {
            return Some(Arrival { stream, peer, counted });
        }
        match stream.into_std() {
            // A worker that has ended takes nobody: the socket closes.
            Ok(stream) => {
                let arrival: Arrival<StdTcpStream> = Arrival { stream, peer, counted };
                let _ = worker.send(Control::Client(arrival));
            }
            Err(error) => tracing::error!(%error, "a client could not be handed over"),
        }
        None
    }
}
