//! One listener connection, for all workers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::connection::{Connection, Purpose, Said};
use super::{Channel, HubKey, Notification};
use crate::config::{LostListener, Net};
use crate::ids::WorkerId;
use crate::pool::dial::{dial, next_pause};
use crate::pool::key::Target;
use crate::protocol::writer::quoted;

/// A hub that nobody needs ends after so long.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);

/// PostgreSQL waits so long for others to leave a database.
const VACATED_FOR: Duration = Duration::from_secs(5);

/// A server that has nothing to say is asked this often whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Deadlines are kept to this precision.
const TICK: Duration = Duration::from_millis(500);

/// All hubs of the process, and the way from them to the workers.
#[derive(Debug)]
pub struct SharedHubs {
    orders: Mutex<HashMap<Arc<HubKey>, UnboundedSender<Order>>>,
    mailboxes: Vec<UnboundedSender<HubMail>>,
}

/// From a worker to a hub.
#[derive(Debug)]
pub(super) enum Order {
    /// Listen on this channel, for one more worker; `target` is a way to log in. The ticket comes back with the answer.
    Listen { channel: Channel, by: WorkerId, ticket: u64, target: Box<Target> },
    /// One worker less.
    Unlisten { channel: Channel, by: WorkerId },
    /// Say when all that was sent before has been told.
    Ping { by: WorkerId },
    /// End, unless somebody listens.
    Vacate,
}

/// From a hub to a worker.
#[derive(Debug)]
pub struct HubMail {
    pub(super) key: Arc<HubKey>,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// The hub listens on a channel, or can't: the answer to the worker's order with this ticket.
    Listening { channel: Channel, ticket: u64, is_granted: bool },
    /// In PostgreSQL's order.
    Notified(Vec<Notification>),
    /// The answer to the oldest ping.
    Pong,
    /// Notifications may have been lost, and whoever listens is to know.
    Lost,
}

impl SharedHubs {
    /// For workers that read these mailboxes.
    pub fn new(mailboxes: Vec<UnboundedSender<HubMail>>) -> Self {
        Self { orders: Mutex::default(), mailboxes }
    }

    /// Gives an order; a hub that isn't there begins on this worker.
    pub(super) fn order(self: &Arc<Self>, key: &Arc<HubKey>, order: Order, net: &Arc<Net>) {
        let mut hubs = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match hubs.get(key) {
            Some(hub) => match hub.send(order) {
                Ok(()) => return,
                // Its worker has ended.
                Err(unsent) => unsent.0,
            },
            None => order,
        };
        let target = match &order {
            Order::Listen { target, .. } => target,
            // There is nothing to end, nor to tell.
            Order::Unlisten { .. } | Order::Vacate => return,
            Order::Ping { by } => return self.tell(*by, key, News::Pong),
        };
        let (sender, orders) = unbounded_channel();
        let hub = Hub {
            key: Arc::clone(key),
            shared: Arc::clone(self),
            net: Arc::clone(net),
            target: Target::clone(target),
            orders,
            channels: BTreeMap::new(),
            asked: 0,
            lost_at: None,
            vacated_at: None,
        };
        // It can't fail: the receiver is at hand.
        let _ = sender.send(order);
        hubs.insert(Arc::clone(key), sender);
        tokio::task::spawn_local(hub.run());
    }

    fn tell(&self, worker: WorkerId, key: &Arc<HubKey>, news: News) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(worker.0)) {
            // A worker that has ended needs no news.
            let _ = mailbox.send(HubMail { key: Arc::clone(key), news });
        }
    }
}

/// A hub, without its connection.
struct Hub {
    key: Arc<HubKey>,
    shared: Arc<SharedHubs>,
    net: Arc<Net>,
    /// How to log in.
    target: Target,
    orders: UnboundedReceiver<Order>,
    channels: BTreeMap<Channel, Audience>,
    /// LISTENs so far.
    asked: u64,
    /// Since when notifications may be lost.
    lost_at: Option<Instant>,
    /// When somebody wanted nobody to be connected to the database.
    vacated_at: Option<Instant>,
}

/// Who wants a channel.
#[derive(Default)]
struct Audience {
    /// With the tickets of their orders.
    workers: BTreeMap<WorkerId, u64>,
    /// Those of them that wait for the answer.
    waiting: Vec<WorkerId>,
    standing: Standing,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// The server hasn't been asked on this connection.
    #[default]
    Unasked,
    /// By the LISTEN of this number.
    Asked(u64),
    Listening,
}

/// Why a connection is given up.
enum Parting {
    /// Nobody needs it.
    Idle,
    Lost(String),
}

impl Hub {
    async fn run(mut self) {
        let mut pause = None;
        loop {
            let settings = [
                (b"client_encoding".to_vec(), self.key.encoding.clone()),
                (b"application_name".to_vec(), b"pgsteward listener".to_vec()),
            ];
            match dial(&self.target, &settings, &self.net).await {
                Ok(dialled) => {
                    pause = None;
                    match self.serve(Connection::new(dialled.stream)).await {
                        Parting::Idle => {}
                        Parting::Lost(why) => self.connection_lost(&why),
                    }
                }
                Err(error) => {
                    tracing::warn!(hub = %self.key, "listener connection refused: {}", error.summary());
                    let next = next_pause(pause, &self.target);
                    self.refuse_for(next).await;
                    pause = Some(next);
                }
            }
            if self.channels.is_empty() && self.retire() {
                return;
            }
        }
    }

    /// Ends, unless somebody has just given an order.
    fn retire(&self) -> bool {
        let mut hubs = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.orders.is_empty() {
            return false;
        }
        hubs.remove(&self.key);
        true
    }

    /// The server refuses: so does the hub, for this time.
    async fn refuse_for(&mut self, pause: Duration) {
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                Some(order) = self.orders.recv() => self.obey(order, None),
                () = &mut over => return,
            }
        }
    }

    fn connection_lost(&mut self, why: &str) {
        tracing::warn!(hub = %self.key, channels = self.channels.len(), why,
            "listener connection lost: nobody is told what is sent until there is another one");
        self.lost_at = Some(Instant::now());
        self.channels = std::mem::take(&mut self.channels)
            .into_iter()
            .filter_map(|(channel, mut audience)| {
                audience.standing = Standing::Unasked;
                for worker in std::mem::take(&mut audience.waiting) {
                    let ticket = audience.workers.remove(&worker)?;
                    self.answer(worker, &channel, ticket, false);
                }
                (!audience.workers.is_empty()).then_some((channel, audience))
            })
            .collect();
        if self.target.settings.session.lost_listener == LostListener::Disconnect {
            let listening = self.channels.values().flat_map(|audience| audience.workers.keys());
            for worker in listening.collect::<BTreeSet<_>>() {
                self.tell(*worker, News::Lost);
            }
        }
    }

    fn tell(&self, worker: WorkerId, news: News) {
        self.shared.tell(worker, &self.key, news);
    }

    fn answer(&self, worker: WorkerId, channel: &Channel, ticket: u64, is_granted: bool) {
        self.tell(worker, News::Listening { channel: Arc::clone(channel), ticket, is_granted });
    }

    /// Does as a worker says; without a connection nothing is granted.
    fn obey(&mut self, order: Order, connection: Option<&mut Connection>) {
        match order {
            Order::Listen { channel, by, ticket, target } => {
                self.target = *target;
                match connection {
                    Some(connection) => self.listen(channel, by, ticket, connection),
                    None => self.answer(by, &channel, ticket, false),
                }
            }
            Order::Unlisten { channel, by } => self.unlisten(&channel, by, connection),
            Order::Ping { by } => match connection {
                Some(connection) => connection.ask("", Purpose::Ping(by)),
                None => self.tell(by, News::Pong),
            },
            Order::Vacate => self.vacated_at = Some(Instant::now()),
        }
    }

    // === With a connection ===

    async fn serve(&mut self, mut connection: Connection) -> Parting {
        for (channel, audience) in &mut self.channels {
            self.asked += 1;
            audience.standing = Standing::Asked(self.asked);
            connection.ask(listen(channel), Purpose::Listen(Arc::clone(channel), self.asked));
        }
        match self.converse(&mut connection).await {
            Err(error) => {
                for purpose in connection.into_owed() {
                    if let Purpose::Ping(worker) = purpose {
                        self.tell(worker, News::Pong);
                    }
                }
                Parting::Lost(error.to_string())
            }
            Ok(()) => Parting::Idle,
        }
    }

    /// Serves the workers until none needs it.
    async fn converse(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        let mut needed_at = Instant::now();
        loop {
            // All branches are cancel safe.
            tokio::select! {
                Some(order) = self.orders.recv() => {
                    self.obey(order, Some(connection));
                }
                said = connection.progress() => {
                    heard_at = Instant::now();
                    self.hear(said?);
                }
                _ = tick.tick() => {
                    let limit = self.target.settings.connect_timeout;
                    match connection.owes_since() {
                        Some(since) if since.elapsed() >= limit => {
                            let why = format!("no answer within {limit:?} (pool.connect_timeout)");
                            return Err(io::Error::other(why));
                        }
                        None if heard_at.elapsed() >= HEARTBEAT => {
                            connection.ask("", Purpose::Heartbeat);
                        }
                        _ => {}
                    }
                }
            }
            if !self.channels.is_empty() {
                needed_at = Instant::now();
            } else if self.may_end(needed_at) {
                return Ok(());
            }
        }
    }

    /// Whether nobody has needed it for long enough.
    fn may_end(&self, needed_at: Instant) -> bool {
        let is_in_the_way = self.vacated_at.is_some_and(|at| at.elapsed() < VACATED_FOR);
        (is_in_the_way || needed_at.elapsed() >= IDLE_MAX) && self.orders.is_empty()
    }

    fn listen(&mut self, channel: Channel, by: WorkerId, ticket: u64, connection: &mut Connection) {
        let audience = self.channels.entry(Arc::clone(&channel)).or_default();
        audience.workers.insert(by, ticket);
        match audience.standing {
            Standing::Listening => return self.answer(by, &channel, ticket, true),
            Standing::Asked(_) => {}
            Standing::Unasked => {
                self.asked += 1;
                audience.standing = Standing::Asked(self.asked);
                connection.ask(listen(&channel), Purpose::Listen(channel, self.asked));
            }
        }
        audience.waiting.push(by);
    }

    fn unlisten(&mut self, channel: &Channel, by: WorkerId, connection: Option<&mut Connection>) {
        let Some(audience) = self.channels.get_mut(channel) else { return };
        audience.workers.remove(&by);
        audience.waiting.retain(|worker| *worker != by);
        if !audience.workers.is_empty() {
            return;
        }
        self.channels.remove(channel);
        if let Some(connection) = connection {
            connection.ask(unlisten(channel), Purpose::Unlisten);
        }
    }

    fn hear(&mut self, said: Vec<Said>) {
        let mut told: BTreeMap<WorkerId, Vec<Notification>> = BTreeMap::new();
        for said in said {
            match said {
                Said::Notified(channel, frame) => {
                    // Nobody may want it any more.
                    let known = self.channels.get_key_value(&*channel);
                    for (channel, worker) in known.into_iter().flat_map(|(channel, audience)| {
                        audience.workers.keys().map(move |worker| (channel, *worker))
                    }) {
                        let notification = Notification {
                            channel: Arc::clone(channel),
                            frame: Arc::clone(&frame),
                        };
                        told.entry(worker).or_default().push(notification);
                    }
                }
                Said::Done(purpose, error) => {
                    // What was heard before the end of a query comes before what it tells.
                    self.tell_all(std::mem::take(&mut told));
                    self.done(purpose, error);
                }
            }
        }
        self.tell_all(told);
    }

    fn tell_all(&self, told: BTreeMap<WorkerId, Vec<Notification>>) {
        for (worker, notifications) in told {
            self.tell(worker, News::Notified(notifications));
        }
    }

    fn done(&mut self, purpose: Purpose, error: Option<String>) {
        match purpose {
            Purpose::Listen(channel, number) => self.listened(&channel, number, error),
            Purpose::Ping(worker) => self.tell(worker, News::Pong),
            Purpose::Unlisten | Purpose::Heartbeat => {}
        }
    }

    fn listened(&mut self, channel: &Channel, number: u64, error: Option<String>) {
        let Some(audience) = self.channels.get_mut(channel) else { return };
        if audience.standing != Standing::Asked(number) {
            // Given up and wanted again since.
            return;
        }
        if let Some(error) = error {
            tracing::warn!(hub = %self.key, "LISTEN refused: {error}");
            let refused = self.channels.remove(channel).map(|audience| audience.workers);
            for (worker, ticket) in refused.unwrap_or_default() {
                self.answer(worker, channel, ticket, false);
            }
            return;
        }
        audience.standing = Standing::Listening;
        let waiting = std::mem::take(&mut audience.waiting).into_iter();
        let granted = waiting
            .filter_map(|worker| audience.workers.get(&worker).map(|ticket| (worker, *ticket)));
        for (worker, ticket) in granted.collect::<Vec<_>>() {
            self.answer(worker, channel, ticket, true);
        }
        self.say_listening_again();
    }

    fn say_listening_again(&mut self) {
        let mut audiences = self.channels.values();
        if self.lost_at.is_some()
            && audiences.all(|audience| audience.standing == Standing::Listening)
            && let Some(lost_at) = self.lost_at.take()
        {
            tracing::warn!(hub = %self.key, channels = self.channels.len(), gap = ?lost_at.elapsed(),
                "listening again: what was sent in the meantime nobody was told");
        }
    }
}

fn listen(channel: &Channel) -> Vec<u8> {
    [b"LISTEN ", &*quoted(channel)].concat()
}

fn unlisten(channel: &Channel) -> Vec<u8> {
    [b"UNLISTEN ", &*quoted(channel)].concat()
}

impl fmt::Display for HubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.dbname)
    }
}
