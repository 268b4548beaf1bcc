//! The notification channels that the client listens on by way of the shared listener.
//!
//! A LISTEN goes to the client's server connection, as any statement does, but not before the shared listener listens
//! on the channel too ([`Standing::Wanted`], then `Granted`). From then on the client is told what the listener hears,
//! and what its own server connection hears on that channel is dropped: so nothing is lost and nothing comes twice.
//! Once the LISTEN is committed (`Held`), the server connection is made to forget it, and is free to go.
//!
//! What is committed is known from PostgreSQL's command tags, and, after a savepoint was rolled back, from the list of
//! channels that it is asked for in any case. An UNLISTEN in a transaction that has rolled a savepoint back leaves the
//! channel: too many notifications are better than too few.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::analysis::channels::ChannelAction;

/// Channels of one client. Nothing is allocated for a client that never listens.
#[derive(Debug, Default)]
pub struct Channels {
    known: Option<Box<Known>>,
    /// Something waits to be told when the open transaction is over.
    pub has_news: bool,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Rc<[u8]>, Channel>,
    /// For the order of `by_name`.
    last: u64,
    /// LISTEN and UNLISTEN statements whose command tags are to come.
    sent: VecDeque<ChannelAction>,
    /// Those that were done in the open transaction.
    done: Vec<Done>,
    /// The last command tag that ended a transaction was ROLLBACK.
    is_rolled_back: bool,
    /// The server connection listens on channels that the shared listener doesn't know.
    is_local: bool,
    /// Channels were given up.
    has_left: bool,
    hearing: Hearing,
}

#[derive(Debug)]
struct Channel {
    number: u64,
    standing: Standing,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The shared listener is about to be asked, or was.
    Wanted,
    /// The shared listener listens; the client's LISTEN isn't committed, as far as is known. `is_asked`: the list of
    /// channels will tell.
    Granted { is_asked: bool },
    /// The client listens.
    Held,
}

#[derive(Debug)]
struct Done {
    action: ChannelAction,
    /// A savepoint was rolled back since.
    is_doubtful: bool,
}

/// Whether the shared listener has told everything that the client's own transaction has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hearing {
    #[default]
    No,
    /// It is to be asked.
    Wanted,
    Asked,
    Heard,
}

/// What becomes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// The client is told.
    Yes,
    /// Later it will be known.
    Later,
    /// The client doesn't listen.
    No,
}

// === impl Channels ===

impl Channels {
    /// Whether the client has nothing to do with the shared listener.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.known.as_deref().is_none_or(|known| known.by_name.is_empty())
    }

    /// Whether the server connection listens on channels that the shared listener doesn't know.
    pub fn is_local(&self) -> bool {
        self.known.as_deref().is_some_and(|known| known.is_local)
    }

    /// The server connection is about to listen on channels that the shared listener doesn't know.
    pub fn make_local(&mut self) {
        self.known.get_or_insert_default().is_local = true;
    }

    /// The server connection listens on no channel any more.
    pub fn nothing_is_local(&mut self) {
        if let Some(known) = &mut self.known {
            known.is_local = false;
        }
    }

    // === Asking for the shared listener ===

    /// The client is about to listen on a channel. `true`: it has to wait for the shared listener.
    pub fn wants(&mut self, name: &[u8]) -> bool {
        let known = self.known.get_or_insert_default();
        if let Some(channel) = known.by_name.get(name) {
            return channel.standing == Standing::Wanted;
        }
        known.insert(name, Standing::Wanted);
        true
    }

    /// Channels that the shared listener has not granted yet.
    pub fn wanted(&self) -> impl Iterator<Item = &Rc<[u8]>> {
        let channels = self.known.iter().flat_map(|known| &known.by_name);
        let wanted = channels.filter(|(_, channel)| channel.standing == Standing::Wanted);
        wanted.map(|(name, _)| name)
    }

    /// The shared listener listens on a channel, or can't.
    pub fn answered(&mut self, name: &[u8], is_granted: bool) {
        let Some(known) = &mut self.known else { return };
        let Some(channel) = known.by_name.get_mut(name) else { return };
        if channel.standing != Standing::Wanted {
            return;
        }
        if is_granted {
            channel.standing = Standing::Granted { is_asked: false };
        } else {
            known.by_name.remove(name);
        }
    }

    // === What the client's statements do ===

    /// These are about to be sent.
    pub fn send(&mut self, actions: Vec<ChannelAction>) {
        if let Some(known) = &mut self.known {
            known.sent.extend(actions);
        }
    }

    /// What was about to be sent never left.
    pub fn nothing_was_sent(&mut self) {
        if let Some(known) = &mut self.known {
            known.sent.clear();
        }
    }

    /// Whether command tags decide anything.
    #[inline]
    pub fn awaits_tags(&self) -> bool {
        self.known.as_deref().is_some_and(|known| !known.sent.is_empty() || !known.done.is_empty())
    }

    /// A statement of the client is done, with this command tag.
    pub fn completed(&mut self, tag: &[u8]) {
        let Some(known) = &mut self.known else { return };
        match tag {
            b"LISTEN" | b"UNLISTEN" | b"DISCARD ALL" => {
                let next = known.sent.pop_front();
                known.done.extend(next.map(|action| Done { action, is_doubtful: false }));
            }
            b"COMMIT" => {
                known.is_rolled_back = false;
                known.commit();
            }
            b"ROLLBACK" => {
                known.is_rolled_back = true;
                for done in &mut known.done {
                    done.is_doubtful = true;
                }
            }
            _ => {}
        }
    }

    /// A statement outside of a transaction block has failed, and all that was done with it.
    pub fn failed(&mut self) {
        if let Some(known) = &mut self.known {
            known.sent.clear();
            known.done.clear();
        }
    }

    /// A ReadyForQuery came. `is_over`: no transaction is open.
    pub fn ready(&mut self, is_over: bool) {
        let Some(known) = &mut self.known else { return };
        known.sent.clear();
        known.hearing = Hearing::No;
        if is_over && !std::mem::take(&mut known.is_rolled_back) {
            known.commit();
        } else if is_over {
            known.done.clear();
        }
    }

    /// The server connection is gone, outside of a transaction.
    pub fn server_lost(&mut self) {
        let Some(known) = &mut self.known else { return };
        known.sent.clear();
        known.done.clear();
        known.hearing = Hearing::No;
        known.is_local = false;
        known.keep_held();
    }

    // === The list of channels ===

    /// Whether it isn't known of a channel if the client listens on it.
    pub fn has_granted(&self) -> bool {
        let channels = self.known.iter().flat_map(|known| known.by_name.values());
        let mut granted =
            channels.filter(|channel| matches!(channel.standing, Standing::Granted { .. }));
        granted.next().is_some()
    }

    /// The server connection is about to be asked what it listens on.
    pub fn ask(&mut self) {
        for channel in self.known.iter_mut().flat_map(|known| known.by_name.values_mut()) {
            if let Standing::Granted { is_asked } = &mut channel.standing {
                *is_asked = true;
            }
        }
    }

    /// These are the channels that it listened on when it was asked.
    pub fn list(&mut self, listed: &[Vec<u8>]) {
        let Some(known) = &mut self.known else { return };
        known.by_name.retain(|name, channel| {
            if channel.standing != (Standing::Granted { is_asked: true }) {
                return true;
            }
            channel.standing = Standing::Held;
            listed.iter().any(|listed| **listed == **name)
        });
        known.has_left = true;
    }

    /// Nobody knows what the client listens on: its server connection stays with it, and tells.
    pub fn give_up(&mut self) {
        if let Some(known) = &mut self.known {
            known.keep_held();
            known.is_local = true;
        }
    }

    /// Whether the shared listener may listen in vain; it is answered once.
    pub fn take_has_left(&mut self) -> bool {
        self.known.as_deref_mut().is_some_and(|known| std::mem::take(&mut known.has_left))
    }

    // === Notifications ===

    /// Whether the shared listener tells what is sent on a channel.
    pub fn knows(&self, name: &[u8]) -> bool {
        self.known.as_deref().is_some_and(|known| known.by_name.contains_key(name))
    }

    /// Whether the client is told what is sent on a channel.
    pub fn hears(&self, name: &[u8]) -> Hears {
        let channel = self.known.as_deref().and_then(|known| known.by_name.get(name));
        match channel.map(|channel| channel.standing) {
            Some(Standing::Held) => Hears::Yes,
            Some(Standing::Wanted | Standing::Granted { .. }) => Hears::Later,
            None => Hears::No,
        }
    }

    /// The names of the channels that the client listens on, in the order in which it began to.
    pub fn held(&self) -> Vec<Rc<[u8]>> {
        let channels = self.known.iter().flat_map(|known| &known.by_name);
        let mut held: Vec<_> =
            channels.filter(|(_, channel)| channel.standing == Standing::Held).collect();
        held.sort_by_key(|(_, channel)| channel.number);
        held.into_iter().map(|(name, _)| Rc::clone(name)).collect()
    }

    // === The client's own notifications ===

    /// A transaction of the client is over that may have sent notifications: PostgreSQL tells those that the client
    /// listens on before it is ready for the next query. `true`: the shared listener has to be asked for them.
    pub fn must_hear(&mut self) -> bool {
        let Some(known) = self.known.as_deref_mut().filter(|known| !known.by_name.is_empty())
        else {
            return false;
        };
        if known.hearing == Hearing::No {
            known.hearing = Hearing::Wanted;
        }
        known.hearing != Hearing::Heard
    }

    /// Whether the shared listener is to be asked; it is answered once.
    pub fn take_must_ask(&mut self) -> bool {
        match self.known.as_deref_mut() {
            Some(known) if known.hearing == Hearing::Wanted => {
                known.hearing = Hearing::Asked;
                true
            }
            _ => false,
        }
    }

    /// Whether the shared listener was asked.
    #[inline]
    pub fn is_hearing(&self) -> bool {
        self.known.as_deref().is_some_and(|known| known.hearing == Hearing::Asked)
    }

    /// The shared listener has told all.
    pub fn has_heard(&mut self) {
        if let Some(known) =
            self.known.as_deref_mut().filter(|known| known.hearing == Hearing::Asked)
        {
            known.hearing = Hearing::Heard;
        }
    }
}

// === impl Known ===

impl Known {
    fn insert(&mut self, name: &[u8], standing: Standing) {
        self.last += 1;
        self.by_name.insert(name.into(), Channel { number: self.last, standing });
    }

    fn keep_held(&mut self) {
        self.by_name.retain(|_, channel| channel.standing == Standing::Held);
        self.has_left = true;
    }

    fn commit(&mut self) {
        for Done { action, is_doubtful } in std::mem::take(&mut self.done) {
            match action {
                // The list of channels will tell, or the channel stays.
                _ if is_doubtful => {}
                ChannelAction::Listen(name) => {
                    if let Some(channel) = self.by_name.get_mut(&*name) {
                        channel.standing = Standing::Held;
                    } else if !self.is_local {
                        // Unlistened just before: the shared listener hasn't heard of that yet.
                        self.insert(&name, Standing::Held);
                    }
                }
                ChannelAction::Unlisten(name) => {
                    self.by_name.remove(&*name);
                    self.has_left = true;
                }
                ChannelAction::UnlistenAll => {
                    self.by_name.clear();
                    self.has_left = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::channels::channel_actions;

    /// A client that listens on these.
    fn listening(names: &[&str]) -> Channels {
        let mut channels = Channels::default();
        for name in names {
            assert!(channels.wants(name.as_bytes()));
            channels.answered(name.as_bytes(), true);
            run(&mut channels, &format!("listen {name}"), &["LISTEN"]);
            channels.ready(true);
        }
        channels
    }

    fn run(channels: &mut Channels, text: &str, tags: &[&str]) {
        channels.send(channel_actions(text.as_bytes()).unwrap());
        for tag in tags {
            channels.completed(tag.as_bytes());
        }
    }

    fn held(channels: &Channels) -> String {
        let names = channels.held();
        let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
        names.join(" ")
    }

    #[test]
    fn a_channel_is_held_once_its_listen_is_committed() {
        let mut channels = Channels::default();
        assert!(channels.wants(b"a") && channels.wants(b"a"));
        channels.answered(b"a", true);
        assert!(!channels.wants(b"a"));
        assert_eq!(channels.hears(b"a"), Hears::Later);
        run(&mut channels, "listen a", &["LISTEN"]);
        channels.ready(false);
        assert_eq!(channels.hears(b"a"), Hears::Later);
        channels.completed(b"COMMIT");
        assert_eq!(channels.hears(b"a"), Hears::Yes);
    }

    #[test]
    fn what_is_rolled_back_never_was() {
        let mut channels = listening(&["a", "b"]);
        run(&mut channels, "unlisten a", &["UNLISTEN"]);
        channels.ready(false);
        channels.completed(b"ROLLBACK");
        channels.ready(true);
        assert_eq!(held(&channels), "a b");
        run(&mut channels, "unlisten *", &["UNLISTEN"]);
        channels.failed();
        channels.ready(true);
        assert_eq!(held(&channels), "a b");
    }

    #[test]
    fn the_order_of_statements_counts() {
        let mut channels = listening(&["a", "b"]);
        run(&mut channels, "unlisten a; listen a", &["UNLISTEN", "LISTEN"]);
        channels.ready(true);
        assert_eq!(held(&channels), "b a");
        run(&mut channels, "unlisten *", &["UNLISTEN"]);
        channels.ready(true);
        assert_eq!(held(&channels), "");
    }

    #[test]
    fn after_a_savepoint_the_list_tells() {
        let mut channels = Channels::default();
        for name in [&b"a"[..], b"b"] {
            channels.wants(name);
            channels.answered(name, true);
        }
        run(&mut channels, "listen a", &["LISTEN"]);
        channels.ready(false);
        run(&mut channels, "listen b", &["LISTEN"]);
        channels.completed(b"ROLLBACK");
        channels.ready(false);
        channels.completed(b"COMMIT");
        channels.ready(true);
        assert!(channels.has_granted());
        channels.ask();
        channels.list(&[b"a".to_vec()]);
        assert_eq!((held(&channels).as_str(), channels.knows(b"b")), ("a", false));
    }
}
