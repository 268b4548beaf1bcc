//! Passes over what tells nothing, cheaper than token by token.
//!
//! Inside a statement only few words mean anything to the scan. [`dull_end`] passes over the others, numbers, names in
//! double quotes and the signs between them, and stops wherever the lexer's rules are needed: at constants, comments,
//! operators that may begin one, and at `;`.

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

/// The end of what tells nothing; `from` is where a token begins.
pub(super) fn dull_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some((&byte, rest)) = text.get(at..).and_then(<[u8]>::split_first) {
        let end = match CLASSES[usize::from(byte)] {
            Class::Stop => return at,
            Class::Dull => Some(1),
            Class::Letter => word(byte, rest),
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
fn word(first: u8, rest: &[u8]) -> Option<usize> {
    if matches!(rest, [second, third, ..] if is_telling([first, *second, *third])) {
        return None;
    }
    let bytes = rest.iter().take_while(|byte| is_in_word(**byte)).count();
    // `E'...'`, `U&'...'`
    let is_prefix = matches!(rest.get(bytes), Some(b'\'' | b'&'));
    (!is_prefix).then_some(bytes + 1)
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
    let is_over = rest.get(bytes + 1) != Some(&b'"');
    (is_dull && is_over).then_some(bytes + 2)
}

/// Whether a word that the scan looks at inside a statement may begin so.
#[inline]
fn is_telling(start: [u8; 3]) -> bool {
    // In lower case, if these are letters.
    match start.map(|byte| byte | 0x20) {
        [b'p', b'g', last] | [b't', b's', last] => last == b'_' | 0x20,
        [b's', b'e', b't']
        | [b'i', b'n', b's' | b't']
        | [b'c', b'r', b'e' | b'o']
        | [b'e', b'x', b'e']
        | [b'd', b'b', b'l']
        | [b'q', b'u', b'e']
        | [b'm', b'e', b'r'] => true,
        _ => false,
    }
}

#[inline]
fn is_in_word(byte: u8) -> bool {
    matches!(CLASSES[usize::from(byte)], Class::Letter | Class::Digit | Class::Dollar)
}

static CLASSES: [Class; 256] = {
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
            ("a ", "-- comment"),
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
            let stop = dull_end(text.as_bytes(), 0);
            assert_eq!(&text[stop..].trim_start(), &rest.trim_start(), "{text}");
        }
    }

    #[test]
    fn every_word_of_the_scan_is_telling() {
        let words: [&[u8]; 7] =
            [b"set_config", b"create", b"into", b"insert", b"merge", b"execute", b"pg_temp"];
        let functions = super::super::FUNCTIONS.iter().map(|(name, _)| *name);
        for word in words.into_iter().chain(functions) {
            assert!(is_telling([word[0], word[1], word[2]]), "{}", String::from_utf8_lossy(word));
        }
    }
}
