//! Logging in: who is believed, who is not told why, and who is who on the server.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::launch::{SOON, launch};
use crate::support::frames::{PROTOCOL_3_0, frame, password, sasl_initial, startup};
use crate::support::{Options, Postgres, Proxy, Reply, Wire, eventually};

const SCRAM: &str = "[auth]\nmethod = \"scram-sha-256\"\n";

/// A cluster whose users log in with passwords, one by each method.
fn locked() -> &'static Postgres {
    static LOCKED: OnceLock<Postgres> = OnceLock::new();
    LOCKED.get_or_init(|| {
        let users = [("clear", "password"), ("digest", "md5"), ("salted", "scram-sha-256")];
        let options = Options { max_connections: 50, ..Options::default() };
        let with = |options: Options, (name, method)| options.user(name, &own_word(name), method);
        Postgres::start(&users.into_iter().fold(options, with))
    })
}

/// The password of a user of [`locked`].
fn own_word(user: &str) -> String {
    format!("{user}, \u{df}ecret")
}

/// Tables of databases on a server, each with these further keys.
fn databases(server: &Postgres, tables: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, keys) in tables {
        let port = server.port();
        let _ = writeln!(text, "[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\n{keys}");
    }
    text
}

fn user(name: &str, keys: &str) -> String {
    format!("[[users]]\nname = \"{name}\"\n{keys}\n")
}

/// Logs in to `database`; what was told, and the connection.
fn log_in(proxy: &Proxy, user: &str, database: &str, password: &str) -> (Reply, Wire) {
    let mut wire = Wire::connect(proxy.port());
    let reply = wire.log_in(&[("user", user), ("database", database)], Some(password));
    (reply, wire)
}

#[track_caller]
fn current_user(proxy: &Proxy, user: &str, database: &str, password: &str) -> String {
    let (reply, mut wire) = log_in(proxy, user, database, password);
    reply.ok();
    wire.query("select current_user").ok().value()
}

// === Clients ===

#[test]
fn scram_clients_prove_a_password_or_match_a_verifier() {
    let server = Postgres::shared();
    server.psql("create role login_verified password 'v\u{e9}rified \u{2168}'");
    let verifier =
        server.psql("select rolpassword from pg_authid where rolname = 'login_verified'");
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let config = [
        SCRAM.to_owned(),
        databases(server, &[("postgres", "user = \"postgres\"")]),
        user("plain", "password = \"open \u{2168} sesame\""),
        user("verified", &format!("password = \"{verifier}\"")),
    ];
    let proxy = Proxy::with_config(&config.concat());
    for _ in 0..2 {
        for (name, word) in [("plain", "open \u{2168} sesame"), ("verified", "v\u{e9}rified IX")] {
            let (reply, mut wire) = log_in(&proxy, name, "postgres", word);
            assert!(reply.clone().ok().tags().starts_with("RRRRS"), "{reply}");
            assert_eq!(wire.query("select current_user").value(), "postgres");
            wire.close();
            let (reply, mut wire) = log_in(&proxy, name, "postgres", "wrong");
            assert_eq!(reply.sqlstate().as_deref(), Some("28P01"), "{name}");
            assert!(wire.until_end().0.is_empty());
        }
    }
}

#[test]
fn who_does_not_exist_looks_like_who_has_a_wrong_password() {
    let md5 = "md5d41d8cd98f00b204e9800998ecf8427e";
    let config = [
        SCRAM.to_owned(),
        databases(Postgres::shared(), &[("\"*\"", "user = \"postgres\"")]),
        user("known", "password = \"open sesame\""),
        user("unset", ""),
        user("hash5", &format!("password = \"{md5}\"")),
    ];
    let proxy = Proxy::with_config(&config.concat());
    let told = |name: &str, database: &str, password: &str| {
        let (mut reply, mut wire) = log_in(&proxy, name, database, password);
        reply.0.extend(wire.until_end().0);
        assert_eq!(reply.tags(), "RRE", "{reply}");
        reply
    };
    let expected = told("known", "postgres", "wrong");
    assert_eq!(expected.sqlstate().as_deref(), Some("28P01"));
    let salt = |reply: &Reply| {
        let text = String::from_utf8(reply.0[1].body[4..].to_vec()).unwrap();
        text.split(',').nth(1).unwrap().to_owned()
    };
    for (name, password) in [
        ("ghost", "wrong"),
        ("ghost", ""),
        ("unset", ""),
        ("unset", "open sesame"),
        ("hash5", md5),
        ("known", ""),
    ] {
        for database in ["postgres", "nowhere"] {
            let reply = told(name, database, password);
            assert_eq!(reply.0[0], expected.0[0]);
            // Nonce, salt and iterations; all but the nonce are the same at each attempt.
            assert_eq!(reply.0[1].body.len(), expected.0[1].body.len());
            assert_eq!(salt(&reply), salt(&told(name, "postgres", "other")));
            let named = String::from_utf8(reply.0[2].body.clone()).unwrap();
            let known = String::from_utf8(expected.0[2].body.clone()).unwrap();
            assert_eq!(named.replace(name, "known"), known);
        }
    }
}

#[test]
fn what_is_no_scram_is_refused() {
    let config = [
        SCRAM.to_owned(),
        databases(Postgres::shared(), &[("\"*\"", "user = \"postgres\"")]),
        user("known", "password = \"open sesame\""),
    ];
    let proxy = Proxy::with_config(&config.concat());
    let login = [("user", "known"), ("database", "postgres")];
    for answer in [
        password("open sesame"),
        sasl_initial("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abc"),
        sasl_initial("SCRAM-SHA-256", b"gibberish"),
        sasl_initial("SCRAM-SHA-256", b""),
        sasl_initial("", b"n,,n=,r=abc"),
        frame(b'Q', b"select 1\0"),
        frame(b'p', &[]),
    ] {
        let mut wire = Wire::connect(proxy.port());
        wire.send(&startup(PROTOCOL_3_0, &login));
        assert_eq!(wire.frame().number(0), Some(10));
        wire.send(&answer);
        let reply = wire.until_end();
        let code = reply.sqlstate().unwrap_or_default();
        assert!(code == "08P01" || code == "28P01", "{}: {reply}", answer.escape_ascii());
        assert_eq!(reply.tags(), "E");
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    }
    current_user(&proxy, "known", "postgres", "open sesame");
}

#[test]
fn a_database_is_looked_for_after_the_login() {
    let named = databases(Postgres::shared(), &[("postgres", "user = \"postgres\"")]);
    let known = user("known", "password = \"open sesame\"");
    let proxy = Proxy::with_config(&[SCRAM, &named, &known].concat());
    let (reply, _) = log_in(&proxy, "known", "nowhere", "wrong");
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("RRE", Some("28P01")));
    let (reply, mut wire) = log_in(&proxy, "known", "nowhere", "open sesame");
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("RRRRE", Some("3D000")));
    let told = reply.error_field('M').unwrap();
    assert_eq!(told, "database \"nowhere\" does not exist");
    assert!(wire.until_end().0.is_empty());

    // With `*` it is the server that doesn't know it.
    let any = databases(Postgres::shared(), &[("\"*\"", "user = \"postgres\"")]);
    let proxy = Proxy::with_config(&[SCRAM, &any, &known].concat());
    let (reply, _) = log_in(&proxy, "known", "nowhere", "open sesame");
    assert_eq!((reply.tags().as_str(), reply.sqlstate().as_deref()), ("RRRRE", Some("3D000")));
    assert_eq!(reply.error_field('R').as_deref(), Some("InitPostgres"));
    assert_eq!(reply.error_field('M').unwrap(), told);
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that could not be done says so")]
fn trust_is_for_loopback() {
    let Some(own) = own_address() else {
        println!("this machine has no other address than loopback: nothing was tested");
        return;
    };
    let upstream = format!("postgres://127.0.0.1:{}", Postgres::shared().port());
    let proxy = |more: &str| {
        let builder = Proxy::builder().args(["--upstream", &upstream]);
        builder.set("server.listen=0.0.0.0:0").set(more).start()
    };
    let from_outside = |proxy: &Proxy, password| {
        let mut wire = Wire::try_connect_to(SocketAddr::new(own, proxy.port())).unwrap();
        wire.log_in(&[("user", "postgres"), ("database", "postgres")], password)
    };

    let closed = proxy("auth.trust_remote=false");
    assert_eq!(current_user(&closed, "postgres", "postgres", ""), "postgres");
    let reply = from_outside(&closed, None);
    assert_eq!(reply.tags(), "E", "{reply}");
    assert_eq!(reply.sqlstate().as_deref(), Some("28000"));
    assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    assert!(closed.log().contains("only loopback clients"), "{}", closed.log());

    let open = proxy("auth.trust_remote=true");
    from_outside(&open, None).ok();
    assert!(open.log().contains("auth.trust_remote"), "{}", open.log());

    let config = [
        SCRAM.to_owned(),
        databases(Postgres::shared(), &[("\"*\"", "")]),
        user("postgres", "password = \"open sesame\""),
    ];
    let config = config.concat();
    let scram = Proxy::builder().config(&config).set("server.listen=0.0.0.0:0").start();
    from_outside(&scram, Some("open sesame")).ok();
    assert_eq!(from_outside(&scram, Some("x")).sqlstate().as_deref(), Some("28P01"));
}

/// An address of this machine that is not a loopback one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

// === Limits ===

#[test]
fn a_login_has_a_time_limit() {
    let proxy = launch("limits.login_timeout=400ms");
    let packet = startup(PROTOCOL_3_0, &[("user", "postgres"), ("database", "postgres")]);
    let begin = Instant::now();
    let mut silent = Wire::connect(proxy.port());
    let mut half = Wire::connect(proxy.port());
    half.send(&packet[..9]);
    // One that always has one more byte to send gains nothing by it.
    let mut slow = Wire::connect(proxy.port());
    for byte in packet.chunks(1).take(20) {
        if slow.try_send(byte).is_err() || !slow.is_silent_for(Duration::from_millis(40)) {
            break;
        }
    }
    for wire in [&mut silent, &mut half, &mut slow] {
        assert!(wire.until_end().0.is_empty());
    }
    assert!(begin.elapsed() >= Duration::from_millis(400));
    eventually("it is logged", SOON, || proxy.log().contains("limits.login_timeout"));
    // Who is in is in.
    let mut wire = proxy.wire();
    assert!(wire.is_silent_for(Duration::from_millis(600)));
    wire.query("select 1").ok();
}

#[test]
fn a_scram_exchange_has_the_same_time_limit() {
    let config = [
        SCRAM.to_owned(),
        "[limits]\nlogin_timeout = \"300ms\"\n".to_owned(),
        databases(Postgres::shared(), &[("\"*\"", "")]),
        user("postgres", "password = \"open sesame\""),
    ];
    let proxy = Proxy::with_config(&config.concat());
    let mut wire = Wire::connect(proxy.port());
    wire.send(&startup(PROTOCOL_3_0, &[("user", "postgres")]));
    assert_eq!(wire.until_end().tags(), "R");
}

#[test]
fn clients_are_counted() {
    let proxy = launch("limits.clients=2");
    let one = proxy.wire();
    let mut two = proxy.wire();
    for _ in 0..3 {
        let (reply, mut wire) = log_in(&proxy, "postgres", "postgres", "");
        assert_eq!(reply.sqlstate().as_deref(), Some("53300"));
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
        assert_eq!(reply.error_field('M').unwrap(), "sorry, too many clients already");
        assert!(wire.until_end().0.is_empty());
    }
    two.query("select 1").ok();
    one.close();
    eventually("a place is free", SOON, || {
        log_in(&proxy, "postgres", "postgres", "").0.sqlstate().is_none()
    });
    // A CancelRequest is no client.
    let three = proxy.wire();
    three.cancel(proxy.port());
    two.query("select 1").ok();
}

#[test]
fn many_log_in_at_once() {
    let config = [
        SCRAM.to_owned(),
        "[pool]\nsize = 2\n".to_owned(),
        databases(Postgres::shared(), &[("\"*\"", "user = \"postgres\"")]),
        user("known", "password = \"open sesame\""),
    ];
    let proxy = Proxy::with_config(&config.concat());
    thread::scope(|scope| {
        for number in 0..24 {
            let proxy = &proxy;
            scope.spawn(move || {
                let word = if number % 3 == 0 { "wrong" } else { "open sesame" };
                let (reply, mut wire) = log_in(proxy, "known", "postgres", word);
                if number % 3 == 0 {
                    assert_eq!(reply.sqlstate().as_deref(), Some("28P01"));
                } else {
                    reply.ok();
                    assert_eq!(wire.query("select current_user").ok().value(), "postgres");
                }
            });
        }
    });
}

// === Servers ===

#[test]
fn every_method_of_the_server_is_answered() {
    let server = locked();
    let keys = |name: &str| format!("user = \"{name}\"\npassword = \"{}\"", own_word(name));
    let mut tables: Vec<_> = ["clear", "digest", "salted"]
        .map(|name| (name.to_owned(), format!("dbname = \"postgres\"\n{}", keys(name))))
        .into();
    tables.push(("trusting".to_owned(), "dbname = \"postgres\"\nuser = \"postgres\"".to_owned()));
    let tables: Vec<_> = tables.iter().map(|(name, keys)| (&**name, &**keys)).collect();
    let local = format!(
        "[databases.local]\nhost = \"/tmp\"\nport = {}\ndbname = \"postgres\"\n{}\n",
        server.port(),
        keys("salted")
    );
    let proxy = Proxy::with_config(&(databases(server, &tables) + &local));
    for name in ["clear", "digest", "salted"] {
        assert_eq!(current_user(&proxy, "anybody", name, ""), name);
    }
    assert_eq!(current_user(&proxy, "anybody", "trusting", ""), "postgres");
    assert_eq!(current_user(&proxy, "anybody", "local", ""), "salted");
    // A CancelRequest finds its way to a Unix socket.
    let (_, mut wire) = log_in(&proxy, "anybody", "local", "");
    wire.send(&crate::support::frames::query("select pg_sleep(60)"));
    let sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    eventually("it sleeps", SOON, || server.psql(sleeps) == "1");
    wire.cancel(proxy.port());
    assert_eq!(wire.until_ready().sqlstate().as_deref(), Some("57014"));
}

#[test]
fn a_login_that_the_server_refuses_fails_in_its_words() {
    let server = locked();
    let bad = |name: &str| format!("dbname = \"postgres\"\nuser = \"{name}\"\npassword = \"no\"");
    let (clear, digest, salted) = (bad("clear"), bad("digest"), bad("salted"));
    let tables = [
        ("clear", clear.as_str()),
        ("digest", digest.as_str()),
        ("salted", salted.as_str()),
        ("silent", "dbname = \"postgres\"\nuser = \"salted\""),
    ];
    let proxy = Proxy::with_config(&databases(server, &tables));
    for name in ["clear", "digest", "salted"] {
        for _ in 0..2 {
            let (reply, mut wire) = log_in(&proxy, "anybody", name, "");
            assert_eq!(reply.sqlstate().as_deref(), Some("28P01"), "{reply}");
            assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
            assert_eq!(reply.error_field('R').as_deref(), Some("auth_failed"));
            let told = reply.error_field('M').unwrap();
            assert_eq!(told, format!("password authentication failed for user \"{name}\""));
            assert!(wire.until_end().0.is_empty());
        }
    }
    // Without a password there is nothing to try.
    let (reply, _) = log_in(&proxy, "anybody", "silent", "");
    assert_eq!(reply.sqlstate().as_deref(), Some("28000"), "{reply}");
    assert!(reply.error_field('M').unwrap().contains("password"), "{reply}");
}

// === Who is who ===

#[test]
fn the_databases_user_is_everybodys() {
    let keys = format!("user = \"salted\"\npassword = \"{}\"", own_word("salted"));
    let config = [
        databases(locked(), &[("postgres", keys.as_str())]),
        user("digest", &format!("server_password = \"{}\"", own_word("digest"))),
        user("other", "server_user = \"clear\"\nserver_password = \"x\""),
    ];
    let proxy = Proxy::with_config(&config.concat());
    for name in ["digest", "other", "postgres", "anybody"] {
        assert_eq!(current_user(&proxy, name, "postgres", ""), "salted");
    }
}

#[test]
fn a_users_own_login_comes_second_and_the_clients_name_last() {
    let config = [
        databases(locked(), &[("\"*\"", "")]),
        user("salted", &format!("password = \"{}\"", own_word("salted"))),
        user(
            "alias",
            &format!(
                "password = \"p\"\nserver_user = \"digest\"\nserver_password = \"{}\"",
                own_word("digest")
            ),
        ),
        user("namesake", &format!("password = \"{}\"\nserver_user = \"clear\"", own_word("clear"))),
    ];
    let config = config.concat();
    let trusting = Proxy::with_config(&config);
    let asking = Proxy::with_config(&(SCRAM.to_owned() + &config));
    let words = [own_word("salted"), "p".to_owned(), own_word("clear")];
    let users = [("salted", "salted"), ("alias", "digest"), ("namesake", "clear")];
    for ((name, expected), word) in users.into_iter().zip(words) {
        assert_eq!(current_user(&trusting, name, "postgres", ""), expected);
        assert_eq!(current_user(&asking, name, "postgres", &word), expected);
    }
    assert_eq!(current_user(&trusting, "postgres", "postgres", ""), "postgres");
    // The client's own name, unknown to the server.
    let (reply, _) = log_in(&trusting, "nobody", "postgres", "");
    assert_eq!(reply.sqlstate().as_deref(), Some("28000"));
    assert_eq!(reply.error_field('M').unwrap(), "role \"nobody\" does not exist");
}

#[test]
fn an_upstream_url_with_a_user_is_for_everybody() {
    let word = own_word("salted").bytes().fold(String::new(), |mut word, byte| {
        let _ = write!(word, "%{byte:02x}");
        word
    });
    let url = format!("postgres://salted:{word}@127.0.0.1:{}/postgres", locked().port());
    let by_argument = Proxy::builder().args(["--upstream", &url]).start();
    let by_environment = Proxy::builder().env("PGSTEWARD_UPSTREAM", &url).start();
    for proxy in [&by_argument, &by_environment] {
        for name in ["postgres", "anybody"] {
            assert_eq!(current_user(proxy, name, "postgres", ""), "salted");
            assert_eq!(current_user(proxy, name, "template1", ""), "salted");
        }
        assert!(!proxy.log().contains(&word));
    }
}

#[test]
fn any_name_is_a_database_and_a_named_one_may_be_another() {
    let server = Postgres::shared();
    server.psql("create database login_any");
    server.psql("create database login_behind");
    let tables = [("\"*\"", ""), ("shop", "dbname = \"login_behind\"")];
    let proxy = Proxy::with_config(&databases(server, &tables));
    let behind = |name| {
        let (reply, mut wire) = log_in(&proxy, "postgres", name, "");
        reply.ok();
        wire.query("select current_database()").ok().value()
    };
    assert_eq!(behind("login_any"), "login_any");
    assert_eq!(behind("shop"), "login_behind");
    let (reply, _) = log_in(&proxy, "postgres", "login_nowhere", "");
    assert_eq!(reply.sqlstate().as_deref(), Some("3D000"));
}
