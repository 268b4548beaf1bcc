//! The statements that clients with the same settings share, on one worker.
//!
//! A statement is its text, its parameter types, the settings that its analysis read and the state of the catalog, all
//! as of its Parse: the clients of a variant have the same startup settings, and those that have changed any that
//! analysis reads have a table of their own. After DDL that went through the proxy the same text is another statement, so that
//! who parses it then is told of its columns anew, while who has parsed it before gets PostgreSQL's own error.
//!
//! Bounds: bytes, over all variants of a worker ([`Budget`]); what was used longest ago makes room. A statement
//! that a client still has a name for stays with that client.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;

use crate::analysis::clock_literals::has_clock_literal;
use crate::analysis::session_effects::{Footprint, Mark};
use crate::client_state::{Budget, Settings, Statement, StatementId};
use crate::config::Prepared;

/// Texts that are remembered as seen once.
const SEEN: usize = 4096;

/// What the proxy knows of changes of a database's catalog; all workers share it.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Goes up with each change that was seen.
    epoch: AtomicU64,
    /// For [`StatementId`]s: clients can't make two statements that are taken for one.
    keys: [RandomState; 2],
}

/// The shared statements of one variant.
#[derive(Debug)]
pub struct Statements {
    /// Bounds, for the relay to keep.
    pub bounds: Prepared,
    catalog: Arc<Catalog>,
    budget: Rc<Budget>,
    epoch: Cell<u64>,
    /// Those that analysis reads and that its clients have set.
    settings: Settings,
    known: RefCell<LruCache<Box<[u8]>, Rc<Statement>, foldhash::fast::RandomState>>,
    /// Clients ask for the values that sequences have given them.
    pub reads_values: Rc<Cell<bool>>,
    /// Hashes of definitions that came once.
    seen: RefCell<Vec<u32>>,
    hasher: foldhash::fast::RandomState,
}

impl Catalog {
    fn id(&self, definition: &[u8], epoch: u64, settings: &Settings) -> StatementId {
        let half = |key: &RandomState| {
            let mut hasher = key.build_hasher();
            hasher.write_u64(epoch);
            settings.hash(&mut hasher);
            hasher.write(definition);
            u128::from(hasher.finish())
        };
        let [high, low] = &self.keys;
        StatementId(half(high) << 64 | half(low))
    }
}

impl Statements {
    /// None yet.
    pub fn new(bounds: Prepared, catalog: Arc<Catalog>, budget: Rc<Budget>) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        Self {
            bounds,
            epoch: Cell::new(catalog.epoch.load(Ordering::Acquire)),
            settings: Settings::default(),
            catalog,
            budget,
            known: RefCell::new(LruCache::unbounded_with_hasher(hasher.clone())),
            reads_values: Rc::default(),
            seen: RefCell::default(),
            hasher,
        }
    }

    /// None yet, for clients that have set these.
    #[must_use]
    pub fn under(&self, settings: &Settings) -> Self {
        let (catalog, budget) = (Arc::clone(&self.catalog), Rc::clone(&self.budget));
        let settings = settings.clone();
        let reads_values = Rc::clone(&self.reads_values);
        Self { settings, reads_values, ..Self::new(self.bounds.clone(), catalog, budget) }
    }

    /// The catalog has changed: what is parsed from now on is not what was parsed before.
    pub fn catalog_changed(&self) {
        self.catalog.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// The statement with this definition (see [`Statement::definition`]), if it is known.
    pub fn find(&self, definition: &[u8]) -> Option<Rc<Statement>> {
        let epoch = self.catalog.epoch.load(Ordering::Acquire);
        let mut known = self.known.borrow_mut();
        if self.epoch.replace(epoch) != epoch {
            known.clear();
        }
        known.get(definition).map(Rc::clone)
    }

    /// A statement that [`Self::find`] doesn't know; `None`: there is no room for it.
    pub fn add(&self, definition: &[u8], footprint: Footprint) -> Option<Rc<Statement>> {
        let mut known = self.known.borrow_mut();
        while !self.budget.has_room_for(definition) {
            known.pop_lru()?;
        }
        let id = self.catalog.id(definition, self.epoch.get(), &self.settings);
        let statement = Rc::new(Statement::new(
            id,
            definition,
            footprint,
            is_promotable(definition, footprint),
            &self.budget,
        ));
        known.put(definition.into(), Rc::clone(&statement));
        Some(statement)
    }

    /// A statement again, as of the catalog's present state: with the types that were found for it, since that is how
    /// clients encode its parameters. `None`: there is no room for it.
    pub fn renew(&self, statement: &Statement) -> Option<Rc<Statement>> {
        let (text, types) = statement.resolved();
        let definition = [text, b"\0", &types].concat();
        self.find(&definition).or_else(|| self.add(&definition, statement.footprint))
    }

    /// Whether a definition has come lately. Two that are taken for one do no harm.
    pub fn is_seen_again(&self, definition: &[u8]) -> bool {
        let hash = self.hasher.hash_one(definition);
        let mut seen = self.seen.borrow_mut();
        if seen.is_empty() {
            seen.resize(SEEN, 0);
        }
        let [low, high] =
            [hash & 0xffff_ffff, hash >> 32].map(|half| u32::try_from(half).unwrap_or(0));
        let place = usize::try_from(low).unwrap_or(0) % SEEN;
        seen.get_mut(place).is_some_and(|seen| std::mem::replace(seen, high | 1) == high | 1)
    }
}

/// Whether an unnamed statement may be prepared under a name: it is planned, leaves nothing behind, and its
/// constants mean the same at any time.
fn is_promotable(definition: &[u8], footprint: Footprint) -> bool {
    let text = definition.split(|byte| *byte == 0).next().unwrap_or_default();
    let marks = footprint.marks;
    footprint.effects.is_empty()
        && marks.contains(Mark::Planned)
        && ![Mark::LocalSetting, Mark::Ddl, Mark::PreparedNames, Mark::Several, Mark::ListsPrepared]
            .iter()
            .any(|mark| marks.contains(*mark))
        && !has_clock_literal(text)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::analysis::session_effects::footprint;

    fn statements(memory: usize, catalog: &Arc<Catalog>) -> Statements {
        let bounds = Prepared {
            client_statements: 10,
            server_statements: NonZeroUsize::new(16).unwrap(),
            memory,
            unnamed: true,
        };
        Statements::new(bounds, Arc::clone(catalog), Budget::new(memory))
    }

    #[test]
    fn a_definition_is_one_statement_until_the_catalog_changes() {
        let catalog = Arc::default();
        let (one, other) = (statements(100_000, &catalog), statements(100_000, &catalog));
        let definition = b"SELECT 1\0\0\0";
        assert_eq!(one.find(definition), None);
        let first = one.add(definition, footprint(b"SELECT 1")).unwrap();
        assert_eq!(one.find(definition), Some(Rc::clone(&first)));
        // Another worker, the same statement.
        assert_eq!(other.add(definition, footprint(b"SELECT 1")).unwrap().id, first.id);
        other.catalog_changed();
        assert_eq!(one.find(definition), None);
        assert_ne!(one.add(definition, footprint(b"SELECT 1")).unwrap().id, first.id);
    }

    #[test]
    fn memory_is_bounded() {
        let catalog = Arc::default();
        let statements = statements(10_000, &catalog);
        let mut held = Vec::new();
        for number in 0_u32..1000 {
            let _ = statements.add(&number.to_be_bytes(), Footprint::default()).unwrap();
        }
        assert!(statements.known.borrow().len() < 50);
        while let Some(statement) = statements.add(&held.len().to_be_bytes(), Footprint::default())
        {
            held.push(statement);
        }
        assert!(held.len() < 50);
    }

    #[test]
    fn texts_come_again() {
        let statements = statements(10_000, &Arc::default());
        assert!(!statements.is_seen_again(b"a"));
        assert!(statements.is_seen_again(b"a"));
    }

    #[test]
    fn what_may_be_given_a_name() {
        for (text, expected) in [
            ("SELECT $1", true),
            ("INSERT INTO t VALUES ($1)", true),
            ("SELECT 'today'::date", false),
            ("BEGIN", false),
            ("SELECT 1; SELECT 2", false),
            ("SELECT 1 INTO t", false),
            ("SELECT set_config('a', 'b', false)", false),
        ] {
            let definition = [text.as_bytes(), b"\0\0\0"].concat();
            assert_eq!(is_promotable(&definition, footprint(text.as_bytes())), expected, "{text}");
        }
    }
}
