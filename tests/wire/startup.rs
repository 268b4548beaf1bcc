//! The first packets of a connection: encryption requests, versions, options, settings, and what is none.

use std::io::Read;

use crate::launch::launch;
use crate::support::frames::{
    PROTOCOL_3_0, PROTOCOL_3_2, gss_request, query, ssl_request, startup, untagged,
};
use crate::support::{Proxy, Wire};
use crate::twin::{Twin, words};

const LOGIN: [(&str, &str); 2] = [("user", "postgres"), ("database", "postgres")];

#[test]
fn encryption_is_declined_and_login_goes_on() {
    let proxy = launch("");
    for requests in [vec![ssl_request()], vec![gss_request()], vec![gss_request(), ssl_request()]] {
        let mut wire = Wire::connect(proxy.port());
        for request in requests {
            wire.send(&request);
            assert_eq!(wire.byte(), b'N');
        }
        wire.log_in(&LOGIN, None).ok();
        assert_eq!(wire.query("select 1").value(), "1");
        wire.close();
    }
}

#[test]
fn an_encryption_request_is_answered_once() {
    let proxy = launch("");
    let mut wire = Wire::connect(proxy.port());
    wire.send(&ssl_request());
    assert_eq!(wire.byte(), b'N');
    wire.send(&ssl_request());
    wire.until_end();
}

#[test]
fn all_packets_may_come_in_one_write() {
    let proxy = launch("");
    let mut wire = Wire::connect(proxy.port());
    wire.send(&[ssl_request(), startup(PROTOCOL_3_0, &LOGIN), query("select 7")].concat());
    assert_eq!(wire.byte(), b'N');
    wire.until_ready().ok();
    assert_eq!(wire.until_ready().value(), "7");
}

#[test]
fn packets_may_come_byte_by_byte() {
    let proxy = launch("");
    let mut twin = Twin::connect(&proxy);
    twin.each(|wire| {
        let bytes = [startup(PROTOCOL_3_0, &LOGIN), query("select 7")].concat();
        for byte in bytes.chunks(1) {
            wire.send(byte);
        }
        wire.until_ready().ok();
        assert_eq!(wire.until_ready().value(), "7");
    });
}

#[test]
fn protocol_3_0_is_what_postgresql_says() {
    let proxy = launch("");
    let (twin, reply) = Twin::log_in(&proxy, &[]);
    assert!(reply.tags().starts_with("RS"), "{reply}");
    assert!(reply.tags().ends_with("SKZ"), "{reply}");
    twin.close();
}

#[test]
fn protocol_3_2_has_long_cancel_keys() {
    let proxy = launch("");
    let mut wire = Wire::connect(proxy.port());
    let reply = wire.log_in_version(PROTOCOL_3_2, &LOGIN, None).ok();
    assert_eq!(reply.all(b'v').count(), 0);
    assert_eq!(wire.key.len(), 32);
    assert_eq!(wire.query("select 1").value(), "1");
}

#[test]
fn newer_versions_are_negotiated_down() {
    let proxy = launch("");
    let mut wire = Wire::connect(proxy.port());
    let reply = wire.log_in_version(PROTOCOL_3_0 + 9, &LOGIN, None).ok();
    assert!(reply.tags().starts_with("vR"), "{reply}");
    let newest = i32::try_from(PROTOCOL_3_2).unwrap();
    assert_eq!((reply.0[0].number(0), reply.0[0].number(4)), (Some(newest), Some(0)));
    assert_eq!(wire.key.len(), 32);
    assert_eq!(wire.query("select 1").value(), "1");
}

#[test]
fn unknown_protocol_options_are_listed() {
    let proxy = launch("");
    let options = [("_pq_.one", "1"), ("_pq_.two", "2")];
    let (twin, reply) = Twin::log_in(&proxy, &options);
    assert!(reply.tags().starts_with("vR"), "{reply}");
    twin.close();
}

#[test]
fn settings_reach_the_server_in_every_form() {
    let proxy = launch("");
    let settings = [
        ("application_name", "it's \\ \u{e9}"),
        ("client_encoding", "'utf-8'"),
        ("DateStyle", "German"),
        ("TimeZone", "Asia/Kathmandu"),
        ("statement_timeout", "12345"),
        ("app.tenant", "seven"),
        (
            "options",
            "-c work_mem=5MB -c search_path=\"a\\ b\",\"\\\\c\" --lock-timeout=77 -c app.x=",
        ),
    ];
    let (mut twin, reply) = Twin::log_in(&proxy, &settings);
    reply.ok();
    let names = ["application_name", "client_encoding", "datestyle", "timezone", "work_mem"];
    let more = ["statement_timeout", "search_path", "lock_timeout", "app.tenant", "app.x"];
    for name in names.iter().chain(&more) {
        twin.query(&format!("show {name}")).ok();
    }
    twin.query("reset all; show work_mem").ok();
    twin.close();
}

#[test]
fn a_latin1_client_is_reported_and_served_as_such() {
    let proxy = launch("");
    let (mut twin, reply) = Twin::log_in(&proxy, &[("client_encoding", "LATIN1")]);
    reply.ok();
    let reply = twin.query("select chr(233), 'nope' || chr(8364)");
    assert_eq!(reply.sqlstate().as_deref(), Some("22P05"));
    twin.close();
}

#[test]
fn a_bad_login_fails_with_the_servers_own_error() {
    let proxy = launch("");
    let bad: [&[(&str, &str)]; 10] = [
        &[("DateStyle", "Klingon")],
        &[("no_such_setting", "1")],
        &[("client_encoding", "EBCDIC")],
        &[("options", "-c work_mem")],
        &[("options", "-c no_such_setting=1")],
        &[("options", "--gibberish")],
        &[("options", "gibberish")],
        &[("work_mem", "much")],
        &[("user", "nobody_here")],
        &[("database", "nowhere")],
    ];
    for parameters in bad {
        let (mut twin, reply) = Twin::log_in(&proxy, parameters);
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"), "{parameters:?}");
        assert!(twin.both(Wire::until_end).0.is_empty());
    }
    // None of these makes the pool back off.
    Twin::new(&proxy).close();
}

#[test]
fn an_empty_or_missing_database_is_the_users() {
    let proxy = launch("");
    for login in [&[("user", "postgres")][..], &[("user", "postgres"), ("database", "")]] {
        let mut wire = Wire::connect(proxy.port());
        wire.log_in(login, None).ok();
        assert_eq!(wire.query("select current_database()").value(), "postgres");
    }
}

#[test]
fn replication_connections_are_walsenders() {
    let proxy = launch("");
    for mode in ["database", "true"] {
        let (mut twin, reply) = Twin::log_in(&proxy, &[("replication", mode)]);
        reply.ok();
        let replies = twin.each(|wire| wire.query("IDENTIFY_SYSTEM").ok());
        assert_eq!(replies[0].tags(), replies[1].tags());
        twin.query("SHOW work_mem").ok();
        twin.query("gibberish");
        twin.close();
    }
    let (mut twin, _) = Twin::log_in(&proxy, &[("replication", "off")]);
    twin.query("select 1").ok();
}

#[test]
fn protocol_2_is_refused() {
    let proxy = launch("");
    // Errors had no length then.
    let replies = Twin::connect(&proxy).each(|wire| {
        wire.send(&startup(2 << 16, &LOGIN));
        let mut bytes = Vec::new();
        wire.stream().read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap().replace("3.0 to 3.2", "3.0 to 3.0")
    });
    assert!(replies[1].starts_with("EFATAL:  unsupported frontend protocol 2.0"), "{replies:?}");
    assert_eq!(replies[0], replies[1]);
}

#[test]
fn protocol_4_is_refused() {
    let proxy = launch("");
    for version in [4 << 16, (1234 << 16) + 1, u32::MAX] {
        let replies = Twin::connect(&proxy).each(|wire| {
            wire.send(&startup(version, &LOGIN));
            let told = words(&wire.until_end());
            told.iter().map(|words| words.replace("3.0 to 3.2", "3.0 to 3.0")).collect::<Vec<_>>()
        });
        assert_eq!(replies[0], replies[1]);
    }
}

#[test]
fn a_malformed_packet_gets_postgresqls_words() {
    let proxy = launch("");
    let packets = [
        untagged(PROTOCOL_3_0, b"\0"),
        untagged(PROTOCOL_3_0, b"database\0postgres\0\0"),
        untagged(PROTOCOL_3_0, b"user\0postgres\0"),
        untagged(PROTOCOL_3_0, b"user\0postgres"),
        untagged(PROTOCOL_3_0, b"user\0postgres\0\0more"),
        untagged(PROTOCOL_3_0, b"user\0"),
    ];
    for packet in packets {
        let [direct, proxied] = Twin::connect(&proxy).each(|wire| {
            wire.send(&packet);
            words(&wire.until_end())
        });
        assert_eq!(direct, proxied, "{}", packet.escape_ascii());
    }
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let proxy = launch("");
    let replies = Twin::connect(&proxy).each(|wire| {
        wire.send(&untagged(PROTOCOL_3_0, b"user\0p\xff\xfe\0database\0postgres\0\0"));
        wire.until_end()
    });
    for reply in replies {
        assert_eq!(reply.sqlstate().as_deref(), Some("28000"), "{reply}");
        assert_eq!(reply.error_field('S').as_deref(), Some("FATAL"));
    }
}

#[test]
fn a_setting_that_is_not_utf8_is_the_servers_matter() {
    let proxy = launch("");
    let packet = |database: &str| {
        let text = format!("user\0postgres\0database\0{database}\0application_name\0");
        untagged(PROTOCOL_3_0, &[text.as_bytes(), b"a\xffb\0\0"].concat())
    };
    let names = Twin::connect(&proxy).each(|wire| {
        wire.send(&packet("postgres"));
        wire.until_ready().ok();
        wire.query("show application_name").ok().to_bytes()
    });
    assert_eq!(names[0], names[1]);
}

#[test]
fn what_is_no_packet_is_cut_off() {
    let proxy = launch("");
    let pieces: [&[u8]; 9] = [
        b"\0\0\0\0\0\x03\0\0",
        b"\0\0\0\x03\0\x03\0\0",
        b"\0\0\0\x07\0\x03\0\0",
        b"\xff\xff\xff\xff\0\x03\0\0",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\0\0\x27\x11\0\x03\0\0",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for piece in pieces {
        let mut wire = Wire::connect(proxy.port());
        wire.send(piece);
        assert!(wire.until_end().0.is_empty(), "{}", piece.escape_ascii());
    }
    served(&proxy);
}

#[test]
fn clients_that_leave_before_they_are_in_are_forgotten() {
    let proxy = launch("");
    served(&proxy);
    let files = proxy.open_files();
    let packet = startup(PROTOCOL_3_0, &LOGIN);
    for end in 0..packet.len() {
        let mut wire = Wire::connect(proxy.port());
        wire.send(&packet[..end]);
        wire.half_close();
        assert!(wire.until_end().0.is_empty());
    }
    crate::support::eventually("their sockets are closed", crate::launch::SOON, || {
        proxy.open_files() <= files
    });
    served(&proxy);
}

fn served(proxy: &Proxy) {
    let mut wire = proxy.wire();
    assert_eq!(wire.query("select 1").value(), "1");
    wire.close();
}
