//! The configuration as used: every value checked, every default filled in.
//!
//! Built only by [`super::load`]; the rest of the program takes an `Arc<Config>` and never sees a file.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::shown::Shown;

/// All that the proxy needs to know to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the admin HTTP server listens; `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Who may operate the proxy.
    pub admin: Admin,
    /// Where the next process asks for the listening sockets.
    pub handover: Option<PathBuf>,
    /// Worker threads of the data plane (1..=64).
    pub workers: u16,
    /// How long SIGTERM waits for transactions to end.
    pub shutdown_grace: Duration,
    /// What is logged.
    pub log: Log,
    /// How clients log in.
    pub auth: Auth,
    /// Sockets of both sides.
    pub net: Net,
    /// Bounds on what a client may make the proxy hold.
    pub limits: Limits,
    /// Prepared statements.
    pub prepared: Prepared,
    /// Named databases, and the one for every other name.
    pub databases: Databases,
    /// Clients that log in with SCRAM, and settings of single users.
    pub users: HashMap<String, User>,
    /// Every key that stands there once, for operators.
    pub shown: Vec<Shown>,
}

/// Logging to standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// Least severe level that is written.
    pub level: LogLevel,
    /// How lines are written.
    pub format: LogFormat,
    /// Whether each client that comes or goes is logged at `info`.
    pub connections: bool,
    /// Requests that took so long are logged; `None`: none.
    pub slow: Option<Duration>,
    /// Summed-up counts are logged this often; `None`: never.
    pub stats: Option<Duration>,
}

/// Who may operate the proxy.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Users of the console who may do everything.
    pub admin_users: Vec<String>,
    /// Users of the console who may look.
    pub stats_users: Vec<String>,
    /// What HTTP requests must show; `None`: nothing.
    pub token: Option<Secret>,
    /// Averages are made over so long.
    pub stats_period: Duration,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Levels of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How clients log in.
#[derive(Clone, Debug)]
pub struct Auth {
    /// What a client must prove.
    pub method: AuthMethod,
    /// With `trust`: also clients that are not on a loopback address or Unix socket.
    pub trust_remote: bool,
    /// Key from which the answers to unknown users are derived (mock SCRAM salt); random at each start.
    pub mock_key: [u8; 32],
}

/// What a client must prove at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Nothing.
    Trust,
    /// Its password, by SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
}

/// Sockets of both sides.
#[derive(Clone, Debug)]
pub struct Net {
    /// TCP keepalive: idle time before the first probe; `None`: off.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT: unacknowledged data for so long ends a connection; `None`: the kernel's own.
    pub user_timeout: Option<Duration>,
    /// Length of the listener's queue.
    pub backlog: u32,
}

/// Bounds. Hitting one gives a clear error and is counted.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Clients at once, those that are logging in included.
    pub clients: usize,
    /// From the first byte (or connect) to the end of the login.
    pub login_timeout: Duration,
    /// A client message that must be read whole (a statement) may be so long; longer ones are
    /// relayed unread and keep the server connection with the client.
    pub statement_bytes: usize,
    /// Replies that one server connection may owe before the client is read no further.
    pub pipeline_depth: usize,
    /// Notifications that wait for a client may take so many bytes.
    pub notification_bytes: usize,
    /// Longest time with an open transaction and no message from the client; `None`: no limit.
    pub idle_transaction: Option<Duration>,
    /// Distinct startup settings remembered per pool (their ParameterStatus values).
    pub startup_variants: usize,
}

/// Prepared statements in the pool modes that change server connections.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Named statements of one client, before it has to keep its server connection.
    pub client_statements: usize,
    /// Statements kept on one server connection.
    pub server_statements: NonZeroUsize,
    /// Bytes that all statements may take.
    pub memory: usize,
    /// Whether unnamed statements that come again are given names.
    pub unnamed: bool,
}

/// Named databases and `*`.
#[derive(Clone, Debug, Default)]
pub struct Databases {
    /// By the name that clients give.
    pub named: BTreeMap<String, Database>,
    /// For every other name: its `dbname` is the client's unless set.
    pub any: Option<Database>,
}

/// Where a database is and how it is pooled.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The server's address.
    pub address: Address,
    /// Database name on the server; `None`: the name that the client gave.
    pub dbname: Option<String>,
    /// Log in on the server as this user, whoever the client is.
    pub user: Option<String>,
    /// Password for `user`.
    pub password: Option<Secret>,
    /// How its server connections are pooled.
    pub pool: PoolSettings,
}

/// Address of a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or address, and port.
    Tcp {
        /// Name or address; resolved at each dial.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix-domain socket, `.s.PGSQL.5432` included.
    Unix(PathBuf),
}

/// Settings of a pool: one pool per database and server user.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// When a server connection comes back.
    pub mode: PoolMode,
    /// Server connections at most.
    pub size: usize,
    /// Server connections kept open, once the pool is in use.
    pub min: usize,
    /// Further server connections when a client has waited for `reserve_after`.
    pub reserve: usize,
    /// Waiting time that opens the reserve.
    pub reserve_after: Duration,
    /// Longest wait for a server connection.
    pub wait_timeout: Duration,
    /// Clients that may wait at once.
    pub waiters: usize,
    /// Longest time to connect and log in on the server.
    pub connect_timeout: Duration,
    /// First pause after a failed dial; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause between dials.
    pub retry_max: Duration,
    /// A client waits so long for a server that can't be reached or refuses.
    pub retry_for: Duration,
    /// A server that owes an answer and says nothing for so long is given up; `None`: never.
    pub query_timeout: Option<Duration>,
    /// An idle server connection is closed after this; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A server connection is closed this long after its login, when it is next idle; `None`: never.
    pub max_age: Option<Duration>,
    /// Per cent of `size` that clients may keep beyond their transactions.
    pub max_pinned_share: usize,
    /// Whether a client that would keep one more waits; else its statement fails.
    pub waits_for_pin: bool,
    /// What is done about state that can't be carried.
    pub session: SessionPolicy,
}

/// What is done about session state that can't be carried from one server connection to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionPolicy {
    /// After a routine whose effects nobody knows.
    pub after_unknown: AfterUnknown,
    /// Whether a client that may have taken values of sequences keeps its server connection.
    pub keep_sequences: bool,
    /// Whether clients listen by way of one connection for all.
    pub shares_listener: bool,
    /// When that connection is lost.
    pub lost_listener: LostListener,
    /// Whether a client is told when it keeps its server connection.
    pub announces_pins: bool,
}

/// What becomes of the clients that listen when the shared listener's connection is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LostListener {
    /// They listen on by way of another one; what was sent in between is lost.
    #[default]
    Relisten,
    /// Their sessions end.
    Disconnect,
}

/// What is done when a routine has run whose effects on the session nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AfterUnknown {
    /// The server connection is reset before its next loan: what the routine did is lost.
    #[default]
    Reset,
    /// The same, but settings that PostgreSQL lists are the client's from then on.
    Keep,
    /// The server connection stays with the client.
    Pin,
}

/// When a server connection comes back to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// At the end of each statement; transaction blocks are refused.
    Statement,
}

/// A user known to the proxy.
#[derive(Clone, Debug)]
pub struct User {
    /// Name that the client gives.
    pub name: String,
    /// Password, or SCRAM verifier (`SCRAM-SHA-256$...`).
    pub password: Option<Secret>,
    /// Log in on the server as this user instead of `name`.
    pub server_user: Option<String>,
    /// Password for the server; a plain `password` serves when this is not set.
    pub server_password: Option<Secret>,
    /// Pool mode of this user, before the database's.
    pub pool_mode: Option<PoolMode>,
    /// Pool size of this user, before the database's.
    pub pool_size: Option<usize>,
}

/// A password or verifier. `Debug` and `Display` print stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Databases {
    /// The database for the name that a client gave.
    pub fn find(&self, name: &str) -> Option<&Database> {
        self.named.get(name).or(self.any.as_ref())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl PoolMode {
    /// As written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}
