//! A session as others on its worker see it: who wants to cancel it, who wants to end it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::ids::{ClientPid, WorkerId};
use crate::pool::{Backend, Canceller};

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
    /// What the client was told to be its process ID.
    pub pid: ClientPid,
    /// What it must show to cancel.
    pub key: Vec<u8>,
    /// What a CancelRequest would hit now.
    pub target: RefCell<CancelTarget>,
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

/// What a CancelRequest hits.
#[derive(Debug, Default)]
pub enum CancelTarget {
    /// Nothing runs.
    #[default]
    Nothing,
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
    /// The server has owed an answer for too long.
    Unanswered,
    /// Leave at once.
    Cut,
}

impl Registry {
    /// Makes and keeps a handle with a key of `key_bytes` random bytes. `None`: no randomness.
    pub fn register(self: &Rc<Self>, worker: WorkerId, key_bytes: usize) -> Option<Registered> {
        let mut key = vec![0; key_bytes];
        let pid = self.free_pid(worker, &mut key)?;
        let handle = Rc::new(SessionHandle {
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

    /// A random process ID that is positive and names its worker in its low bits. With the same system call the
    /// key is filled.
    fn free_pid(&self, worker: WorkerId, key: &mut [u8]) -> Option<ClientPid> {
        let mut random = vec![0; key.len() + size_of::<u32>()];
        loop {
            getrandom::fill(&mut random).ok()?;
            let (id, rest) = random.split_first_chunk()?;
            key.copy_from_slice(rest);
            let random = u32::from_le_bytes(*id) >> 1;
            let low = u32::from(worker.0) & ((1 << WORKER_BITS) - 1);
            let pid = ClientPid((random >> WORKER_BITS << WORKER_BITS | low).cast_signed());
            if pid.0 > 0 && !self.by_pid.borrow().contains_key(&pid) {
                return Some(pid);
            }
        }
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

    /// Tells the session something; it hears it at once.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::Probe {
            self.input_ended_at.set(Some(Instant::now()));
        }
        self.signal.set(Some(signal));
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
