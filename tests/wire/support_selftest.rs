//! The test support itself, straight against PostgreSQL: when these fail, don't look at the proxy.

use std::time::Duration;

use crate::support::children;
use crate::support::frames::{
    PROTOCOL_3_2, bind, close, copy_data, copy_done, copy_fail, describe, execute, flush,
    function_call, gss_request, parse, query, ssl_request, sync,
};
use crate::support::{Options, Postgres, Reply, StopMode, Wire, eventually};

#[test]
fn simple_queries() {
    let mut wire = Postgres::shared().wire();
    let reply = wire.query("select 1 as one, null, 'x'; select 2");
    assert_eq!(reply.tags(), "TDCTDCZ");
    assert_eq!(reply.rows(), ["1||x", "2"]);
    assert_eq!(reply.commands(), ["SELECT 1", "SELECT 1"]);
    assert_eq!(reply.status(), Some('I'));
    let reply = wire.query("begin; select 1/0");
    assert_eq!(reply.sqlstate().as_deref(), Some("22012"));
    assert_eq!(reply.error_field('R').as_deref(), Some("int4div"));
    assert_eq!(reply.status(), Some('E'));
    wire.close();
}

#[test]
fn replies_print_for_people() {
    let mut wire = Postgres::shared().wire();
    let reply = wire.query("select 1 as one, null as two; select nope");
    assert_eq!(
        reply.to_string(),
        "  T one|two\n  D 1|NULL\n  C SELECT 1\n  E ERROR 42703 column \"nope\" does not exist\n  Z I\n"
    );
}

#[test]
fn extended_protocol() {
    let mut wire = Postgres::shared().wire();
    let reply = wire.extended("select $1::int + 1", &[Some("41")]).ok();
    assert_eq!((reply.tags().as_str(), reply.value().as_str()), ("12TDCZ", "42"));

    let statement = parse("s", "select generate_series(1, 3), $1::text", &[]);
    wire.send(&[statement, describe(b'S', "s"), flush()].concat());
    assert_eq!(wire.until(b'T').tags(), "1tT");
    wire.send(&[bind("p", "s", &[None]), execute("p", 2), flush()].concat());
    assert_eq!(wire.until(b's').tags(), "2DDs");
    let rest = [execute("p", 0), close(b'S', "s"), close(b'P', "p"), sync()].concat();
    assert_eq!(wire.ask(&rest).tags(), "DC33Z");
}

#[test]
fn copy_in_and_out() {
    let mut wire = Postgres::shared().wire();
    wire.query("create temp table t (a int, b text)").ok();
    wire.send(&query("copy t from stdin"));
    assert_eq!(wire.until(b'G').tags(), "G");
    let reply = wire.ask(&[copy_data(b"1\tone\n2\t\\N\n"), copy_done()].concat());
    assert_eq!(reply.ok().commands(), ["COPY 2"]);
    wire.send(&query("copy t from stdin"));
    let reply = wire.ask(&copy_fail("no more"));
    assert_eq!(reply.sqlstate().as_deref(), Some("57014"));
    let reply = wire.query("copy t to stdout");
    assert_eq!(reply.tags(), "HddcCZ");
    assert_eq!(reply.copied(), b"1\tone\n2\t\\N\n");
}

#[test]
fn function_calls() {
    let server = Postgres::shared();
    let oid = server.psql("select 'pg_catalog.int4pl(int4, int4)'::regprocedure::oid");
    let call = function_call(oid.parse().unwrap(), &[Some("20"), Some("22")]);
    let reply = server.wire().ask(&call);
    assert_eq!(reply.tags(), "VZ");
    assert_eq!(reply.0[0].body, b"\x00\x00\x00\x0242");
}

#[test]
fn encryption_requests_are_answered() {
    let port = Postgres::shared().port();
    let mut wire = Wire::connect(port);
    wire.send(&ssl_request());
    assert_eq!(wire.byte(), b'N');
    let login = [("user", "postgres"), ("database", "postgres")];
    wire.log_in(&login, None).ok();
    // Debian's PostgreSQL knows GSS and says so before it looks for a key.
    let mut wire = Wire::connect(port);
    wire.send(&gss_request());
    assert!(b"GN".contains(&wire.byte()));
}

#[test]
fn startup_parameters_reach_the_server() {
    let mut wire = Wire::connect(Postgres::shared().port());
    let login = [
        ("user", "postgres"),
        ("database", "postgres"),
        ("application_name", "self test"),
        ("options", "-c work_mem=5MB"),
    ];
    wire.log_in(&login, None).ok();
    assert_eq!(wire.parameters["application_name"], "self test");
    assert_eq!(wire.query("show work_mem").ok().value(), "5MB");
    assert!(wire.pid > 0 && wire.key.len() == 4);
}

#[test]
fn newer_protocols_are_negotiated() {
    let server = Postgres::shared();
    let mut wire = Wire::connect(server.port());
    let login = [("user", "postgres"), ("database", "postgres")];
    let reply = wire.log_in_version(PROTOCOL_3_2, &login, None).ok();
    if server.major() >= 18 {
        assert_eq!(wire.key.len(), 32);
    } else {
        let negotiation = reply.all(b'v').next().unwrap();
        assert_eq!(negotiation.number(0).unwrap() & 0xffff, 0);
        assert_eq!(wire.key.len(), 4);
    }
}

#[test]
fn cancel_stops_a_statement() {
    let server = Postgres::shared();
    let mut wire = server.wire();
    wire.send(&query("select pg_sleep(60)"));
    let waits = format!("select wait_event from pg_stat_activity where pid = {}", wire.pid);
    eventually("it sleeps", Duration::from_secs(5), || server.psql(&waits) == "PgSleep");
    wire.cancel(server.port());
    assert_eq!(wire.until_ready().sqlstate().as_deref(), Some("57014"));
}

#[test]
fn silence_and_half_close() {
    let mut wire = Postgres::shared().wire();
    wire.send(&parse("", "select 1", &[]));
    assert!(wire.is_silent_for(Duration::from_millis(30)));
    wire.send(&[bind("", "", &[]), execute("", 0), sync()].concat());
    wire.half_close();
    assert_eq!(wire.until_end().tags(), "12DCZ");
}

#[test]
fn passwords_of_every_kind() {
    let options = Options::default()
        .user("plain", "open sesame", "password")
        .user("digest", "open sesame", "md5")
        .user("salted", "open sesame", "scram-sha-256");
    let server = Postgres::start(&options);
    for user in ["plain", "digest", "salted"] {
        let log_in = |password| -> Reply {
            let parameters = [("user", user), ("database", "postgres")];
            Wire::connect(server.port()).log_in(&parameters, Some(password))
        };
        assert_eq!(log_in("open sesame").ok().status(), Some('I'), "{user}");
        let refused = log_in("wrong");
        assert_eq!(refused.sqlstate().as_deref(), Some("28P01"), "{user}");
    }
}

#[test]
fn a_cluster_stops_and_starts_again() {
    let server = Postgres::start(&Options::default().setting("work_mem=6MB"));
    assert_eq!(server.psql("show work_mem"), "6MB");
    server.psql("create table kept (a int)");
    let mut wire = server.wire();
    server.restart();
    assert_eq!(wire.until_end().sqlstate().as_deref(), Some("57P01"));
    assert_eq!(server.psql("select count(*) from kept"), "0");
    server.stop(StopMode::Immediate);
    assert!(Wire::try_connect(server.port()).is_err());
    server.start_again();

    let mut wire = server.wire();
    assert_eq!(server.backends(), [wire.pid]);
    server.kill_backend(wire.pid);
    assert_eq!(wire.until_end().sqlstate().as_deref(), Some("57P01"));
    assert!(server.log().contains("ready to accept connections"));
}

#[test]
fn processes_can_be_measured() {
    let server = Postgres::shared();
    let mut wire = server.wire();
    let backend = u32::try_from(wire.pid).unwrap();
    let before = children::cpu_us(backend);
    wire.query("select sum(i) from generate_series(1, 300000) i").ok();
    assert!(children::cpu_us(backend) > before);
    assert!(children::rss_kib(backend) > 1000);
    assert!(children::open_files(server.pid()) > 3);
}
