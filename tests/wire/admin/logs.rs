//! Log lines that operators look for.

use std::time::Duration;

use crate::launch::{Role, SOON, launch};
use crate::support::frames::{bind, execute, parse, query, sync};
use crate::support::{Proxy, eventually};

/// A field of the last line about something slow.
fn slow(proxy: &Proxy, field: &str) -> String {
    let mut found = None;
    eventually("the slow request is logged", SOON, || {
        let log = proxy.log();
        let line = log.lines().rev().find(|line| line.contains("slow request"));
        found = line.map(|line| {
            let value = line.split(&format!("{field}=")).nth(1).unwrap_or_default().to_owned();
            // Names follow each other with a blank between them; a text is the last.
            if field == "statement" { value } else { value.split(' ').next().unwrap().to_owned() }
        });
        found.is_some()
    });
    found.unwrap()
}

fn slow_ms(proxy: &Proxy, field: &str) -> u64 {
    slow(proxy, field).parse().unwrap()
}

#[test]
fn a_slow_request_is_logged_with_its_text_and_where_the_time_went() {
    let role = Role::new();
    let proxy = launch("size=2 log.slow=80ms");
    let mut client = role.wire(&proxy);
    client.query("select 'quick'").ok();
    client.query("select 'slow', pg_sleep(0.1)").ok();
    assert_eq!(slow(&proxy, "statement"), "select 'slow', pg_sleep(0.1)");
    assert!(slow_ms(&proxy, "server_ms") >= 100, "{}", proxy.log());
    assert_eq!((slow_ms(&proxy, "queue_ms"), slow_ms(&proxy, "client_ms")), (0, 0));
    assert!(!proxy.log().contains("'quick'"), "{}", proxy.log());
}

#[test]
fn the_text_of_a_prepared_statement_is_known_at_its_bind() {
    let role = Role::new();
    let proxy = launch("size=2 log.slow=80ms");
    let mut client = role.wire(&proxy);
    let prepare = [parse("nap", "select pg_sleep($1::float8)", &[]), sync()].concat();
    client.ask(&prepare).ok();
    client.ask(&[bind("", "nap", &[Some("0.1")]), execute("", 0), sync()].concat()).ok();
    assert_eq!(slow(&proxy, "statement"), "select pg_sleep($1::float8)");
}

#[test]
fn waits_for_a_server_connection_and_for_the_client_are_told_apart() {
    let role = Role::new();
    let proxy = launch("size=1 log.slow=80ms");
    let mut holder = role.wire(&proxy);
    let mut client = role.wire(&proxy);
    holder.query("begin").ok();
    client.send(&query("select 'queued'"));
    assert!(client.is_silent_for(Duration::from_millis(120)));
    holder.query("commit").ok();
    client.until_ready().ok();
    assert_eq!(slow(&proxy, "statement"), "select 'queued'");
    assert!(slow_ms(&proxy, "queue_ms") >= 100, "{}", proxy.log());
    assert!(slow_ms(&proxy, "server_ms") < slow_ms(&proxy, "queue_ms"), "{}", proxy.log());
    // More than the sockets' buffers hold.
    client.send(&query("select 'unread', repeat('x', 1000) from generate_series(1, 20000)"));
    eventually("the answer is on its way", SOON, || {
        role.states().iter().any(|state| state == "active")
    });
    std::thread::park_timeout(Duration::from_millis(200));
    client.until_ready().ok();
    eventually("it is logged", SOON, || slow(&proxy, "statement").contains("'unread'"));
    assert!(slow_ms(&proxy, "client_ms") >= 100, "{}", proxy.log());
}

#[test]
fn lines_can_be_json() {
    let role = Role::new();
    let proxy = launch("size=2 log.format=json log.stats=100ms");
    role.wire(&proxy).query("select 1").ok();
    for expected in ["client left", "xacts_per_s"] {
        eventually(expected, SOON, || proxy.log().contains(expected));
    }
    let mut messages = Vec::new();
    for line in proxy.log().lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        messages.push(line["message"].as_str().unwrap_or_default().to_owned());
    }
    for expected in ["client logged in", "client left", "stats"] {
        assert!(messages.iter().any(|message| message == expected), "{messages:?}");
    }
}

#[test]
fn lines_of_clients_can_be_left_out() {
    let role = Role::new();
    let proxy = launch("size=2 log.connections=false");
    role.wire(&proxy).query("select 1").ok();
    let mut console = proxy.console();
    console.query("SET log.level = debug").ok();
    role.wire(&proxy).query("select 1").ok();
    eventually("it is there at debug", SOON, || proxy.log().contains("DEBUG client logged in"));
    assert!(!proxy.log().contains("INFO client logged in"), "{}", proxy.log());
}
