//! A server connection comes and goes: what the client has set is set on it before its first message, and before it
//! goes to anybody else it is known what the client has left on it.

use std::rc::Rc;

use super::drive::Session;
use super::handle::CancelTarget;
use super::login::APPLICATION_NAME;
use crate::client_state::Base;
use crate::pool::{Lease, Preparation, Sequences};
use crate::strategy::relay::{apply, ask, forget_values};

impl Session {
    /// An idle server connection, if there is one.
    pub(super) fn try_lend(&self) -> Option<Lease> {
        self.pool.try_lend(&self.variant, &self.overlay, self.state.mode)
    }

    /// A server connection is the client's from now on.
    pub(super) fn hold(&mut self, mut lease: Lease) {
        self.is_lease_used = false;
        self.preface.clear();
        if !lease.server.has(&self.overlay) {
            self.prepare(&mut lease);
        }
        if lease.server.exchange.sequences == Sequences::Foreign
            && self.overlay.statements.reads_values.get()
        {
            forget_values(&mut lease.server.exchange, &mut self.preface);
        }
        if matches!(lease.server.exchange.preparation, Preparation::Awaited(_)) {
            let backend = Rc::clone(&lease.server.backend);
            self.handle.target.replace(CancelTarget::Preparing(backend));
        } else {
            self.can_be_cancelled(&lease);
        }
        self.lease = Some(lease);
    }

    fn can_be_cancelled(&self, lease: &Lease) {
        self.handle.target.replace(CancelTarget::Running(Rc::clone(&lease.server.backend)));
    }

    /// What was set on the connection becomes what the client has set.
    fn prepare(&mut self, lease: &mut Lease) {
        let server = &mut lease.server;
        let Some(actual) = server.actual.take() else { return };
        let steps = actual.settings.steps_to(&self.overlay.settings);
        apply(&mut server.exchange, &steps, &mut self.preface);
        if steps.is_empty() {
            server.actual = Some(Rc::clone(&self.overlay));
        }
    }

    /// Takes what PostgreSQL has answered to the proxy.
    #[cold]
    pub(super) fn take_answers(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        let server = &mut lease.server;
        if let Some((question, row)) = server.exchange.inquiry.take_answer() {
            let user = self.pool.key.user.as_bytes();
            let base = Base { role: &server.base_role, user, reported: &server.parameters };
            let actual = self.state.session.answered(&question, &row, &base);
            let overlays = &self.variant.overlays;
            self.overlay = overlays.get(&self.state.session.settings);
            self.state.session.settings = Rc::clone(&self.overlay.settings);
            let actual = actual.map(|actual| overlays.get(&actual));
            server.actual = Some(actual.unwrap_or_else(|| Rc::clone(&self.overlay)));
            if let Some(name) = self.overlay.settings.get(APPLICATION_NAME) {
                self.handle.activity.application_name.replace(name.into());
            }
        }
        let is_prepared =
            matches!(server.exchange.preparation, Preparation::None | Preparation::Done);
        if server.actual.is_none() && is_prepared {
            server.actual = Some(Rc::clone(&self.overlay));
            self.can_be_cancelled(&lease);
        }
        self.lease = Some(lease);
    }

    /// Gives the server connection back at the end of a transaction, if it is known what is on it.
    pub(super) fn release_if_clean(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        if !self.to_server.is_empty() || !lease.server.is_idle() {
            return;
        }
        if !self.state.is_mid_frame()
            && ask(&mut self.state, &mut lease.server.exchange, &mut self.to_server)
        {
            return;
        }
        self.handle.activity.statements.set(self.state.names.len());
        if lease.server.is_returnable(&self.state)
            && let Some(lease) = self.lease.take()
        {
            self.handle.target.replace(CancelTarget::Nothing);
            self.give_back(lease);
            if self.pin.is_some() {
                self.forget_pin();
            }
        } else if let Some(mut lease) = self.lease.take() {
            self.count_pin();
            // It stays, and something has been reset further than the client's session began.
            if lease.server.actual.is_some() && !lease.server.has(&self.overlay) {
                self.prepare(&mut lease);
                self.to_server.append(&mut self.preface);
            }
            self.lease = Some(lease);
        }
    }

    /// Gives a server connection back whose settings are known.
    pub(super) fn give_back(&mut self, lease: Lease) {
        lease.server.backend.statements.set(lease.server.exchange.prepared.len());
        if self.state.session.take_routine() {
            lease.reset();
        } else {
            lease.release();
        }
    }
}
