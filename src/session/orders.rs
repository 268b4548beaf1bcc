//! What the control plane asks of a worker: reports, and what operators command.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::context::Context;
use super::handle::Signal;
use super::report::WorkerReport;
use crate::auth::Credentials;
use crate::config::Config;
use crate::ids::SessionId;
use crate::pool::Scope;

/// Something for a worker to do; orders are carried out one by one, in their order.
#[derive(Debug)]
pub enum Order {
    /// Tell how everything stands.
    Report(oneshot::Sender<WorkerReport>),
    /// Lend no server connections of these databases, and close those that are free.
    Pause(Scope),
    /// Lend them again.
    Resume(Scope),
    /// Let nobody into a database who is not in yet.
    Disable(Arc<str>),
    /// Let them in again.
    Enable(Arc<str>),
    /// Close the server connections of these databases as they become free.
    Reconnect(Scope),
    /// Pause, and end all sessions at once.
    Kill(Scope),
    /// End this session at once.
    KillClient(SessionId),
    /// Work with this configuration from now on.
    Reconfigure(Arc<Config>, Arc<Credentials>),
}

impl Context {
    /// Carries an order out.
    pub fn carry_out_order(&self, order: Order) {
        match order {
            // Who asked may be gone.
            Order::Report(to) => _ = to.send(self.report()),
            Order::Pause(scope) => self.pools.set_paused(&scope, true),
            Order::Resume(scope) => self.pools.set_paused(&scope, false),
            Order::Disable(database) => self.pools.set_disabled(&database, true),
            Order::Enable(database) => self.pools.set_disabled(&database, false),
            Order::Reconnect(scope) => self.pools.reconnect(&scope),
            Order::Kill(scope) => {
                self.pools.set_paused(&scope, true);
                for handle in self.registry.all() {
                    if scope.includes(&handle.identity.pool.database) {
                        handle.signal(Signal::Kill);
                    }
                }
            }
            Order::KillClient(id) => {
                for handle in self.registry.all() {
                    if handle.identity.id == id {
                        handle.signal(Signal::Kill);
                    }
                }
            }
            Order::Reconfigure(config, credentials) => self.reconfigure(config, credentials),
        }
    }
}
