//! What a statement may leave on its server connection for the next user of it.
//!
//! One pass over the tokens, no parsing: words count where they can only mean one thing, functions count wherever
//! they are called. It errs to the safe side: an effect too many costs a pooled connection for a while, one too few
//! leaks. It can't see into functions, rules, triggers and views of the database: see `Limits` below.
//!
//! A function that isn't one of PostgreSQL's own, by its name, may do anything ([`Effect::Routine`]).
//!
//! Limits: state set by a function that is called by an operator, cast, trigger, rule or view, or that is called like
//! one of PostgreSQL's own and found before it; temporary relations made by way of a `search_path` that leads to
//! pg_temp.

mod footprint;
mod functions;
mod skim;

pub use footprint::{Effect, Effects, Footprint, Mark, Marks};

use memchr::memchr;

use super::lexer::{Lexer, Token, TokenKind};
use super::setting_changes;

/// What the statements of `text` may leave on the server connection that runs them, and their marks.
///
/// Total: any bytes have an answer, found in linear time, without recursion or allocation.
pub fn footprint(text: &[u8]) -> Footprint {
    let mut scan = Scan::new(text);
    if memchr(0, text).is_some() {
        scan.add(Effect::Unknown);
    }
    let mut lexer = Lexer::new(text);
    loop {
        scan.skim(&mut lexer);
        match lexer.next() {
            Some(token) => scan.token(token),
            None => return scan.finish(),
        }
    }
}

/// What the words before have led to.
///
/// `Start` at the text's start and after each `;`; a statement's first word picks the state, and everything that
/// isn't awaited leads to `Inside`. CREATE and INTO are reserved words: they lead to theirs from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    /// Nothing is awaited.
    Inside,
    /// After SET.
    Set,
    /// After SET LOCAL: no effect, unless the word is a setting's name.
    SetLocal,
    /// After SET TRANSACTION, SET CONSTRAINTS: likewise.
    SetExempt,
    /// After PREPARE.
    Prepare,
    /// After PREPARE TRANSACTION: no effect, unless the word is the statement's name.
    PrepareTransaction,
    /// In EXPLAIN: its options, then its statement.
    Explain,
    /// In DECLARE, before FOR.
    Declare,
    /// After DECLARE ... WITH.
    DeclareWith,
    /// After CREATE [OR REPLACE] [LOCAL | GLOBAL].
    Create,
    /// After INTO [TABLE] [LOCAL | GLOBAL].
    Into,
    /// After INSERT INTO, MERGE INTO: the name of a relation.
    Target,
    /// After DISCARD.
    Discard,
    /// After UPDATE.
    Update,
}

/// An open call of set_config.
#[derive(Clone, Copy, Debug)]
struct SetConfig {
    /// Parentheses and brackets open at its arguments.
    depth: u32,
    /// The setting may be one that analysis reads.
    is_read_by_analysis: bool,
    /// Arguments before the present one.
    commas: u32,
    /// Tokens of the third argument.
    third: Third,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Third {
    Empty,
    True,
    AnythingElse,
}

/// A word or quoted identifier.
#[derive(Clone, Copy)]
struct Name {
    token: Token,
    /// Where the token before it ends.
    behind: usize,
}

/// The pass over one text.
struct Scan<'a> {
    text: &'a [u8],
    found: Effects,
    marks: Marks,
    /// A statement has begun.
    has_begun: bool,
    phase: Phase,
    /// The statement is planned: a name before a parenthesis may be a function that is called.
    calls: bool,
    /// The token before, if a word or a quoted identifier.
    name: Option<Name>,
    /// Where the last token ends that isn't white space or a comment.
    end: usize,
    /// Parentheses and brackets that are open.
    depth: u32,
    set_config: Option<SetConfig>,
}

// === impl Scan ===

impl<'a> Scan<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            found: Effects::NONE,
            marks: Marks::default(),
            has_begun: false,
            phase: Phase::Start,
            calls: false,
            name: None,
            end: 0,
            depth: 0,
            set_config: None,
        }
    }

    fn add(&mut self, effect: Effect) {
        self.found = self.found.union(effect.into());
    }

    fn finish(mut self) -> Footprint {
        self.end_statement();
        Footprint { effects: self.found, marks: self.marks }
    }

    /// Passes over what tells nothing.
    #[inline]
    fn skim(&mut self, lexer: &mut Lexer<'_>) {
        if self.phase != Phase::Inside || self.set_config.is_some() || !self.calls {
            return;
        }
        let from = lexer.skip_space();
        if let Some(name) = self.name {
            // It may be a function's, or INSERT, MERGE before INTO.
            let initial = self.text.get(name.token.start).map_or(0, u8::to_ascii_lowercase);
            if self.text.get(from) == Some(&b'(') || matches!(initial, b'i' | b'm') {
                return;
            }
        }
        let last = self.text.get(..self.end).and_then(<[u8]>::last).copied().unwrap_or(b' ');
        let end = skim::dull_end(self.text, from, last);
        if end > from {
            lexer.skip_to(end);
            self.name = None;
            self.end = end;
        }
    }

    #[inline]
    fn token(&mut self, token: Token) {
        let behind = std::mem::replace(&mut self.end, token.end);
        let bytes = token.bytes(self.text);
        if self.set_config.is_some() {
            self.argument(token.kind, bytes);
        }
        match token.kind {
            TokenKind::Word => {
                self.word(bytes);
                self.name = Some(Name { token, behind });
                return;
            }
            TokenKind::QuotedIdentifier => {
                self.identifier(unquoted(bytes));
                self.other(token.kind, bytes);
                self.name = Some(Name { token, behind });
                return;
            }
            TokenKind::Punctuation if bytes == b"(" && self.phase == Phase::Target => {
                self.phase = Phase::Inside;
                self.name = None;
                self.parenthesis(bytes);
            }
            TokenKind::Punctuation if bytes == b";" => self.end_statement(),
            TokenKind::UnicodeIdentifier | TokenKind::AmbiguousString | TokenKind::Unterminated => {
                self.other(token.kind, bytes);
                self.add(Effect::Unknown);
            }
            TokenKind::Punctuation
            | TokenKind::String
            | TokenKind::Number
            | TokenKind::Parameter
            | TokenKind::Operator
            | TokenKind::Other => {
                self.other(token.kind, bytes);
                self.parenthesis(bytes);
            }
        }
        self.name = None;
    }

    fn end_statement(&mut self) {
        if self.set_config.take().is_some() {
            self.add(Effect::Setting);
        }
        self.phase = Phase::Start;
        self.calls = false;
    }

    /// A word moves the phase.
    #[inline]
    fn word(&mut self, word: &[u8]) {
        let initial = word.first().map_or(0, u8::to_ascii_lowercase);
        if initial == b'p' {
            self.identifier(word);
        }
        self.phase = match self.phase {
            Phase::Inside => Phase::Inside,
            Phase::Start => self.opening(word),
            awaiting => self.awaited(awaiting, word),
        };
        if !self.calls {
            self.calls = is_any(word, CALLING);
        }
        if initial == b'c' && is(word, b"create") {
            self.phase = Phase::Create;
        } else if initial == b'i' && is(word, b"into") {
            self.phase = if self.follows_insert() { Phase::Target } else { Phase::Into };
        } else if initial == b'e' && is(word, b"execute") {
            // By itself, in EXPLAIN, in CREATE TABLE ... AS.
            self.marks.add(Mark::PreparedNames);
        }
    }

    /// INSERT INTO and MERGE INTO name an existing relation (called `temp`, perhaps).
    fn follows_insert(&self) -> bool {
        self.name.is_some_and(|name| {
            let bytes = name.token.bytes(self.text);
            is(bytes, b"insert") || is(bytes, b"merge")
        })
    }

    /// The first word of a statement.
    fn opening(&mut self, word: &[u8]) -> Phase {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if !is_first {
            self.marks.add(Mark::Several);
        }
        if !is_any(word, READING) {
            self.marks.add(Mark::TakesValues);
        }
        if is_any(word, PLANNED) {
            if is_first {
                self.marks.add(Mark::Planned);
            }
            self.calls = true;
            return if is(word, b"update") { Phase::Update } else { Phase::Inside };
        }
        match word.len() {
            2 if is(word, b"do") => {
                self.add(Effect::Routine);
                self.marks.add(Mark::Ddl);
            }
            3 if is(word, b"set") => return Phase::Set,
            4 if is(word, b"call") => self.add(Effect::Routine),
            4 if is(word, b"copy") => return Phase::Target,
            4 if is(word, b"load") => self.add(Effect::Load),
            4 if is(word, b"drop") => {
                self.marks.add(Mark::Ddl);
                self.marks.add(Mark::Release);
            }
            5 if is(word, b"alter") => self.marks.add(Mark::Ddl),
            5 if is(word, b"close") => self.marks.add(Mark::Release),
            5 if is(word, b"fetch") => self.marks.add(Mark::Fetch),
            5 if is(word, b"reset") => self.add(Effect::Setting),
            6 if is(word, b"listen") => self.add(Effect::Listen),
            6 if is(word, b"import") => self.marks.add(Mark::Ddl),
            6 if is(word, b"notify") => self.marks.add(Mark::Notifies),
            7 if is(word, b"discard") => {
                self.marks.add(Mark::PreparedNames);
                self.marks.add(Mark::Release);
                return Phase::Discard;
            }
            7 if is(word, b"prepare") => return Phase::Prepare,
            7 if is(word, b"declare") => return Phase::Declare,
            7 if is(word, b"explain") => return Phase::Explain,
            8 if is(word, b"unlisten") => self.marks.add(Mark::Release),
            10 if is(word, b"deallocate") => self.marks.add(Mark::PreparedNames),
            _ => {}
        }
        Phase::Inside
    }

    /// A word where something is awaited.
    #[cold]
    fn awaited(&mut self, phase: Phase, word: &[u8]) -> Phase {
        match phase {
            Phase::Set if is(word, b"local") => return Phase::SetLocal,
            Phase::Set if is_any(word, &[b"transaction", b"constraints"]) => {
                return Phase::SetExempt;
            }
            Phase::Set => self.add(Effect::Setting),
            Phase::SetLocal | Phase::SetExempt if is(word, b"to") => self.add(Effect::Setting),
            Phase::SetLocal if is_read_by_analysis(word) => self.marks.add(Mark::LocalSetting),
            Phase::Prepare if is(word, b"transaction") => return Phase::PrepareTransaction,
            Phase::Prepare | Phase::PrepareTransaction => self.prepares(),
            Phase::Explain if is(word, b"declare") => return Phase::Declare,
            Phase::Explain => return Phase::Explain,
            Phase::Declare if is(word, b"with") => return Phase::DeclareWith,
            Phase::Declare if !is(word, b"for") => return Phase::Declare,
            Phase::DeclareWith if is(word, b"hold") => self.add(Effect::HoldCursor),
            Phase::Create | Phase::Into if is_any(word, &[b"temp", b"temporary"]) => {
                self.add(Effect::Temporary);
            }
            Phase::Create if is_any(word, &[b"or", b"replace", b"local", b"global"]) => {
                return Phase::Create;
            }
            Phase::Into if is_any(word, &[b"table", b"local", b"global"]) => return Phase::Into,
            Phase::Create | Phase::Into => self.marks.add(Mark::Ddl),
            Phase::Target => return Phase::Target,
            Phase::Discard if is(word, b"all") => self.add(Effect::Setting),
            Phase::Update if is_any(word, &[b"only", b"pg_catalog"]) => return Phase::Update,
            // A rule makes that a call of set_config.
            Phase::Update if is(word, b"pg_settings") => self.add(Effect::Setting),
            Phase::Start
            | Phase::Inside
            | Phase::SetLocal
            | Phase::SetExempt
            | Phase::Declare
            | Phase::DeclareWith
            | Phase::Discard
            | Phase::Update => {}
        }
        Phase::Inside
    }

    /// A token that isn't a word moves the phase.
    #[inline]
    fn other(&mut self, kind: TokenKind, bytes: &[u8]) {
        self.phase = match self.phase {
            Phase::Inside | Phase::Explain | Phase::Declare => return,
            Phase::Start if bytes == b"(" => return,
            Phase::Target if kind == TokenKind::QuotedIdentifier || bytes == b"." => return,
            Phase::Update if bytes == b"." => return,
            Phase::Update => {
                if is(unquoted(bytes), b"pg_catalog") {
                    return;
                }
                if is(unquoted(bytes), b"pg_settings") {
                    self.add(Effect::Setting);
                }
                Phase::Inside
            }
            Phase::Set => {
                self.add(Effect::Setting);
                Phase::Inside
            }
            Phase::SetLocal | Phase::SetExempt if bytes == b"." || bytes == b"=" => {
                self.add(Effect::Setting);
                Phase::Inside
            }
            Phase::SetLocal => {
                // A quoted name: any.
                self.marks.add(Mark::LocalSetting);
                Phase::Inside
            }
            Phase::Prepare => {
                self.prepares();
                Phase::Inside
            }
            Phase::PrepareTransaction if kind != TokenKind::String => {
                self.prepares();
                Phase::Inside
            }
            Phase::Create | Phase::Into => {
                self.marks.add(Mark::Ddl);
                Phase::Inside
            }
            Phase::Start
            | Phase::SetExempt
            | Phase::PrepareTransaction
            | Phase::DeclareWith
            | Phase::Target
            | Phase::Discard => Phase::Inside,
        };
    }

    fn prepares(&mut self) {
        self.add(Effect::Prepare);
        self.marks.add(Mark::PreparedNames);
    }

    fn identifier(&mut self, name: &[u8]) {
        let (head, tail) = name.split_at(name.len().min(TEMPORARY_SCHEMA.len()));
        if is(head, TEMPORARY_SCHEMA) && matches!(tail.first(), None | Some(b'_')) {
            self.add(Effect::Temporary);
        } else if is(name, b"pg_prepared_statements") || is(name, b"pg_prepared_statement") {
            self.marks.add(Mark::ListsPrepared);
        }
    }

    fn parenthesis(&mut self, bytes: &[u8]) {
        match bytes {
            b"(" => {
                self.depth = self.depth.saturating_add(1);
                if let Some(name) = self.name {
                    self.call(name);
                }
            }
            b"[" => self.depth = self.depth.saturating_add(1),
            b")" | b"]" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// A function's name before its arguments.
    fn call(&mut self, Name { token, behind }: Name) {
        let name = unquoted(token.bytes(self.text));
        if is(name, b"set_config") {
            if self.set_config.is_some() {
                // Within another's arguments: not worth a stack.
                self.add(Effect::Setting);
                return;
            }
            self.set_config = Some(SetConfig {
                depth: self.depth,
                is_read_by_analysis: false,
                commas: 0,
                third: Third::Empty,
            });
            return;
        }
        let before = self.text.get(..behind).unwrap_or_default().trim_ascii_end();
        let is_quoted = token.kind == TokenKind::QuotedIdentifier;
        let is_harmless =
            functions::is_harmless(name, is_quoted) && !is_qualified_by_another(before);
        if is_harmless || (!is_quoted && functions::is_keyword(name, before)) {
            return;
        }
        let known = functions::EFFECTS.iter().find(|(function, _)| is(name, function));
        if let Some((_, effects)) = known {
            self.found = self.found.union(*effects);
        } else if is_any(name, functions::TAKING_VALUES) {
            self.marks.add(Mark::TakesValues);
        } else if is_any(name, functions::READING_VALUES) {
            self.marks.add(Mark::ReadsValues);
        } else if is_any(name, functions::RELEASING) {
            self.marks.add(Mark::Release);
        } else if is_any(name, functions::SETTING) {
            self.add(Effect::Setting);
        } else if is_any(name, functions::NOTIFYING) {
            self.marks.add(Mark::Notifies);
        } else if is_any(name, functions::LISTING_CHANNELS) {
            self.marks.add(Mark::ListsChannels);
        } else if self.calls && !is_as(before) {
            self.add(Effect::Routine);
        }
    }

    /// A token within the parentheses of set_config.
    fn argument(&mut self, kind: TokenKind, bytes: &[u8]) {
        let Some(call) = &mut self.set_config else {
            return;
        };
        if self.depth == call.depth && kind == TokenKind::Punctuation {
            match bytes {
                b"," => {
                    call.commas = call.commas.saturating_add(1);
                    return;
                }
                b")" => {
                    if call.commas != 2 || call.third != Third::True {
                        self.found = self.found.union(Effect::Setting.into());
                    }
                    if call.is_read_by_analysis {
                        self.marks.add(Mark::LocalSetting);
                    }
                    self.set_config = None;
                    return;
                }
                _ => {}
            }
        }
        if call.commas == 0 {
            let name = bytes.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
            let is_harmless =
                name.is_some_and(|name| !is_read_by_analysis(name) && !name.contains(&b'\''));
            call.is_read_by_analysis |= !is_harmless;
        }
        if call.commas == 2 {
            let alone = call.third == Third::Empty;
            call.third = if alone && kind == TokenKind::Word && is(bytes, b"true") {
                Third::True
            } else {
                Third::AnythingElse
            };
        }
    }
}

#[inline]
fn is(word: &[u8], keyword: &[u8]) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn is_any(word: &[u8], keywords: &[&[u8]]) -> bool {
    keywords.iter().any(|keyword| is(word, keyword))
}

/// A quoted identifier's inside. Letters are compared without case in any form, which errs to the safe side.
fn unquoted(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(name)
}

/// Whether a text ends in a schema's name and a dot, and the schema isn't pg_catalog.
fn is_qualified_by_another(before: &[u8]) -> bool {
    let Some(qualifier) = before.strip_suffix(b".") else { return false };
    let from = qualifier.len().saturating_sub(b"pg_catalog".len());
    !qualifier.get(from..).is_some_and(|qualifier| is(qualifier, b"pg_catalog"))
}

/// Whether a text ends in AS: what follows names columns, `AS t(a)`.
fn is_as(before: &[u8]) -> bool {
    before.split_last_chunk::<3>().is_some_and(|(_, [before, last @ ..])| {
        is(last, b"as") && (before.is_ascii_whitespace() || matches!(before, b')' | b'/'))
    })
}

/// First words of statements that are planned.
const PLANNED: &[&[u8]] =
    &[b"select", b"insert", b"update", b"delete", b"with", b"values", b"merge", b"table"];

/// First words of statements that take no values of sequences, but by functions and rules.
const READING: &[&[u8]] = &[
    b"select",
    b"begin",
    b"commit",
    b"rollback",
    b"set",
    b"start",
    b"end",
    b"abort",
    b"savepoint",
    b"release",
    b"show",
    b"values",
    b"table",
    b"fetch",
    b"move",
    b"close",
    b"reset",
    b"listen",
    b"unlisten",
    b"notify",
    b"deallocate",
    b"discard",
    b"lock",
];

/// Words behind which expressions come, in statements that begin otherwise.
const CALLING: &[&[u8]] = &[b"select", b"insert", b"update", b"delete", b"values", b"merge"];

/// Whether a word may name a setting that parse analysis reads: `TIME ZONE`, `NAMES`, `XML OPTION` too.
fn is_read_by_analysis(word: &[u8]) -> bool {
    is_any(word, &[b"time", b"names", b"xml"]) || setting_changes::is_read_by_analysis(word)
}

const TEMPORARY_SCHEMA: &[u8] = b"pg_temp";

#[cfg(test)]
mod tests;
