//! What the proxy remembers of one client between its messages. No I/O.

mod unnamed;

pub use unnamed::{Statement, Unnamed};

use crate::analysis::session_effects::{Effect, Effects};
use crate::config::PoolMode;

/// Memory of one client.
#[derive(Debug)]
pub struct ClientState {
    /// When its server connection goes back.
    pub mode: PoolMode,
    /// What was done on the server connection that must not meet another client: while this is not
    /// empty, the connection stays.
    pub pins: Effects,
    /// Its unnamed prepared statement.
    pub unnamed: Unnamed,
    /// Rest of a frame whose front was dealt with.
    pub body: Body,
    /// A local error was reported: everything up to the next Sync is skipped.
    pub skip_to_sync: bool,
}

/// Rest of a frame that did not end with its chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// The next byte begins a frame.
    #[default]
    None,
    /// So many bytes go on to the server.
    Forward(usize),
    /// So many bytes are dropped.
    Drop(usize),
}

impl ClientState {
    /// Of a client that has just logged in.
    pub fn new(mode: PoolMode) -> Self {
        Self {
            mode,
            pins: Effects::NONE,
            unnamed: Unnamed::default(),
            body: Body::None,
            skip_to_sync: false,
        }
    }

    /// What was dealt with since the server connection was lent never left.
    pub fn nothing_was_sent(&mut self) {
        self.body = Body::None;
        self.unnamed.nothing_was_sent();
    }

    /// The oldest message in flight that replaces or drops the unnamed statement was done.
    pub fn unnamed_settled(&mut self, was_parse: bool) {
        self.unnamed.settled(was_parse);
        self.stay_with_the_unknown();
    }

    /// Such messages were not done ([`Unnamed::skipped`]).
    pub fn unnamed_skipped(&mut self, messages: usize, has_failed: bool) {
        self.unnamed.skipped(messages, has_failed);
        self.stay_with_the_unknown();
    }

    /// A statement that only the server knows can't be made again elsewhere.
    fn stay_with_the_unknown(&mut self) {
        if *self.unnamed.current() == Statement::Unknown {
            self.pins = self.pins.union(Effect::Unknown.into());
        }
    }

    /// Whether a part of a frame has gone to the server and the rest has not.
    pub fn is_mid_frame(&self) -> bool {
        matches!(self.body, Body::Forward(_))
    }

    /// Whether something was done that no cleanup of the server connection undoes.
    pub fn spoils_server(&self) -> bool {
        self.pins.iter().any(Effect::outlives_discard_all)
    }

    /// Whether the server connection stays beyond the transaction.
    pub fn keeps_server(&self) -> bool {
        self.mode == PoolMode::Session || !self.pins.is_empty()
    }
}

impl Body {
    /// Takes up to `bytes` of the rest; what is to be done with them, and how many.
    pub fn take(&mut self, bytes: usize) -> Option<(bool, usize)> {
        let (forward, left) = match *self {
            Self::None => return None,
            Self::Forward(left) => (true, left),
            Self::Drop(left) => (false, left),
        };
        let taken = left.min(bytes);
        *self = Self::rest(forward, left - taken);
        Some((forward, taken))
    }

    /// A rest of `left` bytes.
    pub fn rest(forward: bool, left: usize) -> Self {
        match (left, forward) {
            (0, _) => Self::None,
            (left, true) => Self::Forward(left),
            (left, false) => Self::Drop(left),
        }
    }
}
