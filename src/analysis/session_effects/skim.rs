//! Passes over what tells nothing, cheaper than token by token.
//!
//! Inside a statement only few words mean anything to the scan. [`dull_end`] passes over the others, numbers, names in
//! double quotes and the signs between them, and stops wherever the lexer's rules are needed: at constants, comments,
//! operators that may begin one, at `;`, and at the names of functions that may leave something behind.

use super::functions::is_harmless;

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Stop,
    Dull,
    Letter,
    Digit,
    Quote,
    Dollar,
    Sign,
}

/// The end of what tells nothing; `from` is where a token begins, and `last` the last byte of the one before.
pub(super) fn dull_end(text: &[u8], from: usize, last: u8) -> usize {
    let mut at = from;
    while let Some((&byte, rest)) = text.get(at..).and_then(<[u8]>::split_first) {
        let end = match BYTES[usize::from(byte)] {
            Class::Stop => return at,
            Class::Dull => Some(1),
            Class::Letter => word(text, from, at, last),
            Class::Digit => number(rest),
            Class::Quote => quoted(rest),
            Class::Dollar => parameter(rest),
            Class::Sign => (!matches!(rest.first(), Some(b'-' | b'*'))).then_some(1),
        };
        match end {
            Some(bytes) => at += bytes,
            None => return at,
        }
    }
    at
}

// Each gives the length of what `first` (or its opening byte) begins, `None`: it must be looked at.

#[inline]
fn word(text: &[u8], from: usize, at: usize, last: u8) -> Option<usize> {
    let word = text.get(at..)?;
    if matches!(word, [first, second, third, ..] if is_telling([*first, *second, *third])) {
        return None;
    }
    let bytes = word.iter().position(|byte| !is_in_word(*byte)).unwrap_or(word.len());
    let (word, rest) = word.split_at_checked(bytes)?;
    match rest {
        [b' ', next, ..] if is_in_word(*next) => Some(bytes),
        // `E'...'`, `U&'...'`
        [b'\'' | b'&', ..] => None,
        _ => match next_sign(rest) {
            // A function of another schema may have any name; so may one behind a comment.
            [b'(', _] => {
                let before = text.get(from..at)?.trim_ascii_end();
                let is_qualified = before.last().copied().unwrap_or(last) == b'.';
                (!is_qualified && is_harmless(word, false)).then_some(bytes)
            }
            // Perhaps a parenthesis behind a comment, or behind what isn't white space everywhere.
            COMMENT | LINE_COMMENT | [b'\x0b', _] => None,
            _ => Some(bytes),
        },
    }
}

const COMMENT: [u8; 2] = *b"/*";
const LINE_COMMENT: [u8; 2] = *b"--";

/// What follows white space.
#[inline]
fn next_sign(rest: &[u8]) -> [u8; 2] {
    match rest.trim_ascii_start() {
        [first, second, ..] => [*first, *second],
        [first] => [*first, 0],
        [] => [0, 0],
    }
}

fn number(rest: &[u8]) -> Option<usize> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // `1e5`, `0x1F`, `1_000`, `1.5`
    let goes_on = rest.get(digits).is_some_and(|byte| is_in_word(*byte) || *byte == b'.');
    (!goes_on).then_some(digits + 1)
}

fn parameter(rest: &[u8]) -> Option<usize> {
    let (first, rest) = rest.split_first()?;
    first.is_ascii_digit().then(|| number(rest))?.map(|bytes| bytes + 1)
}

fn quoted(rest: &[u8]) -> Option<usize> {
    let bytes = memchr::memchr(b'"', rest)?;
    let is_dull =
        !matches!(rest, [first, second, third, ..] if is_telling([*first, *second, *third]));
    let behind = rest.get(bytes + 1..).unwrap_or_default();
    let is_over = behind.first() != Some(&b'"');
    let is_called = matches!(next_sign(behind), [b'(' | b'\x0b', _] | COMMENT | LINE_COMMENT);
    (is_dull && is_over && !is_called).then_some(bytes + 2)
}

/// Whether a word that the scan looks at inside a statement may begin so.
#[inline]
fn is_telling(start: [u8; 3]) -> bool {
    // In lower case, if these are letters.
    match start.map(|byte| byte | 0x20) {
        [b'p', b'g', last] => last == b'_' | 0x20,
        [b'i', b'n', b's' | b't']
        | [b'c', b'r', b'e']
        | [b'e', b'x', b'e']
        | [b'm', b'e', b'r'] => true,
        _ => false,
    }
}

#[inline]
fn is_in_word(byte: u8) -> bool {
    IN_WORD[usize::from(byte)]
}

static IN_WORD: [bool; 256] = {
    let mut in_word = [false; 256];
    let mut byte = 0;
    while byte < in_word.len() {
        in_word[byte] = matches!(CLASSES[byte], Class::Letter | Class::Digit | Class::Dollar);
        byte += 1;
    }
    in_word
};

static BYTES: [Class; 256] = CLASSES;

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Stop; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' | b'(' | b')' | b'[' | b']' | b','
            | b'.' | b':' | b'=' | b'<' | b'>' | b'*' | b'+' => Class::Dull,
            // Perhaps a comment.
            b'-' | b'/' => Class::Sign,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'"' => Class::Quote,
            b'$' => Class::Dollar,
            _ => Class::Stop,
        };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_where_something_may_be_told() {
        for (dull, rest) in [
            ("abalance FROM pgbench_accounts, ", "pg_class"),
            ("aid = 123", ";"),
            ("\"User\".\"id\" = $1 AND x::text[] IN (1) ", "INTO t"),
            ("a, ", "'text'"),
            ("", "a -- comment"),
            ("b, ", "a -- comment"),
            ("count(*) > 5 ", "/* comment */"),
            ("t.", "\"pg_temp\""),
            ("x = ", "1e5into"),
            ("x = ", "E'a'"),
            ("x - 1 + y / 2", " || y"),
            ("", "\"open"),
            ("", "\"a\"\"b\""),
            ("a ", "$tag$ b $tag$"),
        ] {
            let text = format!("{dull}{rest}");
            let stop = dull_end(text.as_bytes(), 0, b' ');
            assert_eq!(&text[stop..].trim_start(), &rest.trim_start(), "{text}");
        }
    }

    #[test]
    fn every_word_of_the_scan_is_telling() {
        let words: [&[u8]; 6] = [b"create", b"into", b"insert", b"merge", b"execute", b"pg_temp"];
        for word in words {
            assert!(is_telling([word[0], word[1], word[2]]), "{}", String::from_utf8_lossy(word));
        }
    }

    #[test]
    fn it_stops_at_functions_that_may_leave_something() {
        for (dull, rest) in [
            ("count(*), ", "mine(1)"),
            ("a, ", "\"mine\" (1)"),
            ("lower(a), other.", "lower(a)"),
            ("a, ", "set_config ('a', 'b', false)"),
            ("VALUES (1), ", "f /* x */ (1)"),
        ] {
            let text = format!("{dull}{rest}");
            let stop = dull_end(text.as_bytes(), 0, b' ');
            assert_eq!(&text[stop..], rest, "{text}");
        }
    }
}
