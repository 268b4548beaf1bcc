//! What is wrong with a configuration: everything at once, each with its place.

use std::fmt;

use super::written::Origin;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) origin: Origin,
    pub(super) what: String,
}

/// All faults of a configuration, by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, origin: &Origin, what: impl Into<String>) {
        self.list.push(Fault { origin: origin.clone(), what: what.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn sorted(mut self) -> Self {
        self.list.sort();
        self.list.dedup();
        self
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.list.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", fault.origin, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
