//! Statements that keep the server connection with their client: no more of them than the pool allows.

use std::rc::Rc;

use super::NO_STATEMENT;
use crate::analysis::session_effects::Footprint;
use crate::client_state::Pinning;
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Owed};
use crate::protocol::writer;
use crate::strategy::relay::client::{Sending, Step, Stop};

/// No SQL.
const REFUSED: &str = "refused";

impl Sending<'_, '_> {
    /// A statement is about to run, by a message that owes `owed`, and may keep the server connection. `Some`: it has to
    /// wait for leave, or gets none.
    pub(super) fn must_not_pin(&mut self, footprint: Footprint, owed: Owed) -> Option<Step> {
        let session = &mut self.state.session;
        if footprint.effects.is_empty() || !session.would_pin(footprint.effects) {
            return None;
        }
        let is_free = self.state.mode == PoolMode::Session || self.state.keeps_server();
        if is_free || self.is_failed() {
            return None;
        }
        match std::mem::take(&mut self.state.session.pinning) {
            Pinning::Allowed => {
                self.state.session.pinning = Pinning::Allowed;
                None
            }
            Pinning::Unasked => Some(Step::Stop(Stop::NeedPin)),
            Pinning::Refused(error) => Some(self.refuse_with(error, owed)),
        }
    }

    /// The message fails with this error: the server is given one that fails.
    fn refuse_with(&mut self, error: Rc<[u8]>, owed: Owed) -> Step {
        self.insert(|out| match owed {
            Owed::Query => writer::query(out, REFUSED),
            _ => writer::bind(out, b"", NO_STATEMENT),
        });
        self.exchange.ledger.sent_by_proxy(owed, Asker::Refusal, Deed::Refuse(error));
        Step::Drop
    }
}
