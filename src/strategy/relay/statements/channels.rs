//! LISTEN, UNLISTEN and the list of channels, for clients that listen by way of the shared listener.

use crate::analysis::channels::{ChannelAction, channel_actions};
use crate::analysis::session_effects::{Effect, Footprint, Mark};
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Owed};
use crate::protocol::{TransactionStatus, writer};
use crate::strategy::relay::client::{Sending, Step, Stop};

impl Sending<'_, '_> {
    /// A statement is about to run that may be about channels. `Some`: it waits.
    pub(super) fn prepares_channels(&mut self, footprint: Footprint, text: &[u8]) -> Option<Step> {
        let listens = footprint.effects.contains(Effect::Listen);
        let unlistens = footprint.marks.contains(Mark::Release);
        let lists = footprint.marks.contains(Mark::ListsChannels);
        let session = &self.state.session;
        let is_concerned = (listens && session.shares_listener())
            || ((listens || unlistens || lists) && !session.channels.is_empty());
        if !is_concerned || self.state.mode == PoolMode::Session {
            return None;
        }
        // A reply to what was sent before would be taken for the one to this.
        if self.is_status_open() {
            return Some(self.hold());
        }
        if lists {
            self.lists_channels();
        }
        if !(listens || unlistens) {
            return None;
        }
        let Some(actions) = channel_actions(text) else {
            if listens {
                self.state.session.channels.make_local();
            }
            return None;
        };
        let shares = self.state.session.shares_listener();
        let channels = &mut self.state.session.channels;
        let mut is_waiting = false;
        for action in actions.iter().filter(|_| shares) {
            if let ChannelAction::Listen(name) = action {
                is_waiting |= channels.wants(name);
            }
        }
        if is_waiting {
            return Some(Step::Stop(Stop::NeedListener));
        }
        channels.send(actions);
        None
    }

    /// A statement goes on unread, or nobody knows whether it will be done.
    pub(super) fn listens_unseen(&mut self, footprint: Footprint) {
        if footprint.effects.contains(Effect::Listen) && self.state.mode != PoolMode::Session {
            self.state.session.channels.make_local();
        }
    }

    /// A Parse begins a group in which the client looks at the list of its channels. `true`: it waits for replies.
    pub(super) fn shows_own_channels(&mut self, footprint: Footprint) -> bool {
        let lists = footprint.marks.contains(Mark::ListsChannels);
        if !lists || self.state.session.channels.is_empty() {
            return false;
        }
        if self.is_status_open() {
            return true;
        }
        self.lists_channels();
        false
    }

    /// Outside of a transaction the server connection listens on the client's channels for as long as the client looks
    /// at their list.
    fn lists_channels(&mut self) {
        let ledger = &self.exchange.ledger;
        let held = self.state.session.channels.held();
        if held.is_empty() || ledger.status() != TransactionStatus::Idle || ledger.awaits_sync() {
            return;
        }
        let listen = |name: &[u8]| [b"LISTEN ", &*writer::quoted(name)].concat();
        let statements: Vec<_> = held.iter().map(|name| listen(name)).collect();
        self.insert(|out| writer::query(out, statements.join(&b"; "[..])));
        self.exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::None);
        self.state.session.pin(Effect::Listen.into());
    }
}
