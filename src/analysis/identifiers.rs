//! Identifiers as PostgreSQL reads them: folded if not quoted, cut to 63 bytes.

use super::lexer::TokenKind;

/// Longest name that PostgreSQL keeps whole (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// The name that a token is; `None`: it is none, or only the server knows which.
pub(super) fn identifier(kind: TokenKind, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut name = match kind {
        // Other letters are folded by the server's locale.
        TokenKind::Word if bytes.is_ascii() => bytes.to_ascii_lowercase(),
        TokenKind::QuotedIdentifier => inside(bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?),
        _ => return None,
    };
    if name.len() > NAME_BYTES_MAX {
        if !name.is_ascii() {
            // Cut between characters of the server's encoding.
            return None;
        }
        name.truncate(NAME_BYTES_MAX);
    }
    (!name.is_empty()).then_some(name)
}

/// A quoted identifier's inside, each doubled quote once.
fn inside(quoted: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        name.push(*byte);
        if *byte == b'"' {
            bytes.next();
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        let quoted_long = format!("\"{}\"", "X".repeat(70));
        let long = "X".repeat(70);
        let (cut, folded) = ("X".repeat(63), "x".repeat(63));
        for (kind, token, expected) in [
            (TokenKind::Word, "News", Some("news")),
            (TokenKind::QuotedIdentifier, "\"News\"", Some("News")),
            (TokenKind::QuotedIdentifier, "\"a\"\"b\"", Some("a\"b")),
            (TokenKind::QuotedIdentifier, "\"ü\"", Some("ü")),
            (TokenKind::QuotedIdentifier, "\"\"", None),
            (TokenKind::Word, "Ünews", None),
            (TokenKind::Word, &long, Some(&folded)),
            (TokenKind::QuotedIdentifier, &quoted_long, Some(&cut)),
            (TokenKind::String, "'news'", None),
            (TokenKind::UnicodeIdentifier, "U&\"a\"", None),
        ] {
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(identifier(kind, token.as_bytes()), expected, "{token}");
        }
    }
}
