//! What the proxy remembers of one client between its messages. No I/O.

mod channels;
mod names;
mod own_names;
mod question;
mod session;
mod settings;
mod statement;
mod touched;
mod trial;

pub use channels::{Channels, Hears};
pub use names::{Definition, Names, StatementName};
pub use own_names::{OwnNames, OwnStatement};
pub use question::{Base, Question};
pub use session::{Pinning, SessionState};
pub use settings::{CLIENT_ENCODING, SettingStep, Settings, is_harmless};
pub use statement::{
    Budget, SERVER_NAME_PREFIX, Shape, Statement, StatementId, is_transaction_exit,
};
pub use trial::Arm;

use std::rc::Rc;

use crate::analysis::session_effects::{Effect, Marks};
use crate::config::{PoolMode, SessionPolicy};

/// Memory of one client.
#[derive(Debug)]
pub struct ClientState {
    /// When its server connection goes back.
    pub mode: PoolMode,
    /// What it has set, and what keeps it with its server connection.
    pub session: SessionState,
    /// Its prepared statements.
    pub names: Names,
    /// Its prepared statements that only its server connection knows.
    pub own: OwnNames,
    /// What the open transaction has done.
    pub transaction: Marks,
    /// Rest of a frame whose front was dealt with.
    pub body: Body,
    /// The group under way was sent before, and failed by no fault of the client's.
    pub is_repeating: bool,
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
    /// Of a client that has just logged in; `first`: what its session begins with, on top of what its server connections
    /// begin with.
    pub fn new(mode: PoolMode, policy: SessionPolicy, first: Rc<Settings>) -> Self {
        Self {
            mode,
            session: SessionState::new(policy, first),
            names: Names::default(),
            own: OwnNames::default(),
            transaction: Marks::default(),
            body: Body::None,
            is_repeating: false,
            skip_to_sync: false,
        }
    }

    /// What was dealt with since the server connection was lent never left.
    pub fn nothing_was_sent(&mut self) {
        self.body = Body::None;
        self.session.channels.nothing_was_sent();
    }

    /// A Parse was done.
    pub fn define(&mut self, name: &StatementName, definition: Definition) {
        if definition == Definition::ServerOnly {
            // It can't be made again elsewhere.
            self.session.pin(Effect::Unknown.into());
        }
        self.names.define(name, definition);
    }

    /// No transaction is open any more.
    pub fn transaction_ended(&mut self) {
        self.session.transaction_ended(self.transaction);
        self.transaction = Marks::default();
    }

    /// Whether a part of a frame has gone to the server and the rest has not.
    pub fn is_mid_frame(&self) -> bool {
        matches!(self.body, Body::Forward(_))
    }

    /// Whether something was done that no cleanup of the server connection undoes.
    pub fn spoils_server(&self) -> bool {
        self.session.pins.iter().any(Effect::outlives_discard_all)
    }

    /// Why the server connection stays, for the client, if it is to be told now.
    pub fn pin_notice(&mut self) -> Option<String> {
        let keeps = self.mode != PoolMode::Session && self.keeps_server();
        if !keeps || !self.session.announces_pin() {
            return None;
        }
        let reason = self.pin_reason().as_str();
        Some(format!("the server connection stays with this client: {reason}"))
    }

    /// Why the server connection stays, if it does.
    pub fn pin_reason(&self) -> Effect {
        self.session.pins.first().unwrap_or(Effect::Prepare)
    }

    /// Whether the server connection stays beyond the transaction.
    pub fn keeps_server(&self) -> bool {
        self.mode == PoolMode::Session || !self.session.pins.is_empty() || !self.own.is_empty()
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
