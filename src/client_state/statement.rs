//! A statement that clients have prepared, under whatever names they gave it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::trial::{Arm, Trial};
use crate::analysis::lexer::Lexer;
use crate::analysis::session_effects::Footprint;
use crate::protocol::message::columns_hash;

/// Identity of a statement: a keyed 128-bit hash of its definition and of the catalog's state as of its Parse.
/// All workers agree on it, so a server connection may change workers with its statements.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatementId(pub u128);

/// Bytes of a [`StatementId`]'s name on the server.
const SERVER_NAME_BYTES: usize = SERVER_NAME_PREFIX.len() + 32;

/// What the names of shared statements on a server connection begin with.
pub const SERVER_NAME_PREFIX: &str = "steward_";

/// A prepared statement that clients share. Immutable but for what the server says of it.
pub struct Statement {
    /// Which one.
    pub id: StatementId,
    /// What follows the name in its Parse: the text, its terminator, the number of types, the types.
    pub definition: Box<[u8]>,
    /// What the scan of its text tells.
    pub footprint: Footprint,
    /// Whether an unnamed Parse of it may be given a name: it is planned, its constants mean the same at any time, and
    /// the name has not turned out to be a loss.
    is_promotable: Cell<bool>,
    trial: RefCell<Trial>,
    /// Name on server connections.
    server_name: [u8; SERVER_NAME_BYTES],
    /// What the server says of it, once that is known.
    shape: RefCell<Option<Shape>>,
    /// Its Parse raised a notice: each client that parses it must hear that.
    is_noisy: Cell<bool>,
    /// Its result has changed since clients were told what it looks like.
    is_broken: Cell<bool>,
    budget: Rc<Budget>,
}

/// What PostgreSQL says of a statement (ParameterDescription, RowDescription).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of parameter types, and the types, as a Parse has them.
    pub types: Box<[u8]>,
    /// A hash of what must not change of the result: names, types and type modifiers of its columns
    /// (`equalTupleDescs`).
    pub columns: u64,
}

/// Bytes that the statements of a worker take, and may take.
#[derive(Debug)]
pub struct Budget {
    used: Cell<usize>,
    max: usize,
}

impl Budget {
    /// Bytes taken.
    pub fn used(&self) -> usize {
        self.used.get()
    }
}

impl Statement {
    /// A statement that nothing is known of yet.
    pub fn new(
        id: StatementId,
        definition: &[u8],
        footprint: Footprint,
        is_promotable: bool,
        budget: &Rc<Budget>,
    ) -> Self {
        budget.used.set(budget.used.get() + cost(definition));
        Self {
            id,
            definition: definition.into(),
            footprint,
            is_promotable: Cell::new(is_promotable),
            trial: RefCell::default(),
            server_name: server_name(id),
            shape: RefCell::new(None),
            is_noisy: Cell::new(false),
            is_broken: Cell::new(false),
            budget: Rc::clone(budget),
        }
    }

    /// Its name on server connections.
    pub fn server_name(&self) -> &[u8] {
        &self.server_name
    }

    /// Its text.
    pub fn text(&self) -> &[u8] {
        let end = memchr::memchr(0, &self.definition).unwrap_or(self.definition.len());
        self.definition.get(..end).unwrap_or_default()
    }

    /// Text and types for a Parse that makes it again: with the types that the server found, since those that
    /// it was left to find it might find otherwise after a change of the catalog.
    pub fn resolved(&self) -> (&[u8], Vec<u8>) {
        let text = self.text();
        let shape = self.shape.borrow();
        let types = match &*shape {
            Some(shape) => shape.types.to_vec(),
            None => self.definition.get(text.len() + 1..).unwrap_or_default().to_vec(),
        };
        (text, types)
    }

    /// Whether it is known to return rows.
    pub fn returns_rows(&self) -> bool {
        self.shape.borrow().as_ref().is_some_and(|shape| shape.columns != columns_hash(&[]))
    }

    /// Whether its shape is known.
    pub fn has_shape(&self) -> bool {
        self.shape.borrow().is_some()
    }

    /// Takes note of what a server says. `false`: it has said otherwise before, and clients rely on that.
    pub fn learn(&self, shape: Shape) -> bool {
        let mut known = self.shape.borrow_mut();
        let columns = shape.columns;
        known.get_or_insert(shape).columns == columns
    }

    /// Whether an unnamed Parse of it may be given a name.
    pub fn is_promotable(&self) -> bool {
        self.is_promotable.get() && !self.is_noisy() && !self.is_broken()
    }

    /// How to send its next unnamed Parse, and whether to time what comes of it.
    pub fn next_run(&self) -> (Arm, bool) {
        self.trial.borrow_mut().next()
    }

    /// A run took this long.
    pub fn took(&self, arm: Arm, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        if self.trial.borrow_mut().took(arm, micros) && self.is_promotable.replace(false) {
            tracing::info!(statement = ?self.id, "slower under a name: it stays unnamed from now on");
        }
    }

    /// Whether each Parse of it must reach a server.
    pub fn is_noisy(&self) -> bool {
        self.is_noisy.get()
    }

    /// Its Parse raised a notice.
    pub fn mark_noisy(&self) {
        self.is_noisy.set(true);
    }

    /// Whether it gives other columns than clients were told.
    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// It gives other columns than clients were told.
    pub fn mark_broken(&self) {
        self.is_broken.set(true);
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get().saturating_sub(cost(&self.definition)));
    }
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Statement {}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statement").field(&self.id).finish()
    }
}

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SERVER_NAME_PREFIX}{:032x}", self.0)
    }
}

impl Budget {
    /// At most `max` bytes.
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { used: Cell::new(0), max })
    }

    /// Whether a statement with this definition fits in.
    pub fn has_room_for(&self, definition: &[u8]) -> bool {
        self.used.get() + cost(definition) <= self.max
    }
}

/// Whether PostgreSQL takes a statement in a failed transaction too (`IsTransactionExitStmt`).
pub fn is_transaction_exit(text: &[u8]) -> bool {
    let first = Lexer::new(text).next().map(|token| token.bytes(text)).unwrap_or_default();
    let exits: [&[u8]; 5] = [b"commit", b"rollback", b"end", b"abort", b"prepare"];
    exits.iter().any(|exit| first.eq_ignore_ascii_case(exit))
}

/// About what a statement takes, with its place in a table.
fn cost(definition: &[u8]) -> usize {
    definition.len() + size_of::<Statement>() + 128
}

fn server_name(id: StatementId) -> [u8; SERVER_NAME_BYTES] {
    let mut name = [0; SERVER_NAME_BYTES];
    // It has just the bytes that this writes.
    let _ = write!(name.as_mut_slice(), "{id:?}");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_counts_while_it_lives() {
        let definition = b"SELECT $1\0\0\x01\0\0\0\0";
        let budget = Budget::new(cost(definition));
        let statement =
            Statement::new(StatementId(0x1f), definition, Footprint::default(), true, &budget);
        assert_eq!(statement.server_name(), b"steward_0000000000000000000000000000001f");
        assert_eq!(statement.text(), b"SELECT $1");
        assert!(!budget.has_room_for(definition));
        drop(statement);
        assert!(budget.has_room_for(definition));
    }

    #[test]
    fn it_is_made_again_with_the_types_that_the_server_found() {
        let budget = Budget::new(1000);
        let definition = b"SELECT $1\0\0\x01\0\0\0\0";
        let statement =
            Statement::new(StatementId(1), definition, Footprint::default(), true, &budget);
        assert_eq!(statement.resolved(), (&b"SELECT $1"[..], b"\0\x01\0\0\0\0".to_vec()));
        let shape = |columns| Shape { types: (*b"\0\x01\0\0\0\x19").into(), columns };
        assert!(statement.learn(shape(7)) && statement.learn(shape(7)));
        assert!(!statement.learn(shape(8)));
        assert_eq!(statement.resolved().1, b"\0\x01\0\0\0\x19");
    }
}
