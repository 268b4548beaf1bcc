//! The state of the client's session: what it has set, and what keeps it with its server connection.
//!
//! What a statement does to settings is known only when its transaction has ended, and only to PostgreSQL: so a
//! statement that may change some is noted by their names ([`Touched`]), and before the server connection goes to
//! anybody else PostgreSQL is asked what they are ([`Question`]). The same question finds out whether what keeps the
//! connection with its client (a temporary table, a lock) is gone.

use std::rc::Rc;

use super::channels::Channels;
use super::question::{Answer, Base, Question};
use super::settings::{CLIENT_ENCODING, Settings};
use super::touched::Touched;
use crate::analysis::session_effects::{Effect, Effects, Mark, Marks};
use crate::analysis::setting_changes::{Changed, SettingChange, is_name};
use crate::config::{AfterUnknown, SessionPolicy};

/// Settings of one client that take more than this stay on its server connection, with the client.
const SETTINGS_BYTES_MAX: usize = 16 * 1024;

/// So often PostgreSQL is asked in vain.
const QUESTIONS_MAX: u8 = 3;

/// State of a session, as far as it is not a statement's or a transaction's.
#[derive(Debug)]
pub struct SessionState {
    /// What was done on the server connection that must not meet another client: while this is not
    /// empty, the connection stays.
    pub pins: Effects,
    /// What the client has set, as of the last answer.
    pub settings: Rc<Settings>,
    /// What of it its session began with, on top of what its server connections begin with.
    first: Rc<Settings>,
    touched: Option<Box<Touched>>,
    policy: SessionPolicy,
    /// What it listens on.
    pub channels: Channels,
    /// Whether it may keep its server connection.
    pub pinning: Pinning,
    /// It was told that it keeps its server connection.
    is_pin_announced: bool,
    routine: Routine,
    /// Pins that were noted since the last question.
    news: Effects,
    /// Pins may have gone since the last question.
    may_be_gone: bool,
    /// Questions in a row without an answer.
    unanswered: u8,
}

/// Whether a client may keep its server connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// Its pool hasn't been asked.
    #[default]
    Unasked,
    /// It may.
    Allowed,
    /// It must not: this is the ErrorResponse.
    Refused(Rc<[u8]>),
}

/// Whether a routine has run whose effects nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Routine {
    #[default]
    None,
    Run,
    /// PostgreSQL was asked since.
    Asked,
}

impl SessionState {
    /// Of a client that has just logged in.
    pub fn new(policy: SessionPolicy, first: Rc<Settings>) -> Self {
        Self {
            pins: Effects::NONE,
            settings: Rc::clone(&first),
            first,
            touched: None,
            policy,
            channels: Channels::default(),
            pinning: Pinning::Unasked,
            is_pin_announced: false,
            routine: Routine::None,
            news: Effects::NONE,
            may_be_gone: false,
            unanswered: 0,
        }
    }

    /// Something is about to leave these effects on a server connection that is the client's until it leaves.
    pub fn pin(&mut self, effects: Effects) {
        self.pins = self.pins.union(effects);
        self.news = self.news.union(effects);
    }

    /// Whether something with these effects may keep the server connection beyond its transaction.
    pub fn would_pin(&self, effects: Effects) -> bool {
        let mut pins = effects.without(Effect::Setting);
        if self.policy.after_unknown != AfterUnknown::Pin {
            pins = pins.without(Effect::Routine);
        }
        if self.shares_listener() {
            pins = pins.without(Effect::Listen);
        }
        !pins.is_empty()
    }

    /// The client keeps its server connection, for these reasons. Whether it is to be told.
    pub fn announces_pin(&mut self) -> bool {
        self.policy.announces_pins && !std::mem::replace(&mut self.is_pin_announced, true)
    }

    /// The client keeps no server connection any more.
    pub fn unpinned(&mut self) {
        self.pinning = Pinning::Unasked;
        self.is_pin_announced = false;
    }

    /// A statement with these effects is about to run. `changes`: of settings, where it has any; `parameter` gives the
    /// text of one of its parameters.
    pub fn note<'a>(
        &mut self,
        effects: Effects,
        changes: Option<&[SettingChange]>,
        parameter: impl Fn(u16) -> Option<&'a [u8]>,
    ) {
        // Statements made by SQL are known by name.
        let mut pins = effects.without(Effect::Setting).without(Effect::Prepare);
        if effects.contains(Effect::Routine) && self.policy.after_unknown != AfterUnknown::Pin {
            pins = pins.without(Effect::Routine);
            self.routine = Routine::Run;
        }
        if effects.contains(Effect::Setting) && !self.touch_all(changes, parameter) {
            pins = pins.union(Effect::Unknown.into());
        }
        if !pins.is_empty() {
            self.pin(pins);
        }
        // Perhaps the way back.
        self.may_be_gone |= effects.intersection(self.pins).contains(Effect::Setting);
    }

    /// A statement that may take values of sequences is about to run.
    pub fn note_values(&mut self) {
        if self.policy.keep_sequences {
            self.pin(Effect::Sequence.into());
        }
    }

    /// `false`: it can't be told what changes.
    fn touch_all<'a>(
        &mut self,
        changes: Option<&[SettingChange]>,
        parameter: impl Fn(u16) -> Option<&'a [u8]>,
    ) -> bool {
        let Some(changes) = changes else { return false };
        changes.iter().filter(|change| !change.is_local).all(|change| match &change.what {
            Changed::Name(name) => self.touch(name, change.may_reset),
            Changed::Parameter(number) => parameter(*number)
                .filter(|name| is_name(name))
                .is_some_and(|name| self.touch(&name.to_ascii_lowercase(), change.may_reset)),
            Changed::All => {
                if self.touched.is_some() || !self.settings.is_empty() {
                    self.touched.get_or_insert_default().add_all();
                }
                true
            }
        })
    }

    /// A setting may have changed. `false`: that can't be remembered.
    #[must_use]
    pub fn touch(&mut self, name: &[u8], may_be_reset: bool) -> bool {
        // These end with their transaction.
        if name.starts_with(b"transaction_") {
            return true;
        }
        self.touched.get_or_insert_default().add(name, may_be_reset)
    }

    /// The server has reported a parameter. `is_local`: the transaction has changed some for itself.
    pub fn reported(&mut self, name: &[u8], is_local: bool) {
        let name = name.to_ascii_lowercase();
        let is_settable = !matches!(&*name, b"is_superuser" | b"in_hot_standby");
        let is_known = self.touched.as_deref().is_some_and(|touched| touched.has(&name));
        if is_settable && !is_known && !is_local && is_name(&name) && !self.touch(&name, true) {
            self.pin(Effect::Unknown.into());
        }
    }

    /// A statement has failed, or what is set may be undone for another reason.
    pub fn doubt(&mut self) {
        if let Some(touched) = &mut self.touched {
            touched.doubt();
        }
    }

    /// A transaction with these marks has ended.
    pub fn transaction_ended(&mut self, marks: Marks) {
        self.may_be_gone |= marks.contains(Mark::Release);
    }

    /// Whether settings may have changed that the analysis of statements reads.
    pub fn is_analysis_touched(&self) -> bool {
        let touched = self.touched.as_deref();
        touched.is_some_and(|touched| touched.is_read_by_analysis(&self.settings))
    }

    /// Whether this setting may have changed.
    pub fn is_touched(&self, name: &[u8]) -> bool {
        self.touched.as_deref().is_some_and(|touched| touched.concerns(name, &self.settings))
    }

    /// Whether any of these changes is of a setting that the analysis of statements reads.
    pub fn changes_analysis<'a>(
        &self,
        changes: Option<&[SettingChange]>,
        parameter: impl Fn(u16) -> Option<&'a [u8]>,
    ) -> bool {
        let Some(changes) = changes else { return true };
        let mut touched = Touched::default();
        changes.iter().any(|change| match &change.what {
            Changed::Name(name) => !touched.add(name, true),
            Changed::Parameter(number) => {
                parameter(*number).is_none_or(|name| !touched.add(&name.to_ascii_lowercase(), true))
            }
            Changed::All => {
                touched.add_all();
                false
            }
        }) || touched.is_read_by_analysis(&self.settings)
    }

    /// Whether what is on the server connection is known, and nothing of it keeps the connection.
    pub fn is_settled(&self) -> bool {
        self.pins.is_empty() && self.touched.is_none()
    }

    /// Whether PostgreSQL is asked even if the connection stays.
    pub fn must_be_asked(&self) -> bool {
        self.may_lead_back() || self.channels.has_granted()
    }

    /// Whether settings may have been reset that the session began with, but the server connection did not.
    pub fn may_lead_back(&self) -> bool {
        self.touched.as_deref().is_some_and(|touched| touched.may_lead_back_to(&self.first))
    }

    /// Whether there is anything to ask before the server connection can go, perhaps.
    #[inline]
    pub fn may_have_question(&self) -> bool {
        self.touched.is_some()
            || self.may_be_gone
            || !self.news.is_empty()
            || self.routine == Routine::Run
    }

    /// What to ask before the server connection can go; `None`: nothing.
    pub fn question(&mut self) -> Option<Question> {
        if self.unanswered >= QUESTIONS_MAX {
            return None;
        }
        let asks_for_all =
            self.routine == Routine::Run && self.policy.after_unknown == AfterUnknown::Keep;
        let is_news = std::mem::take(&mut self.may_be_gone) | !self.news.is_empty();
        self.news = Effects::NONE;
        let pins = if is_news { self.pins } else { Effects::NONE };
        let pins = pins.intersection(Question::pins());
        // Whoever stays with the connection in any case is asked when that is over.
        let stays = pins != self.pins && !self.must_be_asked();
        if stays || (self.touched.is_none() && pins.is_empty() && !asks_for_all) {
            return None;
        }
        let names = self.touched.take().map(|touched| touched.names(&self.settings));
        if asks_for_all {
            self.routine = Routine::Asked;
        }
        let mut question = Question::new(names.unwrap_or_default(), pins, asks_for_all);
        if pins.contains(Effect::Listen) {
            self.channels.ask();
            question.unlistens = self.shares_listener() && pins == self.pins;
        }
        (!question.is_empty()).then_some(question)
    }

    /// PostgreSQL has answered, with this DataRow. Gives what is set on the server connection, if that is not what the
    /// client wants.
    pub fn answered(
        &mut self,
        question: &Question,
        row: &[u8],
        base: &Base<'_>,
    ) -> Option<Rc<Settings>> {
        let Some(answer) = question.answer(row, base) else {
            self.not_answered(question);
            return None;
        };
        self.unanswered = 0;
        let Answer { values, unasked, channels, pins_gone, is_own_user } = answer;
        let mut settings = Settings::clone(&self.settings);
        for (name, value) in values {
            // A SET LOCAL behind a RESET makes PostgreSQL say that the session has set what it began with.
            let is_first = self.first.get(name).is_some()
                && question
                    .names()
                    .iter()
                    .any(|(asked, may_be_first)| *may_be_first && **asked == *name)
                && value == base.get(name);
            match value.filter(|_| !is_first) {
                Some(value) => settings.set(name, value),
                None => settings.remove(name),
            }
        }
        if let Some(channels) = channels {
            self.channels.list(&channels);
            if pins_gone.contains(Effect::Listen) {
                self.channels.nothing_is_local();
            }
        }
        // What was sent behind the question it says nothing of.
        for effect in pins_gone.iter().filter(|effect| !self.news.contains(*effect)) {
            self.pins = self.pins.without(effect);
        }
        let encoding = base.get(CLIENT_ENCODING).unwrap_or_default();
        let can_be_carried =
            settings.bytes() <= SETTINGS_BYTES_MAX && settings.can_be_written(encoding);
        if !is_own_user || !can_be_carried {
            // That is no news.
            self.pins = self.pins.union(Effect::Setting.into());
        }
        for name in unasked {
            if settings.get(name).is_none() && !self.touch(name, false) {
                self.pin(Effect::Unknown.into());
            }
        }
        let reset = self.first.iter().filter(|(name, _)| settings.get(name).is_none());
        let reset: Vec<_> = reset.collect();
        let actual = (!reset.is_empty()).then(|| Rc::new(settings.clone()));
        for (name, value) in reset {
            settings.set(name, value);
        }
        if settings != *self.settings {
            self.settings = Rc::new(settings);
        }
        actual
    }

    /// `DISCARD ALL` was done, and nothing since.
    pub fn discarded_all(&mut self) {
        self.pins = self.pins.iter().filter(|effect| effect.outlives_discard_all()).collect();
        self.unanswered = 0;
    }

    /// PostgreSQL has not (a CancelRequest was late, perhaps): it is asked again. In the end nobody knows what is on the
    /// server connection.
    pub fn not_answered(&mut self, question: &Question) {
        self.unanswered = self.unanswered.saturating_add(1);
        let is_kept =
            question.names().iter().all(|(name, may_be_first)| self.touch(name, *may_be_first));
        self.may_be_gone = true;
        if self.unanswered >= QUESTIONS_MAX || !is_kept {
            self.pin(Effect::Unknown.into());
            self.channels.give_up();
        }
    }

    /// Whether the client may listen by way of the shared listener.
    pub fn shares_listener(&self) -> bool {
        self.policy.shares_listener && !self.channels.is_local()
    }

    /// Whether the connection stays with the client after a routine.
    pub fn keeps_after_routines(&self) -> bool {
        self.policy.after_unknown == AfterUnknown::Pin
    }

    /// Whether a routine has run whose effects have to be undone; it is answered once.
    pub fn take_routine(&mut self) -> bool {
        std::mem::take(&mut self.routine) != Routine::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for_ever() {
        let policy = SessionPolicy {
            after_unknown: AfterUnknown::Reset,
            keep_sequences: false,
            ..SessionPolicy::default()
        };
        let first: Settings = [(&b"application_name"[..], &b"me"[..])].into_iter().collect();
        let mut session = SessionState::new(policy, Rc::new(first));
        let reset = SettingChange { what: Changed::All, may_reset: true, is_local: false };
        session.note(Effect::Setting.into(), Some(&[reset]), |_| None);
        for _ in 0..QUESTIONS_MAX {
            let question = session.question().unwrap();
            session.not_answered(&question);
        }
        assert_eq!(session.question(), None);
        assert_eq!(session.pins, Effect::Unknown.into());
    }
}
