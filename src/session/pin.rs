//! Clients that keep their server connections are counted, and may be too many.

use std::rc::Rc;

use super::drive::Session;
use crate::client_state::Pinning;
use crate::config::PoolMode;
use crate::protocol::{LocalError, SqlState};
use crate::telemetry::metrics::Limit;

impl Session {
    /// The client is about to keep its server connection. `false`: it waits until it may.
    #[cold]
    pub(super) fn ask_to_pin(&mut self) -> bool {
        let target = self.pool.target();
        let settings = &target.settings;
        let now = self.context.now.get();
        if let Some(pin) = self.pool.try_pin() {
            self.pin = Some(pin);
            self.pin_wanted_since = None;
            self.state.session.pinning = Pinning::Allowed;
            return true;
        }
        let since = *self.pin_wanted_since.get_or_insert(now);
        if settings.waits_for_pin && now.saturating_duration_since(since) < settings.wait_timeout {
            self.handle.wants_pin.set(true);
            self.release_if_clean();
            return false;
        }
        self.pin_wanted_since = None;
        self.context.process.count_limit(Limit::PinnedShare);
        self.state.session.pinning = Pinning::Refused(self.refusal());
        true
    }

    fn refusal(&self) -> Rc<[u8]> {
        let target = self.pool.target();
        let settings = &target.settings;
        let error = LocalError::error(
            SqlState::CONFIGURATION_LIMIT,
            format!(
                "clients keep as many server connections of pool {} as they may",
                self.pool.key
            ),
        )
        .detail(format!(
            "This statement would keep one; the limit is {} % of {}.",
            settings.max_pinned_share, settings.size
        ))
        .hint("Raise pool.size or pool.max_pinned_share, or do it in a session that ends soon.");
        error.to_frame().into()
    }

    /// At the end of a transaction: the client keeps its server connection, whatever the limit is.
    pub(super) fn count_pin(&mut self) {
        if !self.state.keeps_server() {
            return;
        }
        if self.pin.is_none() {
            self.pin = self.pool.pin();
        }
        let pinned = &self.handle.activity.pinned;
        if self.state.mode != PoolMode::Session && pinned.get().is_none() {
            let reason = self.state.pin_reason();
            pinned.set(Some(reason));
            self.pool.cells.count_pin(reason as usize);
        }
    }

    /// The client keeps none any more.
    pub(super) fn forget_pin(&mut self) {
        self.pin = None;
        self.handle.activity.pinned.set(None);
        self.state.session.unpinned();
    }
}
