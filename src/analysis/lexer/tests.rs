//! Tokens of single texts, and the properties that hold for any bytes.

use proptest::prelude::*;

use super::{Lexer, TokenKind};

fn tokens(text: &str) -> Vec<(TokenKind, &str)> {
    Lexer::new(text.as_bytes()).map(|token| (token.kind, &text[token.start..token.end])).collect()
}

fn kinds(text: &[u8]) -> Vec<TokenKind> {
    Lexer::new(text).map(|token| token.kind).collect()
}

/// Texts that are one token.
#[test]
fn single_tokens() {
    use TokenKind::*;
    let table = [
        ("select", Word),
        ("_a$1", Word),
        ("größe", Word),
        ("\u{feff}SET", Word),
        (r#""a ""b"" c""#, QuotedIdentifier),
        (r#"U&"d\0061t""#, UnicodeIdentifier),
        ("'a''b'", String),
        ("'a'\n  'b'", String),
        ("'a' -- c\n -- d\n'b'", String),
        (r"E'a\'b'", String),
        (r"e'a\\'", String),
        ("E'a'\n'b\\'c'", String),
        ("B'101'", String),
        (r"x'1F\'", String),
        ("N'a'", String),
        (r"U&'\'", String),
        (r"'a\\'", String),
        (r"'a\b'", String),
        ("$$a'b$$", String),
        ("$a$ $$ $b$ $a$", String),
        ("$é$x$é$", String),
        (r"'\'", AmbiguousString),
        (r"N'a\'", AmbiguousString),
        ("E'é\\''", AmbiguousString),
        ("12", Number),
        ("1.5e-3", Number),
        (".5", Number),
        ("1.", Number),
        ("0x1F", Number),
        ("1_000", Number),
        ("$12", Parameter),
        ("<=", Operator),
        ("@-", Operator),
        ("::", Punctuation),
        ("\\", Other),
        ("$", Other),
        ("'a''", Unterminated),
        ("\"a", Unterminated),
        ("/* /* */", Unterminated),
        ("$a$ $A$", Unterminated),
        (r"E'\'", Unterminated),
    ];
    for (text, kind) in table {
        assert_eq!(tokens(text), [(kind, text)], "{text}");
    }
}

#[test]
fn boundaries() {
    let table: [(&str, &[&str]); 14] = [
        ("a=-1", &["a", "=", "-", "1"]),
        ("a@-1", &["a", "@-", "1"]),
        ("1+++2", &["1", "+", "+", "+", "2"]),
        ("a*/*c*/-b", &["a", "*", "-", "b"]),
        ("a+--c\rb", &["a", "+", "b"]),
        ("/*/*x*/*/a/**/b", &["a", "b"]),
        ("/*/ */a", &["a"]),
        ("a$$b", &["a$$b"]),
        ("a $$b$$c", &["a", "$$b$$", "c"]),
        ("$1$$a$$", &["$1", "$$a$$"]),
        ("'a' 'b'", &["'a'", "'b'"]),
        ("x.y[1]::t", &["x", ".", "y", "[", "1", "]", "::", "t"]),
        ("1e'a'", &["1", "e'a'"]),
        ("u&b", &["u", "&", "b"]),
    ];
    for (text, expected) in table {
        let found: Vec<_> = tokens(text).into_iter().map(|token| token.1).collect();
        assert_eq!(found, expected, "{text}");
    }
}

/// In SJIS the bytes 95 5C are one letter: what follows is part of a word.
#[test]
fn a_foreign_character_makes_prefixes_unclear() {
    assert!(kinds(b"\x95\\$a$ x $a$").contains(&TokenKind::AmbiguousString));
    assert!(kinds(b"\x95\\E'a'").contains(&TokenKind::AmbiguousString));
    assert!(!kinds(b"\x95a\\ E'a'").contains(&TokenKind::AmbiguousString));
}

/// Texts made to look at the same bytes again and again.
#[test]
fn work_is_linear() {
    let size = 1_000_000;
    let units = [
        "(", "/*", "*/", "*", "/", "+", "-", "+*", "'", "''", "\\'", "' '", "'\n", "'\n--\n", "\"",
        "$", "$a", "$a$", "$$", "$a$b", "E'", "E'\\", "U&'", "a", "1", "1.", "1_", ".", ":", ";",
        "=+", "=+-/", "0x", "1e", "1e+", "\0", "\u{e9}",
    ];
    for prefix in ["", "'", "E'", "$a$", "/*", "$"] {
        for unit in units {
            let text = prefix.to_owned() + &unit.repeat(size / 10 / unit.len());
            let mut lexer = Lexer::new(text.as_bytes());
            lexer.by_ref().for_each(drop);
            assert!(lexer.steps <= 4 * text.len() + 8, "{prefix} {unit}: {} steps", lexer.steps);
        }
    }
}

proptest! {
    /// Tokens stand in order, none is empty, and only space and comments stand between them.
    #[test]
    fn any_bytes_have_tokens(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut at = 0;
        for token in Lexer::new(&text) {
            prop_assert!(token.start >= at && token.end > token.start && token.end <= text.len());
            at = token.end;
        }
    }

    /// The same for bytes that open and close things.
    #[test]
    fn any_brackets_have_tokens(text in "[-'\"$/*aeuU&\\\\ \n1.+_(;]{0,60}") {
        let mut at = 0;
        for token in Lexer::new(text.as_bytes()) {
            prop_assert!(token.start >= at && token.end > token.start && token.end <= text.len());
            at = token.end;
        }
    }
}
