//! A session as others on its worker see it: who wants to cancel it, who wants to end it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::analysis::session_effects::Effect;
use crate::ids::{ClientPid, SessionId, WorkerId};
use crate::net::Peer;
use crate::pool::{Backend, Canceller, PoolKey};

/// A half-closed client is asked for signs of life this often.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Bits of a client's process ID that name its worker.
const WORKER_BITS: u32 = 6;

/// All sessions of one worker.
#[derive(Debug, Default)]
pub struct Registry {
    by_pid: RefCell<HashMap<ClientPid, Rc<SessionHandle>>>,
}

/// One session.
#[derive(Debug)]
pub struct SessionHandle {
    /// Whose it is.
    pub identity: Identity,
    /// What it does.
    pub activity: Activity,
    /// What the client was told to be its process ID.
    pub pid: ClientPid,
    /// What it must show to cancel.
    pub key: Vec<u8>,
    /// What a CancelRequest would hit now.
    pub target: RefCell<CancelTarget>,
    /// Its database or user is not what it was when it logged in: it has to leave at the end of its transaction.
    pub leaves: Cell<bool>,
    /// Since when its transaction is idle.
    pub idle_in_transaction_since: Cell<Option<Instant>>,
    /// It waits until it may keep its server connection.
    pub wants_pin: Cell<bool>,
    /// When its server connection is taken for lost, if it says nothing before.
    pub answer_due_at: Cell<Option<Instant>>,
    /// When the client closed its sending side, or when it was last probed since.
    pub input_ended_at: Cell<Option<Instant>>,
    signal: Cell<Option<Signal>>,
    waker: RefCell<Option<Waker>>,
}

/// Who a session is for, and since when.
#[derive(Debug)]
pub struct Identity {
    /// Which session.
    pub id: SessionId,
    /// The user's name as the client gave it.
    pub user: Box<str>,
    /// Where its statements go.
    pub pool: PoolKey,
    /// It is a walsender's client, outside of the pool.
    pub is_replication: bool,
    /// Where it comes from.
    pub peer: Peer,
    /// Where it was accepted.
    pub local: Option<SocketAddr>,
    /// When.
    pub since: Instant,
}

/// What a session does, for operators.
#[derive(Debug, Default)]
pub struct Activity {
    /// When the last request began that went to a server connection.
    pub requested_at: Cell<Option<Instant>>,
    /// Since when a request is under way.
    pub query_since: Cell<Option<Instant>>,
    /// Since when a transaction is under way.
    pub transaction_since: Cell<Option<Instant>>,
    /// Since when it waits for a server connection.
    pub waiting_since: Cell<Option<Instant>>,
    /// How long the request under way has waited for a server connection.
    pub waited: Cell<Duration>,
    /// How long its answer has waited for the client to read.
    pub unread: Cell<Duration>,
    /// Since when the client does not read.
    pub unread_since: Cell<Option<Instant>>,
    /// Why it keeps its server connection.
    pub pinned: Cell<Option<Effect>>,
    /// Its prepared statements, as of its last transaction's end.
    pub statements: Cell<usize>,
    /// The name of its application.
    pub application_name: RefCell<Box<[u8]>>,
}

/// What a CancelRequest hits.
#[derive(Debug, Default)]
pub enum CancelTarget {
    /// Nothing runs.
    #[default]
    Nothing,
    /// A server process that runs nothing of the client's yet: a cancel would hit what the proxy asks of it.
    Preparing(Rc<Backend>),
    /// A wait for a server connection.
    Waiting(Canceller),
    /// A server process.
    Running(Rc<Backend>),
}

/// What a session is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Leave as soon as no transaction is open.
    Drain,
    /// Find out whether the client still reads.
    Probe,
    /// The transaction was idle for too long.
    IdleInTransaction,
    /// Try again what could not be done.
    Retry,
    /// An operator ends it, whatever is under way.
    Kill,
    /// The server has owed an answer for too long.
    Unanswered,
    /// Leave at once.
    Cut,
}

impl Signal {
    /// How much it matters.
    fn weight(self) -> u8 {
        match self {
            Self::Probe | Self::Retry => 0,
            Self::IdleInTransaction | Self::Unanswered => 1,
            Self::Drain => 2,
            Self::Kill => 3,
            Self::Cut => 4,
        }
    }
}

impl Registry {
    /// Makes and keeps a handle with a key of `key_bytes` random bytes. `None`: no randomness.
    pub fn register(
        self: &Rc<Self>,
        worker: WorkerId,
        key_bytes: usize,
        identity: Identity,
    ) -> Option<Registered> {
        let (pid, key) = loop {
            let (pid, key) = random_key(worker, key_bytes)?;
            if !self.by_pid.borrow().contains_key(&pid) {
                break (pid, key);
            }
        };
        let handle = Rc::new(SessionHandle {
            identity,
            activity: Activity::default(),
            leaves: Cell::new(false),
            pid,
            key,
            target: RefCell::default(),
            idle_in_transaction_since: Cell::new(None),
            wants_pin: Cell::new(false),
            answer_due_at: Cell::new(None),
            input_ended_at: Cell::new(None),
            signal: Cell::new(None),
            waker: RefCell::default(),
        });
        self.by_pid.borrow_mut().insert(pid, Rc::clone(&handle));
        Some(Registered { handle, registry: Rc::clone(self) })
    }

    /// The session with this process ID and key.
    pub fn find(&self, pid: ClientPid, key: &[u8]) -> Option<Rc<SessionHandle>> {
        let handle = self.by_pid.borrow().get(&pid).map(Rc::clone)?;
        bool::from(handle.key.ct_eq(key)).then_some(handle)
    }

    /// All sessions.
    pub fn all(&self) -> Vec<Rc<SessionHandle>> {
        self.by_pid.borrow().values().map(Rc::clone).collect()
    }
}

/// A process ID and a key of four bytes that are nobody's.
pub(super) fn new_key(worker: WorkerId) -> Option<(i32, Vec<u8>)> {
    random_key(worker, 4).map(|(pid, key)| (pid.0, key))
}

/// A random process ID that is positive and names its worker in its low bits, and a random key: one system call.
fn random_key(worker: WorkerId, key_bytes: usize) -> Option<(ClientPid, Vec<u8>)> {
    let mut random = vec![0; key_bytes + size_of::<u32>()];
    loop {
        getrandom::fill(&mut random).ok()?;
        let (id, key) = random.split_first_chunk()?;
        let id = u32::from_le_bytes(*id) >> 1;
        let low = u32::from(worker.0) & ((1 << WORKER_BITS) - 1);
        let pid = ClientPid((id >> WORKER_BITS << WORKER_BITS | low).cast_signed());
        if pid.0 > 0 {
            return Some((pid, key.to_vec()));
        }
    }
}

/// A handle that leaves the registry with its session.
#[derive(Debug)]
pub struct Registered {
    handle: Rc<SessionHandle>,
    registry: Rc<Registry>,
}

impl std::ops::Deref for Registered {
    type Target = SessionHandle;

    fn deref(&self) -> &SessionHandle {
        &self.handle
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.by_pid.borrow_mut().remove(&self.handle.pid);
    }
}

impl SessionHandle {
    /// The worker that a client's process ID names.
    pub fn worker_of(pid: ClientPid) -> WorkerId {
        let low = pid.0.cast_unsigned() & ((1 << WORKER_BITS) - 1);
        WorkerId(u16::try_from(low).unwrap_or_default())
    }

    /// Tells the session something; it hears it at once. What it has not heard yet is replaced only by what matters as
    /// much: the sweep says again what it has to say.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::Probe {
            self.input_ended_at.set(Some(Instant::now()));
        }
        if self.signal.get().is_none_or(|unheard| unheard.weight() <= signal.weight()) {
            self.signal.set(Some(signal));
        }
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Takes what was told last.
    pub fn take_signal(&self) -> Option<Signal> {
        self.signal.take()
    }

    /// Who to wake. Nearly always the same task: then nothing is copied.
    pub fn watch(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Whether a client that closed its sending side is to be probed.
    pub fn is_probe_due(&self, ended: Instant, now: Instant) -> bool {
        now.saturating_duration_since(ended) >= PROBE_INTERVAL
    }
}
