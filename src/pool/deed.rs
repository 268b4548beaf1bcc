//! What a message does to prepared statements once the server has done it.

use std::rc::Rc;

use crate::client_state::{Definition, Question, Statement, StatementId, StatementName};

/// The consequence of a message: it comes to pass with the reply, or not at all if the message fails or is
/// skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Deed {
    /// Nothing but the reply.
    #[default]
    None,
    /// The client's Parse. A shared statement is on the server connection afterwards.
    Define(StatementName, Definition),
    /// The client's Close.
    Undefine(StatementName),
    /// The proxy's Parse under the client's own name, which then only the server connection knows.
    HandOver(StatementName),
    /// A simple query, which drops the unnamed statement, and perhaps more.
    Query(Drops),
    /// The client's Bind or Describe of a shared statement, by the client's name.
    Use(StatementName, Rc<Statement>),
    /// The proxy's Parse of a statement that the client is about to use.
    Prepare(Rc<Statement>),
    /// The proxy's Close of a statement.
    Evict(StatementId),
    /// The proxy's Describe of a statement.
    Examine(Rc<Statement>),
    /// The proxy's Parse or Close that makes the server's unnamed statement the client's own.
    OwnUnnamed,
    /// The proxy's query that gives the session the settings that the client wants.
    Apply,
    /// The proxy's query for the session's state.
    Ask(Rc<Question>),
    /// The proxy's message that fails: the client gets this ErrorResponse instead of PostgreSQL's.
    Refuse(Rc<[u8]>),
}

/// Named statements that a simple query drops if it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Drops {
    /// None.
    #[default]
    None,
    /// This one.
    One(StatementName),
    /// All.
    All,
    /// `DISCARD ALL`: all, and whatever else the session has.
    Everything,
}

impl Deed {
    /// Whether it tells what a name of the client stands for: by changing that, or, `in_this_group`, by its use.
    pub(super) fn concerns(&self, name: &[u8], in_this_group: bool) -> bool {
        match self {
            Self::Define(known, _) | Self::Undefine(known) | Self::HandOver(known) => {
                known.is(name)
            }
            Self::Use(known, _) => in_this_group && known.is(name),
            Self::Query(Drops::None) => name.is_empty(),
            Self::Query(Drops::One(known)) => name.is_empty() || known.is(name),
            Self::Query(Drops::All | Drops::Everything) => true,
            Self::None
            | Self::Prepare(_)
            | Self::Evict(_)
            | Self::Examine(_)
            | Self::OwnUnnamed
            | Self::Apply
            | Self::Ask(_)
            | Self::Refuse(_) => false,
        }
    }

    /// Whether it may change what a name stands for.
    pub(super) fn concerns_names(&self) -> bool {
        matches!(self, Self::Define(..) | Self::Undefine(_) | Self::HandOver(_) | Self::Query(_))
    }

    /// Whether a statement is on the server connection after it; `None`: it doesn't say.
    pub(super) fn leaves(&self, id: StatementId, in_this_group: bool) -> Option<bool> {
        match self {
            Self::Use(_, statement) if in_this_group && statement.id == id => Some(true),
            Self::Define(_, Definition::Shared(statement)) | Self::Prepare(statement)
                if statement.id == id =>
            {
                Some(true)
            }
            Self::Evict(evicted) if *evicted == id => Some(false),
            Self::Query(Drops::All | Drops::Everything) => Some(false),
            Self::None
            | Self::Define(..)
            | Self::Undefine(_)
            | Self::HandOver(_)
            | Self::Query(_)
            | Self::Use(..)
            | Self::Prepare(_)
            | Self::Evict(_)
            | Self::Examine(_)
            | Self::OwnUnnamed
            | Self::Apply
            | Self::Ask(_)
            | Self::Refuse(_) => None,
        }
    }

    /// Whether it may make or close a shared statement.
    pub(super) fn moves_statements(&self) -> bool {
        matches!(
            self,
            Self::Define(_, Definition::Shared(_))
                | Self::Prepare(_)
                | Self::Evict(_)
                | Self::Query(Drops::All | Drops::Everything)
        )
    }
}
