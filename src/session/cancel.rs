//! CancelRequests: from whichever worker got it to the session that it means.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::context::Context;
use super::handle::{CancelTarget, SessionHandle};
use crate::ids::ClientPid;
use crate::pool::cancel;
use crate::protocol::writer;
use crate::telemetry::metrics::PoolCounter;

/// The process before has so long for a cancel.
const PASS_LIMIT: Duration = Duration::from_secs(10);

/// A CancelRequest on its way to the worker of its session.
#[derive(Debug)]
pub struct CancelMail {
    pid: ClientPid,
    key: Vec<u8>,
    /// Told when the cancel is over: then the client's cancel connection is closed, as PostgreSQL does after it has
    /// sent the signal. Dropped if nobody has the key.
    done: oneshot::Sender<()>,
}

/// The way to all workers.
#[derive(Debug, Default)]
pub struct CancelRouter {
    mailboxes: Vec<mpsc::UnboundedSender<CancelMail>>,
    /// Sockets of the processes before, whose clients still come with their cancels.
    predecessors: Vec<PathBuf>,
}

impl CancelRouter {
    /// To workers that read these mailboxes.
    pub fn new(
        mailboxes: Vec<mpsc::UnboundedSender<CancelMail>>,
        predecessors: Vec<PathBuf>,
    ) -> Self {
        Self { mailboxes, predecessors }
    }

    /// Passes a request on to the processes before, which ignore it if they don't know the key; `false`: there are none.
    async fn pass_on(&self, pid: i32, key: &[u8]) -> bool {
        let mut is_passed = false;
        for path in &self.predecessors {
            is_passed |= Self::pass(path, pid, key).await;
        }
        is_passed
    }

    async fn pass(path: &Path, pid: i32, key: &[u8]) -> bool {
        let pass = async {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(b"C").await?;
            stream.write_all(&writer::cancel_request(pid, key)).await?;
            stream.shutdown().await?;
            // It closes when the cancel is over.
            stream.read(&mut [0]).await
        };
        matches!(timeout(PASS_LIMIT, pass).await, Ok(Ok(_)))
    }

    /// Passes a request on to whose it is, and waits until it is over. An unknown key is ignored, as by PostgreSQL.
    /// Whether it was known, here or perhaps in a process before.
    pub async fn cancel(&self, pid: i32, key: Vec<u8>) -> bool {
        self.cancel_here(pid, key.clone()).await || self.pass_on(pid, &key).await
    }

    /// The same for this process's clients alone.
    pub async fn cancel_here(&self, pid: i32, key: Vec<u8>) -> bool {
        let pid = ClientPid(pid);
        let worker = SessionHandle::worker_of(pid);
        let Some(mailbox) = self.mailboxes.get(usize::from(worker.0)) else { return false };
        let (done, over) = oneshot::channel();
        // Dropped unsent, the key is unknown.
        mailbox.send(CancelMail { pid, key, done }).is_ok() && over.await.is_ok()
    }
}

impl Context {
    /// Carries a CancelRequest out.
    pub async fn carry_out(self: Rc<Self>, mail: CancelMail) {
        let Some(handle) = self.registry.find(mail.pid, &mail.key) else {
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
        // Who asked may be gone.
        let _ = mail.done.send(());
    }
}
