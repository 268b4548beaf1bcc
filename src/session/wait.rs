//! Waiting in the pool's queue, with an eye on the client.

use std::ops::ControlFlow;
use std::task::{Context as TaskContext, Poll};

use super::drive::{Input, Session, Turn};
use super::ending::End;
use super::handle::{CancelTarget, Signal};
use crate::client_state::Body;
use crate::pool::{Lease, WaitError, Waiting};
use crate::protocol::frame::client_header;
use crate::protocol::{TransactionStatus, writer};
use crate::telemetry::metrics::PoolCounter;

use tokio::time::Instant;

impl Session {
    /// Queues for the request in the inbox; on an error the request is answered with it and the session
    /// goes on.
    pub(super) async fn wait_for_server(&mut self) -> ControlFlow<End> {
        let result = match self.pool.wait(&self.variant) {
            Ok(mut waiting) => {
                self.handle.activity.waiting_since.set(Some(Instant::now()));
                let canceller = waiting.canceller();
                self.handle.target.replace(CancelTarget::Waiting(canceller));
                let result = std::future::poll_fn(|cx| self.poll_waiting(cx, &mut waiting)).await;
                self.handle.target.replace(CancelTarget::Nothing);
                self.waited();
                result?
            }
            Err(error) => Err(error),
        };
        self.is_inbox_ready = true;
        match result {
            Ok(mut lease) => {
                lease.server.begin_lease(self.state.mode);
                self.hold(lease);
            }
            Err(error) => {
                tracing::debug!(pool = %self.pool.key, %error, "no server connection");
                self.answer_with(&error);
                if error.ends_session() {
                    return ControlFlow::Break(End::Told);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Polls the queue, and the client: it may leave, or send more.
    fn poll_waiting(
        &mut self,
        cx: &mut TaskContext<'_>,
        waiting: &mut Waiting,
    ) -> Poll<ControlFlow<End, Result<Lease, WaitError>>> {
        self.handle.watch(cx.waker());
        if let Poll::Ready(result) = waiting.poll(cx) {
            return Poll::Ready(ControlFlow::Continue(result));
        }
        match self.handle.take_signal() {
            Some(Signal::Probe) => self.probe(),
            Some(Signal::Kill) => return Poll::Ready(ControlFlow::Break(End::Killed)),
            // The pool tells those who wait that the proxy shuts down; the others are looked at when the wait is over.
            Some(
                Signal::Cut
                | Signal::Drain
                | Signal::IdleInTransaction
                | Signal::Retry
                | Signal::Unanswered,
            )
            | None => {}
        }
        if let ControlFlow::Break(Turn::End(end)) = self.flush_to_client(cx) {
            return Poll::Ready(ControlFlow::Break(end));
        }
        if let ControlFlow::Break(end) = self.read_ahead(cx) {
            return Poll::Ready(ControlFlow::Break(end));
        }
        Poll::Pending
    }

    fn read_ahead(&mut self, cx: &mut TaskContext<'_>) -> ControlFlow<End> {
        let mut scratch = self.context.take_scratch();
        let mut flow = ControlFlow::Continue(());
        while self.input == Input::Open && self.inbox.len() < self.inbox_max() {
            match self.stream.poll_receive(cx, &mut scratch) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.input_ended(),
                Poll::Ready(Ok(bytes)) => {
                    self.pool.cells.add(PoolCounter::Received, bytes as u64);
                    self.inbox.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                }
                Poll::Ready(Err(error)) => {
                    flow = ControlFlow::Break(End::Gone(error));
                    break;
                }
            }
        }
        self.context.put_scratch(scratch);
        flow
    }

    /// Answers the request in front of the inbox with an error, as PostgreSQL would: a query is over with
    /// it, an extended batch is skipped up to its Sync.
    fn answer_with(&mut self, error: &WaitError) {
        self.to_client.extend_from_slice(&error.to_frame(error.ends_session()));
        if error.ends_session() {
            return;
        }
        let Ok(Some(header)) = client_header(&self.inbox) else {
            return;
        };
        if matches!(header.tag, b'Q' | b'F') {
            self.state.body = Body::rest(false, header.bytes);
            writer::ready_for_query(&mut self.to_client, TransactionStatus::Idle);
        } else {
            self.state.skip_to_sync = true;
        }
    }
}
