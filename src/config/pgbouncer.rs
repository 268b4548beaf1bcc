//! From PgBouncer: its settings and what they are here; an equivalent `proxy.toml` for a `pgbouncer.ini`.
//!
//! docs/from-pgbouncer.md is made from the same table. What has no counterpart is named, never dropped in silence.

use std::collections::BTreeMap;
use std::fmt::Write;

/// An equivalent configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Translation {
    /// The text of a `proxy.toml`, what can't be carried over in comments at its beginning.
    pub toml: String,
    /// What can't be carried over, or means something else.
    pub notes: Vec<String>,
}

/// A setting of `[pgbouncer]`.
struct Setting {
    name: &'static str,
    /// `section.key`; empty: there is none.
    key: &'static str,
    of: Form,
    /// What is to be known.
    note: &'static str,
}

/// How a value is written here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Number,
    /// In quotes.
    Text,
    /// Seconds.
    Seconds,
    /// Seconds; none: off.
    SecondsOrOff,
    /// Milliseconds; none: off.
    MillisOrOff,
    /// Names.
    Names,
    /// 0 or 1.
    Flag,
    /// Made of several.
    Special,
    /// Nothing.
    None,
}

const fn carried(name: &'static str, key: &'static str, of: Form, note: &'static str) -> Setting {
    Setting { name, key, of, note }
}

const fn dropped(name: &'static str, note: &'static str) -> Setting {
    Setting { name, key: "", of: Form::None, note }
}

const NOT_NEEDED: &str = "not needed";
const NO_TLS: &str = "TLS is not built yet";

const SETTINGS: &[Setting] = &[
    carried("listen_addr", "server.listen", Form::Special, "one address, with the port"),
    carried("listen_port", "server.listen", Form::Special, ""),
    carried("pool_mode", "pool.mode", Form::Text, "the default here is transaction, there session"),
    carried("default_pool_size", "pool.size", Form::Number, ""),
    carried("min_pool_size", "pool.min", Form::Number, ""),
    carried("reserve_pool_size", "pool.reserve", Form::Number, ""),
    carried("reserve_pool_timeout", "pool.reserve_after", Form::Seconds, ""),
    carried("max_client_conn", "limits.clients", Form::Number, ""),
    carried(
        "query_wait_timeout",
        "pool.wait_timeout",
        Form::Seconds,
        "the client stays; there it is disconnected",
    ),
    carried("server_idle_timeout", "pool.idle_timeout", Form::SecondsOrOff, ""),
    carried("server_lifetime", "pool.max_age", Form::SecondsOrOff, ""),
    carried("server_connect_timeout", "pool.connect_timeout", Form::Seconds, ""),
    carried(
        "server_login_retry",
        "pool.retry_max",
        Form::Seconds,
        "pauses begin at pool.retry_min and double",
    ),
    carried(
        "query_timeout",
        "pool.query_timeout",
        Form::SecondsOrOff,
        "counts the server's silence, not the whole statement",
    ),
    carried("idle_transaction_timeout", "limits.idle_transaction", Form::SecondsOrOff, ""),
    carried("client_login_timeout", "limits.login_timeout", Form::Seconds, ""),
    carried(
        "max_prepared_statements",
        "prepared.server_statements",
        Form::Number,
        "0 has no counterpart: prepared statements always work",
    ),
    carried(
        "auth_type",
        "auth.method",
        Form::Special,
        "trust and any become trust; scram-sha-256 stays; others have no counterpart",
    ),
    carried(
        "auth_file",
        "[[users]]",
        Form::Special,
        "read with --from-pgbouncer; md5 hashes can't be used for SCRAM",
    ),
    carried("admin_users", "admin.admin_users", Form::Names, ""),
    carried("stats_users", "admin.stats_users", Form::Names, ""),
    carried("stats_period", "admin.stats_period", Form::Seconds, ""),
    carried("log_connections", "log.connections", Form::Flag, "log_disconnections goes with it"),
    carried("log_stats", "log.stats", Form::Special, "every stats_period"),
    carried("verbose", "log.level", Form::Special, "more than 0: debug"),
    carried("tcp_keepidle", "net.keepalive", Form::SecondsOrOff, ""),
    carried("tcp_user_timeout", "net.user_timeout", Form::MillisOrOff, ""),
    carried("listen_backlog", "net.backlog", Form::Number, ""),
    dropped("log_disconnections", "goes with log_connections"),
    dropped(
        "server_reset_query",
        "not needed: what a client leaves is known, and reset by construction",
    ),
    dropped("server_reset_query_always", NOT_NEEDED),
    dropped(
        "server_check_query",
        "not needed: a connection that the server has closed is found before it is lent",
    ),
    dropped("server_check_delay", NOT_NEEDED),
    dropped("server_fast_close", "RECONNECT and RELOAD wait for transactions"),
    dropped("ignore_startup_parameters", "not needed: startup parameters go with their client"),
    dropped("track_extra_parameters", "not needed: all settings go with their client"),
    dropped("server_round_robin", "the connection used last is lent first"),
    dropped("tcp_keepalive", "on unless net.keepalive = \"off\""),
    dropped("tcp_keepcnt", "the kernel's"),
    dropped("tcp_keepintvl", "the kernel's"),
    dropped("tcp_defer_accept", "there is no such setting"),
    dropped("tcp_socket_buffer", "the kernel's"),
    dropped(
        "so_reuseport",
        "server.workers uses several cores; restarts hand the socket on (server.handover)",
    ),
    dropped("unix_socket_dir", "clients connect over TCP only"),
    dropped("unix_socket_mode", "clients connect over TCP only"),
    dropped("unix_socket_group", "clients connect over TCP only"),
    dropped("max_db_connections", "there is no limit over several pools yet"),
    dropped("max_db_client_connections", "there is no such limit yet"),
    dropped("max_user_connections", "there is no limit over several pools yet"),
    dropped("max_user_client_connections", "there is no such limit yet"),
    dropped("client_idle_timeout", "there is no such limit yet"),
    dropped("cancel_wait_timeout", "cancels don't wait for a server connection"),
    dropped("suspend_timeout", "there is no SUSPEND"),
    dropped("autodb_idle_timeout", "pools of databases by way of * stay"),
    dropped("auth_query", "not built yet: name the users"),
    dropped("auth_user", "not built yet: name the users"),
    dropped("auth_dbname", "not built yet: name the users"),
    dropped("auth_hba_file", "there are no HBA rules"),
    dropped("auth_ident_file", "there are no HBA rules"),
    dropped("application_name_add_host", "there is no such setting"),
    dropped("conffile", NOT_NEEDED),
    dropped("service_name", NOT_NEEDED),
    dropped("job_name", NOT_NEEDED),
    dropped("logfile", "standard error is the log"),
    dropped("pidfile", "the process stays in the foreground"),
    dropped("syslog", "standard error is the log"),
    dropped("syslog_facility", "standard error is the log"),
    dropped("syslog_ident", "standard error is the log"),
    dropped("log_pooler_errors", "errors are always logged"),
    dropped("user", "start it as that user"),
    dropped("resolv_conf", "the system's resolver is asked at each dial"),
    dropped("dns_max_ttl", "the system's resolver is asked at each dial"),
    dropped("dns_nxdomain_ttl", "the system's resolver is asked at each dial"),
    dropped("dns_zone_check_period", "the system's resolver is asked at each dial"),
    dropped("pkt_buf", "one buffer for each worker"),
    dropped("sbuf_loopcnt", NOT_NEEDED),
    dropped("max_packet_size", "limits.statement_bytes bounds what is held, not what is relayed"),
    dropped("disable_pqexec", "there is no such setting"),
    dropped("peer_id", "cancel requests reach a process before by server.handover"),
    dropped("client_tls_sslmode", NO_TLS),
    dropped("client_tls_key_file", NO_TLS),
    dropped("client_tls_cert_file", NO_TLS),
    dropped("client_tls_ca_file", NO_TLS),
    dropped("client_tls_protocols", NO_TLS),
    dropped("client_tls_ciphers", NO_TLS),
    dropped("server_tls_sslmode", NO_TLS),
    dropped("server_tls_key_file", NO_TLS),
    dropped("server_tls_cert_file", NO_TLS),
    dropped("server_tls_ca_file", NO_TLS),
    dropped("server_tls_protocols", NO_TLS),
    dropped("server_tls_ciphers", NO_TLS),
];

/// Keys of a connection string in `[databases]`, and theirs here.
const DATABASE: &[(&str, &str, Form)] = &[
    ("host", "host", Form::Text),
    ("port", "port", Form::Number),
    ("dbname", "dbname", Form::Text),
    ("user", "user", Form::Text),
    ("password", "password", Form::Text),
    ("pool_size", "pool_size", Form::Number),
    ("min_pool_size", "pool_min", Form::Number),
    ("reserve_pool", "pool_reserve", Form::Number),
    ("reserve_pool_size", "pool_reserve", Form::Number),
    ("pool_mode", "pool_mode", Form::Text),
    ("server_lifetime", "pool_max_age", Form::SecondsOrOff),
];

/// Where its server is if a database doesn't say: PgBouncer asks a Unix-domain socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

type Section = Vec<(String, String)>;

/// Keys of a table here, and their values as TOML.
type Lines = BTreeMap<&'static str, String>;

/// Translates a `pgbouncer.ini`; `read` gives the text of a file that it names.
pub fn translate(ini: &str, read: impl Fn(&str) -> Option<String>) -> Translation {
    let mut work = Work { notes: Vec::new(), sections: BTreeMap::new(), read: &read };
    work.parse(ini, 0);
    let mut out = String::new();
    let main = work.sections.remove("pgbouncer").unwrap_or_default();
    work.main(&main, &mut out);
    let databases = work.sections.remove("databases").unwrap_or_default();
    // As in PgBouncer, the last one of a name counts.
    let databases: BTreeMap<&str, &str> =
        databases.iter().map(|(name, value)| (name.trim_matches('"'), value.as_str())).collect();
    for (name, value) in databases {
        work.database(name, value, &mut out);
    }
    let settings = work.sections.remove("users").unwrap_or_default();
    work.users(&main, &settings, &mut out);
    for section in std::mem::take(&mut work.sections).into_keys() {
        work.notes.push(format!("[{section}]: there is no such section"));
    }
    let mut toml =
        String::from("# Made from a pgbouncer.ini by `pgsteward check --from-pgbouncer`.\n");
    for note in &work.notes {
        // A comment holds no control characters.
        _ = writeln!(toml, "# not carried over: {}", note.replace(char::is_control, "?"));
    }
    toml.push_str(&out);
    Translation { toml, notes: work.notes }
}

struct Work<'a> {
    notes: Vec<String>,
    sections: BTreeMap<String, Section>,
    read: &'a dyn Fn(&str) -> Option<String>,
}

impl Work<'_> {
    fn parse(&mut self, text: &str, depth: usize) {
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(file) = line.strip_prefix("%include ") {
                match (self.read)(file.trim()).filter(|_| depth < 10) {
                    Some(text) => self.parse(&text, depth + 1),
                    None => self.notes.push(format!("%include {file}: can't be read")),
                }
            } else if let Some(name) =
                line.strip_prefix('[').and_then(|line| line.strip_suffix(']'))
            {
                section = name.to_ascii_lowercase();
                self.sections.entry(section.clone()).or_default();
            } else if let Some((name, value)) = line.split_once('=')
                && !line.starts_with([';', '#'])
            {
                let pair = (name.trim().to_owned(), value.trim().to_owned());
                self.sections.entry(section.clone()).or_default().push(pair);
            }
        }
    }

    fn main(&mut self, main: &Section, out: &mut String) {
        let mut keys: BTreeMap<&str, Lines> = BTreeMap::new();
        let mut put = |key: &'static str, value: String| {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            keys.entry(section).or_default().insert(name, value);
        };
        let get = |name: &str| value_of(main, name);
        put("server.listen", quoted(&listen(get("listen_addr"), get("listen_port"))));
        if get("pool_mode").is_none() {
            put("pool.mode", quoted("session"));
        }
        for (name, value) in main {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
                self.notes.push(format!("{name}: not known"));
                continue;
            };
            match setting.of {
                Form::None => self.notes.push(format!("{name}: {}", setting.note)),
                Form::Special => {}
                form => match written(form, value) {
                    Some(value) => put(setting.key, value),
                    None => self.notes.push(format!("{name} = {value}: {}", setting.note)),
                },
            }
        }
        match get("auth_type").unwrap_or("md5") {
            "trust" | "any" => put("auth.method", quoted("trust")),
            "scram-sha-256" => put("auth.method", quoted("scram-sha-256")),
            // Plain passwords of the file serve for SCRAM too.
            "plain" | "md5" => {
                put("auth.method", quoted("scram-sha-256"));
                self.notes.push("auth_type: clients log in by scram-sha-256 instead".to_owned());
            }
            other => {
                put("auth.method", quoted("scram-sha-256"));
                self.notes.push(format!("auth_type = {other}: not built"));
            }
        }
        if get("log_stats").unwrap_or("1") == "1" {
            let period = get("stats_period").unwrap_or("60");
            put("log.stats", written(Form::Seconds, period).unwrap_or_else(|| quoted("60s")));
        }
        if get("verbose").is_some_and(|level| level != "0") {
            put("log.level", quoted("debug"));
        }
        for (section, lines) in keys {
            _ = write!(out, "\n[{section}]\n{}", text_of(&lines));
        }
    }

    fn database(&mut self, name: &str, value: &str, out: &mut String) {
        let mut lines = Lines::new();
        let pairs = connection_string(value);
        _ = writeln!(out, "\n[databases.{}]", quoted(name));
        if !pairs.iter().any(|(key, _)| key == "host") {
            lines.insert("host", quoted(SOCKET_DIRECTORY));
        }
        for (key, value) in pairs {
            let known = DATABASE.iter().find(|(known, _, _)| *known == key);
            match known.and_then(|(_, here, form)| Some((here, written(*form, &value)?))) {
                Some((_, list)) if key == "host" && list.contains(',') => {
                    self.notes.push(format!("databases.{name}: one host only"));
                    let first = value.split(',').next().unwrap_or_default();
                    lines.insert("host", quoted(first));
                }
                Some((here, value)) => _ = lines.insert(here, value),
                None => self.notes.push(format!("databases.{name}: {key} has no counterpart")),
            }
        }
        out.push_str(&text_of(&lines));
    }

    fn users(&mut self, main: &Section, settings: &Section, out: &mut String) {
        let mut users: BTreeMap<String, Lines> = BTreeMap::new();
        if let Some(file) = value_of(main, "auth_file") {
            match (self.read)(file) {
                None => self.notes.push(format!("auth_file = {file}: can't be read")),
                Some(text) => {
                    for (name, password) in user_list(&text) {
                        let lines = users.entry(name.clone()).or_default();
                        if password.starts_with("md5") && password.len() == 35 {
                            self.notes
                                .push(format!("user {name}: an md5 hash can't be used for SCRAM"));
                        } else if !password.is_empty() {
                            lines.insert("password", quoted(&password));
                        }
                    }
                }
            }
        }
        for (name, value) in settings {
            for (key, value) in connection_string(value) {
                let (key, form) = match key.as_str() {
                    "pool_mode" => ("pool_mode", Form::Text),
                    "pool_size" => ("pool_size", Form::Number),
                    _ => {
                        self.notes.push(format!("users.{name}: {key} has no counterpart"));
                        continue;
                    }
                };
                if let Some(value) = written(form, &value) {
                    users.entry(name.clone()).or_default().insert(key, value);
                }
            }
        }
        for (name, lines) in users {
            _ = write!(out, "\n[[users]]\nname = {}\n{}", quoted(&name), text_of(&lines));
        }
    }
}

fn text_of(lines: &Lines) -> String {
    lines.iter().fold(String::new(), |text, (key, value)| text + key + " = " + value + "\n")
}

fn value_of<'a>(section: &'a Section, name: &str) -> Option<&'a str> {
    let (_, value) = section.iter().rev().find(|(known, _)| known == name)?;
    Some(value)
}

fn listen(address: Option<&str>, port: Option<&str>) -> String {
    let first = address.unwrap_or_default().split(',').next().unwrap_or_default().trim();
    let address = match first {
        "*" => "0.0.0.0",
        "" | "localhost" => "127.0.0.1",
        address => address,
    };
    let port = port.unwrap_or("6432");
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// As TOML; `None`: it has no counterpart.
fn written(form: Form, value: &str) -> Option<String> {
    match form {
        Form::Number => value
            .parse::<u64>()
            .ok()
            .filter(|number| *number > 0 || value == "0")
            .map(|n| n.to_string()),
        Form::Text => Some(quoted(value)),
        Form::Flag => Some((value == "1").to_string()),
        Form::Names => {
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            Some(format!("[{}]", names.map(quoted).collect::<Vec<_>>().join(", ")))
        }
        Form::Seconds => millis(value, 1000.0).filter(|millis| *millis > 0).map(duration),
        Form::SecondsOrOff => millis(value, 1000.0).map(duration_or_off),
        Form::MillisOrOff => millis(value, 1.0).map(duration_or_off),
        Form::Special | Form::None => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time that somebody wrote down"
)]
fn millis(value: &str, unit: f64) -> Option<u64> {
    let number: f64 = value.parse().ok()?;
    (0.0..1e12).contains(&number).then_some((number * unit) as u64)
}

fn duration(millis: u64) -> String {
    if millis.is_multiple_of(1000) {
        format!("\"{}s\"", millis / 1000)
    } else {
        format!("\"{millis}ms\"")
    }
}

fn duration_or_off(millis: u64) -> String {
    if millis == 0 { quoted("off") } else { duration(millis) }
}

/// As a basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `key=value` pairs; a value may stand in single quotes, which are doubled inside.
fn connection_string(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, end) = match after.strip_prefix('\'') {
            Some(quoted) => in_quotes(quoted, '\''),
            None => after
                .split_once(char::is_whitespace)
                .map_or((after.to_owned(), ""), |(value, end)| (value.to_owned(), end)),
        };
        pairs.push((key.trim().to_ascii_lowercase(), value));
        rest = end.trim_start();
    }
    pairs
}

/// What stands before the closing quote, and what behind it.
fn in_quotes(text: &str, quote: char) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, character)) = chars.next() {
        if character != quote {
            value.push(character);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            value.push(quote);
            chars.next();
        } else {
            return (value, text.get(at + quote.len_utf8()..).unwrap_or_default());
        }
    }
    (value, "")
}

/// Lines of `"name" "password"`.
fn user_list(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, rest) = in_quotes(line.trim().strip_prefix('"')?, '"');
        let (password, _) = in_quotes(rest.trim_start().strip_prefix('"')?, '"');
        Some((name, password))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference::compare;
    use proptest::prelude::*;

    fn page() -> String {
        let mut out = String::from(
            "# From PgBouncer\n\n\
             This page is made from `src/config/pgbouncer.rs` (`UPDATE=1 cargo test reference`).\n\n\
             `pgsteward check --from-pgbouncer pgbouncer.ini` prints an equivalent `proxy.toml`; what can't be carried\n\
             over stands in comments at its beginning. `auth_file` and `%include` are read.\n\n\
             | PgBouncer | here | to know |\n| --- | --- | --- |\n",
        );
        for Setting { name, key, note, .. } in SETTINGS {
            let key = if key.is_empty() { "-".to_owned() } else { format!("`{key}`") };
            _ = writeln!(out, "| `{name}` | {key} | {note} |");
        }
        out.push_str(
            "\nOf a connection string in `[databases]`:\n\n| PgBouncer | here |\n| --- | --- |\n",
        );
        for (name, key, _) in DATABASE {
            _ = writeln!(out, "| `{name}` | `{key}` |");
        }
        out
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        compare("docs/from-pgbouncer.md", &page());
    }

    #[test]
    fn connection_strings_with_quotes() {
        let pairs = connection_string("host=h port=1 password='it''s = x' pool_size=3");
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [("host", "h"), ("port", "1"), ("password", "it's = x"), ("pool_size", "3")]
        );
        assert_eq!(user_list("\"a\"\"b\" \"p\"\n; no\n"), [("a\"b".to_owned(), "p".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_is_translated(text in "(\\[(databases|users|pgbouncer)\\]\n)?([a-z_]{0,12}=.{0,20}\n){0,5}") {
            let toml = translate(&text, |_| None).toml;
            prop_assert!(toml::from_str::<toml::Table>(&toml).is_ok(), "{}", toml);
        }
    }
}
