//! One server connection.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::dial::Parameters;
use super::exchange::{Exchange, Preparation, Sequences};
use super::key::Variant;
use super::lease::Lease;
use super::overlay::Overlay;
use super::prepared::Prepared;
use super::quota::Slot;
use crate::client_state::{ClientState, Settings};
use crate::config::{Address, PoolMode};
use crate::ids::ServerId;
use crate::net::stream::Detached;
use crate::net::{CHUNK_BYTES, Stream};
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::message;
use crate::telemetry::PoolCells;
use crate::telemetry::metrics::PoolCounter;

/// Longest message that an idle server may send.
const HEARD_BYTES_MAX: usize = 64 * 1024;

/// A logged-in connection to PostgreSQL.
#[derive(Debug)]
pub struct ServerConnection {
    /// Its socket.
    pub stream: Stream,
    /// What is under way on it.
    pub exchange: Exchange,
    /// Front of a frame that could not be judged yet; comes again before the next bytes.
    pub held: Vec<u8>,
    /// Who to cancel.
    pub backend: Rc<Backend>,
    /// The startup settings it was made with.
    pub variant: Rc<Variant>,
    /// What its clients have set on top of them; `None`: not known.
    pub actual: Option<Rc<Overlay>>,
    /// The role that its sessions begin with.
    pub base_role: Rc<[u8]>,
    /// What it reports for its startup settings.
    pub parameters: Rc<Parameters>,
    /// Since when it exists.
    pub born: Instant,
    /// Since when it is idle.
    pub idle_since: Instant,
    /// Its place in the pool's size.
    pub slot: Slot,
    /// Counts its end.
    pub(super) alive: Alive,
}

/// Counts the end of a server connection.
#[derive(Debug)]
pub(super) struct Alive {
    cells: Rc<PoolCells>,
    backend: Rc<Backend>,
    /// It goes on on another worker.
    has_left: bool,
}

/// A server process, as far as CancelRequests need to know it.
#[derive(Debug)]
pub struct Backend {
    /// Which connection of the proxy's.
    pub id: ServerId,
    /// Since when it exists.
    pub born: Instant,
    /// The proxy's end of the connection, if it is TCP.
    pub local: Option<SocketAddr>,
    /// Prepared statements on it, as of its last loan's end.
    pub statements: Cell<usize>,
    /// Whether it is being cleaned up or closed.
    pub(super) is_cleaned: Cell<bool>,
    /// Whether the connection is still open.
    pub(super) is_open: Cell<bool>,
    /// Where it listens.
    pub address: Address,
    /// Its process ID.
    pub pid: i32,
    /// Its secret.
    pub key: Vec<u8>,
    /// Cancel connections that the server has not closed yet. While there is one, the server connection
    /// is not lent: PostgreSQL cancels by process, and the signal may hit the next statement.
    pub cancels: Cell<usize>,
    /// The connection, waiting for the last of them.
    pub(super) parked: RefCell<Option<Lease>>,
}

/// A server connection on its way to another worker: idle, clean, off the runtime.
#[derive(Debug)]
pub struct Traveller {
    stream: Detached,
    id: ServerId,
    local: Option<SocketAddr>,
    address: Address,
    pid: i32,
    key: Vec<u8>,
    settings: super::key::StartupSettings,
    actual: Settings,
    base_role: Box<[u8]>,
    parameters: Parameters,
    prepared: Prepared,
    sequences: Sequences,
    born: Instant,
    slot: Slot,
}

/// What an idle server connection has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing: it can be lent.
    Quiet,
    /// It can be lent; what it reports was changed by a reload of the server's configuration.
    Changed,
    /// It is closed, or about to be.
    Dead,
}

impl ServerConnection {
    /// Looks whether the server has closed an idle connection or has said something on it. Costs no
    /// system call unless epoll has reported the socket.
    pub fn pulse(&mut self) -> Pulse {
        let mut buffer = [0; 64];
        let mut pulse = Pulse::Quiet;
        loop {
            match self.stream.try_receive(&mut buffer) {
                Poll::Pending if self.held.is_empty() => return pulse,
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    self.held.extend_from_slice(buffer.get(..bytes).unwrap_or_default());
                    if !self.hear() {
                        return Pulse::Dead;
                    }
                    pulse = Pulse::Changed;
                }
                Poll::Pending | Poll::Ready(_) => return Pulse::Dead,
            }
        }
    }

    /// Takes whole notices and parameter changes (a reload of the server's configuration) from `held`;
    /// `false`: something else is there.
    fn hear(&mut self) -> bool {
        while let Ok(Some(header)) = server_header(&self.held) {
            let Some(frame) = self.held.get(..header.bytes) else {
                return matches!(header.tag, b'S' | b'N' | b'A') && header.bytes < HEARD_BYTES_MAX;
            };
            match (
                header.tag,
                message::parameter_status(frame.get(HEADER_BYTES..).unwrap_or_default()),
            ) {
                (b'S', Some((name, value))) => {
                    let parameters = Rc::make_mut(&mut self.parameters);
                    for parameter in parameters.iter_mut().filter(|(known, _)| known == name) {
                        parameter.1 = value.to_vec();
                    }
                }
                (b'N' | b'A', _) => {}
                _ => return false,
            }
            self.held.drain(..header.bytes);
        }
        true
    }

    /// Whether a client with this memory can leave the connection to others as it is.
    pub fn is_returnable(&self, client: &ClientState) -> bool {
        !client.keeps_server()
            && !client.is_mid_frame()
            && client.session.is_settled()
            && self.is_idle()
            && self.actual.is_some()
            && self.exchange.preparation == Preparation::None
    }

    /// Whether it has these settings, as far as is known.
    #[inline]
    pub fn has(&self, overlay: &Rc<Overlay>) -> bool {
        self.actual.as_ref().is_some_and(|actual| Rc::ptr_eq(actual, overlay))
    }

    /// Whether its server is a standby, as far as it has told.
    pub fn is_standby(&self) -> bool {
        self.parameters.iter().any(|(name, value)| name == b"in_hot_standby" && value == b"on")
    }

    /// Nothing under way, outside of a transaction.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.exchange.is_clean()
    }

    /// Makes it ready for its next client.
    pub fn begin_lease(&mut self, mode: PoolMode) {
        // In session mode the first client after DISCARD ALL finds no unnamed statement anyway.
        self.exchange.unnamed_ready = mode == PoolMode::Session;
        self.exchange.ready = None;
        self.exchange.attempt.give_up();
        self.exchange.sequences.pass_on();
    }

    /// Takes an idle connection off this worker.
    pub fn depart(mut self) -> std::io::Result<Traveller> {
        self.alive.has_left = true;
        Ok(Traveller {
            id: self.backend.id,
            local: self.backend.local,
            stream: self.stream.detach()?,
            address: self.backend.address.clone(),
            pid: self.backend.pid,
            key: self.backend.key.clone(),
            settings: self.variant.settings.clone(),
            actual: self.actual.map(|actual| Settings::clone(&actual.settings)).unwrap_or_default(),
            base_role: (*self.base_role).into(),
            parameters: self.parameters.to_vec(),
            prepared: self.exchange.prepared,
            sequences: self.exchange.sequences,
            born: self.born,
            slot: self.slot,
        })
    }

    /// Closes it for writing and waits until the server has closed it too. Cancel safe: what is read is nobody's.
    pub(super) async fn closed(&mut self) {
        let mut buffer = vec![0; CHUNK_BYTES];
        // A socket that fails is closed as well.
        let _ = self.stream.shutdown().await;
        while self.stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
    }

    /// Says Terminate, as far as the socket takes it at once; the drop closes.
    pub fn say_goodbye(&mut self) {
        let _: Poll<_> = self.stream.try_send(b"X\0\0\0\x04");
    }
}

impl Traveller {
    /// The settings that it was made with.
    pub fn settings(&self) -> &super::key::StartupSettings {
        &self.settings
    }

    /// Puts it on this worker.
    pub fn arrive(
        self,
        variant: Rc<Variant>,
        cells: &Rc<PoolCells>,
    ) -> std::io::Result<Box<ServerConnection>> {
        let backend = Rc::new(Backend {
            id: self.id,
            born: self.born,
            local: self.local,
            ..Backend::new(self.address, self.pid, self.key)
        });
        backend.statements.set(self.prepared.len());
        Ok(Box::new(ServerConnection {
            stream: self.stream.attach()?,
            exchange: Exchange {
                prepared: self.prepared,
                sequences: self.sequences,
                ..Exchange::counted(Rc::clone(cells))
            },
            held: Vec::new(),
            alive: Alive::new(Rc::clone(cells), &backend),
            backend,
            actual: Some(variant.overlays.get(&Rc::new(self.actual))),
            base_role: self.base_role.into(),
            variant,
            parameters: Rc::new(self.parameters),
            born: self.born,
            idle_since: Instant::now(),
            slot: self.slot,
        }))
    }
}

impl Backend {
    /// A process that nobody cancels yet.
    pub fn new(address: Address, pid: i32, key: Vec<u8>) -> Self {
        Self {
            id: ServerId::default(),
            born: Instant::now(),
            local: None,
            statements: Cell::new(0),
            is_cleaned: Cell::new(false),
            is_open: Cell::new(true),
            address,
            pid,
            key,
            cancels: Cell::new(0),
            parked: RefCell::new(None),
        }
    }

    /// Whether it waits for cancels to end.
    pub(super) fn is_parked(&self) -> bool {
        self.parked.borrow().is_some()
    }
}

impl Alive {
    pub(super) fn new(cells: Rc<PoolCells>, backend: &Rc<Backend>) -> Self {
        Self { cells, backend: Rc::clone(backend), has_left: false }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.backend.is_open.set(false);
        if !self.has_left {
            tracing::debug!(server = %self.backend.id, pid = self.backend.pid,
                "server connection closed");
            self.cells.count(PoolCounter::Closed);
        }
    }
}
