//! What one statement of SQL does with prepared statements and their names.

use super::identifiers::identifier;
use super::lexer::{Lexer, TokenKind};

/// A statement that is about prepared statements, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameUse {
    /// `PREPARE name`: takes the name.
    Prepare(Vec<u8>),
    /// `EXECUTE`: changes no name.
    Execute,
    /// `DEALLOCATE name`.
    Deallocate(Vec<u8>),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS` and the like: no name at all.
    Nothing,
}

/// What `text` does, if it is one such statement. Behind a PREPARE or an EXECUTE the rest is not read.
pub fn name_use(text: &[u8]) -> Option<NameUse> {
    let mut tokens = Lexer::new(text).map(|token| (token.kind, token.bytes(text)));
    let (kind, verb) = tokens.next()?;
    if kind != TokenKind::Word {
        return None;
    }
    let is = |word: &[u8]| verb.eq_ignore_ascii_case(word);
    let object = tokens.next()?;
    if is(b"prepare") {
        return identifier(object.0, object.1).map(NameUse::Prepare);
    }
    if is(b"execute") {
        return Some(NameUse::Execute);
    }
    let found = if is(b"discard") {
        discarded(object.1)?
    } else if !is(b"deallocate") {
        return None;
    } else if is_word(object, b"prepare") {
        deallocated(tokens.next()?)?
    } else {
        deallocated(object)?
    };
    let is_over = tokens.all(|(_, bytes)| bytes == b";");
    is_over.then_some(found)
}

fn discarded(object: &[u8]) -> Option<NameUse> {
    let is = |word: &[u8]| object.eq_ignore_ascii_case(word);
    if is(b"all") {
        return Some(NameUse::DiscardAll);
    }
    let keeps = is(b"plans") || is(b"sequences") || is(b"temp") || is(b"temporary");
    keeps.then_some(NameUse::Nothing)
}

fn deallocated(object: (TokenKind, &[u8])) -> Option<NameUse> {
    if is_word(object, b"all") {
        return Some(NameUse::DeallocateAll);
    }
    identifier(object.0, object.1).map(NameUse::Deallocate)
}

fn is_word((kind, bytes): (TokenKind, &[u8]), word: &[u8]) -> bool {
    kind == TokenKind::Word && bytes.eq_ignore_ascii_case(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_postgresql_reads_it() {
        let prepare = |name: &[u8]| Some(NameUse::Prepare(name.to_vec()));
        let deallocate = |name: &[u8]| Some(NameUse::Deallocate(name.to_vec()));
        for (text, expected) in [
            ("PREPARE Foo AS SELECT 1", prepare(b"foo")),
            ("prepare \"Foo\" (int) as select $1", prepare(b"Foo")),
            ("execute foo(1)", Some(NameUse::Execute)),
            ("DEALLOCATE foo", deallocate(b"foo")),
            ("deallocate PREPARE Foo;", deallocate(b"foo")),
            ("DEALLOCATE \"_pg3_0\"", deallocate(b"_pg3_0")),
            ("DEALLOCATE \"All\"", deallocate(b"All")),
            ("deallocate prepare", None),
            ("DEALLOCATE all", Some(NameUse::DeallocateAll)),
            ("/* x */ discard ALL ;", Some(NameUse::DiscardAll)),
            ("discard plans", Some(NameUse::Nothing)),
            ("DEALLOCATE a\"b", None),
            ("DEALLOCATE \"a\"\"b\"", deallocate(b"a\"b")),
            ("explain execute foo", None),
            ("select 1", None),
            ("", None),
        ] {
            assert_eq!(name_use(text.as_bytes()), expected, "{text}");
        }
    }
}
