//! The text of a statement cut as PostgreSQL's own scanner cuts it, without a copy and in linear time.
//!
//! Rules: the manual's chapter "Lexical Structure" and src/backend/parser/scan.l. Where the reading depends on
//! something that the text doesn't tell (`standard_conforming_strings`, a client encoding whose characters may
//! end in an ASCII byte), the token is [`TokenKind::AmbiguousString`] and lexing goes on with the usual reading.
//!
//! Keywords, meaning and validity are left to others: every byte string has tokens.

use memchr::{memchr, memchr2};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an unquoted identifier.
    Word,
    /// `"name"`, quotes included.
    QuotedIdentifier,
    /// `U&"name"`.
    UnicodeIdentifier,
    /// A string constant of any form: `'...'`, `E''`, `B''`, `X''`, `N''`, `U&''`, `$tag$...$tag$`,
    /// with its continuations on later lines.
    String,
    /// A string constant whose end depends on what the text doesn't tell.
    AmbiguousString,
    /// A numeric constant, without its sign.
    Number,
    /// `$1`.
    Parameter,
    /// One operator.
    Operator,
    /// `( ) [ ] , ; . :` and `::`, `:=`.
    Punctuation,
    /// A byte that PostgreSQL would refuse.
    Other,
    /// A string, identifier or comment without an end; reaches to the end of the text.
    Unterminated,
}

/// One token: its kind and its bytes' place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Offset of its first byte.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
}

impl Token {
    /// The token's bytes in the text that it was cut from.
    #[inline]
    pub fn bytes(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Iterator over the tokens of a text; white space and comments are skipped.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Up to here each `+` and `-` is known to be an operator of its own (keeps runs of signs linear).
    lone_signs_until: usize,
    /// Bytes looked at, to prove that the work is linear.
    #[cfg(test)]
    steps: usize,
}

// === impl Lexer ===

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            lone_signs_until: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Passes over white space; where the next token or comment begins.
    #[inline]
    pub fn skip_space(&mut self) -> usize {
        self.at = self.run_end(self.at, SPACE);
        self.at
    }

    /// Goes on at `at`, where a token begins.
    #[inline]
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, from: usize) -> &'a [u8] {
        self.text.get(from..).unwrap_or_default()
    }

    /// First offset at or after `from` whose byte is not of `set`.
    #[inline]
    fn run_end(&self, from: usize, set: u8) -> usize {
        let mut at = from;
        while let Some(&byte) = self.text.get(at) {
            if BYTES[usize::from(byte)] & set == 0 {
                break;
            }
            at += 1;
        }
        at
    }

    #[cfg(test)]
    fn spend(&mut self, bytes: usize) {
        self.steps += bytes + 1;
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "counts in tests only"
    )]
    #[inline]
    fn spend(&mut self, _bytes: usize) {}

    #[inline]
    fn token(&mut self, kind: TokenKind, end: usize) -> Token {
        let start = self.at;
        self.spend(end - start);
        self.at = end;
        Token { kind, start, end }
    }

    fn unterminated(&mut self) -> Token {
        self.token(TokenKind::Unterminated, self.text.len())
    }

    #[inline]
    fn word(&mut self) -> Token {
        let end = self.run_end(self.at + 1, WORD);
        if end == self.at + 1
            && let Some(quote @ (b'\'' | b'&')) = self.byte(end)
            && let Some(token) = self.prefixed(quote)
        {
            return token;
        }
        self.token(TokenKind::Word, end)
    }

    /// A string or identifier that a single letter announces, if this is one.
    #[cold]
    fn prefixed(&mut self, after: u8) -> Option<Token> {
        let letter = self.byte(self.at)?.to_ascii_lowercase();
        let rule = match (letter, after) {
            (b'e', b'\'') => Rule::Escape,
            (b'n', b'\'') => Rule::Plain,
            (b'b' | b'x', b'\'') => Rule::Bits,
            (b'u', b'&') => match self.byte(self.at + 2)? {
                b'\'' => return Some(self.string(self.at + 3, Rule::Unicode)),
                b'"' => return Some(self.identifier(TokenKind::UnicodeIdentifier, self.at + 3)),
                _ => return None,
            },
            _ => return None,
        };
        Some(self.string(self.at + 2, rule))
    }

    /// A quoted identifier whose opening quote ends before `from`.
    fn identifier(&mut self, kind: TokenKind, from: usize) -> Token {
        let mut at = from;
        while let Some(found) = memchr(b'"', self.rest(at)) {
            at += found + 1;
            if self.byte(at) != Some(b'"') {
                return self.token(kind, at);
            }
            at += 1;
        }
        self.unterminated()
    }

    /// A string constant whose opening quote ends before `from`.
    fn string(&mut self, from: usize, rule: Rule) -> Token {
        let mut ambiguous = rule != Rule::Plain && self.after_foreign_character(self.at);
        let mut at = from;
        while let Some(found) = memchr(b'\'', self.rest(at)) {
            let quote = at + found;
            let before = self.rest(at).get(..found).unwrap_or_default();
            ambiguous |= rule.is_unclear(before);
            if rule.escapes(before) {
                at = quote + 1;
                continue;
            }
            if self.byte(quote + 1) == Some(b'\'') && rule != Rule::Bits {
                at = quote + 2;
                continue;
            }
            match self.continuation(quote + 1) {
                Some(next) => at = next,
                None if ambiguous => return self.token(TokenKind::AmbiguousString, quote + 1),
                None => return self.token(TokenKind::String, quote + 1),
            }
        }
        self.unterminated()
    }

    /// Where a string goes on after its closing quote: a further part follows on a later line.
    fn continuation(&mut self, from: usize) -> Option<usize> {
        let mut at = from;
        let mut lines = 0;
        loop {
            match self.byte(at)? {
                b'\n' | b'\r' => lines += 1,
                b' ' | b'\t' | b'\x0b' | b'\x0c' => {}
                b'-' if self.byte(at + 1) == Some(b'-') => {
                    let end = self.line_end(at);
                    self.spend(end - at);
                    at = end;
                    continue;
                }
                b'\'' if lines > 0 => return Some(at + 1),
                _ => return None,
            }
            at += 1;
            self.spend(1);
        }
    }

    fn line_end(&self, from: usize) -> usize {
        memchr2(b'\n', b'\r', self.rest(from)).map_or(self.text.len(), |found| from + found)
    }

    /// Offset after the comment that opens at `from`; `None` if it never ends.
    fn comment_end(&self, from: usize) -> Option<usize> {
        let mut depth = 1_usize;
        let mut at = from + 2;
        loop {
            at += memchr2(b'*', b'/', self.rest(at))?;
            match (self.byte(at)?, self.byte(at + 1)?) {
                (b'*', b'/') => depth -= 1,
                (b'/', b'*') => depth += 1,
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        }
    }

    /// `$1`, `$tag$...$tag$` or a lone `$`.
    fn dollar(&mut self) -> Token {
        let after = self.at + 1;
        if self.has(after, DIGIT) {
            let end = self.run_end(after, DIGIT);
            return self.token(TokenKind::Parameter, end);
        }
        let tag_end = self.run_end(after, TAG);
        if self.byte(tag_end) != Some(b'$') {
            return self.token(TokenKind::Other, after);
        }
        let ambiguous = self.after_foreign_character(self.at);
        let delimiter = self.text.get(self.at..=tag_end).unwrap_or_default();
        let mut at = tag_end + 1;
        // A tag holds no `$`, so no byte is compared with the delimiter more than twice.
        while let Some(found) = memchr(b'$', self.rest(at)) {
            at += found;
            if self.rest(at).starts_with(delimiter) {
                let end = at + delimiter.len();
                let kind = if ambiguous { TokenKind::AmbiguousString } else { TokenKind::String };
                return self.token(kind, end);
            }
            at += 1;
        }
        self.unterminated()
    }

    fn number(&mut self) -> Token {
        let first = self.at;
        if self.byte(first) == Some(b'0')
            && matches!(self.byte(first + 1), Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
            && self.byte(first + 2) != Some(b'\'')
        {
            let end = self.digits(first + 2, DIGIT | HEX);
            return self.token(TokenKind::Number, end);
        }
        let mut end = self.digits(first, DIGIT);
        if self.byte(end) == Some(b'.') {
            end = self.digits(end + 1, DIGIT);
        }
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(self.byte(end + 1), Some(b'+' | b'-')));
            let digits = end + 1 + signed;
            if self.has(digits, DIGIT) {
                end = self.digits(digits, DIGIT);
            }
        }
        self.token(TokenKind::Number, end)
    }

    /// Digits of `set`, with single underscores between them (PostgreSQL 16).
    fn digits(&self, from: usize, set: u8) -> usize {
        let mut at = self.run_end(from, set);
        while self.byte(at) == Some(b'_') && self.has(at + 1, set) {
            at = self.run_end(at + 1, set);
        }
        at
    }

    fn operator(&mut self) -> Token {
        let first = self.at;
        if first < self.lone_signs_until {
            return self.token(TokenKind::Operator, first + 1);
        }
        let mut end = first + 1;
        while self.has(end, OPERATOR) && !self.comment_opens(end) {
            end += 1;
        }
        self.spend(end - first);
        let run = self.text.get(first..end).unwrap_or_default();
        // SQL's own operators don't swallow a sign: `=-1` is `=` and `-1`.
        if !run.iter().any(|byte| SIGN_KEEPERS.contains(byte)) {
            let signs = run.iter().rev().take_while(|byte| matches!(byte, b'+' | b'-')).count();
            let kept = (run.len() - signs).max(1);
            self.lone_signs_until = end;
            end = first + kept;
        }
        self.token(TokenKind::Operator, end)
    }

    #[inline]
    fn has(&self, at: usize, set: u8) -> bool {
        self.text.get(at).is_some_and(|&byte| BYTES[usize::from(byte)] & set != 0)
    }

    #[inline]
    fn comment_opens(&self, at: usize) -> bool {
        matches!(
            (self.byte(at), self.byte(at + 1)),
            (Some(b'-'), Some(b'-')) | (Some(b'/'), Some(b'*'))
        )
    }

    /// In SJIS, BIG5, GBK, UHC, GB18030 and JOHAB (client encodings only) a character may end in an ASCII byte that
    /// is no letter. PostgreSQL, having converted it, reads a letter there: what follows is then no prefix.
    fn after_foreign_character(&self, at: usize) -> bool {
        let Some(&[lead, trail]) = at
            .checked_sub(2)
            .and_then(|from| self.text.get(from..at))
            .and_then(|pair| pair.first_chunk())
        else {
            return false;
        };
        lead >= 0x80 && matches!(trail, 0x40..=0x7e) && BYTES[usize::from(trail)] & WORD == 0
    }

    fn punctuation(&mut self, byte: u8) -> Token {
        let next = self.byte(self.at + 1);
        if byte == b'.' && self.has(self.at + 1, DIGIT) {
            return self.number();
        }
        let double = byte == b':' && matches!(next, Some(b':' | b'='));
        let end = self.at + 1 + usize::from(double);
        self.token(TokenKind::Punctuation, end)
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        loop {
            self.at = self.run_end(self.at, SPACE);
            let byte = self.byte(self.at)?;
            let set = BYTES[usize::from(byte)];
            if set & LETTER != 0 {
                return Some(self.word());
            }
            if set & PUNCTUATION != 0 {
                return Some(self.punctuation(byte));
            }
            if set & OPERATOR == 0 {
                return Some(match byte {
                    b'0'..=b'9' => self.number(),
                    b'\'' => self.string(self.at + 1, Rule::Plain),
                    b'"' => self.identifier(TokenKind::QuotedIdentifier, self.at + 1),
                    b'$' => self.dollar(),
                    _ => self.token(TokenKind::Other, self.at + 1),
                });
            }
            if !self.comment_opens(self.at) {
                return Some(self.operator());
            }
            let end = if byte == b'-' {
                self.line_end(self.at)
            } else if let Some(end) = self.comment_end(self.at) {
                end
            } else {
                return Some(self.unterminated());
            };
            self.spend(end - self.at);
            self.at = end;
        }
    }
}

/// How a string constant treats quotes and backslashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// `'...'`, `N'...'`: a backslash is itself or an escape, by `standard_conforming_strings`.
    Plain,
    /// `E'...'`.
    Escape,
    /// `U&'...'`: PostgreSQL refuses it where backslashes would escape quotes.
    Unicode,
    /// `B'...'`, `X'...'`: not even a doubled quote stands for a quote.
    Bits,
}

// `before` is the string since the last quote, up to the quote that is asked about.
impl Rule {
    /// Whether that quote is a character of the string.
    fn escapes(self, before: &[u8]) -> bool {
        self == Rule::Escape && backslashes(before) % 2 == 1
    }

    /// Whether other settings of the session would read that quote otherwise.
    fn is_unclear(self, before: &[u8]) -> bool {
        if before.last() != Some(&b'\\') {
            return false;
        }
        match self {
            Rule::Plain => backslashes(before) % 2 == 1,
            // The first backslash may belong to a character of the client's encoding.
            Rule::Escape => {
                let lead = before.iter().rev().nth(backslashes(before));
                lead.is_some_and(|&byte| byte >= 0x80)
            }
            Rule::Unicode | Rule::Bits => false,
        }
    }
}

/// How many backslashes `bytes` ends in.
fn backslashes(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|&&byte| byte == b'\\').count()
}

/// Bytes that let an operator end in `+` or `-`.
const SIGN_KEEPERS: &[u8] = b"~!@#^&|`?%";

// Sets of bytes: one bit each in `BYTES`.
const SPACE: u8 = 1;
/// Starts a word.
const LETTER: u8 = 1 << 1;
/// Goes on with a word.
const WORD: u8 = 1 << 2;
const DIGIT: u8 = 1 << 3;
const OPERATOR: u8 = 1 << 4;
const PUNCTUATION: u8 = 1 << 5;
/// Goes on with a dollar quote's tag.
const TAG: u8 = 1 << 6;
/// The digits above 9.
const HEX: u8 = 1 << 7;

/// The sets that each byte belongs to.
static BYTES: [u8; 256] = {
    let mut sets = [0; 256];
    let mut byte = 0_u8;
    loop {
        sets[byte as usize] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' => SPACE,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | WORD | TAG | HEX,
            b'g'..=b'z' | b'G'..=b'Z' | b'_' | 0x80..=0xff => LETTER | WORD | TAG,
            b'0'..=b'9' => DIGIT | WORD | TAG,
            b'$' => WORD,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
            | b'/' | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' | b':' => PUNCTUATION,
            _ => 0,
        };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    sets
};

#[cfg(test)]
mod tests;
