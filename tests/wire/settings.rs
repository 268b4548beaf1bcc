//! What a client has set goes with it to whatever server connection it gets, and with nobody else.

use std::time::Duration;

use crate::launch::{Role, launch};
use crate::support::frames::{bind, close, describe, execute, parse, query, sync};
use crate::support::{Frame, Postgres, Proxy, Wire};
use crate::twin::Twin;

/// Settings that tests change, as a client finds them.
const STATE: &str = "select \
    current_setting('work_mem'), current_setting('search_path'), current_setting('timezone'), \
    current_setting('statement_timeout'), current_user = session_user, \
    coalesce(current_setting('app.tenant', true), ''), \
    (select string_agg(name, ',' order by name) from pg_settings where source = 'session' \
        and name not like 'transaction%')";

fn server_pid(wire: &mut Wire) -> String {
    wire.query("select pg_backend_pid()").ok().value()
}

/// A pool of one server connection, a client that sets, and one that never does.
struct Pair {
    _proxy: Proxy,
    role: Role,
    owner: Wire,
    other: Wire,
    clean: String,
    pid: String,
}

impl Pair {
    #[track_caller]
    fn new(settings: &str) -> Self {
        let proxy = launch(settings);
        let role = Role::new();
        let (owner, mut other) = (role.wire(&proxy), role.wire(&proxy));
        let clean = other.query(STATE).ok().value();
        let pid = server_pid(&mut other);
        Self { _proxy: proxy, role, owner, other, clean, pid }
    }

    /// Both clients are served by the one connection, and the other one finds nothing.
    #[track_caller]
    fn check_other(&mut self, after: &str) {
        assert_eq!(self.other.query(STATE).ok().value(), self.clean, "{after}, at a neighbour");
        assert_eq!(server_pid(&mut self.other), self.pid, "after {after}");
    }

    /// What the owner finds, in between which the other one has had the connection.
    #[track_caller]
    fn owners(&mut self, sql: &str, after: &str) -> String {
        self.check_other(after);
        let found = self.owner.query(sql).ok().value();
        self.check_other(after);
        assert_eq!(self.owner.query(sql).ok().value(), found, "after {after}");
        found
    }
}

#[test]
fn settings_go_with_their_client() {
    for by_extended in [false, true] {
        let mut pair = Pair::new("size=1");
        for (sql, show, expected) in [
            ("set work_mem = '5MB'", "show work_mem", "5MB"),
            ("set session work_mem to '6MB'", "show work_mem", "6MB"),
            ("set WORK_MEM to default", "show work_mem", "4MB"),
            ("select set_config('work_mem', '7MB', false)", "show work_mem", "7MB"),
            ("reset work_mem", "show work_mem", "4MB"),
            ("set search_path = a, \"B c\", 'it''s'", "show search_path", "a, \"B c\", \"it's\""),
            ("set time zone 'Europe/Athens'", "show timezone", "Europe/Athens"),
            ("set time zone interval '+02:30' hour to minute", "show timezone", "<+02:30>-02:30"),
            ("set time zone local", "show timezone", "Etc/UTC"),
            ("set app.tenant = 'Zoë''s \\ \"x\"'", "show app.tenant", "Zoë's \\ \"x\""),
            ("set datestyle = german", "select '2024-02-03'::date", "03.02.2024"),
            (
                "set session characteristics as transaction read only",
                "show transaction_read_only",
                "on",
            ),
            (
                "set session characteristics as transaction read write",
                "show transaction_read_only",
                "off",
            ),
            ("set role pg_monitor", "select current_user", "pg_monitor"),
            ("set role none", "select current_user = session_user", "t"),
            ("select set_config('role', 'pg_monitor', false)", "select current_user", "pg_monitor"),
            ("reset all", "select current_user", "pg_monitor"),
            ("reset role", "select current_user = session_user", "t"),
        ] {
            if by_extended {
                pair.owner.extended(sql, &[]).ok();
            } else {
                pair.owner.query(sql).ok();
            }
            assert_eq!(pair.owners(show, sql), expected, "{sql}");
        }
        let zone = pair.other.query("show timezone").value();
        assert_eq!(pair.owners("show timezone", "reset all"), zone);
    }
}

#[test]
fn what_is_set_is_undone_with_its_transaction() {
    let mut pair = Pair::new("size=1");
    let show =
        "select current_setting('work_mem') || ' ' || coalesce(current_setting('a.b', true), '')";
    for (requests, expected) in [
        (&["begin", "set work_mem = '5MB'", "set a.b = 1", "rollback"][..], "4MB "),
        (&["begin", "set work_mem = '5MB'", "set a.b = 2", "commit"], "5MB 2"),
        (&["begin", "set work_mem = '6MB'", "select 1/0", "commit"], "5MB 2"),
        (
            &[
                "begin",
                "set work_mem = '6MB'",
                "savepoint s",
                "set work_mem = '7MB'",
                "rollback to s",
                "commit",
            ],
            "6MB 2",
        ),
        (&["set work_mem = '8MB'; select 1/0"], "6MB 2"),
        (&["set work_mem = '8MB'; set local a.b = 3; set work_mem = '9MB'"], "9MB 2"),
        (&["begin; set work_mem = '5MB'; rollback; set a.b = 4"], "9MB 4"),
        (&["begin", "reset work_mem", "rollback"], "9MB 4"),
        (&["begin", "reset all", "commit"], "4MB "),
        (&["begin", "set work_mem = '5MB'", "prepare transaction 'settings'"], "5MB "),
        (&["rollback prepared 'settings'"], "5MB "),
        (&["begin", "set local work_mem = '7MB'", "set work_mem = '6MB'", "commit"], "6MB "),
        (&["begin", "set work_mem = '7MB'", "set local work_mem = '8MB'", "commit"], "7MB "),
    ] {
        for request in requests {
            pair.owner.query(request);
        }
        assert_eq!(pair.owners(show, &requests.join("; ")), expected, "{requests:?}");
    }
}

#[test]
fn prepared_statements_set_when_they_are_executed() {
    let mut pair = Pair::new("size=1");
    let set = [parse("set", "select set_config($1, $2, $3), 1", &[25, 25, 16]), sync()].concat();
    pair.owner.ask(&set).ok();
    let plain = [parse("plain", "set work_mem = '9MB'", &[]), sync()].concat();
    pair.owner.ask(&plain).ok();
    assert_eq!(pair.owners("show work_mem", "the Parse of a SET"), "4MB");
    let run = |values: &[Option<&str>]| [bind("", "set", values), execute("", 0), sync()].concat();
    for (values, show, expected) in [
        ([Some("work_mem"), Some("5MB"), Some("f")], "show work_mem", "5MB"),
        ([Some("Work_Mem"), Some("6MB"), Some("t")], "show work_mem", "5MB"),
        ([Some("app.tenant"), Some("x"), Some("f")], "show app.tenant", "x"),
        ([Some("work_mem"), None, Some("f")], "show work_mem", "4MB"),
    ] {
        pair.owner.ask(&run(&values)).ok();
        assert_eq!(pair.owners(show, "a bound set_config"), expected);
    }
    pair.owner.ask(&[bind("", "plain", &[]), execute("", 0), sync()].concat()).ok();
    assert_eq!(pair.owners("show work_mem", "a prepared SET"), "9MB");
    // Two groups, between which the unnamed statement goes from one server connection to the next.
    let describe = [parse("", "set work_mem = '8MB'", &[]), describe(b'S', ""), sync()].concat();
    pair.owner.ask(&describe).ok();
    pair.check_other("a described SET");
    pair.owner.ask(&[bind("", "", &[]), execute("", 0), sync()].concat()).ok();
    assert_eq!(pair.owners("show work_mem", "an unnamed SET"), "8MB");
}

#[test]
fn discard_all_leads_back_to_the_startup_packet() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wire = Wire::connect(proxy.port());
    let login = [
        ("user", role.name()),
        ("database", "postgres"),
        ("work_mem", "7MB"),
        ("options", "-c role=pg_monitor -c app.tenant=first"),
    ];
    wire.log_in(&login, None).ok();
    let show = "select current_setting('work_mem'), current_setting('app.tenant'), current_user";
    let mut other = role.wire(&proxy);
    for (sql, expected) in [
        ("select 1", "7MB|first|pg_monitor"),
        ("set work_mem = '5MB'; set app.tenant = x; set role none", "5MB|x|"),
        ("reset all", "7MB|first|"),
        ("reset role", "7MB|first|pg_monitor"),
        ("set work_mem = '5MB'", "5MB|first|pg_monitor"),
        ("reset work_mem", "7MB|first|pg_monitor"),
    ] {
        wire.query(sql).ok();
        other.query("select 1").ok();
        let expected = match expected.strip_suffix('|') {
            Some(_) => format!("{expected}{}", role.name()),
            None => expected.to_owned(),
        };
        assert_eq!(wire.query(show).ok().value(), expected, "after {sql}");
    }
    wire.query("set work_mem = '5MB'").ok();
    wire.query("discard all").ok();
    other.query("select 1").ok();
    assert!(wire.query(show).ok().value().starts_with("7MB|first|"));
}

#[test]
fn applications_of_any_name_share_server_connections() {
    let proxy = launch("size=1");
    let role = Role::new();
    let log_in = |name: &str| {
        let mut wire = Wire::connect(proxy.port());
        let login = [("user", role.name()), ("database", "postgres"), ("application_name", name)];
        let told = wire.log_in(&login, None).ok();
        let is_name = |frame: &&Frame| frame.texts()[0] == "application_name";
        let names: Vec<_> =
            told.all(b'S').filter(is_name).map(|frame| frame.texts()[1].clone()).collect();
        (wire, names)
    };
    let names = ["one", "two \\ 'quoted'", "three"];
    let mut wires: Vec<_> = names.iter().map(|name| log_in(name)).collect();
    let seen = "select application_name, pid from pg_stat_activity where pid = pg_backend_pid()";
    let pid = server_pid(&mut wires[0].0);
    for _ in 0..2 {
        for (name, (wire, told)) in names.iter().zip(&mut wires) {
            assert_eq!(told, &[*name]);
            assert_eq!(wire.query(seen).ok().value(), format!("{name}|{pid}"));
        }
    }
    let (wire, _) = &mut wires[0];
    for sql in ["set application_name = 'other'", "reset application_name", "discard all"] {
        wire.query(sql).ok();
        let expected = if sql.starts_with("set") { "other" } else { "one" };
        assert_eq!(wire.query(seen).ok().value(), format!("{expected}|{pid}"), "after {sql}");
    }
    // On a connection that stays, too.
    wire.query("select pg_advisory_lock(1)").ok();
    wire.query("reset all").ok();
    assert_eq!(wire.query(seen).ok().value(), format!("one|{pid}"));
}

#[test]
fn who_is_told_of_parameters_is_who_changed_them() {
    let proxy = launch("size=1");
    let mut twin = Twin::new(&proxy);
    let mut neighbour = Wire::login(proxy.port(), "postgres", "twin_proxied");
    for sql in [
        "set timezone = 'Asia/Tokyo'",
        "select now() is null",
        "begin; set local timezone = 'UTC'; commit",
        "set application_name = 'me'",
        "begin",
        "set timezone = 'UTC'",
        "rollback",
        "reset timezone",
        "discard all",
        "do $$ begin perform set_config('TimeZone', 'Asia/Tokyo', false); end $$",
        "show timezone",
    ] {
        twin.ask(&query(sql));
        if !sql.starts_with("begin") || sql.ends_with("commit") {
            continue;
        }
        if twin.ask(&query("rollback")).status() == Some('I') {
            assert_eq!(neighbour.query("show timezone").ok().tags(), "TDCZ");
        }
    }
    for sql in ["set timezone = 'Asia/Tokyo'", "set datestyle = german", "show timezone"] {
        twin.ask(&query(sql));
        assert_eq!(neighbour.query("show timezone").ok().tags(), "TDCZ", "after {sql}");
    }
}

#[test]
fn a_role_that_is_gone_ends_the_session_before_anything_runs() {
    let mut pair = Pair::new("size=1");
    let admin = |sql: &str| Postgres::shared().psql(sql);
    let name = format!("gone_{}", pair.role.name());
    admin(&format!("create role {name}; create table seen_{name} (a int)"));
    pair.owner.query(&format!("set role {name}; set work_mem = '5MB'")).ok();
    pair.check_other("set role");
    admin(&format!("drop role {name}"));
    let insert = format!("insert into seen_{name} values (1)");
    pair.owner.send(&[query(&insert), query(&insert)].concat());
    let told = pair.owner.until_end();
    assert_eq!((told.tags().as_str(), told.sqlstate().as_deref()), ("E", Some("22023")));
    assert_eq!(told.error_field('S').as_deref(), Some("FATAL"));
    assert_eq!(admin(&format!("select count(*) from seen_{name}")), "0");
    assert_eq!(pair.other.query(STATE).ok().value(), pair.clean);
    admin(&format!("drop table seen_{name}"));
}

#[test]
fn what_a_routine_sets_is_undone() {
    let mut pair = Pair::new("size=1");
    let admin = |sql: &str| Postgres::shared().psql(sql);
    let name = format!("sets_{}", pair.role.name());
    admin(&format!(
        "create function {name}() returns int language plpgsql as $$ begin \
            set work_mem = '5MB'; set app.tenant = 'x'; set enable_sort = off; \
            perform pg_advisory_lock(8); create temp table {name} (a int); \
            execute 'listen news'; execute 'prepare {name} as select 1'; return 1; end $$"
    ));
    let held =
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    for routine in [
        format!("select {name}()"),
        format!("select 1 where \"{name}\" () = 1"),
        format!("select public . {name} /* so */ ()"),
        format!("do $$ begin perform {name}(); end $$"),
        format!("begin; select {name}(); commit"),
    ] {
        for by_extended in [false, true] {
            if by_extended && !routine.starts_with("begin") {
                pair.owner.extended(&routine, &[]).ok();
            } else {
                pair.owner.query(&routine).ok();
            }
            pair.check_other(&routine);
            assert_eq!(pair.other.query(held).value(), "0", "{routine}");
            let left = "select count(*) from pg_prepared_statements where from_sql";
            assert_eq!(pair.other.query(left).value(), "0", "{routine}");
            let left = format!(
                "select to_regclass('{name}') is null, count(*) from pg_listening_channels()"
            );
            assert_eq!(pair.other.query(&left).value(), "t|0", "{routine}");
            assert_eq!(pair.owner.query(STATE).value(), pair.clean, "{routine}");
        }
    }
    // What the client has set itself it keeps.
    pair.owner.query("set work_mem = '9MB'").ok();
    pair.owner.query(&format!("select {name}()")).ok();
    assert_eq!(pair.owners("show work_mem", "a routine"), "9MB");
    admin(&format!("drop function {name}()"));
}

#[test]
fn what_a_routine_sets_can_be_kept() {
    let mut pair = Pair::new("size=1 after_unknown=keep");
    pair.owner.query("do $$ begin set work_mem = '5MB'; set app.tenant = 'x'; end $$").ok();
    assert_eq!(pair.owners("show work_mem", "a DO"), "5MB");
    // Those that PostgreSQL doesn't list are lost, for everybody.
    assert_eq!(pair.owners("select current_setting('app.tenant', true)", "a DO"), "");
    let proxy = launch("size=1 after_unknown=pin");
    let role = Role::new();
    let (mut owner, mut other) = (role.wire(&proxy), role.wire(&proxy));
    owner.query("do $$ begin set app.tenant = 'x'; end $$").ok();
    other.send(&query(STATE));
    assert!(other.is_silent_for(Duration::from_millis(30)));
    assert_eq!(owner.query("show app.tenant").ok().value(), "x");
    owner.close();
    assert_eq!(other.until_ready().ok().rows().len(), 1);
}

#[test]
fn clients_that_have_set_the_same_find_it_set() {
    let proxy = launch("size=1");
    let role = Role::new();
    let mut wires: Vec<_> = (0..3).map(|_| role.wire(&proxy)).collect();
    let set = "set work_mem = '5MB'; set search_path = a; set app.tenant = 'x'";
    for wire in &mut wires {
        wire.query(set).ok();
    }
    // What ran last before: if anything had been applied in between, that would be it.
    let last = "select query from pg_stat_activity where pid = pg_backend_pid()";
    let log = |wire: &mut Wire| wire.query("select 'mark'").ok();
    for at in 0..6 {
        log(&mut wires[at % 3]);
        let seen = Postgres::shared().psql(&format!(
            "select query from pg_stat_activity where usename = '{}' and backend_type = 'client backend'",
            role.name()
        ));
        assert_eq!(seen, "select 'mark'");
        assert_eq!(wires[(at + 1) % 3].query("show work_mem").value(), "5MB");
    }
    assert!(wires[0].query(last).value().contains("pg_stat_activity"));
}

/// A statement that PostgreSQL folds when it analyses it, and two values of the setting that it reads then.
const FROZEN: &[(&str, &str, &str, &str)] = &[
    ("timezone", "UTC", "Asia/Tokyo", "select extract(epoch from '2024-01-01'::timestamptz)::text"),
    ("datestyle", "'iso, mdy'", "'iso, dmy'", "select '01/02/2024'::date - '2024-01-01'::date"),
    (
        "intervalstyle",
        "postgres",
        "sql_standard",
        "select extract(hour from '-1 2:00:00'::interval)",
    ),
    ("standard_conforming_strings", "on", "off", "select length('a\\\\b')"),
    (
        "transform_null_equals",
        "off",
        "on",
        "select count(*) from (values (null::int)) t(a) where a = null",
    ),
    ("array_nulls", "on", "off", "select '{NULL}'::text[] = array[null::text]"),
    ("xmloption", "content", "document", "select xmlserialize(document '<a/>'::xml as text)"),
    ("backslash_quote", "on", "off", "select E'it\\'s'"),
    ("lc_monetary", "'C'", "'C.UTF-8'", "select '12.34'::money::numeric"),
    ("client_encoding", "utf8", "latin1", "select length('\u{c3}\u{a9}')"),
];

#[test]
fn a_statement_is_what_it_was_when_it_was_prepared() {
    for (name, first, second, sql) in FROZEN {
        let proxy = launch("size=1");
        let mut twins = [Twin::new(&proxy), Twin::new(&proxy)];
        for (twin, value) in twins.iter_mut().zip([first, second]) {
            twin.ask(&query(&format!("set {name} = {value}")));
        }
        for _ in 0..3 {
            for twin in &mut twins {
                // Named, unnamed, as a query: each by its client's own setting.
                twin.ask(
                    &[parse("s", sql, &[]), bind("", "s", &[]), execute("", 0), sync()].concat(),
                );
                twin.ask(
                    &[parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat(),
                );
                twin.ask(&query(sql));
                twin.ask(&[close(b'S', "s"), sync()].concat());
            }
        }
    }
}

#[test]
fn a_statement_prepared_before_the_setting_stays_what_it_was() {
    for (name, first, second, sql) in FROZEN {
        for change in ["set", "set local"] {
            let proxy = launch("size=2");
            let mut twins = [Twin::new(&proxy), Twin::new(&proxy)];
            for twin in &mut twins {
                twin.ask(&query(&format!("set {name} = {first}")));
                twin.ask(&[parse("s", sql, &[]), sync()].concat());
            }
            let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
            let [one, other] = &mut twins;
            // On a connection that has not got it.
            other.ask(&query("begin"));
            one.ask(&query("begin"));
            one.ask(&query(&format!("{change} {name} = {second}")));
            one.ask(&run);
            one.ask(&query("commit"));
            one.ask(&run);
            other.ask(&run);
            other.ask(&query("commit"));
        }
    }
}

#[test]
fn values_of_sequences_are_nobody_elses() {
    for by_extended in [false, true] {
        let proxy = launch("size=1");
        let role = Role::new();
        let name = format!("values_{}_{by_extended}", role.name());
        Postgres::shared()
            .psql(&format!("create sequence {name}; create table t_{name} (id serial)"));
        let (mut one, mut other) = (role.wire(&proxy), role.wire(&proxy));
        let ask = |wire: &mut Wire, sql: &str| {
            if by_extended { wire.extended(sql, &[]) } else { wire.query(sql) }
        };
        let insert = format!("insert into t_{name} default values");
        let current = format!("select currval('{name}')");
        ask(&mut one, &format!("select nextval('{name}')")).ok();
        for sql in ["select lastval()", &current] {
            assert_eq!(ask(&mut other, sql).sqlstate().as_deref(), Some("55000"), "{sql}");
        }
        // In one transaction they are what PostgreSQL says.
        for wire in [&mut one, &mut other] {
            wire.query("begin").ok();
            ask(wire, &insert).ok();
            let expected = ask(wire, &format!("select max(id) from t_{name}")).value();
            assert_eq!(ask(wire, "select lastval()").ok().value(), expected);
            wire.query("commit").ok();
        }
        // What is another's is forgotten in the middle of a transaction too, and of a batch.
        ask(&mut one, &insert).ok();
        other.query("begin").ok();
        let batch = [
            parse("", "select 1", &[]),
            bind("", "", &[]),
            execute("", 0),
            parse("", "select lastval()", &[]),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ];
        assert_eq!(other.ask(&batch.concat()).sqlstate().as_deref(), Some("55000"));
        other.query("rollback").ok();
        Postgres::shared().psql(&format!("drop sequence {name}; drop table t_{name}"));
    }
}

#[test]
fn values_of_sequences_that_a_kept_client_takes_are_nobody_elses() {
    let proxy = launch("size=1");
    let role = Role::new();
    let name = format!("values_{}", role.name());
    Postgres::shared().psql(&format!("create table {name} (id serial)"));
    let (mut one, mut other) = (role.wire(&proxy), role.wire(&proxy));
    // What it prepares while it keeps the connection is that connection's.
    one.query("select pg_advisory_lock(77)").ok();
    let insert = format!("insert into {name} default values");
    one.ask(&[parse("s", &insert, &[]), sync()].concat()).ok();
    one.ask(&[bind("", "s", &[]), execute("", 0), close(b'S', "s"), sync()].concat()).ok();
    one.query("select pg_advisory_unlock(77)").ok();
    assert_eq!(other.query("select lastval()").sqlstate().as_deref(), Some("55000"));
    Postgres::shared().psql(&format!("drop table {name}"));
}

#[test]
fn values_of_sequences_can_be_kept() {
    let proxy = launch("size=1 keep_sequences=true");
    let role = Role::new();
    Postgres::shared().psql(&format!("create table kept_{} (id serial)", role.name()));
    let (mut one, mut other) = (role.wire(&proxy), role.wire(&proxy));
    one.query(&format!("insert into kept_{} default values", role.name())).ok();
    other.send(&query("select lastval()"));
    assert!(other.is_silent_for(Duration::from_millis(30)));
    assert_eq!(one.query("select lastval()").ok().value(), "1");
    one.query("discard all").ok();
    assert_eq!(other.until_ready().sqlstate().as_deref(), Some("55000"));
    Postgres::shared().psql(&format!("drop table kept_{}", role.name()));
}
