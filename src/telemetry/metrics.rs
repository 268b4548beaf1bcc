//! Every metric by name: its unit, its labels and what it means. From this one file come `/metrics`, docs/metrics.md and
//! the checks of the dashboard and the alert rules.
//!
//! What OpenTelemetry has a name for (database client metrics, semantic conventions 1.44) bears that name, dots written
//! as underscores; but for `db.client.connection.count`, whose end Prometheus keeps for histograms: it is
//! `pgsteward_server_connections`. The rest begins with `pgsteward_` or, as in all processes, `process_`. Times are seconds, sizes bytes. Labels are `database` and `user`
//! (as of the pool, at most so many pools as [`POOLS_MAX`], the others as `other`) and enums.

/// Pools that are told apart; what goes beyond is summed up under the label value `other`.
pub const POOLS_MAX: usize = 100;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What one is.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means: one sentence.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from zero at the start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// What one is, where it is shown. Inside the proxy, times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    One,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Kind {
    /// As Prometheus names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Unit {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

const POOL: &[&str] = &["database", "user"];

/// An enum whose variants have a metric each.
macro_rules! metrics {
    (
        $(#[$doc:meta])* $name:ident: $kind:ident $labels:expr;
        $( $(#[doc = $help:literal])+ $variant:ident = $metric:literal $unit:ident; )+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $help])+ $variant, )+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$( Self::$variant, )+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its metric.
            pub const fn metric(self) -> Metric {
                match self {
                    $( Self::$variant => Metric {
                        name: $metric,
                        kind: Kind::$kind,
                        unit: Unit::$unit,
                        labels: $labels,
                        help: concat!($($help),+).trim_ascii(),
                    }, )+
                }
            }
        }
    };
}

/// Text of a label's values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $( $(#[$help:meta])+ $variant:ident = $text:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$help])+ $variant, )+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$( Self::$variant, )+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }
    };
}

metrics! {
    /// What each pool counts.
    PoolCounter: Counter POOL;
    /// Transactions that clients have seen the end of (ReadyForQuery outside of a transaction block).
    Transactions = "pgsteward_transactions_total" One;
    /// Requests answered: simple queries, extended batches up to Sync, function calls.
    Queries = "pgsteward_queries_total" One;
    /// Time from the first request of a transaction to its end, idle time in between included.
    TransactionTime = "pgsteward_transaction_seconds_total" Seconds;
    /// Bytes received from clients.
    Received = "pgsteward_client_received_bytes_total" Bytes;
    /// Bytes sent to clients.
    Sent = "pgsteward_client_sent_bytes_total" Bytes;
    /// Loans of a server connection to a client.
    Assignments = "pgsteward_server_assignments_total" One;
    /// Parse messages of clients.
    ClientParses = "pgsteward_client_parses_total" One;
    /// Parse messages sent to servers, the proxy's own included.
    ServerParses = "pgsteward_server_parses_total" One;
    /// Bind messages sent to servers.
    Binds = "pgsteward_binds_total" One;
    /// Clients logged in.
    Logins = "pgsteward_client_logins_total" One;
    /// Server connections opened.
    Opened = "pgsteward_server_connections_opened_total" One;
    /// Server connections closed.
    Closed = "pgsteward_server_connections_closed_total" One;
    /// Server connections that could not be opened.
    DialFailures = "pgsteward_server_connect_failures_total" One;
    /// Server connections lost with something of a client's on them.
    Lost = "pgsteward_server_connections_lost_total" One;
    /// Server connections cleaned up before their next loan (ROLLBACK, DISCARD ALL and the like).
    Resets = "pgsteward_server_resets_total" One;
    /// Statements cancelled by their clients.
    Cancels = "pgsteward_cancels_total" One;
    /// Clients that waited longer than pool.wait_timeout.
    Timeouts = "db_client_connection_timeouts_total" One;
}

metrics! {
    /// What each pool measures.
    PoolHistogram: Histogram POOL;
    /// Time from a request to the end of its answer, waits for a server connection not included; a pipeline counts once.
    Query = "db_client_operation_duration_seconds" Seconds;
    /// Time that clients waited for a server connection, where none was idle.
    Wait = "db_client_connection_wait_time_seconds" Seconds;
    /// Time to open a server connection.
    Connect = "db_client_connection_create_time_seconds" Seconds;
}

metrics! {
    /// How each pool stands.
    PoolGauge: Gauge POOL;
    /// Clients that wait for a server connection.
    Pending = "db_client_connection_pending_requests" One;
    /// Server connections that the pool may have, its reserve not included.
    Max = "db_client_connection_max" One;
    /// How long the first client in the queue has waited.
    MaxWait = "pgsteward_max_wait_seconds" Seconds;
    /// Whether the pool's database is paused.
    Paused = "pgsteward_database_paused" One;
    /// Prepared statements on the pool's server connections.
    ServerStatements = "pgsteward_server_prepared_statements" One;
    /// Prepared statements of the pool's clients.
    ClientStatements = "pgsteward_client_prepared_statements" One;
}

metrics! {
    /// Errors, told apart by the class of their SQLSTATE (PostgreSQL manual, appendix A).
    ErrorCounter: Counter &["database", "user", "class"];
    /// Errors that servers sent to clients, by class of SQLSTATE.
    Errors = "pgsteward_errors_total" One;
}

metrics! {
    /// Pins, told apart by their reason.
    PinCounter: Counter &["database", "user", "reason"];
    /// Times that a server connection stayed with its client beyond the transaction, by the first reason.
    Pins = "pgsteward_pins_total" One;
}

metrics! {
    /// Pins right now.
    PinGauge: Gauge &["database", "user", "reason"];
    /// Server connections that stay with their client beyond the transaction, by the first reason.
    Pinned = "pgsteward_pinned_server_connections" One;
}

metrics! {
    /// Connections of a pool, told apart by state.
    StateGauge: Gauge &["database", "user", "state"];
    /// Logged-in clients, by state.
    Clients = "pgsteward_clients" One;
    /// Server connections, by state.
    Servers = "pgsteward_server_connections" One;
}

metrics! {
    /// Refused logins.
    LoginCounter: Counter &["reason"];
    /// Logins that were refused or not finished.
    LoginFailures = "pgsteward_login_failures_total" One;
}

metrics! {
    /// Bounds that were hit.
    LimitCounter: Counter &["limit"];
    /// Times that a limit of the configuration was hit.
    LimitHits = "pgsteward_limit_hits_total" One;
}

metrics! {
    /// What the process counts.
    ProcessCounter: Counter &[];
    /// Connections accepted, cancel requests included.
    Accepted = "pgsteward_connections_accepted_total" One;
    /// Cancel requests with an unknown key.
    UnknownCancels = "pgsteward_cancels_unknown_total" One;
    /// Configurations taken over without a restart.
    Reloads = "pgsteward_reloads_total" One;
    /// Configurations refused by a reload.
    ReloadFailures = "pgsteward_reload_failures_total" One;
    /// CPU time of the process, user and system.
    Cpu = "process_cpu_seconds_total" Seconds;
}

metrics! {
    /// How the process stands.
    ProcessGauge: Gauge &[];
    /// Connections of clients that are not logged in yet.
    LoggingIn = "pgsteward_clients_logging_in" One;
    /// Whether the proxy begins no new work.
    Draining = "pgsteward_draining" One;
    /// Bytes that prepared statements take.
    StatementBytes = "pgsteward_prepared_statement_bytes" Bytes;
    /// Resident memory.
    Memory = "process_resident_memory_bytes" Bytes;
    /// Open file descriptors.
    Descriptors = "process_open_fds" One;
    /// File descriptors that may be open.
    DescriptorsMax = "process_max_fds" One;
    /// When the process started, in seconds since 1970.
    Started = "process_start_time_seconds" Seconds;
}

metrics! {
    /// What this binary is.
    BuildGauge: Gauge &["version"];
    /// Always 1; the label tells the version.
    Build = "pgsteward_build_info" One;
}

label! {
    /// Why a login failed.
    LoginFailure {
        /// Wrong password, or nobody of that name.
        Password = "password",
        /// Not trusted from that address, or not allowed what it asked for.
        NotAllowed = "not_allowed",
        /// No such database.
        NoDatabase = "no_database",
        /// The database takes no clients, or the proxy shuts down.
        Closed = "closed",
        /// Too many clients.
        TooMany = "too_many",
        /// Not finished within limits.login_timeout.
        Timeout = "timeout",
        /// What came was not the protocol, or a version that is not spoken.
        Protocol = "protocol",
        /// No server connection could be had, or the server refused the login.
        Server = "server",
    }
}

label! {
    /// A bound of the configuration.
    Limit {
        /// limits.clients.
        Clients = "clients",
        /// limits.login_timeout.
        LoginTimeout = "login_timeout",
        /// limits.idle_transaction.
        IdleTransaction = "idle_transaction",
        /// limits.notification_bytes.
        NotificationBytes = "notification_bytes",
        /// pool.waiters.
        Waiters = "waiters",
        /// pool.wait_timeout.
        WaitTimeout = "wait_timeout",
        /// pool.query_timeout.
        QueryTimeout = "query_timeout",
        /// pool.max_pinned_share.
        PinnedShare = "max_pinned_share",
    }
}

label! {
    /// What a client does.
    ClientState {
        /// It holds a server connection.
        Active = "active",
        /// It holds none and wants none.
        Idle = "idle",
        /// It waits for one.
        Waiting = "waiting",
    }
}

label! {
    /// What a server connection does.
    ServerState {
        /// A client holds it.
        Active = "active",
        /// It can be lent.
        Idle = "idle",
        /// It is being cleaned up or closed.
        Tested = "tested",
        /// It waits until cancels under way are over.
        BeingCanceled = "being_canceled",
        /// It logs in.
        Login = "login",
    }
}

/// Classes of SQLSTATE that are told apart; any other is the last one (PostgreSQL manual, appendix A).
pub const ERROR_CLASSES: [&str; 28] = [
    "08", "0A", "20", "21", "22", "23", "24", "25", "26", "28", "2B", "34", "38", "39", "3B", "3D",
    "3F", "40", "42", "44", "53", "54", "55", "57", "58", "P0", "XX", "other",
];

/// Place of a SQLSTATE's class among [`ERROR_CLASSES`].
pub fn error_class(code: &[u8]) -> usize {
    let class = code.get(..2).unwrap_or_default();
    let at = ERROR_CLASSES.iter().position(|known| known.as_bytes() == class);
    at.unwrap_or(ERROR_CLASSES.len() - 1)
}

/// All metrics.
pub fn all() -> Vec<Metric> {
    let mut all: Vec<Metric> = Vec::new();
    all.extend(PoolCounter::ALL.iter().map(|one| one.metric()));
    all.extend(PoolHistogram::ALL.iter().map(|one| one.metric()));
    all.extend(PoolGauge::ALL.iter().map(|one| one.metric()));
    all.extend(StateGauge::ALL.iter().map(|one| one.metric()));
    all.extend(ErrorCounter::ALL.iter().map(|one| one.metric()));
    all.extend(PinCounter::ALL.iter().map(|one| one.metric()));
    all.extend(PinGauge::ALL.iter().map(|one| one.metric()));
    all.extend(LoginCounter::ALL.iter().map(|one| one.metric()));
    all.extend(LimitCounter::ALL.iter().map(|one| one.metric()));
    all.extend(ProcessCounter::ALL.iter().map(|one| one.metric()));
    all.extend(ProcessGauge::ALL.iter().map(|one| one.metric()));
    all.extend(BuildGauge::ALL.iter().map(|one| one.metric()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names = HashSet::new();
        for metric in all() {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            // Prometheus keeps these for histograms and summaries.
            let reserved = ["_count", "_sum", "_bucket"];
            assert!(!reserved.iter().any(|end| metric.name.ends_with(end)), "{}", metric.name);
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            let stem = metric.name.trim_end_matches("_total");
            assert!(stem.ends_with(metric.unit.as_str()), "{}", metric.name);
        }
    }

    fn page() -> String {
        use std::fmt::Write;
        let mut out = String::from(
            "# Metrics\n\n\
             This page is made from `src/telemetry/metrics.rs` (`UPDATE=1 cargo test reference`).\n\n\
             `GET /metrics` at `server.admin_listen` gives them in Prometheus' text format. What OpenTelemetry has a name\n\
             for bears that name (but `db.client.connection.count`, which is `pgsteward_server_connections`); the rest begins with\n\
             `pgsteward_`. Times are seconds. Everything is counted in plain\n\
             cells of the workers and summed up at the scrape: a scrape asks each worker once, and costs requests nothing.\n\
             Pools beyond the first 100 (by name) are summed up as `other`.\n\n\
             | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
        );
        for Metric { name, kind, labels, help, .. } in all() {
            let labels = labels.join(", ");
            _ = writeln!(out, "| `{name}` | {} | {labels} | {help} |", kind.as_str());
        }
        let values = |all: &[&str]| all.join("`, `");
        let clients: Vec<_> = ClientState::ALL.iter().map(|state| state.as_str()).collect();
        let servers: Vec<_> = ServerState::ALL.iter().map(|state| state.as_str()).collect();
        let logins: Vec<_> = LoginFailure::ALL.iter().map(|why| why.as_str()).collect();
        let limits: Vec<_> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
        _ = write!(
            out,
            "\nValues of labels:\n\n\
             - `state` of clients: `{}`; of server connections: `{}`\n\
             - `reason` of refused logins: `{}`; of pins: docs/sessions.md\n\
             - `limit`: `{}`\n\
             - `class`: the first two characters of the SQLSTATE, `{}`\n",
            values(&clients),
            values(&servers),
            values(&logins),
            values(&limits),
            values(&ERROR_CLASSES),
        );
        out
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::config::compare("docs/metrics.md", &page());
    }

    /// Words of a text that look like a metric of this process.
    fn names_in(text: &str) -> impl Iterator<Item = &str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(move |c| !is_part(c)).filter(|word| {
            ["pgsteward_", "db_client_", "process_"].iter().any(|start| word.starts_with(start))
        })
    }

    #[test]
    fn the_dashboard_and_the_alert_rules_use_metrics_that_exist() {
        let declared: HashSet<&str> = all().iter().map(|metric| metric.name).collect();
        let dashboard = include_str!("../../docker/grafana-dashboard.json");
        let alerts = include_str!("../../docker/prometheus-alerts.yaml");
        assert!(serde_json::from_str::<serde_json::Value>(dashboard).is_ok());
        let mut used = 0;
        for name in names_in(dashboard).chain(names_in(alerts)) {
            let stem = name.trim_end_matches("_bucket");
            assert!(declared.contains(stem), "{name} is not declared");
            used += 1;
        }
        assert!(used > 30, "only {used} metrics are used");
    }

    #[test]
    fn a_class_that_is_not_listed_is_other() {
        assert_eq!(ERROR_CLASSES[error_class(b"23505")], "23");
        assert_eq!(ERROR_CLASSES[error_class(b"ZZ000")], "other");
        assert_eq!(ERROR_CLASSES[error_class(b"")], "other");
    }
}
