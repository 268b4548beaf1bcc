//! Replication connections (`replication=` at startup: pg_basebackup, pg_receivewal, Debezium).
//!
//! A walsender speaks COPY in both directions for hours; nothing of it can be pooled. The client gets a
//! server connection of its own for life, outside of the pool's size, and bytes are copied both ways.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::context::Context;
use super::handle::{CancelTarget, Registered, Signal};
use super::login::greet;
use super::wire::Wire;
use crate::net::Stream;
use crate::pool::dial::dial;
use crate::pool::{Backend, DialError, Target};
use crate::protocol::startup::SessionRequest;

/// A server connection for a walsender's client.
pub(super) struct Begun {
    handle: Registered,
    server: Stream,
}

/// Logs in on the server with the client's own parameters and appends its greeting.
pub(super) async fn begin(
    context: &Rc<Context>,
    handle: Registered,
    target: &Target,
    request: &SessionRequest,
    out: &mut Vec<u8>,
) -> Result<Begun, DialError> {
    let mut settings = request.settings.clone();
    settings.extend(request.replication.clone().map(|value| (b"replication".to_vec(), value)));
    let dialled = dial(target, &settings, &context.config().net).await?;
    let backend = Backend::new(target.address.clone(), dialled.pid, dialled.key);
    handle.target.replace(CancelTarget::Running(Rc::new(backend)));
    greet(out, &handle, &dialled.parameters);
    Ok(Begun { handle, server: dialled.stream })
}

/// A walsender's client and its server connection.
pub(super) struct Replication {
    handle: Registered,
    client: Stream,
    read_ahead: Vec<u8>,
    server: Stream,
}

impl Replication {
    pub(super) fn new(begun: Begun, wire: Wire) -> Self {
        Self {
            handle: begun.handle,
            client: wire.stream,
            read_ahead: wire.received,
            server: begun.server,
        }
    }

    /// Copies until either side closes. There are no transactions here that a drain could wait for; only
    /// its end is heard.
    pub(super) async fn run(mut self: Box<Self>) {
        if self.server.write_all(&self.read_ahead).await.is_err() {
            return;
        }
        let cut = poll_fn(|cx| {
            self.handle.watch(cx.waker());
            match self.handle.take_signal() {
                Some(Signal::Cut | Signal::Kill) => Poll::Ready(()),
                Some(
                    Signal::Drain
                    | Signal::Probe
                    | Signal::Retry
                    | Signal::IdleInTransaction
                    | Signal::Unanswered,
                )
                | None => Poll::Pending,
            }
        });
        tokio::select! {
            result = copy_bidirectional(&mut self.client, &mut self.server) => {
                tracing::debug!(?result, "replication client left");
            }
            () = cut => tracing::debug!("replication client cut off"),
        }
    }
}
