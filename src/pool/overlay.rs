//! What clients have set on top of their startup settings, interned: two that have set the same share one overlay,
//! so that whether a server connection fits a client is the comparison of two pointers.
//!
//! An overlay lives as long as a client or a server connection has it. With it live the statements that its clients
//! share: those of overlays that differ only in what the analysis of statements doesn't read are the same.

use std::cell::RefCell;
use std::collections::HashMap;
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
    known: RefCell<HashMap<Rc<Settings>, Weak<Overlay>>>,
    /// By the settings that the analysis of statements reads.
    statements: RefCell<HashMap<Settings, Weak<Statements>>>,
}

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
        let mut known = self.known.borrow_mut();
        if let Some(overlay) = known.get(settings).and_then(Weak::upgrade) {
            return overlay;
        }
        known.retain(|_, overlay| overlay.strong_count() > 0);
        let statements = self.statements(settings);
        let overlay = Rc::new(Overlay { settings: Rc::clone(settings), statements });
        known.insert(Rc::clone(settings), Rc::downgrade(&overlay));
        overlay
    }

    fn statements(&self, settings: &Settings) -> Rc<Statements> {
        let read = settings.filtered(is_read_by_analysis);
        if read.is_empty() {
            return Rc::clone(&self.base.statements);
        }
        let mut known = self.statements.borrow_mut();
        if let Some(statements) = known.get(&read).and_then(Weak::upgrade) {
            return statements;
        }
        known.retain(|_, statements| statements.strong_count() > 0);
        let statements = Rc::new(self.base.statements.under(&read));
        known.insert(read, Rc::downgrade(&statements));
        statements
    }
}
