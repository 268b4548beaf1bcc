//! Statements that PostgreSQL refuses while anybody is connected to a certain database.

use super::identifiers::identifier;
use super::lexer::{Lexer, TokenKind};

/// The database that nobody may be connected to for the text's only statement to succeed: `DROP DATABASE name`,
/// `ALTER DATABASE name RENAME` or `SET TABLESPACE`, `CREATE DATABASE .. TEMPLATE name`.
pub fn vacated_database(text: &[u8]) -> Option<Vec<u8>> {
    let mut tokens = Lexer::new(text).map(|token| (token.kind, token.bytes(text)));
    let is = |token: (TokenKind, &[u8]), word: &[u8]| {
        token.0 == TokenKind::Word && token.1.eq_ignore_ascii_case(word)
    };
    let verb = tokens.next()?;
    if !is(tokens.next()?, b"database") {
        return None;
    }
    let (kind, name) = if is(verb, b"drop") {
        let first = tokens.next()?;
        if is(first, b"if") { tokens.nth(1)? } else { first }
    } else if is(verb, b"alter") {
        let name = tokens.next()?;
        let action = tokens.next()?;
        let is_moved = is(action, b"set") && is(tokens.next()?, b"tablespace");
        if !is_moved && !is(action, b"rename") {
            return None;
        }
        name
    } else if is(verb, b"create") {
        tokens.find(|token| is(*token, b"template"))?;
        tokens.find(|token| token.1 != b"=")?
    } else {
        return None;
    };
    identifier(kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found() {
        for (text, expected) in [
            ("DROP DATABASE Shop", Some("shop")),
            ("drop database if exists \"Shop\" with (force);", Some("Shop")),
            ("alter database shop rename to old", Some("shop")),
            ("alter database shop set tablespace fast", Some("shop")),
            ("alter database shop set work_mem = '1MB'", None),
            ("create database new with owner me template = shop", Some("shop")),
            ("CREATE DATABASE new TEMPLATE shop", Some("shop")),
            ("create database new", None),
            ("drop table database", None),
            ("drop", None),
            ("", None),
        ] {
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(vacated_database(text.as_bytes()), expected, "{text}");
        }
    }
}
