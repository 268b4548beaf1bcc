//! The client's loop: both sockets, polled by one task.
//!
//! A poll moves bytes until neither socket has more: reads go into the worker's shared buffer, the relay says
//! what goes on, and that is written from where it lies. Only what a socket does not take at once, and a
//! frame that is not whole, is kept ([`Session::to_client`], [`Session::to_server`], [`Session::inbox`]). A
//! side that does not take its bytes is the bound: the other side is not read until it has.

use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use tokio::time::Instant;

use super::context::Context;
use super::ending::End;
use super::handle::{CancelTarget, Registered, Signal};
use crate::client_state::{ClientState, Definition};
use crate::config::PoolMode;
use crate::net::{CHUNK_BYTES, Stream};
use crate::pool::listen::Subscription;
use crate::pool::{Inquiry, Lease, Overlay, Pin, Pool, Repeat, Variant};
use crate::protocol::{FrameError, LocalError, SqlState, TransactionStatus, writer};
use crate::strategy::relay::{
    Farewell, ServerFault, Splice, Stop, from_client, from_server, server_lost,
};
use crate::telemetry::metrics::{Limit, PoolCounter};

/// After so many steps the other clients of the worker have their turn.
const STEPS_MAX: usize = 32;

/// Local answers that wait for the client before it is read no further.
const LOCAL_ANSWERS_MAX: usize = 4 * CHUNK_BYTES;

/// One logged-in client.
pub(super) struct Session {
    pub(super) context: Rc<Context>,
    pub(super) handle: Registered,
    pub(super) stream: Stream,
    pub(super) state: ClientState,
    pub(super) pool: Rc<Pool>,
    pub(super) variant: Rc<Variant>,
    /// What the client has set on top of it.
    pub(super) overlay: Rc<Overlay>,
    pub(super) lease: Option<Lease>,
    /// Whether anything was sent on the lease.
    pub(super) is_lease_used: bool,
    /// From the client, not dealt with yet.
    pub(super) inbox: Vec<u8>,
    /// The inbox may be dealt with now: nothing has to arrive first.
    pub(super) is_inbox_ready: bool,
    /// For the client, not taken by its socket yet.
    pub(super) to_client: Vec<u8>,
    /// For the server, not taken by its socket yet.
    pub(super) to_server: Vec<u8>,
    /// For the server, in front of the client's first message on this lease.
    pub(super) preface: Vec<u8>,
    pub(super) input: Input,
    /// Counts the client while it keeps its server connection.
    pub(super) pin: Option<Pin>,
    pub(super) pin_wanted_since: Option<Instant>,
    /// What the request under way says, if it may have to be logged.
    pub(super) text: Option<Box<[u8]>>,
    /// What the client listens to by way of the shared listener.
    pub(super) subscription: Option<Box<Subscription>>,
    /// What the server has said and what waits for the shared listener may be dealt with now.
    pub(super) is_server_heard: bool,
}

/// Whether more comes from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Open,
    /// It has closed its side; it may still read.
    Ended,
    /// It has said Terminate.
    Terminated,
    /// What came last is not the protocol; what it asked before is still answered.
    Broken(FrameError),
}

/// Why a poll came to an end.
#[derive(Debug)]
pub(super) enum Turn {
    /// A request waits in the inbox, and no server connection is idle.
    NeedServer,
    /// The session is over.
    End(End),
}

/// Whether a step moved anything.
type Flow = ControlFlow<Turn, bool>;

impl Session {
    pub(super) fn new(
        context: Rc<Context>,
        handle: Registered,
        stream: Stream,
        inbox: Vec<u8>,
        state: ClientState,
        pool: Rc<Pool>,
        variant: Rc<Variant>,
    ) -> Self {
        let overlay = variant.overlays.get(&state.session.settings);
        Self {
            context,
            handle,
            stream,
            state,
            pool,
            overlay,
            variant,
            lease: None,
            is_lease_used: false,
            is_inbox_ready: !inbox.is_empty(),
            inbox,
            to_client: Vec::new(),
            to_server: Vec::new(),
            preface: Vec::new(),
            input: Input::Open,
            pin: None,
            pin_wanted_since: None,
            text: None,
            subscription: None,
            is_server_heard: false,
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn run(mut self: Box<Self>) {
        loop {
            let turn = std::future::poll_fn(|cx| self.poll(cx)).await;
            let end = match turn {
                Turn::End(end) => end,
                Turn::NeedServer => match self.wait_for_server().await {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(end) => end,
                },
            };
            return self.end(end).await;
        }
    }

    /// Moves what can be moved. Cancel safe: everything is in `self`.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Turn> {
        self.handle.watch(cx.waker());
        if let Some(subscription) = &self.subscription {
            subscription.watch(cx.waker());
        }
        for _ in 0..STEPS_MAX {
            match self.step(cx) {
                ControlFlow::Continue(true) => {}
                ControlFlow::Continue(false) => return Poll::Pending,
                ControlFlow::Break(turn) => return Poll::Ready(turn),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn step(&mut self, cx: &mut TaskContext<'_>) -> Flow {
        self.obey()?;
        let heard = self.hear()?;
        let flushed = self.flush_to_client(cx)?;
        let answered = self.pump_server(cx)?;
        let asked = self.pump_client(cx)?;
        // The usual end of a transaction: the server connection is gone, and the client has not spoken yet.
        let is_over =
            self.lease.is_none() && self.to_client.is_empty() && self.subscription.is_none();
        ControlFlow::Continue(heard || flushed || asked || (answered && !is_over))
    }

    /// Does what the session was told from outside.
    fn obey(&mut self) -> ControlFlow<Turn> {
        let Some(signal) = self.handle.take_signal() else {
            return ControlFlow::Continue(());
        };
        match signal {
            Signal::Drain => self.leave_if_draining(),
            Signal::IdleInTransaction => self.end_idle_transaction(),
            Signal::Unanswered => self.give_up_server(),
            Signal::Retry => {
                self.is_inbox_ready |= !self.inbox.is_empty();
                ControlFlow::Continue(())
            }
            Signal::Cut => ControlFlow::Break(Turn::End(End::ShuttingDown)),
            Signal::Kill => ControlFlow::Break(Turn::End(End::Killed)),
            Signal::Probe => {
                self.probe();
                ControlFlow::Continue(())
            }
        }
    }

    pub(super) fn leave_if_draining(&self) -> ControlFlow<Turn> {
        let is_busy = self.lease.as_ref().is_some_and(|lease| !lease.server.is_idle());
        if is_busy || !self.inbox.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.context.is_draining.get() {
            return ControlFlow::Break(Turn::End(End::ShuttingDown));
        }
        if self.handle.leaves.get() {
            return ControlFlow::Break(Turn::End(End::Reconfigured));
        }
        ControlFlow::Continue(())
    }

    fn end_idle_transaction(&self) -> ControlFlow<Turn> {
        // It may have gone on since the sweep.
        match self.handle.idle_in_transaction_since.get() {
            Some(_) => ControlFlow::Break(Turn::End(End::IdleInTransaction)),
            None => ControlFlow::Continue(()),
        }
    }

    /// The server says nothing: what runs is cancelled, if anybody hears that.
    fn give_up_server(&mut self) -> ControlFlow<Turn> {
        // It may have spoken since the sweep, or isn't listened to while the client doesn't read.
        let is_due =
            self.handle.answer_due_at.get().is_some_and(|due| due <= self.context.now.get());
        let is_heard = self.to_client.is_empty() && !self.state.session.channels.is_hearing();
        let limit = self.pool.query_timeout().filter(|_| is_due);
        let Some(limit) = limit.filter(|_| is_heard) else {
            self.expect_answer();
            return ControlFlow::Continue(());
        };
        self.context.process.count_limit(Limit::QueryTimeout);
        let why = format!("no answer within {limit:?} (pool.query_timeout)");
        self.lose_server(&why, Lease::abandon).map_continue(|_| ())
    }

    /// Says something harmless to a client that has closed its sending side: one that still reads ignores
    /// it, one that is gone answers with a reset, which ends the session.
    pub(super) fn probe(&mut self) {
        if self.is_mid_server_frame() || !self.to_client.is_empty() {
            return;
        }
        let parameters = self.pool.parameters(&self.variant);
        if let Some((name, value)) = parameters.as_deref().and_then(|parameters| parameters.first())
        {
            writer::parameter_status(&mut self.to_client, name, value);
        }
    }

    // === To the client ===

    #[inline]
    pub(super) fn flush_to_client(&mut self, cx: &mut TaskContext<'_>) -> Flow {
        if self.to_client.is_empty() {
            return ControlFlow::Continue(false);
        }
        self.flush_rest_to_client(cx)
    }

    fn flush_rest_to_client(&mut self, cx: &mut TaskContext<'_>) -> Flow {
        let mut moved = false;
        while !self.to_client.is_empty() {
            match self.stream.poll_send(cx, &self.to_client) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    self.pool.cells.add(PoolCounter::Sent, bytes as u64);
                    self.to_client.drain(..bytes);
                    moved = true;
                }
                Poll::Ready(result) => return gone(result.err()),
                Poll::Pending => return ControlFlow::Continue(moved),
            }
        }
        if moved {
            // An idle client holds no buffer.
            self.to_client = Vec::new();
            self.client_has_read();
        }
        ControlFlow::Continue(moved)
    }

    /// Writes what the socket takes; the rest waits.
    fn send_to_client(&mut self, cx: &mut TaskContext<'_>, bytes: &[u8]) -> ControlFlow<Turn> {
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        let sent = match self.stream.poll_send(cx, bytes) {
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(error)) => return gone(Some(error)).map_continue(|_| ()),
            Poll::Pending => 0,
        };
        self.pool.cells.add(PoolCounter::Sent, sent as u64);
        if sent < bytes.len() {
            self.client_does_not_read();
        }
        self.to_client.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        ControlFlow::Continue(())
    }

    // === From the server ===

    fn pump_server(&mut self, cx: &mut TaskContext<'_>) -> Flow {
        let Some(lease) = &mut self.lease else {
            return ControlFlow::Continue(false);
        };
        let mut moved = false;
        if !self.to_server.is_empty() {
            match lease.server.stream.poll_send(cx, &self.to_server) {
                Poll::Ready(Ok(bytes)) => {
                    self.to_server.drain(..bytes);
                    moved = true;
                }
                // What the server said before it closed is still to be read: that tells more.
                Poll::Ready(Err(_)) => self.to_server.clear(),
                Poll::Pending => {}
            }
        }
        if !self.to_client.is_empty() {
            return ControlFlow::Continue(moved);
        }
        if self.is_server_heard {
            let held = std::mem::take(&mut lease.server.held);
            return self.on_server_chunk(cx, &held).map_continue(|()| true);
        }
        if self.state.session.channels.is_hearing() || lease.server.stream.is_awaited(cx) {
            return ControlFlow::Continue(moved);
        }
        let held = std::mem::take(&mut lease.server.held);
        let mut scratch = self.context.take_scratch();
        scratch.resize(held.len() + CHUNK_BYTES, 0);
        if let Some(front) = scratch.get_mut(..held.len()) {
            front.copy_from_slice(&held);
        }
        let room = scratch.get_mut(held.len()..).unwrap_or_default();
        let flow = match lease.server.stream.poll_receive(cx, room) {
            Poll::Pending => {
                lease.server.held = held;
                ControlFlow::Continue(moved)
            }
            Poll::Ready(Ok(0)) => self.lose_server("it closed the connection", drop),
            Poll::Ready(Err(error)) => self.lose_server(&error.to_string(), drop),
            Poll::Ready(Ok(bytes)) => {
                let chunk = scratch.get(..held.len() + bytes).unwrap_or_default();
                self.on_server_chunk(cx, chunk).map_continue(|()| true)
            }
        };
        self.context.put_scratch(scratch);
        flow
    }

    fn on_server_chunk(&mut self, cx: &mut TaskContext<'_>, chunk: &[u8]) -> ControlFlow<Turn> {
        let Some(lease) = &mut self.lease else {
            return ControlFlow::Continue(());
        };
        let mut splice = Splice::new(chunk);
        let taken = from_server(&mut self.state, &mut lease.server.exchange, chunk, &mut splice);
        let taken = match taken {
            Ok(taken) => taken,
            Err(ServerFault::NotApplied { code, message }) => {
                return ControlFlow::Break(Turn::End(End::NotApplied { code, message }));
            }
            Err(fault) => {
                tracing::error!(pool = %self.pool.key, server_pid = lease.server.backend.pid,
                    %fault, "out of step with the server: its connection is closed");
                return self.lose_server(&fault.to_string(), drop).map_continue(|_| ());
            }
        };
        let rest = chunk.get(taken..).unwrap_or_default();
        lease.server.held.extend_from_slice(rest);
        let ready = lease.server.exchange.ready.take();
        if std::mem::take(&mut lease.server.exchange.findings.has_new_catalog) {
            self.overlay.statements.catalog_changed();
        }
        if std::mem::take(&mut lease.server.exchange.findings.is_read_only)
            && lease.server.is_standby()
        {
            self.pool.distrust();
        }
        let is_clean = lease.server.exchange.ledger.is_clean();
        let repeat = lease.server.exchange.attempt.take_repeat_if(is_clean);
        let is_settled = ready.is_some() && lease.server.exchange.is_settled();
        if std::mem::take(&mut self.is_server_heard) {
            // A ReadyForQuery comes first.
            let notifications = self.notifications();
            splice.insert_in_front(&notifications);
        }
        self.send_to_client(cx, splice.bytes())?;
        self.ask_what_was_sent();
        if let Some(lease) = &self.lease
            && (lease.server.actual.is_none()
                || !matches!(lease.server.exchange.inquiry, Inquiry::None))
        {
            self.take_answers();
        }
        self.repeat(repeat);
        // The ledger may have room again.
        self.is_inbox_ready |= !self.inbox.is_empty();
        if let Some(status) = ready {
            self.request_ended(status, is_settled);
        }
        match ready {
            Some(TransactionStatus::Idle) | None => {}
            Some(_) if self.state.mode == PoolMode::Statement => {
                return ControlFlow::Break(Turn::End(End::TransactionBlock));
            }
            Some(_) if is_settled => {
                self.handle.idle_in_transaction_since.set(Some(self.context.now.get()));
            }
            Some(_) => {}
        }
        self.release_if_clean();
        self.expect_answer();
        self.leave_if_draining()
    }

    /// A group that has done nothing comes again, in front of whatever the client has sent since.
    fn repeat(&mut self, repeat: Option<Repeat>) {
        let Some(Repeat { mut frames, renewed }) = repeat else { return };
        if let Some(name) = renewed
            && let Some(Definition::Shared(statement)) = self.state.names.get(name.bytes())
            && let Some(statement) = self.overlay.statements.renew(&statement)
        {
            self.state.names.define(&name, Definition::Shared(statement));
        }
        frames.append(&mut self.inbox);
        self.inbox = frames;
    }

    /// `part` is what becomes of the connection.
    fn lose_server(&mut self, why: &str, part: impl FnOnce(Lease)) -> Flow {
        let Some(mut lease) = self.lease.take() else {
            return ControlFlow::Continue(true);
        };
        let repeat = lease.server.exchange.attempt.take_repeat_if(true);
        self.is_server_heard = false;
        self.forget_pin();
        self.forget_request();
        self.pool.cells.count(PoolCounter::Lost);
        self.handle.target.replace(CancelTarget::Nothing);
        self.handle.idle_in_transaction_since.set(None);
        self.to_server.clear();
        tracing::warn!(pool = %self.pool.key, server_pid = lease.server.backend.pid, why,
            "server connection lost");
        self.handle.answer_due_at.set(None);
        let farewell = server_lost(&mut self.state, &lease.server.exchange, why);
        part(lease);
        match farewell {
            Farewell::Stay(told) => {
                self.to_client.extend_from_slice(&told);
                self.repeat(repeat);
                self.is_inbox_ready |= !self.inbox.is_empty();
                ControlFlow::Continue(true)
            }
            Farewell::Leave(told) => {
                self.to_client.extend_from_slice(&told);
                ControlFlow::Break(Turn::End(End::ServerLost))
            }
        }
    }

    // === From the client ===

    fn pump_client(&mut self, cx: &mut TaskContext<'_>) -> Flow {
        if !self.to_server.is_empty() || self.to_client.len() > LOCAL_ANSWERS_MAX {
            return ControlFlow::Continue(false);
        }
        if std::mem::take(&mut self.is_inbox_ready) {
            return self.use_inbox(cx).map_continue(|()| true);
        }
        match self.input {
            Input::Open => {}
            Input::Ended | Input::Terminated | Input::Broken(_) => return self.leave_if_answered(),
        }
        if self.inbox.len() > self.inbox_max() || self.stream.is_awaited(cx) {
            return ControlFlow::Continue(false);
        }
        let mut scratch = self.context.take_scratch();
        let flow = match self.stream.poll_receive(cx, &mut scratch) {
            Poll::Pending => ControlFlow::Continue(false),
            Poll::Ready(Ok(0)) => {
                self.input_ended();
                ControlFlow::Continue(true)
            }
            Poll::Ready(Err(error)) => gone(Some(error)),
            Poll::Ready(Ok(bytes)) => {
                self.pool.cells.add(PoolCounter::Received, bytes as u64);
                let chunk = scratch.get(..bytes).unwrap_or_default();
                self.on_client_bytes(cx, chunk).map_continue(|()| true)
            }
        };
        self.context.put_scratch(scratch);
        flow
    }

    /// The longest frame that is held, and one chunk more.
    pub(super) fn inbox_max(&self) -> usize {
        self.context.limits().statement_bytes + CHUNK_BYTES
    }

    pub(super) fn input_ended(&mut self) {
        self.input = Input::Ended;
        self.handle.input_ended_at.set(Some(self.context.now.get()));
    }

    fn on_client_bytes(&mut self, cx: &mut TaskContext<'_>, chunk: &[u8]) -> ControlFlow<Turn> {
        if !self.inbox.is_empty() {
            self.inbox.extend_from_slice(chunk);
            return self.use_inbox(cx);
        }
        let (taken, flow) = self.on_client_chunk(cx, chunk);
        self.inbox.extend_from_slice(chunk.get(taken..).unwrap_or_default());
        flow
    }

    fn use_inbox(&mut self, cx: &mut TaskContext<'_>) -> ControlFlow<Turn> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let (taken, flow) = self.on_client_chunk(cx, &inbox);
        if taken < inbox.len() {
            inbox.drain(..taken);
            self.inbox = inbox;
        }
        flow
    }

    /// Deals with as much of a chunk as can be dealt with; how much that is.
    fn on_client_chunk(
        &mut self,
        cx: &mut TaskContext<'_>,
        chunk: &[u8],
    ) -> (usize, ControlFlow<Turn>) {
        let mut at = 0;
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let mut splice = Splice::new(rest);
            if !self.preface.is_empty() {
                splice.insert(&std::mem::take(&mut self.preface));
            }
            let taken = from_client(
                &mut self.state,
                self.lease.as_mut().map(|lease| &mut lease.server.exchange),
                &self.context.limits(),
                &self.overlay.statements,
                rest,
                &mut splice,
                &mut self.to_client,
            );
            if self.context.slow.get().is_some() {
                self.note_text(rest);
            }
            if !self.send_to_server(cx, splice.bytes()) {
                // Found dead before a byte had left: the next one, from the same place in the chunk.
                self.lease = None;
                self.state.nothing_was_sent();
                continue;
            }
            at += taken.bytes;
            self.vacate();
            let flow = match taken.stop {
                Stop::NeedPin if self.ask_to_pin() => continue,
                Stop::More | Stop::Full | Stop::NeedPin => ControlFlow::Continue(()),
                Stop::NeedListener => {
                    self.want_channels();
                    if let Some(subscription) = &self.subscription {
                        subscription.watch(cx.waker());
                    }
                    ControlFlow::Continue(())
                }
                // Nothing counts after these.
                Stop::Terminate => return (chunk.len(), self.read_no_more(Input::Terminated)),
                Stop::Violation(fault) => {
                    return (chunk.len(), self.read_no_more(Input::Broken(fault)));
                }
                Stop::NeedServer => match self.try_lend() {
                    Some(lease) => {
                        self.hold(lease);
                        continue;
                    }
                    None => ControlFlow::Break(Turn::NeedServer),
                },
            };
            return (at, flow);
        }
    }

    /// Idle connections of the pools are no reason for PostgreSQL to refuse a statement: it waits until they are closed.
    #[inline]
    fn vacate(&mut self) {
        if let Some(lease) = &mut self.lease
            && let Some(dbname) = lease.server.exchange.findings.vacates.take()
        {
            self.pool.vacate(&String::from_utf8_lossy(&dbname));
        }
    }

    fn read_no_more(&mut self, input: Input) -> ControlFlow<Turn> {
        self.input = input;
        ControlFlow::Continue(())
    }

    /// Writes what the socket takes; the rest waits. `false`: the connection was dead all along.
    fn send_to_server(&mut self, cx: &mut TaskContext<'_>, bytes: &[u8]) -> bool {
        let Some(lease) = self.lease.as_mut().filter(|_| !bytes.is_empty()) else {
            return true;
        };
        let sent = match lease.server.stream.poll_send(cx, bytes) {
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(_)) if !self.is_lease_used => return false,
            // The server's last words are still to be read: they tell more.
            Poll::Ready(Err(_)) => bytes.len(),
            Poll::Pending => 0,
        };
        self.is_lease_used = true;
        self.request_began();
        self.handle.idle_in_transaction_since.set(None);
        self.expect_answer();
        self.to_server.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        true
    }

    /// Something is under way, or was answered: from now on the server has `pool.query_timeout` for the next word.
    #[inline]
    fn expect_answer(&self) {
        if let Some(limit) = self.pool.query_timeout() {
            let is_owed = self.lease.as_ref().is_some_and(|lease| {
                let ledger = &lease.server.exchange.ledger;
                (ledger.is_answer_coming() && !ledger.is_copy_in()) || !self.to_server.is_empty()
            });
            self.handle.answer_due_at.set(is_owed.then(|| self.context.now.get() + limit));
        }
    }

    /// Whether all that was meant for the server has left.
    pub(super) fn is_server_up_to_date(&self) -> bool {
        self.to_server.is_empty()
    }

    /// The client sends no more: it leaves when all that it asked for is answered. Replies that only a
    /// Sync would bring never come, nor does the end of a copy.
    fn leave_if_answered(&mut self) -> Flow {
        let is_owed = self.lease.as_ref().is_some_and(|lease| {
            let ledger = &lease.server.exchange.ledger;
            ledger.is_answer_coming() && !ledger.is_copy_in()
        });
        let is_waiting = self.awaits_listener() || self.pin_wanted_since.is_some();
        if is_owed || !self.to_client.is_empty() || is_waiting {
            return ControlFlow::Continue(false);
        }
        ControlFlow::Break(Turn::End(match self.input {
            Input::Terminated => End::Terminated,
            Input::Broken(fault) => End::Violation(fault),
            Input::Open | Input::Ended => End::Closed,
        }))
    }
}

/// The client's socket has failed.
fn gone(error: Option<io::Error>) -> Flow {
    let error = error.unwrap_or_else(|| io::ErrorKind::WriteZero.into());
    ControlFlow::Break(Turn::End(End::Gone(error)))
}

/// What a client is told that ran into a limit of the mode.
pub(super) fn transaction_block_refused() -> LocalError {
    LocalError::fatal(
        SqlState::FEATURE_NOT_SUPPORTED,
        "transaction blocks not allowed in statement pooling mode",
    )
    .hint("Use pool mode \"transaction\" or \"session\" for this database or user.")
}
