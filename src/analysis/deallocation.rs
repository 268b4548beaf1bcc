//! A text that drops prepared statements, and nothing else; the name that a PREPARE gives.

use super::lexer::{Lexer, TokenKind};

/// What a text drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deallocation {
    /// `DISCARD PLANS` and the like: no prepared statement.
    Nothing,
    /// `DEALLOCATE name`.
    One(Vec<u8>),
    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    All,
}

/// What `text` drops, if it is one DEALLOCATE or DISCARD.
pub fn deallocation(text: &[u8]) -> Option<Deallocation> {
    let mut tokens = Lexer::new(text).map(|token| (token.kind, token.bytes(text)));
    let (kind, first) = tokens.next()?;
    if kind != TokenKind::Word {
        return None;
    }
    let mut object = tokens.next()?;
    let found = if first.eq_ignore_ascii_case(b"discard") {
        discarded(object.1)?
    } else if first.eq_ignore_ascii_case(b"deallocate") {
        if object.0 == TokenKind::Word && object.1.eq_ignore_ascii_case(b"prepare") {
            object = tokens.next()?;
        }
        deallocated(object)?
    } else {
        return None;
    };
    let is_over = tokens.all(|(_, bytes)| bytes == b";");
    is_over.then_some(found)
}

/// The name that `text` gives to a statement, if it is one PREPARE.
pub fn prepared_name(text: &[u8]) -> Option<Vec<u8>> {
    let mut tokens = Lexer::new(text).map(|token| (token.kind, token.bytes(text)));
    let (_, first) = tokens.next()?;
    if !first.eq_ignore_ascii_case(b"prepare") {
        return None;
    }
    match deallocated(tokens.next()?)? {
        Deallocation::One(name) => Some(name),
        Deallocation::Nothing | Deallocation::All => None,
    }
}

fn discarded(object: &[u8]) -> Option<Deallocation> {
    let is = |word: &[u8]| object.eq_ignore_ascii_case(word);
    if is(b"all") {
        return Some(Deallocation::All);
    }
    let keeps = is(b"plans") || is(b"sequences") || is(b"temp") || is(b"temporary");
    keeps.then_some(Deallocation::Nothing)
}

fn deallocated((kind, name): (TokenKind, &[u8])) -> Option<Deallocation> {
    match kind {
        TokenKind::Word if name.eq_ignore_ascii_case(b"all") => Some(Deallocation::All),
        // Other letters are folded by the server's locale.
        TokenKind::Word if name.is_ascii() => Some(Deallocation::One(name.to_ascii_lowercase())),
        TokenKind::QuotedIdentifier => {
            let inside = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            (!inside.contains(&b'"')).then(|| Deallocation::One(inside.to_vec()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preparation_has_a_name() {
        for (text, expected) in [
            ("PREPARE Foo AS SELECT 1", Some(b"foo".to_vec())),
            ("prepare \"Foo\" (int) as select $1", Some(b"Foo".to_vec())),
            ("deallocate foo", None),
        ] {
            assert_eq!(prepared_name(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_read_as_postgresql_reads_it() {
        let one = |name: &[u8]| Some(Deallocation::One(name.to_vec()));
        for (text, expected) in [
            ("DEALLOCATE foo", one(b"foo")),
            ("deallocate PREPARE Foo;", one(b"foo")),
            ("DEALLOCATE \"_pg3_0\"", one(b"_pg3_0")),
            ("DEALLOCATE \"All\"", one(b"All")),
            ("deallocate prepare", None),
            ("DEALLOCATE all", Some(Deallocation::All)),
            ("/* x */ discard ALL ;", Some(Deallocation::All)),
            ("discard plans", Some(Deallocation::Nothing)),
            ("DEALLOCATE a\"b", None),
            ("DEALLOCATE \"a\"\"b\"", None),
            ("select 1", None),
            ("", None),
        ] {
            assert_eq!(deallocation(text.as_bytes()), expected, "{text}");
        }
    }
}
