//! SHOW: names, order and types of columns as PgBouncer 1.25 documents them; what existing readers make of them.

use super::{number, show};
use crate::launch::{Role, SOON, launch};
use crate::support::frames::{bind_formats, describe, execute, parse, sync};
use crate::support::{Wire, eventually};

/// Columns of each SHOW: `s` text, `i` int4, `q` int8, `n` numeric.
const COLUMNS: &[(&str, &str)] = &[
    ("VERSION", "version:s"),
    ("STATE", "key:s value:s"),
    (
        "STATS",
        "database:s total_server_assignment_count:n total_xact_count:n total_query_count:n total_received:n \
         total_sent:n total_xact_time:n total_query_time:n total_wait_time:n total_client_parse_count:n \
         total_server_parse_count:n total_bind_count:n total_client_login_count:n avg_server_assignment_count:n \
         avg_xact_count:n avg_query_count:n avg_recv:n avg_sent:n avg_xact_time:n avg_query_time:n avg_wait_time:n \
         avg_client_parse_count:n avg_server_parse_count:n avg_bind_count:n avg_client_login_count:n",
    ),
    (
        "STATS_TOTALS",
        "database:s server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n \
         query_time:n wait_time:n client_parse_count:n server_parse_count:n bind_count:n client_login_count:n",
    ),
    (
        "STATS_AVERAGES",
        "database:s server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n \
         query_time:n wait_time:n client_parse_count:n server_parse_count:n bind_count:n client_login_count:n",
    ),
    ("TOTALS", "name:s value:n"),
    (
        "POOLS",
        "database:s user:s cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i \
         sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i \
         pool_mode:s load_balance_hosts:s sv_pinned:i",
    ),
    (
        "DATABASES",
        "name:s host:s port:i database:s force_user:s pool_size:i min_pool_size:i reserve_pool_size:i \
         server_lifetime:i pool_mode:s load_balance_hosts:s max_connections:i current_connections:i \
         max_client_connections:i current_client_connections:i paused:i disabled:i",
    ),
    (
        "USERS",
        "name:s pool_size:s reserve_pool_size:s pool_mode:s max_user_connections:i current_connections:i \
         max_user_client_connections:i current_client_connections:i",
    ),
    ("LISTS", "list:s items:i"),
    ("CLIENTS", CONNECTION),
    ("SERVERS", CONNECTION),
    ("SOCKETS", SOCKET),
    ("ACTIVE_SOCKETS", SOCKET),
    ("CONFIG", "key:s value:s default:s changeable:s"),
    ("MEM", "name:s size:i used:i free:i memtotal:i"),
    ("DNS_HOSTS", "hostname:s ttl:q addrs:s"),
    ("DNS_ZONES", "zonename:s serial:q count:i"),
    ("PEERS", "peer_id:i host:s port:i pool_size:i"),
    (
        "PEER_POOLS",
        "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i",
    ),
    (
        "PINS",
        "database:s user:s reason:s client:s server:s application_name:s addr:s port:i connect_time:s request_time:s \
         id:i",
    ),
    (
        "PREPARED",
        "database:s user:s client_statements:q server_statements:q client_parses:q server_parses:q binds:q",
    ),
];

const CONNECTION: &str = "type:s user:s database:s replication:s state:s addr:s port:i local_addr:s local_port:i \
    connect_time:s request_time:s wait:i wait_us:i close_needed:i ptr:s link:s remote_pid:i tls:s application_name:s \
    prepared_statements:i id:i";

const SOCKET: &str = "type:s user:s database:s replication:s state:s addr:s port:i local_addr:s local_port:i \
    connect_time:s request_time:s wait:i wait_us:i close_needed:i ptr:s link:s remote_pid:i tls:s application_name:s \
    prepared_statements:i id:i recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i";

fn letter(oid: u32) -> char {
    match oid {
        25 => 's',
        23 => 'i',
        20 => 'q',
        1700 => 'n',
        _ => '?',
    }
}

fn columns_of(reply: &crate::support::Reply) -> String {
    let frame = reply.all(b'T').next().expect("a RowDescription");
    let columns = frame.typed_columns();
    let column = |(name, oid): &(String, u32)| format!("{name}:{}", letter(*oid));
    columns.iter().map(column).collect::<Vec<_>>().join(" ")
}

#[test]
fn columns_in_both_protocols() {
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    let mut console = proxy.console();
    for (name, columns) in COLUMNS {
        let sql = format!("SHOW {name};");
        let simple = console.query(&sql).ok();
        assert_eq!(columns_of(&simple), *columns, "{name}");
        let extended = console.extended(&sql, &[]).ok();
        assert_eq!(columns_of(&extended), *columns, "{name}, extended");
        assert_eq!(simple.rows().len(), extended.rows().len(), "{name}");
    }
}

#[test]
fn its_aliases_and_help() {
    let proxy = launch("size=2");
    for database in ["pgsteward", "pgbouncer"] {
        let mut console = Wire::login(proxy.port(), "pgbouncer", database);
        let version = console.query("show version").ok();
        assert!(version.value().starts_with("pgsteward "), "{version:?}");
        let help = console.query("SHOW HELP").ok();
        assert_eq!(help.tags(), "NCZ");
        assert!(help.all(b'N').next().unwrap().field('D').unwrap().contains("PAUSE [db]"));
    }
}

#[test]
fn rows_in_binary_format_are_what_they_are_in_text() {
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    let mut console = proxy.console();
    let text = console.query("SHOW POOLS").ok();
    let sql = [
        parse("", "SHOW POOLS", &[]),
        describe(b'S', ""),
        bind_formats("", "", &[], &[], &[1]),
        execute("", 0),
        sync(),
    ]
    .concat();
    let binary = console.ask(&sql).ok();
    assert_eq!(binary.tags(), "1tT2DCZ");
    let names = binary.all(b'T').next().unwrap().column_names();
    let row = binary.all(b'D').next().unwrap();
    let at = names.iter().position(|name| name == "sv_idle").unwrap();
    assert_eq!(row.raw_column(at).unwrap(), 1_i32.to_be_bytes());
    assert_eq!(text.all(b'D').next().unwrap().columns()[at].as_deref(), Some("1"));
    // numeric, as asyncpg reads it.
    let sql = [
        parse("", "SHOW STATS_TOTALS", &[]),
        bind_formats("", "", &[], &[], &[1]),
        execute("", 0),
        sync(),
    ]
    .concat();
    let stats = console.ask(&sql).ok();
    let xacts = stats.all(b'D').next().unwrap().raw_column(2).unwrap();
    assert_eq!(xacts, [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn clients_servers_and_what_links_them() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut idle = role.wire(&proxy);
    idle.query("set application_name = 'idler'").ok();
    let mut busy = role.wire(&proxy);
    busy.query("begin").ok();
    let clients = show(&mut console, "CLIENTS");
    let mut states: Vec<_> = clients.iter().map(|row| row["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "idle"]);
    let idler = clients.iter().find(|row| row["state"] == "idle").unwrap();
    assert_eq!((&*idler["application_name"], &*idler["link"]), ("idler", ""));
    let worker = clients.iter().find(|row| row["state"] == "active").unwrap();
    let servers = show(&mut console, "SERVERS");
    let server = servers.iter().find(|row| row["state"] == "active").unwrap();
    assert_eq!((&worker["link"], &server["link"]), (&server["ptr"], &worker["ptr"]));
    let pid = busy.query("select pg_backend_pid()").ok().value();
    assert_eq!(server["remote_pid"], pid);
    let sockets = show(&mut console, "ACTIVE_SOCKETS");
    assert_eq!(sockets.len(), 2);
    busy.query("commit").ok();
}

#[test]
fn who_waits_is_seen_waiting() {
    let role = Role::new();
    let proxy = launch("size=1");
    let mut console = proxy.console();
    let mut holder = role.wire(&proxy);
    holder.query("begin").ok();
    let mut waiter = role.wire(&proxy);
    waiter.send(&crate::support::frames::query("select 1"));
    eventually("the client waits", SOON, || {
        number(&show(&mut console, "POOLS")[0], "cl_waiting") == 1
    });
    let pools = show(&mut console, "POOLS");
    assert_eq!((number(&pools[0], "cl_active"), number(&pools[0], "sv_active")), (1, 1));
    let clients = show(&mut console, "CLIENTS");
    assert_eq!(clients.iter().filter(|row| row["state"] == "waiting").count(), 1);
    holder.query("commit").ok();
    waiter.until_ready().ok();
    assert_eq!(number(&show(&mut console, "POOLS")[0], "cl_waiting"), 0);
}

#[test]
fn pins_have_their_reason() {
    let role = Role::new();
    let proxy = launch("size=2");
    let mut console = proxy.console();
    let mut client = role.wire(&proxy);
    client.query("create temp table pinned (a int)").ok();
    eventually("the pin is counted", SOON, || show(&mut console, "PINS").len() == 1);
    let pins = show(&mut console, "PINS");
    assert_eq!(pins[0]["reason"], "temporary");
    assert_eq!(number(&show(&mut console, "POOLS")[0], "sv_pinned"), 1);
    client.query("discard all").ok();
    eventually("the pin is gone", SOON, || show(&mut console, "PINS").is_empty());
}

/// The statements of prometheus-community's pgbouncer_exporter, Datadog's integration and Telegraf's plugin, and
/// what they need of the answers (their documented use of columns).
#[test]
fn existing_readers_find_what_they_read() {
    let proxy = launch("size=2");
    proxy.wire().query("select 1").ok();
    // lib/pq sends extra_float_digits, and asks for STATS to see whether the console lives.
    let mut reader = Wire::connect(proxy.port());
    let parameters =
        [("user", "pgbouncer"), ("database", "pgbouncer"), ("extra_float_digits", "2")];
    reader.log_in(&parameters, None).ok();
    for (sql, numbers) in [
        (
            "SHOW DATABASES;",
            "pool_size max_connections current_connections paused disabled min_pool_size reserve_pool_size",
        ),
        (
            "SHOW STATS_TOTALS;",
            "query_count query_time bytes_received bytes_sent wait_time xact_count xact_time client_parse_count \
             server_parse_count bind_count",
        ),
        (
            "SHOW POOLS;",
            "cl_active cl_active_cancel_req cl_waiting cl_waiting_cancel_req sv_active sv_active_cancel \
             sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us",
        ),
        (
            "SHOW STATS",
            "total_xact_count total_query_count total_received total_sent total_xact_time total_query_time \
             total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time \
             avg_wait_time",
        ),
    ] {
        let rows = show(&mut reader, sql.trim_start_matches("SHOW ").trim_end_matches(';'));
        for row in &rows {
            for column in numbers.split_whitespace() {
                number(row, column);
            }
        }
        assert!(!rows.is_empty() || sql.contains("DATABASES"), "{sql}");
    }
    let lists = reader.query("SHOW LISTS;").ok();
    let is_pair_with_number =
        |row: &String| row.split_once('|').is_some_and(|(_, items)| items.parse::<f64>().is_ok());
    assert!(lists.rows().iter().all(is_pair_with_number), "{lists:?}");
    let config = show(&mut reader, "CONFIG");
    for key in ["max_client_conn", "max_user_connections"] {
        let row = config.iter().find(|row| row["key"] == key).unwrap();
        number(row, "value");
    }
    let clients = show(&mut reader, "CLIENTS");
    for row in &clients {
        assert!(row.contains_key("database") && row.contains_key("application_name"));
    }
    reader.query("SHOW VERSION;").ok();
}

#[test]
fn averages_are_of_the_last_period() {
    let proxy = launch("size=2 admin.stats_period=200ms");
    let mut client = proxy.wire();
    let mut console = proxy.console();
    eventually("there are averages", SOON, || {
        client.query("select 1").ok();
        show(&mut console, "STATS").iter().any(|row| number(row, "avg_query_count") > 0)
    });
}
