//! What of its session's state a client may have changed since PostgreSQL was last asked.

use std::collections::BTreeMap;

use super::settings::Settings;
use crate::analysis::setting_changes::is_read_by_analysis;

/// So many settings are remembered.
const NAMES_MAX: usize = 100;

/// Settings that may have changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    names: BTreeMap<Box<[u8]>, Doubt>,
    /// All that were set before, too.
    all: bool,
}

/// Whether a setting may have the value that the session began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// It was set, and nothing has failed.
    None,
    /// What set it may have been undone.
    Undone,
    /// It may have been reset.
    Reset,
}

impl Touched {
    /// This one may have changed. `false`: that can't be remembered.
    #[must_use]
    pub(super) fn add(&mut self, name: &[u8], may_be_reset: bool) -> bool {
        let doubt = if may_be_reset { Doubt::Reset } else { Doubt::None };
        if let Some(known) = self.names.get_mut(name) {
            *known = doubt.max(*known);
            return true;
        }
        let has_room = self.names.len() < NAMES_MAX;
        if has_room {
            self.names.insert(name.into(), doubt);
        }
        has_room
    }

    /// Whether this one may have changed, as far as is known.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.names.contains_key(name)
    }

    /// Whether this one may have another value than `before`.
    pub(super) fn concerns(&self, name: &[u8], before: &Settings) -> bool {
        self.has(name) || (self.all && before.get(name).is_some())
    }

    /// All that were set may be as they were at first.
    pub(super) fn add_all(&mut self) {
        self.all = true;
    }

    /// Whatever was set may have been undone, with its transaction or a part of that.
    pub(super) fn doubt(&mut self) {
        for doubt in self.names.values_mut() {
            *doubt = Doubt::Undone.max(*doubt);
        }
    }

    /// Whether any of these may have been reset.
    pub(super) fn may_lead_back_to(&self, first: &Settings) -> bool {
        let is_doubtful = |name| self.names.get(name).is_some_and(|doubt| *doubt != Doubt::None);
        first.iter().any(|(name, _)| self.all || is_doubtful(name))
    }

    /// Whether anything has changed that the analysis of statements reads.
    pub(super) fn is_read_by_analysis(&self, before: &Settings) -> bool {
        self.names.keys().any(|name| is_read_by_analysis(name))
            || (self.all && before.iter().any(|(name, _)| is_read_by_analysis(name)))
    }

    /// The names to ask for, given what was set `before`: each with whether it may be the session's first value.
    pub(super) fn names(self, before: &Settings) -> Vec<(Box<[u8]>, bool)> {
        let mut names = self.names;
        for (name, _) in before.iter().filter(|_| self.all) {
            names.entry(name.into()).or_insert(Doubt::Reset);
        }
        let names = names.into_iter().map(|(name, doubt)| {
            let may_be_first = match doubt {
                Doubt::None => self.all,
                // Then what was set before is set again.
                Doubt::Undone => self.all || before.get(&name).is_none(),
                Doubt::Reset => true,
            };
            (name, may_be_first)
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_stays() {
        let mut touched = Touched::default();
        assert!(touched.add(b"a", true) && touched.add(b"a", false) && touched.add(b"b", false));
        let names = touched.names(&Settings::default());
        assert_eq!(names, [((*b"a").into(), true), ((*b"b").into(), false)]);
    }

    #[test]
    fn undone_a_setting_is_what_it_was() {
        let before: Settings = [(&b"a"[..], &b"1"[..])].into_iter().collect();
        let mut touched = Touched::default();
        assert!(touched.add(b"a", false) && touched.add(b"b", false));
        touched.doubt();
        assert_eq!(touched.names(&before), [((*b"a").into(), false), ((*b"b").into(), true)]);
    }

    #[test]
    fn a_reset_of_all_is_one_of_what_was_set() {
        let before: Settings = [(&b"timezone"[..], &b"UTC"[..])].into_iter().collect();
        let mut touched = Touched::default();
        touched.add_all();
        assert!(touched.is_read_by_analysis(&before));
        assert!(!touched.is_read_by_analysis(&Settings::default()));
        assert_eq!(touched.names(&before), [((*b"timezone").into(), true)]);
    }

    #[test]
    fn names_without_end_are_not_remembered() {
        let mut touched = Touched::default();
        assert!((0..100_u8).all(|number| touched.add(&[number], false)));
        assert!(!touched.add(b"one more", false) && touched.add(&[1], false));
    }
}
