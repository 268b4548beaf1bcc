//! What a scan tells: kinds of session state, and marks.

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
    /// Values of sequences, for `currval()` and `lastval()`.
    Sequence,
    /// A connection that the server opened to another one (dblink).
    ForeignSession,
    /// State of the server process that even `DISCARD ALL` leaves: temporary replication slots, a base backup, a
    /// replication origin, the seed of `random()`.
    Process,
    /// Whatever a routine does that the text doesn't show: `DO`, `CALL`, a function that isn't PostgreSQL's own.
    Routine,
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
    /// It may end session state of an earlier statement: `DROP`, `CLOSE`, `UNLISTEN`, `DISCARD`,
    /// `pg_advisory_unlock()`.
    Release,
    /// It may take values of sequences, which its session remembers.
    TakesValues,
    /// It asks for values that the session remembers: `currval()`, `lastval()`.
    ReadsValues,
    /// It looks at the list of prepared statements.
    ListsPrepared,
    /// It may send notifications.
    Notifies,
    /// It looks at the list of channels that the session listens on.
    ListsChannels,
}

/// A set of [`Mark`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

/// What a scan of a text tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// What it may leave on its server connection.
    pub effects: Effects,
    /// All else.
    pub marks: Marks,
}

// === impl Footprint ===

impl Footprint {
    /// Whether something has to be done, or remembered, each time that the statement runs.
    pub fn matters_when_run(self) -> bool {
        const MARKS: Marks = Marks(0)
            .with(Mark::LocalSetting)
            .with(Mark::Ddl)
            .with(Mark::Release)
            .with(Mark::TakesValues)
            .with(Mark::ReadsValues)
            .with(Mark::Notifies)
            .with(Mark::ListsChannels);
        !self.effects.is_empty() || self.marks.0 & MARKS.0 != 0
    }
}

// === impl Effect ===

impl Effect {
    /// Every effect, in the order in which [`Effects::first`] picks one.
    pub const ALL: [Effect; 12] = [
        Effect::Setting,
        Effect::Listen,
        Effect::Temporary,
        Effect::Prepare,
        Effect::AdvisoryLock,
        Effect::HoldCursor,
        Effect::Load,
        Effect::Sequence,
        Effect::ForeignSession,
        Effect::Process,
        Effect::Routine,
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
            Effect::Sequence => "sequence",
            Effect::ForeignSession => "foreign_session",
            Effect::Process => "process",
            Effect::Routine => "routine",
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
            | Effect::Sequence
            | Effect::Routine
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

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// Without one of them.
    #[must_use]
    pub const fn without(self, mark: Mark) -> Marks {
        Marks(self.0 & !(1 << mark as u8))
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, mark: Mark) -> Marks {
        Marks(self.0 | (1 << mark as u8))
    }

    pub(super) fn add(&mut self, mark: Mark) {
        *self = self.with(mark);
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

    /// Those of both.
    #[must_use]
    pub const fn intersection(self, other: Effects) -> Effects {
        Effects(self.0 & other.0)
    }

    /// Its members, in the order of [`Effect::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL.into_iter().filter(move |effect| self.contains(*effect))
    }

    /// One of them, to name as the reason.
    pub fn first(self) -> Option<Effect> {
        self.iter().next()
    }

    pub(super) const fn of(effect: Effect) -> Effects {
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
