//! A server connection on loan.

use std::rc::Rc;
use std::time::Duration;

use super::cancel::cancel;
use super::cleanup::{Cleanup, clean};
use super::pool::Pool;
use super::server::{Backend, ServerConnection};

/// So long an abandoned server process may take to end.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// It is cancelled again after this, twice this, and so on.
const CANCEL_PAUSE: Duration = Duration::from_millis(20);

/// A loan. Dropped, it closes the connection: only [`Lease::release`] and [`Lease::clean`] give it back.
#[derive(Debug)]
pub struct Lease {
    /// The connection. Dropped before the guard, so that its slot is free when the pool looks.
    pub server: Box<ServerConnection>,
    guard: Lent,
}

/// Counts a connection as lent.
#[derive(Debug)]
struct Lent {
    pool: Rc<Pool>,
    is_closed: bool,
}

impl Lease {
    pub(super) fn new(server: Box<ServerConnection>, pool: Rc<Pool>) -> Self {
        pool.count_lent();
        Self { server, guard: Lent { pool, is_closed: true } }
    }

    /// The pool that it is from.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.guard.pool
    }

    /// Gives it back as it is: nothing is under way on it and no client's state is left on it.
    pub fn release(self) {
        let Self { server, mut guard } = self;
        let pool = Rc::clone(&guard.pool);
        if server.backend.cancels.get() > 0 {
            let backend = Rc::clone(&server.backend);
            // Whoever ends the last cancel gives it back. It stays counted until then.
            backend.parked.replace(Some(Self { server, guard }));
            return;
        }
        guard.is_closed = false;
        drop(guard);
        pool.give_back(server);
    }

    /// Gives it back by way of ROLLBACK and DISCARD ALL; closes it if that fails.
    pub fn clean(self) {
        tokio::task::spawn_local(clean(self, Cleanup::Discard));
    }

    /// Gives it back as it was when it was made, but for its shared statements; closes it if that fails.
    pub fn reset(self) {
        tokio::task::spawn_local(clean(self, Cleanup::Reset));
    }

    /// Cancels what runs on it and closes it. Its place in the pool is free when the server process is gone:
    /// else there would be more of them than the pool's size for a while.
    pub fn abandon(mut self) {
        self.server.backend.is_cleaned.set(true);
        tokio::task::spawn_local(async move {
            let backend = Rc::clone(&self.server.backend);
            let over = async {
                cancel(Rc::clone(&backend)).await;
                tokio::select! {
                    () = self.server.closed() => {}
                    () = cancel_again(backend) => {}
                }
            };
            // Whatever it does that no cancel ends is not waited for.
            let _ = tokio::time::timeout(LAST_BREATH, over).await;
            drop(self);
        });
    }
}

/// The first cancel may have come before the statement had begun, or before the next one of a pipeline had.
async fn cancel_again(backend: Rc<Backend>) {
    let mut pause = CANCEL_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        cancel(Rc::clone(&backend)).await;
        pause *= 2;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.count_returned(self.is_closed);
    }
}
