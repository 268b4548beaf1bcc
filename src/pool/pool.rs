//! One pool on one worker: idle server connections, clients that wait, dials under way.
//!
//! A connection that comes back goes to the first client in the queue, or on top of the idle stack. A client
//! that finds nothing idle queues; while fewer server connections exist than the pool may have, one is
//! dialled for it. Connections differ by their startup settings ([`Variant`]): a client is only given one of
//! its own variant, and a connection of another variant is closed to make room when it is idle, or when the
//! client in front has waited for [`VARIANT_PATIENCE`].
//!
//! Bounds: `pool.size` (and `pool.reserve`) over all workers ([`Quota`]), `pool.waiters`, `pool.wait_timeout`,
//! `limits.startup_variants`.

mod operate;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dial::{DialError, Dialled, Parameters, dial, next_pause};
use super::exchange::Exchange;
use super::key::{PoolKey, StartupSettings, Target, Variant, is_same};
use super::lease::Lease;
use super::overlay::{Overlay, Overlays};
use super::quota::{Pin, PoolMail, Quota, Slot};
use super::registry::Common;
use super::server::{Alive, Backend, Pulse, ServerConnection, Traveller};
use super::statements::Catalog;
use super::ticket::{Ticket, WaitError, Waiting};
use crate::config::PoolMode;
use crate::ids::WorkerId;
use crate::telemetry::PoolCells;
use crate::telemetry::metrics::{Limit, PoolCounter, PoolHistogram};

/// A client in front waits so long before a busy connection of another variant is closed for it.
const VARIANT_PATIENCE: Duration = Duration::from_millis(100);

/// A pool's part on this worker.
#[derive(Debug)]
pub struct Pool {
    /// Which one.
    pub key: PoolKey,
    /// As whom the client had logged in for which it was made.
    pub(super) login: Box<str>,
    /// What it has counted on this worker.
    pub cells: Rc<PoolCells>,
    target: RefCell<Rc<Target>>,
    /// Of the target's settings: looked at for each request.
    query_timeout: Cell<Option<Duration>>,
    common: Rc<Common>,
    quota: Arc<Quota>,
    catalog: Arc<Catalog>,
    me: Weak<Pool>,
    inner: RefCell<Inner>,
    lent: Cell<usize>,
    /// All of its connections; those that have ended are left out from time to time.
    backends: RefCell<Vec<Weak<Backend>>>,
    /// Nobody is lent a connection, and none is kept: an operator has paused the database.
    is_paused: Cell<bool>,
    /// The configuration has no place for it any more.
    is_retired: Cell<bool>,
    /// Connections made before that are not lent again.
    vacated_at: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "loans are boxes: none is moved or made when it is lent")]
struct Inner {
    /// The one used last is on top.
    idle: Vec<Box<ServerConnection>>,
    waiters: VecDeque<Rc<Ticket>>,
    /// The variants of the dials under way.
    dialing: Vec<Rc<Variant>>,
    variants: Vec<Known>,
    retry: Option<Retry>,
}

/// A variant, and what the server reports for it.
#[derive(Debug)]
struct Known {
    variant: Rc<Variant>,
    parameters: Option<Rc<Parameters>>,
}

/// The last dial failed.
#[derive(Clone, Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
    error: Rc<DialError>,
}

/// How a pool stands on this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Idle server connections.
    pub idle: usize,
    /// Lent ones, those that are being cleaned included.
    pub lent: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// Dials under way.
    pub dialing: usize,
}

impl Pool {
    pub(super) fn new(target: Target, login: &str, common: Rc<Common>) -> Rc<Self> {
        let quota = common.shared.quota(&target.key);
        let catalog = common.shared.catalog(&target.address, &target.dbname);
        let is_paused = common.gates.borrow().is_paused(&target.key.database);
        Rc::new_cyclic(|me| Self {
            key: target.key.clone(),
            login: login.into(),
            cells: Rc::default(),
            query_timeout: Cell::new(target.settings.query_timeout),
            target: RefCell::new(Rc::new(target)),
            common,
            quota,
            catalog,
            me: Weak::clone(me),
            inner: RefCell::default(),
            lent: Cell::new(0),
            backends: RefCell::default(),
            is_paused: Cell::new(is_paused),
            is_retired: Cell::new(false),
            vacated_at: Cell::new(None),
        })
    }

    /// Where it logs in, and its settings.
    pub fn target(&self) -> Rc<Target> {
        Rc::clone(&self.target.borrow())
    }

    /// `pool.query_timeout`.
    #[inline]
    pub fn query_timeout(&self) -> Option<Duration> {
        self.query_timeout.get()
    }

    /// How it stands.
    pub fn counts(&self) -> PoolCounts {
        let inner = self.inner.borrow();
        PoolCounts {
            idle: inner.idle.len(),
            lent: self.lent.get(),
            waiting: inner.waiters.len(),
            dialing: inner.dialing.len(),
        }
    }

    // === Lending ===

    /// The interned variant of these settings.
    pub fn variant(&self, settings: &StartupSettings) -> Rc<Variant> {
        let mut inner = self.inner.borrow_mut();
        if let Some(at) =
            inner.variants.iter().position(|known| known.variant.settings == *settings)
        {
            // Used last, forgotten last.
            let known = inner.variants.remove(at);
            let variant = Rc::clone(&known.variant);
            inner.variants.push(known);
            return variant;
        }
        if inner.variants.len() >= self.common.startup_variants.get() {
            inner.variants.remove(0);
        }
        let variant = Rc::new(Variant {
            settings: settings.clone(),
            overlays: Overlays::new(self.common.statements(Arc::clone(&self.catalog))),
        });
        inner.variants.push(Known { variant: Rc::clone(&variant), parameters: None });
        variant
    }

    /// What the server reported for a variant, if that is known.
    pub fn parameters(&self, variant: &Rc<Variant>) -> Option<Rc<Parameters>> {
        let inner = self.inner.borrow();
        inner.variants.iter().find(|known| is_same(&known.variant, variant))?.parameters.clone()
    }

    /// An idle server connection, if there is one and nobody waits: one that has these settings, if there is one.
    pub fn try_lend(
        &self,
        variant: &Rc<Variant>,
        overlay: &Rc<Overlay>,
        mode: PoolMode,
    ) -> Option<Lease> {
        let mut inner = self.inner.borrow_mut();
        if !inner.waiters.is_empty() || self.is_paused.get() {
            return None;
        }
        let mut server = inner.take_idle(variant, Some(overlay))?;
        server.begin_lease(mode);
        self.cells.count(PoolCounter::Assignments);
        Some(Lease::new(server, self.me.upgrade()?))
    }

    /// Queues for a server connection.
    pub fn wait(&self, variant: &Rc<Variant>) -> Result<Waiting, WaitError> {
        let me = self.me.upgrade().ok_or(WaitError::ShuttingDown)?;
        if self.is_retired.get() {
            return Err(WaitError::ShuttingDown);
        }
        let waiters = self.inner.borrow().waiters.len();
        if waiters >= self.target().settings.waiters {
            self.common.process.count_limit(Limit::Waiters);
            return Err(WaitError::TooManyWaiters { pool: self.key.clone(), waiters });
        }
        let ticket = Rc::new(Ticket::new(Rc::clone(variant)));
        self.inner.borrow_mut().waiters.push_back(Rc::clone(&ticket));
        self.serve();
        Ok(Waiting::new(ticket, me))
    }

    /// Somebody waits no longer.
    pub(super) fn forget(&self, ticket: &Rc<Ticket>) {
        self.inner.borrow_mut().waiters.retain(|waiting| !Rc::ptr_eq(waiting, ticket));
        self.tell_neighbours();
    }

    /// One more client keeps a server connection, if that is within `pool.max_pinned_share`.
    pub fn try_pin(&self) -> Option<Pin> {
        let target = self.target();
        let settings = &target.settings;
        match settings.max_pinned_share {
            100.. => self.quota.pin(usize::MAX),
            share => self.quota.pin((settings.size * share / 100).max(1)),
        }
    }

    /// One more client keeps a server connection.
    pub fn pin(&self) -> Option<Pin> {
        self.quota.pin(usize::MAX)
    }

    // === Taking back ===

    /// Takes back a clean connection.
    pub(super) fn give_back(&self, mut server: Box<ServerConnection>) {
        if self.is_too_old(&server, self.common.now.get()) || !self.is_open() {
            server.say_goodbye();
            drop(server);
            self.slot_freed();
            self.dial_for_waiters();
            return;
        }
        if self.quota.is_anyone_hungry() && self.common.shared.has_neighbours() {
            match self.send_away(server) {
                Some(kept) => server = kept,
                None => return,
            }
        }
        server.idle_since = self.common.now.get();
        let ticket = self.inner.borrow_mut().next_for(&server);
        match ticket {
            Next::Nobody => self.inner.borrow_mut().idle.push(server),
            Next::Ticket(ticket) => {
                self.grant(&ticket, server);
                if self.common.shared.has_neighbours() {
                    self.tell_neighbours();
                }
            }
            Next::OtherVariant => {
                server.say_goodbye();
                drop(server);
                self.serve();
            }
        }
    }

    fn grant(&self, ticket: &Ticket, server: Box<ServerConnection>) {
        let waited = ticket.since.elapsed();
        self.cells.count(PoolCounter::Assignments);
        self.cells.observe(PoolHistogram::Wait, waited);
        if let Some(me) = self.me.upgrade() {
            ticket.grant(Lease::new(server, me));
        }
    }

    /// Whether connections are kept and lent.
    fn is_open(&self) -> bool {
        !self.is_paused.get() && !self.common.is_closing.get()
    }

    pub(super) fn count_lent(&self) {
        self.lent.set(self.lent.get() + 1);
    }

    /// A loan has ended. `is_closed`: so has the connection, and its slot is free.
    pub(super) fn count_returned(&self, is_closed: bool) {
        self.lent.set(self.lent.get().saturating_sub(1));
        if !is_closed {
            return;
        }
        if !self.inner.borrow().waiters.is_empty() {
            self.serve();
        } else if self.quota.is_anyone_hungry() {
            self.slot_freed();
        }
    }

    fn is_too_old(&self, server: &ServerConnection, now: Instant) -> bool {
        let is_gone = self.vacated_at.get().is_some_and(|at| server.born < at);
        is_gone
            || self
                .target
                .borrow()
                .settings
                .max_age
                .is_some_and(|max_age| now.saturating_duration_since(server.born) >= max_age)
    }

    // === Serving those who wait ===

    /// Gives what is idle to those who wait, and dials for the others.
    pub(super) fn serve(&self) {
        loop {
            let pair = self.inner.borrow_mut().match_idle();
            match pair {
                Some((ticket, server)) => self.grant(&ticket, server),
                None => break,
            }
        }
        self.dial_for_waiters();
        self.tell_neighbours();
    }

    fn dial_for_waiters(&self) {
        while self.is_open() {
            let Some(variant) = self.inner.borrow().next_to_dial() else {
                return;
            };
            let now = Instant::now();
            if self.refusal(now).is_some() {
                self.fail_refused(now);
                return;
            }
            let Some(slot) = self.take_slot() else { return };
            self.dial(variant, slot);
        }
    }

    /// The last dial's error, until the next one is due.
    fn refusal(&self, now: Instant) -> Option<Rc<DialError>> {
        let inner = self.inner.borrow();
        let retry = inner.retry.as_ref()?;
        (now < retry.at).then(|| Rc::clone(&retry.error))
    }

    /// Nothing will come back and the server refuses: who has waited for that to end for long enough waits in vain.
    fn fail_refused(&self, now: Instant) {
        if self.is_bare()
            && let Some(error) = self.refusal(now)
        {
            let patience = self.target().settings.retry_for;
            self.fail_waiters(&error, |ticket| {
                now.saturating_duration_since(ticket.since) >= patience
            });
        }
    }

    /// Whether no server connection exists here and none is on its way.
    fn is_bare(&self) -> bool {
        let inner = self.inner.borrow();
        self.lent.get() == 0 && inner.idle.is_empty() && inner.dialing.is_empty()
    }

    /// A place for one more; an idle connection of another variant gives its own up.
    fn take_slot(&self) -> Option<Slot> {
        let target = self.target();
        let settings = &target.settings;
        let front = self.inner.borrow().waiters.front().map(|ticket| ticket.since);
        let is_urgent = front.is_some_and(|since| since.elapsed() >= settings.reserve_after);
        let limit = settings.size + if is_urgent { settings.reserve } else { 0 };
        self.quota.take(limit).or_else(|| {
            let mut inner = self.inner.borrow_mut();
            if inner.idle.is_empty() {
                return None;
            }
            let mut oldest = inner.idle.remove(0);
            oldest.say_goodbye();
            drop(oldest);
            drop(inner);
            self.quota.take(limit)
        })
    }

    fn dial(&self, variant: Rc<Variant>, slot: Slot) {
        let Some(me) = self.me.upgrade() else { return };
        self.inner.borrow_mut().dialing.push(Rc::clone(&variant));
        tokio::task::spawn_local(async move {
            let net = me.common.net.borrow().clone();
            let born = Instant::now();
            let target = me.target();
            let result = dial(&target, &variant.settings, &net).await;
            me.inner.borrow_mut().dial_ended(&variant);
            match result {
                Ok(dialled) => me.dialled(dialled, &target, variant, slot, born),
                Err(error) => {
                    drop(slot);
                    me.dial_failed(&variant, error);
                }
            }
        });
    }

    fn dialled(
        &self,
        dialled: Dialled,
        target: &Target,
        variant: Rc<Variant>,
        slot: Slot,
        born: Instant,
    ) {
        let backend = Rc::new(Backend {
            id: self.common.next_server_id(),
            born,
            local: dialled.stream.tcp().and_then(|stream| stream.local_addr().ok()),
            ..Backend::new(target.address.clone(), dialled.pid, dialled.key)
        });
        tracing::debug!(pool = %self.key, server = %backend.id, pid = dialled.pid,
            "server connection opened");
        self.cells.count(PoolCounter::Opened);
        self.cells.observe(PoolHistogram::Connect, born.elapsed());
        self.add_backend(&backend);
        let parameters = Rc::new(dialled.parameters);
        self.inner.borrow_mut().learn(&variant, &parameters);
        self.give_back(Box::new(ServerConnection {
            stream: dialled.stream,
            exchange: Exchange::counted(Rc::clone(&self.cells)),
            held: Vec::new(),
            alive: Alive::new(Rc::clone(&self.cells), &backend),
            backend,
            actual: Some(Rc::clone(&variant.overlays.base)),
            base_role: Rc::from(dialled.role),
            variant,
            parameters,
            born,
            idle_since: born,
            slot,
        }));
    }

    fn dial_failed(&self, variant: &Rc<Variant>, error: DialError) {
        self.cells.count(PoolCounter::DialFailures);
        tracing::warn!(pool = %self.key, server = %self.target().address,
            "server connection refused: {}", error.summary());
        let error = Rc::new(error);
        if error.is_transient() {
            let before = self.inner.borrow().retry.as_ref().map(|retry| retry.pause);
            let pause = next_pause(before, &self.target());
            let now = Instant::now();
            self.inner.borrow_mut().retry = Some(Retry { at: now + pause, pause, error });
            self.fail_refused(now);
        } else {
            self.fail_waiters(&error, |ticket| is_same(&ticket.variant, variant));
        }
        self.slot_freed();
        self.serve();
    }

    /// Fails some of those who wait.
    fn fail_waiters(&self, error: &Rc<DialError>, is_meant: impl Fn(&Rc<Ticket>) -> bool) {
        let failed: VecDeque<_> = {
            let mut inner = self.inner.borrow_mut();
            let (failed, kept) = std::mem::take(&mut inner.waiters).into_iter().partition(is_meant);
            inner.waiters = kept;
            failed
        };
        for ticket in failed {
            ticket.fail(WaitError::Dial(Rc::clone(error)));
        }
    }

    // === The other workers ===

    /// Says whether a client here waits in vain, and asks for what others have idle.
    fn tell_neighbours(&self) {
        if !self.common.shared.has_neighbours() {
            return;
        }
        let waiting = {
            let inner = self.inner.borrow();
            let unserved = inner.waiters.len() > inner.dialing.len();
            inner
                .waiters
                .front()
                .filter(|_| unserved)
                .map(|ticket| self.common.millis(ticket.since))
        };
        if self.quota.set_waiting(self.common.worker, waiting) {
            self.common.shared.ask(&self.key, self.common.worker);
        }
    }

    /// Sends a connection to the worker whose client has waited longer than all here; gives it back
    /// where there is none.
    fn send_away(&self, mut server: Box<ServerConnection>) -> Option<Box<ServerConnection>> {
        let Some((to, since)) = self.quota.hungriest(self.common.worker) else {
            return Some(server);
        };
        let own =
            self.inner.borrow().waiters.front().map(|ticket| self.common.millis(ticket.since));
        // A little slack, lest two busy workers play ball with their connections.
        if own.is_some_and(|own| own <= since + 5) || server.pulse() == Pulse::Dead {
            return Some(server);
        }
        self.gift(to, server);
        None
    }

    fn gift(&self, to: WorkerId, server: Box<ServerConnection>) {
        match server.depart() {
            Ok(traveller) => {
                let gift = PoolMail::Gift { key: self.key.clone(), traveller: Box::new(traveller) };
                // Unsent, it is closed here.
                drop(self.common.shared.send(to, gift));
            }
            Err(error) => tracing::warn!(%error, "a server connection could not change workers"),
        }
    }

    /// Another worker's client waits.
    pub(super) fn wanted(&self, by: WorkerId) {
        let server = {
            let mut inner = self.inner.borrow_mut();
            if !inner.waiters.is_empty() || inner.idle.is_empty() {
                return;
            }
            inner.idle.remove(0)
        };
        self.gift(by, server);
    }

    /// A connection arrives from another worker.
    pub(super) fn receive(&self, traveller: Traveller) {
        let variant = self.variant(traveller.settings());
        match traveller.arrive(variant, &self.cells) {
            Ok(server) => {
                self.add_backend(&server.backend);
                let parameters = Rc::clone(&server.parameters);
                self.inner.borrow_mut().learn(&server.variant, &parameters);
                self.give_back(server);
            }
            Err(error) => tracing::warn!(%error, "a server connection could not change workers"),
        }
        self.serve();
        if !self.inner.borrow().waiters.is_empty() {
            // Each question brings one: there may be more where it came from.
            self.common.shared.ask(&self.key, self.common.worker);
        }
    }

    /// A place was given up here: if only another worker has use for it, say so there.
    fn slot_freed(&self) {
        if self.inner.borrow().waiters.is_empty()
            && let Some((to, _)) = self.quota.hungriest(self.common.worker)
        {
            drop(self.common.shared.send(to, PoolMail::SlotFree { key: self.key.clone() }));
        }
    }
}

/// Who gets a connection that came back.
enum Next {
    Ticket(Rc<Ticket>),
    /// The client in front has waited long enough for another variant.
    OtherVariant,
    Nobody,
}

impl Inner {
    /// The idle connection of a variant that was used last; dead ones are dropped on the way.
    fn take_idle(
        &mut self,
        variant: &Rc<Variant>,
        overlay: Option<&Rc<Overlay>>,
    ) -> Option<Box<ServerConnection>> {
        loop {
            let is_of_variant = |server: &ServerConnection| is_same(&server.variant, variant);
            let fits = |server: &ServerConnection| {
                is_of_variant(server) && overlay.is_some_and(|overlay| server.has(overlay))
            };
            let idle = &self.idle;
            let at = idle
                .iter()
                .rposition(|server| fits(server))
                .or_else(|| idle.iter().rposition(|server| is_of_variant(server)))?;
            let mut server = self.idle.remove(at);
            match server.pulse() {
                Pulse::Quiet => return Some(server),
                Pulse::Changed => {
                    self.learn(variant, &server.parameters);
                    return Some(server);
                }
                Pulse::Dead => {}
            }
        }
    }

    fn next_for(&mut self, server: &ServerConnection) -> Next {
        let Some(front) = self.waiters.front() else {
            return Next::Nobody;
        };
        let fits = |ticket: &Rc<Ticket>| is_same(&ticket.variant, &server.variant);
        let is_stuck = !fits(front) && !self.is_dialing(&front.variant);
        if is_stuck && front.since.elapsed() >= VARIANT_PATIENCE {
            return Next::OtherVariant;
        }
        match self.waiters.iter().position(fits).and_then(|at| self.waiters.remove(at)) {
            Some(ticket) => Next::Ticket(ticket),
            None => Next::OtherVariant,
        }
    }

    /// The first client that waits and for whom a connection is idle.
    fn match_idle(&mut self) -> Option<(Rc<Ticket>, Box<ServerConnection>)> {
        if self.idle.is_empty() {
            return None;
        }
        for at in 0..self.waiters.len() {
            let variant = Rc::clone(&self.waiters.get(at)?.variant);
            if let Some(server) = self.take_idle(&variant, None) {
                return Some((self.waiters.remove(at)?, server));
            }
        }
        None
    }

    /// The variant of the first client for whom no dial is under way.
    fn next_to_dial(&self) -> Option<Rc<Variant>> {
        let mut dialing = self.dialing.clone();
        let mut is_served = |ticket: &Rc<Ticket>| {
            let dial = dialing.iter().position(|variant| is_same(variant, &ticket.variant));
            dial.map(|at| dialing.swap_remove(at)).is_some()
        };
        let unserved = self.waiters.iter().find(|ticket| !is_served(ticket))?;
        Some(Rc::clone(&unserved.variant))
    }

    fn is_dialing(&self, variant: &Rc<Variant>) -> bool {
        self.dialing.iter().any(|dialing| is_same(dialing, variant))
    }

    fn dial_ended(&mut self, variant: &Rc<Variant>) {
        if let Some(at) = self.dialing.iter().position(|dialing| is_same(dialing, variant)) {
            self.dialing.swap_remove(at);
        }
    }

    fn learn(&mut self, variant: &Rc<Variant>, parameters: &Rc<Parameters>) {
        self.retry = None;
        for known in self.variants.iter_mut().filter(|known| is_same(&known.variant, variant)) {
            known.parameters = Some(Rc::clone(parameters));
        }
    }
}
