//! Which settings a text may change for the session, by name: `SET`, `RESET`, `set_config(name, ..)` and what else
//! leads to them. The values are not looked at: what they are afterwards only PostgreSQL knows, and it is asked.
//!
//! Too many names do no harm (a setting is asked for in vain); where one can't be told, there is no answer at all.
//! `SET LOCAL` and the like are among them, told apart.

use super::lexer::{Lexer, Token, TokenKind};

/// A change that a text may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Of what.
    pub what: Changed,
    /// It may lead back to the value that the session began with.
    pub may_reset: bool,
    /// It ends with the transaction.
    pub is_local: bool,
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The setting of this name, in lower case: letters, digits, `_`, `$` and `.`.
    Name(Box<[u8]>),
    /// The setting that this parameter names, counted from 0.
    Parameter(u16),
    /// All settings but the role: `RESET ALL`. `DISCARD ALL` too, and the role with them.
    All,
}

/// Longest name of a setting that is followed.
const NAME_MAX: usize = 128;

/// What `text` may change; `None`: that can't be told.
pub fn setting_changes(text: &[u8]) -> Option<Vec<SettingChange>> {
    let tokens = Lexer::new(text);
    let mut reader = Reader { text, tokens, ahead: None, found: Vec::new() };
    let mut is_start = true;
    while let Some(token) = reader.next() {
        let is_first = std::mem::replace(&mut is_start, token.bytes(text) == b";");
        match token.kind {
            TokenKind::Word if is_first && reader.is(token, b"set") => reader.set()?,
            TokenKind::Word if is_first && reader.is(token, b"reset") => reader.reset()?,
            TokenKind::Word if is_first && reader.is(token, b"discard") => reader.discard(),
            // A rule of pg_settings makes calls of set_config.
            TokenKind::Word if is_first && reader.is(token, b"update") => reader.update()?,
            TokenKind::Word | TokenKind::QuotedIdentifier => reader.call(token)?,
            TokenKind::UnicodeIdentifier | TokenKind::AmbiguousString | TokenKind::Unterminated => {
                return None;
            }
            _ => {}
        }
    }
    Some(reader.found)
}

/// Whether the analysis of statements reads the setting of this name (but search_path: a statement is analysed anew
/// when that changes).
pub fn is_read_by_analysis(name: &[u8]) -> bool {
    READ_BY_ANALYSIS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

const READ_BY_ANALYSIS: &[&[u8]] = &[
    b"array_nulls",
    b"backslash_quote",
    b"client_encoding",
    b"datestyle",
    b"intervalstyle",
    b"lc_monetary",
    b"standard_conforming_strings",
    b"timezone",
    b"transform_null_equals",
    b"xmloption",
];

struct Reader<'a> {
    text: &'a [u8],
    tokens: Lexer<'a>,
    ahead: Option<Token>,
    found: Vec<SettingChange>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Token> {
        self.ahead.take().or_else(|| self.tokens.next())
    }

    fn peek(&mut self) -> Option<Token> {
        self.ahead = self.next();
        self.ahead
    }

    fn is(&self, token: Token, word: &[u8]) -> bool {
        token.bytes(self.text).eq_ignore_ascii_case(word)
    }

    /// Whether the next token is this word or sign.
    fn is_next(&mut self, word: &[u8]) -> bool {
        self.peek().is_some_and(|token| self.is(token, word))
    }

    /// Passes over the next token if it is this word or sign.
    fn skip(&mut self, word: &[u8]) -> bool {
        let found = self.is_next(word);
        if found {
            self.ahead = None;
        }
        found
    }

    fn add(&mut self, name: &[u8], may_reset: bool) {
        let what = Changed::Name(name.to_ascii_lowercase().into());
        self.found.push(SettingChange { what, may_reset, is_local: false });
    }

    // === SET, RESET, DISCARD ===

    fn set(&mut self) -> Option<()> {
        let Some(first) = self.next() else { return Some(()) };
        if self.is_names_end() {
            return self.named(first);
        }
        if self.is(first, b"session") {
            if self.skip(b"characteristics") {
                self.characteristics();
                return Some(());
            }
            let second = self.next()?;
            return self.of_session(second);
        }
        if self.is(first, b"local") {
            let known = self.found.len();
            let second = self.next()?;
            self.of_session(second)?;
            self.localize(known);
            return Some(());
        }
        self.of_session(first)
    }

    /// After SET [SESSION].
    fn of_session(&mut self, word: Token) -> Option<()> {
        let known: [(&[u8], &[u8]); 6] = [
            (b"time", b"timezone"),
            (b"names", b"client_encoding"),
            (b"role", b"role"),
            (b"schema", b"search_path"),
            (b"xml", b"xmloption"),
            (b"authorization", b"session_authorization"),
        ];
        if self.is_names_end() {
            return self.named(word);
        }
        if self.is(word, b"transaction") || self.is(word, b"constraints") {
            return Some(());
        }
        let (_, name) = known.into_iter().find(|(keyword, _)| self.is(word, keyword))?;
        if name == b"session_authorization" {
            self.add(b"role", true);
        }
        self.skip(b"zone");
        // Else `SET TIME ZONE DEFAULT`, `LOCAL`; `SET NAMES`, `SET ROLE NONE`.
        let is_constant = self.peek().is_some_and(|token| token.kind == TokenKind::String);
        self.add(name, !is_constant);
        Some(())
    }

    /// Whether what comes belongs to the name before it, or gives it a value.
    fn is_names_end(&mut self) -> bool {
        self.is_next(b".") || self.is_next(b"=") || self.is_next(b"to")
    }

    fn named(&mut self, first: Token) -> Option<()> {
        let name = self.name(first)?;
        let is_value = self.skip(b"=") || self.skip(b"to");
        let may_reset = !is_value || self.is_next(b"default");
        self.add(&name, may_reset);
        Some(())
    }

    /// What was found since then ends with the transaction.
    fn localize(&mut self, since: usize) {
        for change in self.found.iter_mut().skip(since) {
            change.is_local = true;
        }
    }

    /// `AS TRANSACTION` modes.
    fn characteristics(&mut self) {
        let modes: [(&[u8], &[u8]); 3] = [
            (b"isolation", b"default_transaction_isolation"),
            (b"read", b"default_transaction_read_only"),
            (b"deferrable", b"default_transaction_deferrable"),
        ];
        let mut before = None;
        while let Some(word) = self.peek().filter(|word| !self.is(*word, b";")) {
            self.ahead = None;
            // `LEVEL READ COMMITTED`, `REPEATABLE READ`
            let is_level = before
                .is_some_and(|before| self.is(before, b"level") || self.is(before, b"repeatable"));
            let mode = modes.iter().find(|(mode, _)| !is_level && self.is(word, mode));
            if let Some((_, name)) = mode {
                self.add(name, false);
            }
            before = Some(word);
        }
    }

    fn reset(&mut self) -> Option<()> {
        let Some(first) = self.next() else { return Some(()) };
        let keywords: [(&[u8], &[u8]); 2] =
            [(b"session", b"session_authorization"), (b"time", b"timezone")];
        if self.is(first, b"all") {
            self.found.push(SettingChange { what: Changed::All, may_reset: true, is_local: false });
            return Some(());
        }
        if self.is(first, b"transaction") {
            return Some(());
        }
        for (keyword, name) in keywords {
            let second: &[u8] = if keyword == b"time" { b"zone" } else { b"authorization" };
            if self.is(first, keyword) && self.is_next(second) {
                self.add(b"role", true);
                self.add(name, true);
                return Some(());
            }
        }
        let name = self.name(first)?;
        self.add(&name, true);
        Some(())
    }

    fn discard(&mut self) {
        if self.skip(b"all") {
            self.add(b"role", true);
            self.add(b"session_authorization", true);
            self.found.push(SettingChange { what: Changed::All, may_reset: true, is_local: false });
        }
    }

    /// `first[.name]...`, as one name.
    fn name(&mut self, first: Token) -> Option<Vec<u8>> {
        let mut name = self.part(first)?;
        while self.skip(b".") {
            let next = self.next()?;
            name.push(b'.');
            name.extend(self.part(next)?);
        }
        is_name(&name).then_some(name)
    }

    fn part(&self, token: Token) -> Option<Vec<u8>> {
        let bytes = token.bytes(self.text);
        match token.kind {
            TokenKind::Word => Some(bytes.to_vec()),
            TokenKind::QuotedIdentifier => {
                Some(bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?.to_vec())
            }
            _ => None,
        }
    }

    fn update(&mut self) -> Option<()> {
        self.skip(b"only");
        for _ in 0..3 {
            let Some(token) = self.peek() else { return Some(()) };
            if self.is(token, b"pg_settings") || self.is(token, b"\"pg_settings\"") {
                return None;
            }
            if matches!(token.kind, TokenKind::Word | TokenKind::QuotedIdentifier) {
                let _ = self.next();
                self.skip(b".");
            }
        }
        Some(())
    }

    // === Functions ===

    fn call(&mut self, name: Token) -> Option<()> {
        let is_one = |word: &[u8]| {
            let bytes = name.bytes(self.text);
            let quoted = bytes.strip_prefix(b"\"").and_then(|bytes| bytes.strip_suffix(b"\""));
            quoted.unwrap_or(bytes).eq_ignore_ascii_case(word)
        };
        if is_one(b"set_limit") {
            // pg_trgm
            self.add(b"pg_trgm.similarity_threshold", false);
        } else if is_one(b"set_config") && self.skip(b"(") {
            self.set_config()?;
        }
        Some(())
    }

    /// The arguments of set_config.
    fn set_config(&mut self) -> Option<()> {
        let mut arguments = [Vec::new(), Vec::new(), Vec::new()];
        let (mut depth, mut at) = (0_u32, 0);
        loop {
            let token = self.next()?;
            match token.bytes(self.text) {
                b")" if depth == 0 => break,
                b"," if depth == 0 => {
                    at += 1;
                    continue;
                }
                b"(" | b"[" => depth += 1,
                b")" | b"]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            arguments.get_mut(at)?.push(token);
        }
        let [name, value, is_local] = arguments;
        let is_local = matches!(is_local.as_slice(), [token] if self.is(*token, b"true"));
        // A NULL resets. As a parameter it is not looked for: then the first value counts as one that was set.
        let is_value = |kind| matches!(kind, TokenKind::String | TokenKind::Parameter);
        let may_reset = !value.first().is_some_and(|token| is_value(token.kind));
        let (first, rest) = name.split_first()?;
        if !self.is_cast_to_text(rest) {
            return None;
        }
        let bytes = first.bytes(self.text);
        match first.kind {
            TokenKind::String => {
                let name = bytes.strip_prefix(b"'")?.strip_suffix(b"'")?;
                if !is_name(name) {
                    return None;
                }
                let what = Changed::Name(name.to_ascii_lowercase().into());
                self.found.push(SettingChange { what, may_reset, is_local });
            }
            TokenKind::Parameter => {
                let number = std::str::from_utf8(bytes.get(1..)?).ok()?.parse::<u16>().ok()?;
                let what = Changed::Parameter(number.checked_sub(1)?);
                self.found.push(SettingChange { what, may_reset, is_local });
            }
            _ => return None,
        }
        Some(())
    }

    /// Nothing, or `::text`.
    fn is_cast_to_text(&self, tokens: &[Token]) -> bool {
        match tokens {
            [] => true,
            [cast, name] => self.is(*cast, b"::") && self.is(*name, b"text"),
            _ => false,
        }
    }
}

/// Whether it is a name that can be written in a statement of the proxy's own.
pub fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes in short: `name`, `name?` if it may be reset, `name!` if for the transaction, `$1`, `*`.
    fn changes(text: &str) -> Option<String> {
        let found = setting_changes(text.as_bytes())?;
        let shown = found.iter().map(|change| {
            let may = if change.is_local {
                "!"
            } else if change.may_reset {
                "?"
            } else {
                ""
            };
            match &change.what {
                Changed::Name(name) => format!("{}{may}", String::from_utf8_lossy(name)),
                Changed::Parameter(number) => format!("${number}{may}"),
                Changed::All => "*".to_owned(),
            }
        });
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn settings_are_named() {
        for (text, expected) in [
            ("SET work_mem = '4MB'", "work_mem"),
            ("set Work_Mem to default", "work_mem?"),
            ("SET SESSION search_path TO a, b", "search_path"),
            ("SET LOCAL search_path TO a", "search_path!"),
            ("SET LOCAL TIME ZONE 'UTC'", "timezone!"),
            ("SET local = 1", "local"),
            ("SET app.Tenant = 'x'; SELECT 1", "app.tenant"),
            ("SET \"app\".\"Tenant\" = 'x'", "app.tenant"),
            ("SET \"TimeZone\" TO 'UTC'", "timezone"),
            ("SET session.x = 1", "session.x"),
            ("SET TIME ZONE 'UTC'", "timezone"),
            ("SET SESSION TIME ZONE LOCAL", "timezone?"),
            ("SET NAMES 'utf8'", "client_encoding"),
            ("SET ROLE none", "role?"),
            ("SET role TO 'x'", "role"),
            ("SET SESSION ROLE x", "role?"),
            ("SET SCHEMA 'x'", "search_path"),
            ("SET XML OPTION CONTENT", "xmloption?"),
            ("SET SESSION AUTHORIZATION x", "role? session_authorization?"),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ""),
            ("SET CONSTRAINTS ALL DEFERRED", ""),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
                "default_transaction_isolation",
            ),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "default_transaction_isolation",
            ),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, NOT DEFERRABLE; SET a.b = 1",
                "default_transaction_read_only default_transaction_deferrable a.b",
            ),
            ("RESET work_mem", "work_mem?"),
            ("reset all", "*"),
            ("RESET app.tenant", "app.tenant?"),
            ("RESET SESSION AUTHORIZATION", "role? session_authorization?"),
            ("DISCARD ALL", "role? session_authorization? *"),
            ("DISCARD PLANS", ""),
            ("SELECT set_config('app.Tenant', 'x', false)", "app.tenant"),
            ("SELECT set_config('TimeZone', $1, false)", "timezone"),
            ("SELECT pg_catalog.set_config('search_path', '', true)", "search_path!"),
            ("SELECT set_config($1, $2, true)", "$0!"),
            ("SELECT a, SET_CONFIG($2::text, $1, $3), set_config('b', lower('X'), false)", "$1 b?"),
            ("SELECT 1; UPDATE t SET a = 1; SET a.b = 1", "a.b"),
            ("UPDATE ONLY t SET a = 1", ""),
            ("SELECT set_limit(0.5)", "pg_trgm.similarity_threshold"),
        ] {
            assert_eq!(changes(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn in_doubt_there_is_no_answer() {
        for text in [
            "SELECT set_config('a' || 'b', 'c', false)",
            "SELECT set_config(name, 'c', false) FROM t",
            "SELECT set_config(E'a', 'c', false)",
            "SELECT set_config('a''b', 'c', false)",
            "SELECT set_config('a'",
            "SET U&\"x\" = 1",
            "SET \"a b\" = 1",
            "SET nonsense",
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'y'",
            "UPDATE pg_catalog . \"pg_settings\" SET setting = 'x'",
        ] {
            assert_eq!(changes(text), None, "{text}");
        }
    }
}
