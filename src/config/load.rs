//! From what is written to what is used: merges the sources, checks every value, lists all faults.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checked::{
    Address, Admin, Auth, AuthMethod, Config, Database, Databases, Limits, Log, Net, PoolSettings,
    Prepared, Secret, SessionPolicy, User,
};
use super::choices::{after_unknown, log_format, log_level, lost_listener, pool_mode};
use super::fault::Faults;
use super::keys::{self, Section};
use super::shown;
use super::upstream;
use super::value::Value;
use super::written::{self, Entry, Node, Origin, Table};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "proxy.toml";

/// How a SCRAM verifier begins.
const VERIFIER_PREFIX: &str = "SCRAM-SHA-256$";

/// Where a configuration comes from; later ones win.
#[derive(Clone, Default)]
pub struct Source {
    /// A file that must be there. Without one, and without `upstream`, `proxy.toml` is read.
    pub file: Option<PathBuf>,
    /// A server's URL.
    pub upstream: Option<String>,
    /// `section.key=value`.
    pub set: Vec<String>,
    /// Instead of `server.listen`.
    pub listen: Option<String>,
    /// Instead of `server.admin_listen`.
    pub admin_listen: Option<String>,
}

/// A configuration without faults.
#[derive(Debug)]
pub struct Loaded {
    /// To be used.
    pub config: Config,
    /// What is allowed and most likely not meant.
    pub warnings: Vec<String>,
    /// What it was read from.
    pub name: String,
}

/// Reads and checks a configuration.
pub fn load(source: &Source) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let (name, mut root) = read_file(source, &mut faults);
    if !faults.is_empty() {
        // What is no TOML says nothing reliable of its keys.
        return Err(faults.sorted());
    }
    if let Some(url) = &source.upstream {
        upstream::add(&mut root, url, &mut faults);
    }
    for (key, value) in [("listen", &source.listen), ("admin_listen", &source.admin_listen)] {
        if let Some(value) = value {
            let origin = Origin::Argument(format!("--{}", key.replace('_', "-")));
            let entry = Entry { node: Node::Text(value.clone()), origin };
            written::put(&mut root, &["server", key], entry);
        }
    }
    for assignment in &source.set {
        written::set(&mut root, assignment, &mut faults);
    }
    let whole = Origin::Whole(name.clone());
    let mut reader = Reader { root: &root, whole, faults, warnings: Vec::new() };
    let config = reader.config();
    if reader.faults.is_empty() {
        return Ok(Loaded { config, warnings: reader.warnings, name });
    }
    Err(reader.faults.sorted())
}

/// Reads the file there is; its name for messages.
fn read_file(source: &Source, faults: &mut Faults) -> (String, Table) {
    let (path, must_exist) = match (&source.file, &source.upstream) {
        (Some(path), _) => (path.as_path(), true),
        (None, Some(_)) => return ("--upstream".to_owned(), Table::new()),
        (None, None) => (Path::new(DEFAULT_FILE), false),
    };
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => {
            let root = written::parse(&name, &text, faults);
            (name, root)
        }
        Err(error) => {
            if must_exist || error.kind() != std::io::ErrorKind::NotFound {
                faults.add(&Origin::Whole(name.clone()), format!("can't be read: {error}"));
            }
            (name, Table::new())
        }
    }
}

/// Checks the tree and gathers the faults.
struct Reader<'a> {
    root: &'a Table,
    whole: Origin,
    faults: Faults,
    warnings: Vec<String>,
}

/// A table of the tree, and how its keys are named there.
#[derive(Clone, Copy)]
struct Scope<'a> {
    table: Option<&'a Table>,
    section: &'static Section,
    /// Path of the table, for messages.
    path: &'a str,
    /// In front of each key's name.
    prefix: &'a str,
    /// Where to look when the key is not here.
    parent: Option<&'a Scope<'a>>,
}

impl<'a> Reader<'a> {
    fn config(&mut self) -> Config {
        self.refuse_unknown_sections();
        let root = self.root;
        let server = self.section(root, "server");
        let log = self.section(root, "log");
        let net = self.section(root, "net");
        let limits = self.section(root, "limits");
        let prepared = self.section(root, "prepared");
        let config = Config {
            listen: self
                .socket_address(&server, "listen")
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
            admin_listen: self.socket_address(&server, "admin_listen"),
            admin: self.admin(),
            handover: self.text(&server, "handover").map(PathBuf::from),
            workers: u16::try_from(self.integer(&server, "workers")).unwrap_or(1),
            shutdown_grace: self.duration(&server, "shutdown_grace"),
            log: Log {
                level: log_level(&self.text(&log, "level").unwrap_or_default()),
                format: log_format(&self.text(&log, "format").unwrap_or_default()),
                connections: self.flag(&log, "connections"),
                slow: self.duration_or_off(&log, "slow"),
                stats: self.duration_or_off(&log, "stats"),
            },
            auth: self.auth(),
            net: Net {
                keepalive: self.duration_or_off(&net, "keepalive"),
                user_timeout: self.duration_or_off(&net, "user_timeout"),
                backlog: u32::try_from(self.integer(&net, "backlog")).unwrap_or(1024),
            },
            limits: Limits {
                clients: self.count(&limits, "clients"),
                login_timeout: self.duration(&limits, "login_timeout"),
                statement_bytes: self.size(&limits, "statement_bytes"),
                pipeline_depth: self.count(&limits, "pipeline_depth"),
                notification_bytes: self.size(&limits, "notification_bytes"),
                idle_transaction: self.duration_or_off(&limits, "idle_transaction"),
                startup_variants: self.count(&limits, "startup_variants"),
            },
            prepared: Prepared {
                client_statements: self.count(&prepared, "client_statements"),
                server_statements: NonZeroUsize::new(self.count(&prepared, "server_statements"))
                    .unwrap_or(NonZeroUsize::MIN),
                memory: self.size(&prepared, "memory"),
                unnamed: self.flag(&prepared, "unnamed"),
            },
            databases: self.databases(),
            users: self.users(),
            shown: shown::list(self.root),
        };
        self.cross_check(&config);
        config
    }

    fn cross_check(&mut self, config: &Config) {
        let whole = self.whole.clone();
        if config.databases.named.is_empty() && config.databases.any.is_none() {
            self.faults.add(
                &whole,
                "no database: add [databases.NAME] or [databases.\"*\"] with a host, or use --upstream",
            );
        }
        if config.auth.method == AuthMethod::ScramSha256 && config.users.is_empty() {
            self.faults.add(
                &whole,
                "auth.method = \"scram-sha-256\" needs [[users]]: nobody could log in",
            );
        }
        self.refuse_shared_logins(&config.users);
        if config.admin.token.is_none()
            && let Some(address) = config.admin_listen.filter(|address| !address.ip().is_loopback())
        {
            self.faults.add(
                &whole,
                format!("server.admin_listen: {address} is open to others: set admin.token, or listen on a loopback address"),
            );
        }
        let is_open = !config.listen.ip().is_loopback();
        if config.auth.method == AuthMethod::Trust && is_open {
            self.warnings.push(if config.auth.trust_remote {
                format!("whoever reaches {} is believed to be any user (auth.trust_remote)", config.listen)
            } else {
                format!(
                    "listening on {}, but with auth.method = \"trust\" only loopback clients are let in",
                    config.listen
                )
            });
        }
    }

    /// Users who are one user on the server share its pool: they can't have two passwords there.
    fn refuse_shared_logins(&mut self, users: &HashMap<String, User>) {
        let mut seen: BTreeMap<&str, (&str, Option<&Secret>)> = BTreeMap::new();
        let mut sorted: Vec<_> = users.values().collect();
        sorted.sort_by(|one, other| one.name.cmp(&other.name));
        for user in sorted {
            let on_server = user.server_user.as_deref().unwrap_or(&user.name);
            let password = user.server_password.as_ref().or(user.password.as_ref());
            match seen.get(on_server) {
                Some((first, other)) if *other != password => {
                    let what = format!(
                        "users: \"{first}\" and \"{}\" are both \"{on_server}\" on the server, with different \
                         passwords: give them the same server_password",
                        user.name
                    );
                    let whole = self.whole.clone();
                    self.faults.add(&whole, what);
                }
                Some(_) => {}
                None => _ = seen.insert(on_server, (&user.name, password)),
            }
        }
    }

    // === Sections ===

    fn section(&mut self, root: &'a Table, name: &'static str) -> Scope<'a> {
        // The names are this module's own: a missing section has no keys.
        let section = keys::section(name).unwrap_or(&keys::DATABASE);
        let table = root.get(name).and_then(|entry| self.table(entry, name));
        let scope = Scope { table, section, path: name, prefix: "", parent: None };
        let known: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        self.refuse_unknown_keys(table, name, &known);
        scope
    }

    fn table(&mut self, entry: &'a Entry, path: &str) -> Option<&'a Table> {
        if let Node::Table(table) = &entry.node {
            return Some(table);
        }
        self.faults
            .add(&entry.origin, format!("{path}: expected a table, not {}", entry.node.describe()));
        None
    }

    fn refuse_unknown_sections(&mut self) {
        let mut known: Vec<&str> = keys::SECTIONS.iter().map(|section| section.name).collect();
        known.extend(["databases", "users"]);
        self.refuse_unknown_keys(Some(self.root), "", &known);
    }

    fn refuse_unknown_keys(&mut self, table: Option<&Table>, path: &str, known: &[&str]) {
        let dot = if path.is_empty() { "" } else { "." };
        for (name, entry) in table.into_iter().flatten() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let hint = keys::suggestion(name, known.iter().copied())
                .map(|name| format!(" (did you mean {path}{dot}{name}?)"))
                .unwrap_or_default();
            self.faults.add(&entry.origin, format!("{path}{dot}{name}: unknown key{hint}"));
        }
    }

    fn admin(&mut self) -> Admin {
        let admin = self.section(self.root, "admin");
        Admin {
            admin_users: self.names(&admin, "admin_users"),
            stats_users: self.names(&admin, "stats_users"),
            token: self.text(&admin, "token").map(Secret::new),
            stats_period: self.duration(&admin, "stats_period"),
        }
    }

    fn auth(&mut self) -> Auth {
        let auth = self.section(self.root, "auth");
        let method = self.text(&auth, "method").unwrap_or_default();
        Auth {
            method: if method == "trust" { AuthMethod::Trust } else { AuthMethod::ScramSha256 },
            trust_remote: self.flag(&auth, "trust_remote"),
            mock_key: self.mock_key(&auth),
        }
    }

    fn mock_key(&mut self, auth: &Scope<'_>) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        if let Some(text) = self.text(auth, "mock_key") {
            return Sha256::digest(text).into();
        }
        let mut key = [0; 32];
        if getrandom::fill(&mut key).is_err() {
            let whole = self.whole.clone();
            self.faults.add(&whole, "the system gives no random numbers");
        }
        key
    }

    fn databases(&mut self) -> Databases {
        let root = self.root;
        let Some(tables) = root.get("databases").and_then(|entry| self.table(entry, "databases"))
        else {
            return Databases::default();
        };
        let pool = self.section(root, "pool");
        // The defaults are checked even if every database has its own values.
        let defaults = self.pool_settings(&pool);
        let whole = self.whole.clone();
        self.check_pool(&defaults, "pool.", &whole);
        let mut named = BTreeMap::new();
        let mut any = None;
        for (name, entry) in tables {
            let Some(database) = self.database(name, entry, &pool, &defaults) else {
                continue;
            };
            if name == "*" {
                any = Some(database);
            } else {
                named.insert(name.clone(), database);
            }
        }
        Databases { named, any }
    }

    fn database(
        &mut self,
        name: &str,
        entry: &'a Entry,
        pool: &Scope<'a>,
        defaults: &PoolSettings,
    ) -> Option<Database> {
        let path = format!("databases.{name}");
        let table = self.table(entry, &path)?;
        let mut known: Vec<String> =
            keys::DATABASE.keys.iter().map(|key| key.name.to_owned()).collect();
        known.extend(pool.section.keys.iter().map(|key| format!("pool_{}", key.name)));
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.refuse_unknown_keys(Some(table), &path, &known);

        let own = Scope {
            table: Some(table),
            section: &keys::DATABASE,
            path: &path,
            prefix: "",
            parent: None,
        };
        let own_pool = Scope { section: pool.section, prefix: "pool_", parent: Some(pool), ..own };
        let host = self.text(&own, "host").unwrap_or_default();
        if host.is_empty() {
            self.faults.add(&entry.origin, format!("{path}.host: required"));
        }
        if !host.starts_with('/') && host.contains(',') || host.matches(':').count() == 1 {
            let what =
                format!("{path}.host: one host without a port; the port has a key of its own");
            self.faults.add(&entry.origin, what);
        }
        let port = u16::try_from(self.integer(&own, "port")).unwrap_or(5432);
        let settings = self.pool_settings(&own_pool);
        if settings != *defaults {
            self.check_pool(&settings, &format!("{path}.pool_"), &entry.origin);
        }
        Some(Database {
            address: address(host, port),
            dbname: self.text(&own, "dbname"),
            user: self.text(&own, "user"),
            password: self.text(&own, "password").map(Secret::new),
            pool: settings,
        })
    }

    fn check_pool(&mut self, settings: &PoolSettings, path: &str, origin: &Origin) {
        let PoolSettings { size, min, .. } = *settings;
        if min > size {
            self.faults.add(origin, format!("{path}min: {min} is more than {path}size ({size})"));
        }
        if settings.retry_min > settings.retry_max {
            self.faults.add(origin, format!("{path}retry_min: longer than {path}retry_max"));
        }
    }

    fn pool_settings(&mut self, scope: &Scope<'_>) -> PoolSettings {
        PoolSettings {
            mode: pool_mode(&self.text(scope, "mode").unwrap_or_default()),
            size: self.count(scope, "size"),
            min: self.count(scope, "min"),
            reserve: self.count(scope, "reserve"),
            reserve_after: self.duration(scope, "reserve_after"),
            wait_timeout: self.duration(scope, "wait_timeout"),
            waiters: self.count(scope, "waiters"),
            connect_timeout: self.duration(scope, "connect_timeout"),
            retry_min: self.duration(scope, "retry_min"),
            retry_max: self.duration(scope, "retry_max"),
            retry_for: self.duration(scope, "retry_for"),
            query_timeout: self.duration_or_off(scope, "query_timeout"),
            idle_timeout: self.duration_or_off(scope, "idle_timeout"),
            max_age: self.duration_or_off(scope, "max_age"),
            max_pinned_share: self.count(scope, "max_pinned_share"),
            waits_for_pin: self.text(scope, "over_pinned_share").as_deref() == Some("wait"),
            session: SessionPolicy {
                after_unknown: after_unknown(
                    &self.text(scope, "after_unknown").unwrap_or_default(),
                ),
                keep_sequences: self.flag(scope, "keep_sequences"),
                announces_pins: self.flag(scope, "pin_notice"),
                shares_listener: self.flag(scope, "share_listener"),
                lost_listener: lost_listener(
                    &self.text(scope, "lost_listener").unwrap_or_default(),
                ),
            },
        }
    }

    fn users(&mut self) -> HashMap<String, User> {
        let mut users = HashMap::new();
        let Some(entry) = self.root.get("users") else {
            return users;
        };
        let Node::List(list) = &entry.node else {
            self.faults.add(&entry.origin, "users: expected [[users]] entries");
            return users;
        };
        for entry in list {
            let Some(user) = self.user(entry) else {
                continue;
            };
            let name = user.name.clone();
            if users.insert(name.clone(), user).is_some() {
                self.faults.add(&entry.origin, format!("users: \"{name}\" stands there twice"));
            }
        }
        users
    }

    fn user(&mut self, entry: &'a Entry) -> Option<User> {
        let table = self.table(entry, "users")?;
        let known: Vec<&str> = keys::USER.keys.iter().map(|key| key.name).collect();
        self.refuse_unknown_keys(Some(table), "users", &known);
        let scope = Scope {
            table: Some(table),
            section: &keys::USER,
            path: "users",
            prefix: "",
            parent: None,
        };
        let Some(name) = self.text(&scope, "name").filter(|name| !name.is_empty()) else {
            self.faults.add(&entry.origin, "users.name: required");
            return None;
        };
        self.refuse_malformed_verifier(&scope, entry);
        Some(User {
            name,
            password: self.text(&scope, "password").map(Secret::new),
            server_user: self.text(&scope, "server_user"),
            server_password: self.text(&scope, "server_password").map(Secret::new),
            pool_mode: self.text(&scope, "pool_mode").map(|mode| pool_mode(&mode)),
            pool_size: self
                .value(&scope, "pool_size")
                .and_then(|value| value.integer())
                .and_then(|size| usize::try_from(size).ok()),
        })
    }

    fn refuse_malformed_verifier(&mut self, scope: &Scope<'_>, entry: &Entry) {
        let verifier =
            self.text(scope, "password").filter(|text| text.starts_with(VERIFIER_PREFIX));
        // SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
        let is_complete =
            |text: &str| text.matches('$').count() == 2 && text.matches(':').count() == 2;
        if verifier.is_some_and(|text| !is_complete(&text)) {
            self.faults.add(&entry.origin, "users.password: a SCRAM verifier that is not complete");
        }
    }

    // === Values ===

    /// The value of a key, checked against its kind; its default where it is not set or wrong.
    fn value(&mut self, scope: &Scope<'_>, name: &str) -> Option<Value> {
        let key = keys::find(scope.section, name)?;
        let mut place = Some(scope);
        while let Some(scope) = place {
            let written = format!("{}{name}", scope.prefix);
            if let Some(entry) = scope.table.and_then(|table| table.get(&written)) {
                match Value::read(key, &entry.node) {
                    Ok(value) => return Some(value),
                    Err(why) => {
                        self.faults.add(&entry.origin, format!("{}.{written}: {why}", scope.path));
                        break;
                    }
                }
            }
            place = scope.parent;
        }
        // The table's defaults are checked by a test.
        Value::read(key, &written::literal(key.default?)).ok()
    }

    fn text(&mut self, scope: &Scope<'_>, name: &str) -> Option<String> {
        match self.value(scope, name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn flag(&mut self, scope: &Scope<'_>, name: &str) -> bool {
        matches!(self.value(scope, name), Some(Value::Flag(true)))
    }

    fn integer(&mut self, scope: &Scope<'_>, name: &str) -> i64 {
        self.value(scope, name).and_then(|value| value.integer()).unwrap_or_default()
    }

    fn count(&mut self, scope: &Scope<'_>, name: &str) -> usize {
        usize::try_from(self.integer(scope, name)).unwrap_or_default()
    }

    fn duration_or_off(&mut self, scope: &Scope<'_>, name: &str) -> Option<Duration> {
        match self.value(scope, name)? {
            Value::Duration(duration) => duration,
            _ => None,
        }
    }

    fn duration(&mut self, scope: &Scope<'_>, name: &str) -> Duration {
        self.duration_or_off(scope, name).unwrap_or_default()
    }

    fn size(&mut self, scope: &Scope<'_>, name: &str) -> usize {
        match self.value(scope, name) {
            Some(Value::Size(bytes)) => bytes,
            _ => 0,
        }
    }

    fn names(&mut self, scope: &Scope<'_>, name: &str) -> Vec<String> {
        match self.value(scope, name) {
            Some(Value::List(names)) => names,
            _ => Vec::new(),
        }
    }

    fn socket_address(&mut self, scope: &Scope<'_>, name: &str) -> Option<SocketAddr> {
        match self.value(scope, name)? {
            Value::SocketAddress(address) => address,
            _ => None,
        }
    }
}

fn address(host: String, port: u16) -> Address {
    if host.starts_with('/') {
        Address::Unix(Path::new(&host).join(format!(".s.PGSQL.{port}")))
    } else {
        Address::Tcp { host, port }
    }
}

#[cfg(test)]
mod tests;
