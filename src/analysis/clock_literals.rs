//! String constants that PostgreSQL may read as the time at which a statement is analysed.

use super::lexer::{Lexer, TokenKind};

/// What date and time input reads as the present (manual, "Special Values").
const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Whether a string constant of `text` may mean the present time. A statement with one means something else
/// each time it is parsed. Errs to the safe side: any constant with one of the words in it counts, and any
/// whose value is not what is written (escapes, continuations).
pub fn has_clock_literal(text: &[u8]) -> bool {
    Lexer::new(text).any(|token| match token.kind {
        TokenKind::String => is_suspect(token.bytes(text)),
        TokenKind::AmbiguousString | TokenKind::Unterminated => true,
        TokenKind::Word
        | TokenKind::QuotedIdentifier
        | TokenKind::UnicodeIdentifier
        | TokenKind::Number
        | TokenKind::Parameter
        | TokenKind::Operator
        | TokenKind::Punctuation
        | TokenKind::Other => false,
    })
}

fn is_suspect(constant: &[u8]) -> bool {
    let is_plain = matches!(constant.first(), Some(b'\'' | b'$'));
    // Its escape character may be any.
    let is_unicode = matches!(constant.first(), Some(b'u' | b'U'));
    let is_continued =
        constant.contains(&b'\n') && memchr::memchr_iter(b'\'', constant).count() > 2;
    (!is_plain && constant.contains(&b'\\'))
        || is_unicode
        || is_continued
        || WORDS.iter().any(|word| {
            constant.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_is_found() {
        for text in [
            "select 'now'::timestamptz",
            "select ' ToDay '",
            "select $$yesterday$$::date",
            "select E'\\x6eow'",
            "select 'no'\n'w'::timestamptz",
            "select 1 where a < 'tomorrow allballs'",
        ] {
            assert!(has_clock_literal(text.as_bytes()), "{text}");
        }
        for text in ["select now()", "select 'n', $1", "select \"today\"", "select 'it''s'"] {
            assert!(!has_clock_literal(text.as_bytes()), "{text}");
        }
    }
}
