//! Which databases an operator has closed, as one worker knows it (console: PAUSE, KILL, RESUME; DISABLE, ENABLE).
//!
//! A paused database lends no server connections and keeps none; its clients wait. A disabled one lets nobody in who is
//! not in yet. Both last until they are taken back, whatever a reload says. Names are those that clients give.

use std::collections::HashSet;
use std::sync::Arc;

/// What an operator's command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All databases.
    All,
    /// This one, as clients name it.
    Database(Arc<str>),
}

/// What is closed.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    is_all_paused: bool,
    paused: HashSet<Arc<str>>,
    disabled: HashSet<Arc<str>>,
}

impl Scope {
    /// Whether a database is meant.
    pub fn includes(&self, database: &str) -> bool {
        match self {
            Self::All => true,
            Self::Database(name) => **name == *database,
        }
    }
}

impl Gates {
    /// Pauses, or lets go on. RESUME for all does not end the pause of a single database.
    pub fn set_paused(&mut self, scope: &Scope, is_paused: bool) {
        match scope {
            Scope::All => self.is_all_paused = is_paused,
            Scope::Database(name) => set(&mut self.paused, name, is_paused),
        }
    }

    /// Lets nobody in, or lets them in again.
    pub fn set_disabled(&mut self, database: &Arc<str>, is_disabled: bool) {
        set(&mut self.disabled, database, is_disabled);
    }

    /// Whether a database is paused.
    pub fn is_paused(&self, database: &str) -> bool {
        self.is_all_paused || self.paused.contains(database)
    }

    /// Whether a database is paused by its own name.
    pub fn is_paused_by_name(&self, database: &str) -> bool {
        self.paused.contains(database)
    }

    /// Whether all are.
    pub fn is_all_paused(&self) -> bool {
        self.is_all_paused
    }

    /// Whether a database lets nobody in.
    pub fn is_disabled(&self, database: &str) -> bool {
        self.disabled.contains(database)
    }

    /// The databases that are closed by name.
    pub fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        self.paused.union(&self.disabled)
    }
}

fn set(names: &mut HashSet<Arc<str>>, name: &Arc<str>, is_in: bool) {
    if is_in {
        names.insert(Arc::clone(name));
    } else {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_stays_paused_when_all_are_resumed() {
        let mut gates = Gates::default();
        let shop = Scope::Database(Arc::from("shop"));
        gates.set_paused(&shop, true);
        gates.set_paused(&Scope::All, true);
        assert!(gates.is_paused("other"));
        gates.set_paused(&Scope::All, false);
        assert!(gates.is_paused("shop") && !gates.is_paused("other"));
        gates.set_paused(&shop, false);
        assert!(!gates.is_paused("shop"));
    }
}
