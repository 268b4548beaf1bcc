//! A worker's side: hands what hubs tell to the sessions of this worker.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::hub::{HubMail, News, Order, SharedHubs};
use super::{Channel, HubKey, Notification};
use crate::config::{Address, Net};
use crate::ids::WorkerId;
use crate::pool::key::Target;

/// All that this worker's sessions listen to.
#[derive(Debug)]
pub struct Listeners {
    worker: WorkerId,
    hubs: Arc<SharedHubs>,
    net: Arc<Net>,
    /// `limits.notification_bytes`
    bytes_max: usize,
    stations: RefCell<HashMap<Arc<HubKey>, Rc<Station>>>,
    /// Members and tickets so far.
    numbers: Cell<u64>,
}

/// This worker's part of one hub.
#[derive(Debug)]
struct Station {
    key: Arc<HubKey>,
    channels: RefCell<HashMap<Channel, Group>>,
    /// Who has asked to be told when all is told, in order.
    pings: RefCell<VecDeque<Rc<Member>>>,
}

/// The sessions that listen on one channel.
#[derive(Debug, Default)]
struct Group {
    /// Of the order that it was last asked for by.
    ticket: u64,
    /// The hub listens.
    is_listening: bool,
    members: HashMap<u64, Rc<Member>>,
}

/// A session, as its station sees it.
#[derive(Debug)]
struct Member {
    number: u64,
    queue: RefCell<VecDeque<Notification>>,
    /// Of the queue.
    bytes: Cell<usize>,
    answers: RefCell<Vec<Answer>>,
    pongs: Cell<usize>,
    trouble: Cell<Option<Trouble>>,
    waker: RefCell<Option<Waker>>,
}

/// The hub's answer to a session that wants a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which channel.
    pub channel: Channel,
    /// Whether the hub listens.
    pub is_granted: bool,
}

/// What ends a session that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Notifications may have been lost.
    Lost,
    /// More wait for the client than may wait.
    Overflow,
}

/// One session's channels. Dropped, it listens no more.
#[derive(Debug)]
pub struct Subscription {
    listeners: Rc<Listeners>,
    station: Rc<Station>,
    member: Rc<Member>,
    channels: HashSet<Channel>,
}

// === impl Listeners ===

impl Listeners {
    /// Of a worker that has no sessions yet.
    pub(in crate::pool) fn new(
        worker: WorkerId,
        hubs: Arc<SharedHubs>,
        net: Arc<Net>,
        bytes_max: usize,
    ) -> Self {
        Self { worker, hubs, net, bytes_max, stations: RefCell::default(), numbers: Cell::new(0) }
    }

    /// A session that listens on nothing yet, to a database where this leads.
    pub fn subscribe(self: &Rc<Self>, target: &Target, encoding: &[u8]) -> Subscription {
        let key = HubKey {
            address: target.address.clone(),
            dbname: target.dbname.clone(),
            encoding: encoding.to_vec(),
        };
        let member = Member {
            number: self.next_number(),
            queue: RefCell::default(),
            bytes: Cell::new(0),
            answers: RefCell::default(),
            pongs: Cell::new(0),
            trouble: Cell::new(None),
            waker: RefCell::default(),
        };
        Subscription {
            listeners: Rc::clone(self),
            station: self.station(key),
            member: Rc::new(member),
            channels: HashSet::new(),
        }
    }

    fn station(&self, key: HubKey) -> Rc<Station> {
        let mut stations = self.stations.borrow_mut();
        if let Some(station) = stations.get(&key) {
            return Rc::clone(station);
        }
        let key = Arc::new(key);
        let station = Rc::new(Station {
            key: Arc::clone(&key),
            channels: RefCell::default(),
            pings: RefCell::default(),
        });
        stations.insert(key, Rc::clone(&station));
        station
    }

    /// News from a hub.
    pub fn receive(&self, mail: HubMail) {
        let station = self.stations.borrow().get(&mail.key).map(Rc::clone);
        if let Some(station) = station {
            station.hear(mail.news, self.bytes_max);
        }
    }

    /// Listener connections to this database that nobody needs close.
    pub(in crate::pool) fn vacate(&self, address: &Address, dbname: &str) {
        let stations = self.stations.borrow();
        for key in stations.keys().filter(|key| key.address == *address && key.dbname == dbname) {
            self.order(key, Order::Vacate);
        }
    }

    fn next_number(&self) -> u64 {
        let number = self.numbers.get() + 1;
        self.numbers.set(number);
        number
    }

    fn order(&self, key: &Arc<HubKey>, order: Order) {
        self.hubs.order(key, order, &self.net);
    }
}

// === impl Station ===

impl Station {
    fn hear(&self, news: News, bytes_max: usize) {
        match news {
            News::Notified(notifications) => {
                let channels = self.channels.borrow();
                for notification in notifications {
                    let group = channels.get(&notification.channel);
                    for member in group.into_iter().flat_map(|group| group.members.values()) {
                        member.queue(notification.clone(), bytes_max);
                    }
                }
            }
            News::Listening { channel, ticket, is_granted } => {
                self.answered(&channel, ticket, is_granted);
            }
            News::Pong => {
                if let Some(member) = self.pings.borrow_mut().pop_front() {
                    member.pongs.set(member.pongs.get() + 1);
                    member.wake();
                }
            }
            News::Lost => {
                for group in self.channels.borrow().values().filter(|group| group.is_listening) {
                    for member in group.members.values() {
                        member.is_in(Trouble::Lost);
                    }
                }
            }
        }
    }

    fn answered(&self, channel: &Channel, ticket: u64, is_granted: bool) {
        let mut channels = self.channels.borrow_mut();
        let Some(group) = channels.get_mut(channel).filter(|group| group.ticket == ticket) else {
            // Given up, and perhaps wanted again since.
            return;
        };
        let was_listening = std::mem::replace(&mut group.is_listening, is_granted);
        for member in group.members.values() {
            if was_listening && !is_granted {
                member.is_in(Trouble::Lost);
            } else {
                member.answer(channel, is_granted);
            }
        }
        if !is_granted {
            channels.remove(channel);
        }
    }

    fn leave(&self, channel: &Channel, number: u64, listeners: &Listeners) {
        let mut channels = self.channels.borrow_mut();
        let Some(group) = channels.get_mut(channel) else { return };
        if group.members.remove(&number).is_some() && group.members.is_empty() {
            channels.remove(channel);
            let order = Order::Unlisten { channel: Arc::clone(channel), by: listeners.worker };
            listeners.order(&self.key, order);
        }
    }
}

/// What a notification takes that waits.
fn bytes(notification: &Notification) -> usize {
    size_of::<Notification>() + notification.frame.len()
}

// === impl Member ===

impl Member {
    fn queue(&self, notification: Notification, bytes_max: usize) {
        if self.trouble.get().is_some() {
            return;
        }
        let bytes = self.bytes.get() + bytes(&notification);
        if bytes > bytes_max {
            return self.is_in(Trouble::Overflow);
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back(notification);
        self.wake();
    }

    fn answer(&self, channel: &Channel, is_granted: bool) {
        self.answers.borrow_mut().push(Answer { channel: Arc::clone(channel), is_granted });
        self.wake();
    }

    fn is_in(&self, trouble: Trouble) {
        self.trouble.set(Some(trouble));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// Who to wake.
    pub fn watch(&self, waker: &Waker) {
        let mut known = self.member.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Whether it is in this encoding.
    pub fn has(&self, encoding: &[u8]) -> bool {
        self.station.key.encoding == encoding
    }

    /// Wants a channel; [`Self::take_answers`] has the answer, perhaps at once.
    pub fn want(&mut self, name: &[u8], target: &Target) {
        if self.channels.contains(name) {
            return;
        }
        let mut channels = self.station.channels.borrow_mut();
        let channel = match channels.get_key_value(name) {
            Some((channel, _)) => Arc::clone(channel),
            None => name.into(),
        };
        let group = channels.entry(Arc::clone(&channel)).or_default();
        if group.members.is_empty() {
            group.ticket = self.listeners.next_number();
            let order = Order::Listen {
                channel: Arc::clone(&channel),
                by: self.listeners.worker,
                ticket: group.ticket,
                target: Box::new(target.clone()),
            };
            self.listeners.order(&self.station.key, order);
        } else if group.is_listening {
            self.member.answer(&channel, true);
        }
        group.members.insert(self.member.number, Rc::clone(&self.member));
        self.channels.insert(channel);
    }

    /// Gives up the channels that aren't wanted any more.
    pub fn keep_only(&mut self, is_wanted: impl Fn(&[u8]) -> bool) {
        let (station, listeners, number) = (&self.station, &self.listeners, self.member.number);
        self.channels.retain(|channel| {
            if is_wanted(channel) {
                return true;
            }
            station.leave(channel, number, listeners);
            false
        });
    }

    /// What the hub has answered.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        let answers = std::mem::take(&mut *self.member.answers.borrow_mut());
        for refused in answers.iter().filter(|answer| !answer.is_granted) {
            self.channels.remove(&refused.channel);
        }
        answers
    }

    /// Asks the hub to tell all that was sent until now; [`Self::has_heard`] tells when it has.
    pub fn ping(&self) {
        self.station.pings.borrow_mut().push_back(Rc::clone(&self.member));
        self.listeners.order(&self.station.key, Order::Ping { by: self.listeners.worker });
    }

    /// Whether the hub has told all that was asked for; it is answered once.
    pub fn has_heard(&self) -> bool {
        self.member.pongs.take() > 0
    }

    /// What ends the session.
    pub fn trouble(&self) -> Option<Trouble> {
        self.member.trouble.get()
    }

    /// Whether nothing waits to be told.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.member.queue.borrow().is_empty()
    }

    /// Takes notifications from the front, as long as `take` has a use for them.
    pub fn take_while(&self, mut take: impl FnMut(&Notification) -> bool) {
        let mut queue = self.member.queue.borrow_mut();
        while queue.front().is_some_and(&mut take) {
            let taken = queue.pop_front().as_ref().map_or(0, bytes);
            self.member.bytes.set(self.member.bytes.get() - taken);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.keep_only(|_| false);
    }
}
