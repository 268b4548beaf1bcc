//! A client's place in a pool's wait queue.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::dial::DialError;
use super::key::{PoolKey, Variant};
use super::lease::Lease;
use super::pool::Pool;
use crate::protocol::{LocalError, SqlState};

/// Why a client got no server connection.
#[derive(Clone, Debug, Error)]
pub enum WaitError {
    /// It waited too long.
    #[error("no server connection of pool {pool} became free within {waited:?}")]
    Timeout {
        /// Which pool.
        pool: PoolKey,
        /// How long.
        waited: Duration,
        /// The pool's size.
        size: usize,
    },
    /// Too many wait already.
    #[error("{waiters} clients wait for a server connection of pool {pool} already")]
    TooManyWaiters {
        /// Which pool.
        pool: PoolKey,
        /// How many.
        waiters: usize,
    },
    /// The server can't be reached or refuses.
    #[error("{}", .0.summary())]
    Dial(Rc<DialError>),
    /// The client cancelled its request.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// The proxy shuts down.
    #[error("terminating connection due to administrator command")]
    ShuttingDown,
}

impl WaitError {
    /// The ErrorResponse that the client gets.
    pub fn to_frame(&self, ends_session: bool) -> Vec<u8> {
        let error = match self {
            Self::Dial(error) => return error.to_frame(ends_session),
            Self::Timeout { size, .. } => {
                LocalError::error(SqlState::TOO_MANY_CONNECTIONS, self.to_string())
                    .detail(format!("All {size} server connections of the pool are in use."))
                    .hint("Shorten transactions, or raise pool.size or pool.wait_timeout.")
            }
            Self::TooManyWaiters { .. } => {
                LocalError::error(SqlState::TOO_MANY_CONNECTIONS, self.to_string())
                    .hint("Shorten transactions, or raise pool.size or pool.waiters.")
            }
            Self::Cancelled => LocalError::error(SqlState::QUERY_CANCELED, self.to_string()),
            Self::ShuttingDown => LocalError::fatal(SqlState::ADMIN_SHUTDOWN, self.to_string()),
        };
        if ends_session { error.into_fatal().to_frame() } else { error.to_frame() }
    }

    /// Whether the session can't go on after it.
    pub fn ends_session(&self) -> bool {
        matches!(self, Self::ShuttingDown)
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) variant: Rc<Variant>,
    pub(super) since: Instant,
    state: RefCell<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Granted(Lease),
    Failed(WaitError),
    /// The result was taken, or nobody wants it any more.
    Done,
}

impl Ticket {
    pub(super) fn new(variant: Rc<Variant>) -> Self {
        Self { variant, since: Instant::now(), state: RefCell::new(State::Waiting(None)) }
    }

    /// Ends the wait with an error; without effect if it has ended.
    pub(super) fn fail(&self, error: WaitError) {
        self.end(State::Failed(error));
    }

    pub(super) fn grant(&self, lease: Lease) {
        self.end(State::Granted(lease));
    }

    fn end(&self, result: State) {
        let mut state = self.state.borrow_mut();
        let State::Waiting(waker) = &mut *state else {
            return;
        };
        let waker = waker.take();
        *state = result;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Lease, WaitError>> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Done) {
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Granted(lease) => Poll::Ready(Ok(lease)),
            State::Failed(error) => Poll::Ready(Err(error)),
            State::Done => Poll::Ready(Err(WaitError::Cancelled)),
        }
    }
}

/// A wait that is given up when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    ticket: Rc<Ticket>,
    pool: Rc<Pool>,
}

impl Waiting {
    pub(super) fn new(ticket: Rc<Ticket>, pool: Rc<Pool>) -> Self {
        Self { ticket, pool }
    }

    /// For who may have to cancel the wait.
    pub fn canceller(&self) -> Canceller {
        Canceller { ticket: Rc::clone(&self.ticket), pool: Rc::clone(&self.pool) }
    }

    /// Cancel safe: the result stays until it is taken.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease, WaitError>> {
        self.ticket.poll(cx)
    }
}

/// Ends a wait from outside.
#[derive(Debug)]
pub struct Canceller {
    ticket: Rc<Ticket>,
    pool: Rc<Pool>,
}

impl Canceller {
    /// Ends the wait with [`WaitError::Cancelled`]; without effect if it has ended.
    pub fn cancel(&self) {
        // Out of the queue at once: no server connection may be granted to who does not wait.
        self.pool.forget(&self.ticket);
        self.ticket.fail(WaitError::Cancelled);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let state = self.ticket.state.replace(State::Done);
        match state {
            State::Waiting(_) | State::Failed(_) => self.pool.forget(&self.ticket),
            // Granted in the very moment that nobody wanted it any more.
            State::Granted(lease) => lease.release(),
            State::Done => {}
        }
    }
}
