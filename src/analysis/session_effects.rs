//! What a statement may leave on its server connection for the next user of it.
//!
//! One pass over the tokens, no parsing: words count where they can only mean one thing, functions count wherever
//! they are called. It errs to the safe side: an effect too many costs a pooled connection for a while, one too few
//! leaks. It can't see into functions, rules, triggers and views of the database: see `Limits` below.
//!
//! Limits: state set by a function's body or by SQL in a string (except by those that are known to run
//! theirs: [`Effect::Unknown`]), by an operator, cast or view that hides such a function, temporary relations made
//! by way of a `search_path` that leads to pg_temp, `currval` and `lastval`.

mod skim;

use memchr::memchr;

use super::lexer::{Lexer, Token, TokenKind};

/// A kind of session state that outlives its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Effect {
    /// A setting or role: `SET`, `set_config(..., false)`.
    Setting,
    /// `LISTEN`.
    Listen,
    /// A temporary relation, or anything in schema pg_temp.
    Temporary,
    /// A prepared statement made by SQL.
    Prepare,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// A cursor that survives its transaction.
    HoldCursor,
    /// A library loaded into the server process.
    Load,
    /// A connection that the server opened to another one (dblink).
    ForeignSession,
    /// State of the server process that even `DISCARD ALL` leaves: temporary replication slots, a base backup, a
    /// replication origin, the seed of `random()`.
    Process,
    /// The text doesn't tell.
    Unknown,
}

/// A set of [`Effect`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects(u16);

/// Something else that the relay must know of a text, beside its effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// It changes a setting that the analysis of statements reads, until the end of the transaction.
    LocalSetting,
    /// It may change what a name means, or of what type a column is, for other sessions too.
    Ddl,
    /// It names prepared statements: `PREPARE`, `EXECUTE`, `DEALLOCATE`, `DISCARD`.
    PreparedNames,
    /// More than one statement.
    Several,
    /// Its first statement is one that PostgreSQL makes a plan for.
    Planned,
    /// `FETCH`: what it returns is found in the session, when it is parsed.
    Fetch,
}

/// A set of [`Mark`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

/// What a scan of a text tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// What it may leave on its server connection.
    pub effects: Effects,
    /// All else.
    pub marks: Marks,
}

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

// === impl Effect ===

impl Effect {
    /// Every effect, in the order in which [`Effects::first`] picks one.
    pub const ALL: [Effect; 10] = [
        Effect::Setting,
        Effect::Listen,
        Effect::Temporary,
        Effect::Prepare,
        Effect::AdvisoryLock,
        Effect::HoldCursor,
        Effect::Load,
        Effect::ForeignSession,
        Effect::Process,
        Effect::Unknown,
    ];

    /// Its name for operators: metrics, `SHOW CLIENTS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Setting => "setting",
            Effect::Listen => "listen",
            Effect::Temporary => "temporary",
            Effect::Prepare => "prepare",
            Effect::AdvisoryLock => "advisory_lock",
            Effect::HoldCursor => "hold_cursor",
            Effect::Load => "load",
            Effect::ForeignSession => "foreign_session",
            Effect::Process => "process",
            Effect::Unknown => "unknown",
        }
    }

    /// Whether `DISCARD ALL` may leave it: only closing the server connection surely ends it. After
    /// temporary relations their schema stays: the next client's first use of it goes unnoticed, and a
    /// PREPARE TRANSACTION that PostgreSQL would refuse succeeds.
    pub fn outlives_discard_all(self) -> bool {
        match self {
            Effect::Temporary | Effect::Load | Effect::ForeignSession | Effect::Process => true,
            Effect::Setting
            | Effect::Listen
            | Effect::Prepare
            | Effect::AdvisoryLock
            | Effect::HoldCursor
            | Effect::Unknown => false,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

// === impl Marks ===

impl Marks {
    /// Whether `mark` is among them.
    #[inline]
    pub fn contains(self, mark: Mark) -> bool {
        self.0 & (1 << mark as u8) != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    fn add(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u8;
    }
}

// === impl Effects ===

impl Effects {
    /// No effect.
    pub const NONE: Effects = Effects(0);

    /// Whether nothing is left behind.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `effect` is among them.
    pub fn contains(self, effect: Effect) -> bool {
        self.0 & effect.bit() != 0
    }

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Effects) -> Effects {
        Effects(self.0 | other.0)
    }

    /// Without one of them.
    #[must_use]
    pub const fn without(self, effect: Effect) -> Effects {
        Effects(self.0 & !effect.bit())
    }

    /// Its members, in the order of [`Effect::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL.into_iter().filter(move |effect| self.contains(*effect))
    }

    /// One of them, to name as the reason.
    pub fn first(self) -> Option<Effect> {
        self.iter().next()
    }

    const fn of(effect: Effect) -> Effects {
        Effects(effect.bit())
    }
}

impl From<Effect> for Effects {
    fn from(effect: Effect) -> Self {
        Effects::of(effect)
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> Self {
        effects.into_iter().fold(Effects::NONE, |all, effect| all.union(effect.into()))
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

/// The pass over one text.
struct Scan<'a> {
    text: &'a [u8],
    found: Effects,
    marks: Marks,
    /// A statement has begun.
    has_begun: bool,
    phase: Phase,
    /// The token before, if a word or a quoted identifier.
    name: Option<Token>,
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
            name: None,
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
        if self.phase != Phase::Inside || self.set_config.is_some() {
            return;
        }
        let from = lexer.skip_space();
        if let Some(name) = self.name {
            // It may be a function's, or INSERT, MERGE before INTO.
            let initial = self.text.get(name.start).map_or(0, u8::to_ascii_lowercase);
            if self.text.get(from) == Some(&b'(') || matches!(initial, b'i' | b'm') {
                return;
            }
        }
        let end = skim::dull_end(self.text, from);
        if end > from {
            lexer.skip_to(end);
            self.name = None;
        }
    }

    #[inline]
    fn token(&mut self, token: Token) {
        let bytes = token.bytes(self.text);
        if self.set_config.is_some() {
            self.argument(token.kind, bytes);
        }
        match token.kind {
            TokenKind::Word => {
                self.word(bytes);
                self.name = Some(token);
                return;
            }
            TokenKind::QuotedIdentifier => {
                self.identifier(unquoted(bytes));
                self.other(token.kind, bytes);
                self.name = Some(token);
                return;
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
        if initial == b'c' && is(word, b"create") {
            self.phase = Phase::Create;
        } else if initial == b'i' && is(word, b"into") && !self.follows_insert() {
            self.phase = Phase::Into;
        } else if initial == b'e' && is(word, b"execute") {
            // By itself, in EXPLAIN, in CREATE TABLE ... AS.
            self.marks.add(Mark::PreparedNames);
        }
    }

    /// INSERT INTO and MERGE INTO name an existing relation (called `temp`, perhaps).
    fn follows_insert(&self) -> bool {
        self.name.is_some_and(|name| {
            let bytes = name.bytes(self.text);
            is(bytes, b"insert") || is(bytes, b"merge")
        })
    }

    /// The first word of a statement.
    fn opening(&mut self, word: &[u8]) -> Phase {
        if std::mem::replace(&mut self.has_begun, true) {
            self.marks.add(Mark::Several);
        } else if is_any(word, PLANNED) {
            self.marks.add(Mark::Planned);
            return Phase::Inside;
        }
        match word.len() {
            2 if is(word, b"do") => {
                self.add(Effect::Unknown);
                self.marks.add(Mark::Ddl);
            }
            3 if is(word, b"set") => return Phase::Set,
            4 if is(word, b"call") => self.add(Effect::Unknown),
            4 if is(word, b"load") => self.add(Effect::Load),
            4 if is(word, b"drop") => self.marks.add(Mark::Ddl),
            5 if is(word, b"alter") => self.marks.add(Mark::Ddl),
            5 if is(word, b"fetch") => self.marks.add(Mark::Fetch),
            6 if is(word, b"listen") => self.add(Effect::Listen),
            6 if is(word, b"import") => self.marks.add(Mark::Ddl),
            7 if is(word, b"discard") => self.marks.add(Mark::PreparedNames),
            7 if is(word, b"prepare") => return Phase::Prepare,
            7 if is(word, b"declare") => return Phase::Declare,
            7 if is(word, b"explain") => return Phase::Explain,
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
            Phase::SetLocal if is_any(word, READ_BY_ANALYSIS) => {
                self.marks.add(Mark::LocalSetting);
            }
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
            Phase::Start
            | Phase::Inside
            | Phase::SetLocal
            | Phase::SetExempt
            | Phase::Declare
            | Phase::DeclareWith => {}
        }
        Phase::Inside
    }

    /// A token that isn't a word moves the phase.
    #[inline]
    fn other(&mut self, kind: TokenKind, bytes: &[u8]) {
        self.phase = match self.phase {
            Phase::Inside | Phase::Explain | Phase::Declare => return,
            Phase::Start if bytes == b"(" => return,
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
            Phase::Start | Phase::SetExempt | Phase::PrepareTransaction | Phase::DeclareWith => {
                Phase::Inside
            }
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
        }
    }

    fn parenthesis(&mut self, bytes: &[u8]) {
        match bytes {
            b"(" => {
                self.depth = self.depth.saturating_add(1);
                if let Some(name) = self.name {
                    self.call(unquoted(name.bytes(self.text)));
                }
            }
            b"[" => self.depth = self.depth.saturating_add(1),
            b")" | b"]" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// A function's name before its arguments.
    fn call(&mut self, name: &[u8]) {
        if !name.first().is_some_and(|byte| b"cdpqst".contains(&byte.to_ascii_lowercase())) {
            return;
        }
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
        for (function, effects) in FUNCTIONS {
            if is(name, function) {
                self.found = self.found.union(*effects);
            }
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
                name.is_some_and(|name| !is_any(name, READ_BY_ANALYSIS) && !name.contains(&b'\''));
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

/// First words of statements that are planned.
const PLANNED: &[&[u8]] =
    &[b"select", b"insert", b"update", b"delete", b"with", b"values", b"merge", b"table"];

/// What `SET LOCAL` may be followed by if it changes a setting that parse analysis reads (but search_path: a
/// statement is analysed anew when that changes).
const READ_BY_ANALYSIS: &[&[u8]] = &[
    b"timezone",
    b"time",
    b"datestyle",
    b"intervalstyle",
    b"standard_conforming_strings",
    b"transform_null_equals",
    b"array_nulls",
    b"xmloption",
    b"xml",
    b"backslash_quote",
    b"client_encoding",
    b"names",
    b"lc_monetary",
];

const TEMPORARY_SCHEMA: &[u8] = b"pg_temp";

/// Functions that leave something behind, besides set_config. Their initials stand in [`Scan::call`], the first three
/// letters in `skim::is_telling`.
const FUNCTIONS: &[(&[u8], Effects)] = &[
    (b"pg_advisory_lock", Effects::of(Effect::AdvisoryLock)),
    (b"pg_advisory_lock_shared", Effects::of(Effect::AdvisoryLock)),
    (b"pg_try_advisory_lock", Effects::of(Effect::AdvisoryLock)),
    (b"pg_try_advisory_lock_shared", Effects::of(Effect::AdvisoryLock)),
    (b"setseed", Effects::of(Effect::Setting).union(Effects::of(Effect::Process))),
    (
        b"pg_replication_origin_session_setup",
        Effects::of(Effect::Setting).union(Effects::of(Effect::Process)),
    ),
    // pg_trgm: sets pg_trgm.similarity_threshold.
    (b"set_limit", Effects::of(Effect::Setting)),
    (b"dblink_connect", Effects::of(Effect::ForeignSession)),
    (b"dblink_connect_u", Effects::of(Effect::ForeignSession)),
    (b"dblink_open", Effects::of(Effect::ForeignSession)),
    // Their slots may be temporary ones, which end with the server process.
    (b"pg_create_physical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_create_logical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_copy_physical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_copy_logical_replication_slot", Effects::of(Effect::Process)),
    // A base backup belongs to its session.
    (b"pg_backup_start", Effects::of(Effect::Process)),
    (b"pg_start_backup", Effects::of(Effect::Process)),
    // They run SQL given as a string.
    (b"query_to_xml", Effects::of(Effect::Unknown)),
    (b"query_to_xmlschema", Effects::of(Effect::Unknown)),
    (b"query_to_xml_and_xmlschema", Effects::of(Effect::Unknown)),
    (b"ts_stat", Effects::of(Effect::Unknown)),
    (b"ts_rewrite", Effects::of(Effect::Unknown)),
    (b"crosstab", Effects::of(Effect::Unknown)),
    (b"crosstab2", Effects::of(Effect::Unknown)),
    (b"crosstab3", Effects::of(Effect::Unknown)),
    (b"crosstab4", Effects::of(Effect::Unknown)),
];

#[cfg(test)]
mod tests;
