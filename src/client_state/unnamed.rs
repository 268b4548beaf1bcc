//! The client's unnamed prepared statement, so that it survives a change of the server connection.
//!
//! In PostgreSQL it lives until the next Parse of the unnamed statement or the next simple Query. A client
//! that parses in one group and binds in the next (sqlx) would otherwise find another client's statement,
//! or none. The Parse is kept as it came and is sent again, unseen, in front of the first message that may
//! need it on another server connection.
//!
//! What was sent may be skipped, if something in front of it fails: so what is sent and what is known to
//! have been done are two things. Of Parses that are in flight at once only the last is kept; if that one
//! is skipped, the server alone knows the one before ([`Statement::Unknown`]), and the client stays with it.

/// Longest Parse that is kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The unnamed statement, as far as it is known.
#[derive(Debug, Default)]
pub struct Unnamed {
    /// As of the last reply.
    done: Statement,
    /// As it will be when all that was sent is done.
    sent: Statement,
    /// Messages sent that replace or drop it and are not answered yet.
    in_flight: usize,
}

/// An unnamed statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Statement {
    /// There is none.
    #[default]
    None,
    /// This Parse makes it, a whole frame.
    Parse(Vec<u8>),
    /// There is one, and only the server knows it.
    Unknown,
}

impl Unnamed {
    /// A Parse of the unnamed statement was sent.
    pub fn parse_sent(&mut self, frame: &[u8], is_whole: bool) {
        self.in_flight += 1;
        if !is_whole || frame.len() > KEPT_BYTES_MAX {
            self.sent = Statement::Unknown;
            return;
        }
        if let Statement::Parse(kept) = &mut self.sent {
            kept.clear();
            kept.extend_from_slice(frame);
        } else {
            self.sent = Statement::Parse(frame.to_vec());
        }
    }

    /// Something that drops it was sent: a Query, a Close.
    pub fn drop_sent(&mut self) {
        self.in_flight += 1;
        self.sent = Statement::None;
    }

    /// The oldest such message was done.
    pub fn settled(&mut self, was_parse: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            // Both keep their memory: the next Parse writes into it.
            std::mem::swap(&mut self.done, &mut self.sent);
            return;
        }
        self.done = if was_parse { Statement::Unknown } else { Statement::None };
    }

    /// So many of them were not done. `has_failed`: the first of them was a Parse that failed, which drops
    /// the statement there was.
    pub fn skipped(&mut self, messages: usize, has_failed: bool) {
        self.in_flight = self.in_flight.saturating_sub(messages);
        if has_failed {
            self.done = Statement::None;
        }
    }

    /// Nothing of what is in flight has left.
    pub fn nothing_was_sent(&mut self) {
        self.in_flight = 0;
    }

    /// The server connection is lost, or the client's session on it is.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// As the client's next message will find it.
    pub fn current(&self) -> &Statement {
        if self.in_flight > 0 { &self.sent } else { &self.done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Statement {
        Statement::Parse(text.as_bytes().to_vec())
    }

    #[test]
    fn what_is_skipped_changes_nothing() {
        let mut unnamed = Unnamed::default();
        unnamed.parse_sent(b"A", true);
        assert_eq!(*unnamed.current(), parse("A"));
        unnamed.settled(true);
        unnamed.parse_sent(b"B", true);
        unnamed.drop_sent();
        unnamed.skipped(2, false);
        assert_eq!(*unnamed.current(), parse("A"));
        unnamed.parse_sent(b"C", true);
        unnamed.skipped(1, true);
        assert_eq!(*unnamed.current(), Statement::None);
    }

    #[test]
    fn of_several_in_flight_the_last_is_known() {
        let mut unnamed = Unnamed::default();
        unnamed.parse_sent(b"A", true);
        unnamed.parse_sent(b"B", true);
        unnamed.settled(true);
        assert_eq!(*unnamed.current(), parse("B"));
        unnamed.skipped(1, false);
        assert_eq!(*unnamed.current(), Statement::Unknown);
        unnamed.drop_sent();
        unnamed.settled(false);
        assert_eq!(*unnamed.current(), Statement::None);
    }
}
