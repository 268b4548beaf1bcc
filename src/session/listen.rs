//! What the client hears by way of the shared listener: at once where it is idle, else at the end of its transaction.

use std::ops::ControlFlow;

use super::drive::{Session, Turn};
use super::ending::End;
use crate::analysis::session_effects::Mark;
use crate::client_state::{CLIENT_ENCODING, Hears};

impl Session {
    /// The client is about to listen: the shared listener is asked for the channels that it doesn't have. If it can't
    /// be asked, the client listens on its server connection.
    #[cold]
    pub(super) fn want_channels(&mut self) {
        let encoding = self.client_encoding();
        let target = &self.pool.target();
        let channels = &mut self.state.session.channels;
        let subscription = match (&mut self.subscription, encoding) {
            (Some(subscription), Some(encoding)) if subscription.has(&encoding) => subscription,
            (subscription @ None, Some(encoding)) => {
                let listeners = &self.context.pools.listeners;
                subscription.insert(Box::new(listeners.subscribe(target, &encoding)))
            }
            _ => {
                channels.give_up();
                self.is_inbox_ready = true;
                return;
            }
        };
        for name in channels.wanted() {
            subscription.want(name, target);
        }
    }

    /// The client's encoding, if that is known, as far as it matters.
    fn client_encoding(&self) -> Option<Vec<u8>> {
        let session = &self.state.session;
        let may_be_local = self.state.transaction.contains(Mark::LocalSetting)
            && session.channels.wanted().any(|name| !name.is_ascii());
        if session.is_touched(CLIENT_ENCODING) || may_be_local {
            return None;
        }
        if let Some(encoding) = self.state.session.settings.get(CLIENT_ENCODING) {
            return Some(encoding.to_vec());
        }
        let parameters = self.pool.parameters(&self.variant)?;
        let mut reported = parameters.iter().filter(|(name, _)| name == CLIENT_ENCODING);
        reported.next().map(|(_, encoding)| encoding.clone())
    }

    /// Whether the client waits for the shared listener.
    pub(super) fn awaits_listener(&self) -> bool {
        let channels = &self.state.session.channels;
        channels.wanted().next().is_some() || channels.is_hearing()
    }

    /// Does what the shared listener has told; whether anything.
    #[inline]
    pub(super) fn hear(&mut self) -> ControlFlow<Turn, bool> {
        if self.subscription.is_none() {
            return ControlFlow::Continue(false);
        }
        self.hear_now()
    }

    fn hear_now(&mut self) -> ControlFlow<Turn, bool> {
        let Some(subscription) = &mut self.subscription else {
            return ControlFlow::Continue(false);
        };
        if let Some(trouble) = subscription.trouble() {
            return ControlFlow::Break(Turn::End(End::Unheard(trouble)));
        }
        let channels = &mut self.state.session.channels;
        if channels.take_has_left() {
            subscription.keep_only(|name| channels.knows(name));
        }
        let mut moved = false;
        for answer in subscription.take_answers() {
            moved = true;
            channels.answered(&answer.channel, answer.is_granted);
            if !answer.is_granted {
                channels.give_up();
            }
            self.is_inbox_ready |= !self.inbox.is_empty();
        }
        if subscription.has_heard() && channels.is_hearing() {
            channels.has_heard();
            self.is_server_heard = true;
            moved = true;
        }
        channels.has_news = !subscription.is_quiet();
        if channels.has_news && self.may_be_told() {
            self.to_client = self.notifications();
            moved |= !self.to_client.is_empty();
        }
        ControlFlow::Continue(moved)
    }

    /// Whether PostgreSQL would tell it a notification now.
    fn may_be_told(&self) -> bool {
        self.to_client.is_empty()
            && !self.state.is_mid_frame()
            && !self.state.skip_to_sync
            && self.lease.as_ref().is_none_or(|lease| lease.server.is_idle())
    }

    /// What the client is to be told.
    pub(super) fn notifications(&mut self) -> Vec<u8> {
        let mut told = Vec::new();
        let Some(subscription) = &self.subscription else { return told };
        let channels = &mut self.state.session.channels;
        subscription.take_while(|notification| match channels.hears(&notification.channel) {
            Hears::Yes => {
                told.extend_from_slice(&notification.frame);
                true
            }
            Hears::No => true,
            Hears::Later => false,
        });
        channels.has_news = !subscription.is_quiet();
        told
    }

    /// What the client's own transaction has sent is asked for, if that has to be known.
    pub(super) fn ask_what_was_sent(&mut self) {
        if self.state.session.channels.take_must_ask()
            && let Some(subscription) = &self.subscription
        {
            subscription.ping();
        }
    }
}
