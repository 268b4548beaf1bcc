//! What clients have set on top of their startup settings, interned: two that have set the same share one overlay,
//! so that whether a server connection fits a client is the comparison of two pointers.
//!
//! An overlay lives as long as a client or a server connection has it. With it live the statements that its clients
//! share: those of overlays that differ only in what the analysis of statements doesn't read are the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::{Rc, Weak};

use super::statements::Statements;
use crate::analysis::setting_changes::is_read_by_analysis;
use crate::client_state::Settings;

/// Interned settings.
#[derive(Debug)]
pub struct Overlay {
    /// The settings.
    pub settings: Rc<Settings>,
    /// What clients that have set these have prepared.
    pub statements: Rc<Statements>,
}

/// The overlays on one set of startup settings.
#[derive(Debug)]
pub struct Overlays {
    /// Nothing is set.
    pub base: Rc<Overlay>,
    known: RefCell<Interned<Rc<Settings>, Overlay>>,
    /// By the settings that the analysis of statements reads.
    statements: RefCell<Interned<Settings, Statements>>,
}

/// What is there as long as somebody has it.
#[derive(Debug)]
struct Interned<K, V> {
    values: HashMap<K, Weak<V>>,
    /// With so many it is looked which of them nobody has any more.
    prune_at: usize,
}

/// So few are never looked through.
const PRUNED_FROM: usize = 64;

impl Overlays {
    /// None but the base, whose clients share these statements.
    pub fn new(statements: Statements) -> Self {
        let statements = Rc::new(statements);
        let base = Overlay { settings: Rc::default(), statements };
        Self { base: Rc::new(base), known: RefCell::default(), statements: RefCell::default() }
    }

    /// The overlay of these settings.
    pub fn get(&self, settings: &Rc<Settings>) -> Rc<Overlay> {
        if settings.is_empty() {
            return Rc::clone(&self.base);
        }
        let make = || {
            let statements = self.statements(settings);
            Overlay { settings: Rc::clone(settings), statements }
        };
        self.known.borrow_mut().get(settings, make)
    }

    fn statements(&self, settings: &Settings) -> Rc<Statements> {
        let read = settings.filtered(is_read_by_analysis);
        if read.is_empty() {
            return Rc::clone(&self.base.statements);
        }
        self.statements.borrow_mut().get(&read, || self.base.statements.under(&read))
    }
}

impl<K: Clone + Eq + Hash, V> Interned<K, V> {
    /// The value of this key; made, if nobody has it.
    fn get(&mut self, key: &K, make: impl FnOnce() -> V) -> Rc<V> {
        if let Some(value) = self.values.get(key).and_then(Weak::upgrade) {
            return value;
        }
        if self.values.len() >= self.prune_at {
            self.values.retain(|_, value| value.strong_count() > 0);
            self.prune_at = PRUNED_FROM.max(2 * self.values.len());
        }
        let value = Rc::new(make());
        self.values.insert(key.clone(), Rc::downgrade(&value));
        value
    }
}

impl<K, V> Default for Interned<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), prune_at: PRUNED_FROM }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut interned = Interned::default();
        let kept: Vec<Rc<u32>> = (0..100).map(|number| interned.get(&number, || number)).collect();
        for number in 100..100_000 {
            drop(interned.get(&number, || number));
        }
        assert!(interned.values.len() <= 4 * kept.len(), "{}", interned.values.len());
        assert!(Rc::ptr_eq(&kept[7], &interned.get(&7, || 0)));
    }
}
