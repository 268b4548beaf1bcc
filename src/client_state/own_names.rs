//! Prepared statements that only the client's server connection knows, under the client's own names: as long as
//! there are any, the connection stays with the client.
//!
//! A name is noted when what makes it is sent, and forgotten when its deallocation is confirmed. It may be noted in
//! vain (what made it failed); then the connection stays longer than it must. So it does when there are more names
//! than are remembered.

use std::collections::HashMap;
use std::rc::Rc;

use super::names::key;
use crate::analysis::session_effects::Footprint;

/// So many names are remembered.
const NAMES_MAX: usize = 1000;

/// Longest text that is remembered.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Such names of one client.
#[derive(Debug, Default)]
pub struct OwnNames {
    /// With the statement, if something has to be noted when it is executed.
    names: HashMap<Box<[u8]>, Option<Rc<OwnStatement>>>,
    /// There may be others.
    are_unknown: bool,
}

/// A statement that matters each time that it is executed.
#[derive(Debug)]
pub struct OwnStatement {
    /// What.
    pub footprint: Footprint,
    /// Its text.
    pub text: Box<[u8]>,
}

impl OwnNames {
    /// A statement of this name is about to be made.
    pub fn add(&mut self, name: &[u8]) {
        self.insert(name, None);
    }

    /// This statement is about to be made, and it matters when it is executed. `false`: that will not be remembered.
    #[must_use]
    pub fn add_statement(&mut self, name: &[u8], footprint: Footprint, text: &[u8]) -> bool {
        let fits = text.len() <= TEXT_BYTES_MAX;
        let statement = fits.then(|| Rc::new(OwnStatement { footprint, text: text.into() }));
        self.insert(name, statement) && fits
    }

    /// The statement of this name, if it matters when it is executed.
    pub fn statement(&self, name: &[u8]) -> Option<Rc<OwnStatement>> {
        self.names.get(key(name)).cloned().flatten()
    }

    /// All statements that matter when they are executed.
    pub fn statements(&self) -> Vec<Rc<OwnStatement>> {
        self.names.values().flatten().cloned().collect()
    }

    fn insert(&mut self, name: &[u8], statement: Option<Rc<OwnStatement>>) -> bool {
        let has_room = self.names.len() < NAMES_MAX;
        if has_room {
            self.names.insert(key(name).into(), statement);
        }
        self.are_unknown |= !has_room;
        has_room
    }

    /// Statements are about to be made, or named, under names that can't be told.
    pub fn add_unknown(&mut self) {
        self.are_unknown = true;
    }

    /// Whether there is a statement of this name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.names.contains_key(key(name))
    }

    /// The statement of this name is gone.
    pub fn remove(&mut self, name: &[u8]) {
        self.names.remove(key(name));
    }

    /// All are gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        !self.are_unknown && self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_are_not_remembered() {
        let mut own = OwnNames::default();
        for number in 0..1_000_000_u32 {
            own.add(&number.to_be_bytes());
        }
        assert!(own.names.len() <= NAMES_MAX);
        for number in 0..1_000_000_u32 {
            own.remove(&number.to_be_bytes());
        }
        assert!(!own.is_empty());
    }

    #[test]
    fn what_cannot_be_told_goes_only_with_all() {
        let mut own = OwnNames::default();
        own.add(&[b'x'; 70]);
        assert!(own.has(&[b'x'; 63]) && !own.is_empty());
        own.remove(&[b'x'; 64]);
        assert!(own.is_empty());
        own.add_unknown();
        own.remove(b"x");
        assert!(!own.is_empty());
        own.clear();
        assert!(own.is_empty());
    }
}
