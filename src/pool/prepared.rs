//! The shared statements that a server connection has, as far as replies have confirmed it.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::client_state::StatementId;

/// Statements on one server connection, the one used last in front.
#[derive(Debug)]
pub struct Prepared {
    statements: LruCache<StatementId, (), foldhash::fast::RandomState>,
    /// The relay's own statement may be there, which stands in for others.
    pub has_stand_in: bool,
}

impl Default for Prepared {
    fn default() -> Self {
        // Who adds keeps the bound: a statement leaves only when the server has closed it.
        Self {
            statements: LruCache::unbounded_with_hasher(foldhash::fast::RandomState::default()),
            has_stand_in: false,
        }
    }
}

impl Prepared {
    /// Whether it has a statement, which is about to be used.
    pub fn touch(&mut self, id: StatementId) -> bool {
        self.statements.get(&id).is_some()
    }

    /// Whether it has a statement.
    pub fn has(&self, id: StatementId) -> bool {
        self.statements.contains(&id)
    }

    /// The server has made a statement.
    pub fn insert(&mut self, id: StatementId) {
        self.statements.put(id, ());
    }

    /// The server has closed a statement.
    pub fn remove(&mut self, id: StatementId) {
        self.statements.pop(&id);
    }

    /// The server has closed all of them.
    pub fn clear(&mut self) {
        self.statements.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none, nor one of the relay's own.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && !self.has_stand_in
    }

    /// All of them.
    pub fn ids(&self) -> Vec<StatementId> {
        self.statements.iter().map(|(id, ())| *id).collect()
    }

    /// The statement to close before one more is made, if there are `max` of them.
    pub fn surplus(&self, max: NonZeroUsize) -> Option<StatementId> {
        if self.statements.len() < max.get() {
            return None;
        }
        self.statements.peek_lru().map(|(id, ())| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_has_to_go() {
        let two = NonZeroUsize::new(2).unwrap();
        let mut prepared = Prepared::default();
        prepared.insert(StatementId(1));
        assert_eq!(prepared.surplus(two), None);
        prepared.insert(StatementId(2));
        assert!(prepared.touch(StatementId(1)) && !prepared.touch(StatementId(3)));
        assert_eq!(prepared.surplus(two), Some(StatementId(2)));
        prepared.remove(StatementId(2));
        assert_eq!(prepared.surplus(two), None);
        prepared.clear();
        assert!(!prepared.has(StatementId(1)));
    }
}
