//! One client from its first byte to its last.
//!
//! [`serve`] is a client's whole life: [`startup`] (first packet) → [`login`] (who it is, where it goes) →
//! [`drive`] (frames to and from a server connection, until it leaves) → [`ending`] (what becomes of the server
//! connection). A client's task polls both of its sockets; nothing of it is on another thread.
//!
//! ```text
//!              NeedServer            lease
//!   Idle ───────────────▶ Waiting ─────────▶ Relaying
//!    ▲  ▲   (try_lend: at once)                │  │
//!    │  └──────── ReadyForQuery `I`, clean ────┘  │ server lost
//!    └────────────────────────────────────────────┘
//!   any state ── Terminate, EOF, violation, shutdown ──▶ Ended
//! ```

/// One line for a client that comes or goes: at `info` if the configuration says so, else at `debug`.
macro_rules! log_connection {
    ($context:expr, $($line:tt)+) => {
        if $context.logs_connections.get() {
            tracing::info!($($line)+);
        } else {
            tracing::debug!($($line)+);
        }
    };
}

mod activity;
mod cancel;
mod context;
mod drive;
mod ending;
mod handle;
mod listen;
mod loan;
mod login;
mod orders;
mod pin;
mod replication;
mod report;
mod route;
mod scram;
mod startup;
mod visitor;
mod wait;
mod wire;

use std::rc::Rc;

pub use cancel::{CancelMail, CancelRouter};
pub use context::{Common, Context};
pub use ending::End;
pub use handle::{Registry, SessionHandle, Signal};
pub use orders::Order;
pub use report::{ClientReport, WorkerReport};
pub use visitor::{Rights, Visitor};

use crate::net::{Peer, Stream};
use crate::telemetry::metrics::{Limit, LoginFailure};
use wire::Wire;

/// Serves one client.
pub async fn serve(stream: Stream, peer: Peer, context: Rc<Context>) {
    let limit = context.limits().login_timeout;
    let login = Box::pin(login::login(Wire::new(stream, peer), &context));
    let outcome = tokio::select! {
        biased;
        outcome = tokio::time::timeout(limit, login) => outcome,
        // Nobody waits for who is not in yet. PostgreSQL does not tell them either.
        () = context.drain_begun() => return,
    };
    let session = match outcome {
        Ok(login::Outcome::Session(session)) => session,
        Ok(login::Outcome::Replication(replication)) => return replication.run().await,
        Ok(login::Outcome::Over) => return,
        Err(_elapsed) => {
            context.process.count_limit(Limit::LoginTimeout);
            context.process.count_login_failure(LoginFailure::Timeout);
            tracing::warn!(%peer, ?limit, "login not finished in time (limits.login_timeout)");
            return;
        }
    };
    session.run().await;
}
