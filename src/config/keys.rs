//! Every key: its section, kind, default and meaning. From this one table come the parser, the sample
//! `proxy.toml` and docs/configuration.md.

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As written in TOML; `None`: not set.
    pub(super) default: Option<&'static str>,
    /// What it means: whole sentences.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read where the sample and the page are made")
    )]
    pub(super) doc: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Never shown.
    Secret,
    Flag,
    /// A whole number in this range.
    Integer(i64, i64),
    /// An IP address and a port.
    SocketAddress,
    /// The same, or "off".
    SocketAddressOrOff,
    /// A list of names.
    Names,
    Duration,
    /// A duration or "off".
    DurationOrOff,
    Size,
    Choice(&'static [&'static str]),
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read where the sample and the page are made")
    )]
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Some(default), doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: None, doc }
}

/// Counts of connections, waiters and the like.
const COUNT_MAX: i64 = 1_000_000;

pub(super) const AFTER_UNKNOWN: &[&str] = &["reset", "keep", "pin"];

pub(super) const LOST_LISTENER: &[&str] = &["relisten", "disconnect"];

pub(super) const OVER_PINNED_SHARE: &[&str] = &["error", "wait"];

pub(super) const POOL_MODES: &[&str] = &["transaction", "session", "statement"];

/// The sections that appear once.
pub(super) const SECTIONS: &[Section] = &[SERVER, ADMIN, LOG, AUTH, NET, LIMITS, PREPARED, POOL];

const SERVER: Section = Section {
    name: "server",
    doc: "The process.",
    keys: &[
        key(
            "listen",
            Kind::SocketAddress,
            "\"127.0.0.1:6432\"",
            "Where clients connect. Port 0: any free port; the log says which.",
        ),
        key(
            "admin_listen",
            Kind::SocketAddressOrOff,
            "\"127.0.0.1:9432\"",
            "Where the admin HTTP server listens (health, metrics, JSON). An address that others reach needs admin.token.",
        ),
        optional(
            "handover",
            Kind::Text,
            "Path of a Unix-domain socket. A process that is started with the same path takes the listening sockets over, while this one serves its clients until they have left: docs/operations.md.",
        ),
        key(
            "workers",
            Kind::Integer(1, 64),
            "1",
            "Threads that serve clients. One saturates about four PostgreSQL cores with short statements; see docs/pooling.md for how the default was measured.",
        ),
        key(
            "shutdown_grace",
            Kind::Duration,
            "\"30s\"",
            "After SIGTERM or SIGINT, transactions get so long to end.",
        ),
    ],
};

const ADMIN: Section = Section {
    name: "admin",
    doc: "Operating the proxy: the console (databases `pgsteward` and `pgbouncer`) and HTTP.",
    keys: &[
        key(
            "admin_users",
            Kind::Names,
            "[\"pgsteward\", \"pgbouncer\", \"postgres\"]",
            "Users of the console who may do everything. They log in like any client: with `trust` whoever says so from a loopback address, with `scram-sha-256` by the password of their [[users]] entry.",
        ),
        key(
            "stats_users",
            Kind::Names,
            "[]",
            "Users of the console who may use SHOW, and nothing else.",
        ),
        optional(
            "token",
            Kind::Secret,
            "HTTP requests must show it (`Authorization: Bearer ...`), but for /livez and /readyz.",
        ),
        key("stats_period", Kind::Duration, "\"60s\"", "SHOW STATS shows averages over so long."),
    ],
};

const LOG: Section = Section {
    name: "log",
    doc: "Log lines, on standard error.",
    keys: &[
        key(
            "level",
            Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            "\"info\"",
            "The least severe level that is written.",
        ),
        key(
            "format",
            Kind::Choice(&["text", "json"]),
            "\"text\"",
            "Lines for people, or one JSON object a line.",
        ),
        key(
            "connections",
            Kind::Flag,
            "true",
            "A line at `info` for each client that comes or goes, with the reason; else at `debug`.",
        ),
        key(
            "slow",
            Kind::DurationOrOff,
            "\"off\"",
            "Requests that took so long, their wait for a server connection included, are logged at `warn` with their text: literals too.",
        ),
        key(
            "stats",
            Kind::DurationOrOff,
            "\"off\"",
            "Counts summed up over so long are logged at `info`.",
        ),
    ],
};

/// Keys that are read at the start only; of a section with `*`, all.
const FIXED: &[(&str, &str)] = &[
    ("server", "listen"),
    ("server", "admin_listen"),
    ("server", "handover"),
    ("server", "workers"),
    ("auth", "mock_key"),
    ("net", "backlog"),
    ("log", "format"),
    ("limits", "notification_bytes"),
    ("prepared", "*"),
];

/// Whether a key can be changed while the proxy runs.
pub(super) fn is_changeable(section: &str, key: &str) -> bool {
    !FIXED.iter().any(|(known, name)| *known == section && (*name == key || *name == "*"))
}

const AUTH: Section = Section {
    name: "auth",
    doc: "How clients log in.",
    keys: &[
        key(
            "method",
            Kind::Choice(&["trust", "scram-sha-256"]),
            "\"trust\"",
            "`trust`: any user name is believed, from loopback addresses only. `scram-sha-256`: the password of a [[users]] entry.",
        ),
        key(
            "trust_remote",
            Kind::Flag,
            "false",
            "With `trust`: believe clients from anywhere. Whoever reaches the port is then whoever it says.",
        ),
        optional(
            "mock_key",
            Kind::Secret,
            "Any text. Unknown users are asked for a password with a salt made from it, so that they look like known ones; set it to keep those salts over restarts. Random at each start if not set.",
        ),
    ],
};

const NET: Section = Section {
    name: "net",
    doc: "TCP sockets, of clients and of servers.",
    keys: &[
        key(
            "keepalive",
            Kind::DurationOrOff,
            "\"60s\"",
            "Idle time before the first TCP keepalive probe.",
        ),
        key(
            "user_timeout",
            Kind::DurationOrOff,
            "\"30s\"",
            "A peer that has not acknowledged data for so long is gone (TCP_USER_TIMEOUT).",
        ),
        key("backlog", Kind::Integer(1, 65_535), "1024", "Clients that may wait to be accepted."),
    ],
};

const LIMITS: Section = Section {
    name: "limits",
    doc: "Bounds on what clients may make the proxy hold.",
    keys: &[
        key(
            "clients",
            Kind::Integer(1, COUNT_MAX),
            "10000",
            "Clients at once; one more gets 53300.",
        ),
        key(
            "login_timeout",
            Kind::Duration,
            "\"60s\"",
            "A client that has not logged in by then is closed.",
        ),
        key(
            "statement_bytes",
            Kind::Size,
            "\"1MiB\"",
            "A statement up to this length is held until it is whole, and scanned for session state. A longer one is passed on unread, and the server connection stays with the client.",
        ),
        key(
            "pipeline_depth",
            Kind::Integer(16, 10_000_000),
            "65536",
            "Replies that a client may be owed before it is read no further.",
        ),
        key(
            "notification_bytes",
            Kind::Size,
            "\"16MiB\"",
            "Notifications of the shared listener that a client hasn't taken yet may be so long together; with more its session ends (53400).",
        ),
        key(
            "idle_transaction",
            Kind::DurationOrOff,
            "\"off\"",
            "A client whose open transaction is idle for so long is closed (25P03) and rolled back.",
        ),
        key(
            "startup_variants",
            Kind::Integer(1, COUNT_MAX),
            "100",
            "Different startup settings that a pool remembers the server's ParameterStatus values for.",
        ),
    ],
};

const POOL: Section = Section {
    name: "pool",
    doc: "Server connections: one pool for each database and user on the server. Each key can be set for one\ndatabase, as `pool_size` and so on.",
    keys: &[
        key(
            "mode",
            Kind::Choice(POOL_MODES),
            "\"transaction\"",
            "When a server connection goes back to the pool: at the end of each transaction, when the client leaves, or at the end of each statement (transaction blocks are then refused).",
        ),
        key(
            "size",
            Kind::Integer(1, COUNT_MAX),
            "20",
            "Server connections of a pool, over all workers.",
        ),
        key(
            "min",
            Kind::Integer(0, COUNT_MAX),
            "0",
            "Server connections that are kept open once the pool is in use.",
        ),
        key(
            "reserve",
            Kind::Integer(0, COUNT_MAX),
            "0",
            "Further server connections while a client has waited for `reserve_after`.",
        ),
        key("reserve_after", Kind::Duration, "\"3s\"", "Wait that opens the reserve."),
        key(
            "wait_timeout",
            Kind::Duration,
            "\"120s\"",
            "Longest wait for a server connection; then the request fails with 53300.",
        ),
        key(
            "waiters",
            Kind::Integer(1, COUNT_MAX),
            "10000",
            "Clients that may wait at once; one more fails at once with 53300.",
        ),
        key(
            "connect_timeout",
            Kind::Duration,
            "\"15s\"",
            "Longest time to connect and log in on the server; also the limit of ROLLBACK and DISCARD ALL when a connection is cleaned.",
        ),
        key(
            "retry_min",
            Kind::Duration,
            "\"100ms\"",
            "First pause after a dial that failed; doubles with each failure.",
        ),
        key("retry_max", Kind::Duration, "\"2s\"", "Longest pause between dials."),
        key(
            "retry_for",
            Kind::Duration,
            "\"5s\"",
            "While the server can't be reached, starts up or is full, a client waits so long for a dial that succeeds; then its request fails with what the server said.",
        ),
        key(
            "query_timeout",
            Kind::DurationOrOff,
            "\"off\"",
            "A server that owes an answer and says nothing for so long is taken for lost: its connection is cancelled and closed (08006). For networks that swallow everything; statement_timeout is the limit for statements.",
        ),
        key(
            "idle_timeout",
            Kind::DurationOrOff,
            "\"10min\"",
            "A server connection that is idle for so long is closed.",
        ),
        key(
            "max_age",
            Kind::DurationOrOff,
            "\"1h\"",
            "A server connection that old is closed when it is next idle.",
        ),
        key(
            "after_unknown",
            Kind::Choice(AFTER_UNKNOWN),
            "\"reset\"",
            "In the modes that change server connections, after a routine that may do anything to the session (DO, CALL, a function that isn't PostgreSQL's own). `reset`: what it set is undone before the connection serves anybody else. `keep`: so it is, but settings that PostgreSQL lists stay with the client. `pin`: the connection stays with the client.",
        ),
        key(
            "keep_sequences",
            Kind::Flag,
            "false",
            "In the modes that change server connections: a client that may have taken values of sequences (by INSERT, nextval() and whatever else writes) keeps its server connection, so that currval() and lastval() find them in later transactions too. Without it they are PostgreSQL's 55000 wherever they could be another client's.",
        ),
        key(
            "max_pinned_share",
            Kind::Integer(1, 100),
            "100",
            "In the modes that change server connections: clients whose session state can't be carried may keep so many per cent of `size` (one at least) beyond their transactions.",
        ),
        key(
            "over_pinned_share",
            Kind::Choice(OVER_PINNED_SHARE),
            "\"error\"",
            "What becomes of a statement that would keep one more: it fails (`error`, 53400), or waits for `wait_timeout` first (`wait`).",
        ),
        key(
            "pin_notice",
            Kind::Flag,
            "false",
            "Whether a client is told by a NOTICE when it keeps its server connection, and why.",
        ),
        key(
            "share_listener",
            Kind::Flag,
            "true",
            "In the modes that change server connections: whether clients listen for notifications by way of one further server connection for each database. Without it a client that listens keeps its server connection.",
        ),
        key(
            "lost_listener",
            Kind::Choice(LOST_LISTENER),
            "\"relisten\"",
            "When that connection is lost, its clients listen by way of another one (`relisten`), and what was sent in between is lost; or their sessions end (`disconnect`, 57P01), so that they know.",
        ),
    ],
};

const PREPARED: Section = Section {
    name: "prepared",
    doc: "Prepared statements in pool modes `transaction` and `statement`.",
    keys: &[
        key(
            "client_statements",
            Kind::Integer(0, COUNT_MAX),
            "2000",
            "Named statements of one client. A client that prepares more keeps its server connection.",
        ),
        key(
            "server_statements",
            Kind::Integer(16, COUNT_MAX),
            "500",
            "Statements kept on one server connection; the one used longest ago makes room.",
        ),
        key(
            "memory",
            Kind::Size,
            "\"64MiB\"",
            "What all statements may take, in equal shares for the workers. Beyond it a client that prepares a named statement keeps its server connection.",
        ),
        key(
            "unnamed",
            Kind::Flag,
            "true",
            "Whether a text that comes again as an unnamed statement is prepared under a name, so that it is analysed and planned once.",
        ),
    ],
};

/// A table of `[databases]`; the pool's keys with `pool_` in front may follow.
pub(super) const DATABASE: Section = Section {
    name: "databases.NAME",
    doc: "A database, under the name that clients give; `\"*\"` is every name that has no table of its own.",
    keys: &[
        optional(
            "host",
            Kind::Text,
            "Host name, address, or directory of a Unix socket (it begins with `/`). Required.",
        ),
        key("port", Kind::Integer(1, 65_535), "5432", "Port."),
        optional(
            "dbname",
            Kind::Text,
            "Name of the database on the server; the name that the client gave if not set.",
        ),
        optional("user", Kind::Text, "Log in on the server as this user, whoever the client is."),
        optional("password", Kind::Secret, "Password on the server."),
    ],
};

/// An entry of `[[users]]`.
pub(super) const USER: Section = Section {
    name: "users",
    doc: "Users who log in with SCRAM, and settings of single users.",
    keys: &[
        optional("name", Kind::Text, "User name that the client gives. Required."),
        optional(
            "password",
            Kind::Secret,
            "Password, or a verifier as in pg_authid (`SCRAM-SHA-256$...`).",
        ),
        optional("server_user", Kind::Text, "Log in on the server as this user instead of `name`."),
        optional(
            "server_password",
            Kind::Secret,
            "Password on the server; `password` if that is plain text and this is not set.",
        ),
        optional(
            "pool_mode",
            Kind::Choice(POOL_MODES),
            "Pool mode of this user, before the database's.",
        ),
        optional(
            "pool_size",
            Kind::Integer(1, COUNT_MAX),
            "Pool size of this user, before the database's.",
        ),
    ],
};

/// A section's key by its name; both are constants of this program.
pub(super) fn find(section: &Section, name: &str) -> Option<&'static Key> {
    section.keys.iter().find(|key| key.name == name)
}

/// A section by its name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The known name that a misspelt one most likely stands for.
pub(super) fn suggestion<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.chars()) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(a != b));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        let known = || ["size", "mode", "wait_timeout"].into_iter();
        assert_eq!(suggestion("sise", known()), Some("size"));
        assert_eq!(suggestion("wait_timout", known()), Some("wait_timeout"));
        assert_eq!(suggestion("colour_of_money", known()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
