//! CancelRequests: from whichever worker got it to the session that it means.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::handle::{CancelTarget, SessionHandle};
use crate::ids::ClientPid;
use crate::pool::cancel;
use crate::telemetry::metrics::{PoolCounter, ProcessCounter};

/// A CancelRequest on its way to the worker of its session.
#[derive(Debug)]
pub struct CancelMail {
    pid: ClientPid,
    key: Vec<u8>,
    /// Dropped when the cancel is over: then the client's cancel connection is closed, as PostgreSQL does
    /// after it has sent the signal.
    _done: oneshot::Sender<()>,
}

/// The way to all workers.
#[derive(Debug, Default)]
pub struct CancelRouter {
    mailboxes: Vec<mpsc::UnboundedSender<CancelMail>>,
}

impl CancelRouter {
    /// To workers that read these mailboxes.
    pub fn new(mailboxes: Vec<mpsc::UnboundedSender<CancelMail>>) -> Self {
        Self { mailboxes }
    }

    /// Passes a request on and waits until it is over. An unknown key is ignored, as by PostgreSQL.
    pub async fn cancel(&self, pid: i32, key: Vec<u8>) {
        let pid = ClientPid(pid);
        let worker = SessionHandle::worker_of(pid);
        let Some(mailbox) = self.mailboxes.get(usize::from(worker.0)) else {
            return;
        };
        let (done, over) = oneshot::channel();
        if mailbox.send(CancelMail { pid, key, _done: done }).is_ok() {
            // Ends by the drop of `done`.
            let _ = over.await;
        }
    }
}

impl Context {
    /// Carries a CancelRequest out.
    pub async fn carry_out(self: Rc<Self>, mail: CancelMail) {
        let Some(handle) = self.registry.find(mail.pid, &mail.key) else {
            tracing::debug!(pid = mail.pid.0, "cancel request with an unknown key");
            self.process.count(ProcessCounter::UnknownCancels);
            return;
        };
        if let Some(pool) = self.pools.find(&handle.identity.pool) {
            pool.cells.count(PoolCounter::Cancels);
        }
        let target = handle.target.take();
        let backend = match &target {
            CancelTarget::Nothing | CancelTarget::Preparing(_) => None,
            CancelTarget::Waiting(waiting) => {
                waiting.cancel();
                None
            }
            CancelTarget::Running(backend) => Some(Rc::clone(backend)),
        };
        handle.target.replace(target);
        if let Some(backend) = backend {
            cancel::cancel(backend).await;
        }
    }
}
