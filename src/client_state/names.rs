//! The client's own prepared statements: which names it has given to what.
//!
//! This is what replies have confirmed; what is still in flight stands in the ledger of the server connection. A
//! name that is not here is passed on as it is: only the server knows it, or nobody does, and the server says so
//! in the client's own words.
//!
//! Bounds: who adds looks at [`Names::len`] first (`prepared.client_statements`).

use std::collections::HashMap;
use std::rc::Rc;

use super::statement::Statement;
use crate::analysis::session_effects::Footprint;

/// PostgreSQL finds prepared statements by so many bytes of their names (`NAMEDATALEN` less the terminator).
const NAME_BYTES: usize = 63;

/// A client's name for a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StatementName {
    /// The unnamed one.
    Unnamed,
    /// As much of the name as PostgreSQL looks at.
    Named(Rc<[u8]>),
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// A statement that is shared, under its own name on server connections.
    Shared(Rc<Statement>),
    /// The unnamed statement of this Parse, a whole frame; it is sent again where it is needed.
    Kept(Rc<[u8]>, Footprint),
    /// Only the server connection knows it, under the client's own name: the client stays with it.
    ServerOnly,
}

type Named = HashMap<Rc<[u8]>, Rc<Statement>>;

/// Confirmed names.
#[derive(Debug, Default)]
pub struct Names {
    named: Option<Box<Named>>,
    unnamed: Option<Definition>,
}

impl StatementName {
    /// From the name in a message.
    pub fn new(name: &[u8]) -> Self {
        match name {
            [] => Self::Unnamed,
            _ => Self::Named(name.get(..NAME_BYTES).unwrap_or(name).into()),
        }
    }

    /// Whether a message's name is this one.
    pub fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Unnamed => name.is_empty(),
            Self::Named(known) => **known == *name.get(..NAME_BYTES).unwrap_or(name),
        }
    }

    /// As the client wrote it.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Unnamed => b"",
            Self::Named(name) => name,
        }
    }
}

impl Names {
    /// What a name stands for; `None`: nothing that is known here.
    pub fn get(&self, name: &[u8]) -> Option<Definition> {
        if name.is_empty() {
            return self.unnamed.clone();
        }
        let statement = self.named.as_ref()?.get(key(name))?;
        Some(Definition::Shared(Rc::clone(statement)))
    }

    /// Whether the name stands for a shared statement.
    pub fn has(&self, name: &[u8]) -> bool {
        self.named.as_ref().is_some_and(|named| named.contains_key(key(name)))
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.len())
    }

    /// Whether there is no name but perhaps the unnamed one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any name stands for a shared statement.
    pub fn has_shared(&self) -> bool {
        !self.is_empty() || matches!(self.unnamed, Some(Definition::Shared(_)))
    }

    /// The unnamed statement.
    pub fn unnamed(&self) -> Option<&Definition> {
        self.unnamed.as_ref()
    }

    /// A Parse was done.
    pub fn define(&mut self, name: &StatementName, definition: Definition) {
        match (name, definition) {
            (StatementName::Unnamed, definition) => self.unnamed = Some(definition),
            (StatementName::Named(name), Definition::Shared(statement)) => {
                let named = self.named.get_or_insert_default();
                named.insert(Rc::clone(name), statement);
            }
            // The server keeps these names.
            (StatementName::Named(_), Definition::Kept(..) | Definition::ServerOnly) => {}
        }
    }

    /// A name is free again.
    pub fn undefine(&mut self, name: &StatementName) {
        match name {
            StatementName::Unnamed => self.unnamed = None,
            StatementName::Named(name) => {
                if let Some(named) = &mut self.named {
                    named.remove(name);
                }
            }
        }
    }

    /// All names but the unnamed one.
    pub fn named(&self) -> Vec<(Rc<[u8]>, Rc<Statement>)> {
        let named = self.named.iter().flat_map(|named| named.iter());
        named.map(|(name, statement)| (Rc::clone(name), Rc::clone(statement))).collect()
    }

    /// All names but the unnamed one are free again.
    pub fn forget_named(&mut self) {
        self.named = None;
    }
}

/// As much of a name as PostgreSQL looks at.
pub(super) fn key(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_state::{Budget, StatementId};

    fn shared() -> Definition {
        let budget = Budget::new(1000);
        let statement = Statement::new(StatementId(1), b"", Footprint::default(), true, &budget);
        Definition::Shared(Rc::new(statement))
    }

    #[test]
    fn names_count_as_far_as_postgresql_looks() {
        let mut names = Names::default();
        let long = [b'x'; 70];
        names.define(&StatementName::new(&long), shared());
        assert_eq!(names.get(&long[..63]), Some(shared()));
        assert_eq!(names.get(&long[..62]), None);
        assert!(StatementName::new(&long).is(&long[..64]));
        names.undefine(&StatementName::new(&long[..63]));
        assert!(names.is_empty());
    }

    #[test]
    fn the_unnamed_statement_is_apart() {
        let mut names = Names::default();
        names.define(&StatementName::new(b""), shared());
        names.define(&StatementName::new(b"a"), shared());
        assert_eq!(names.named().len(), 1);
        names.forget_named();
        assert_eq!((names.get(b"a"), names.get(b"")), (None, Some(shared())));
        names.undefine(&StatementName::Unnamed);
        assert_eq!(names.unnamed(), None);
    }
}
