//! The same client twice: straight to PostgreSQL and through the proxy. Both must be told the same, byte
//! for byte, but for process IDs, cancel keys and the OIDs of tables.
//!
//! Each of the two has a database of its own, so that one does not see what the other did.

use std::sync::OnceLock;

use crate::support::frames::PROTOCOL_3_0;
use crate::support::{Frame, Postgres, Proxy, Reply, Wire};

/// Two connections that do the same.
pub(crate) struct Twin {
    direct: Wire,
    proxied: Wire,
}

impl Twin {
    /// Logged in as the superuser.
    #[track_caller]
    pub(crate) fn new(proxy: &Proxy) -> Self {
        let (twin, reply) = Self::log_in(proxy, &[]);
        reply.ok();
        twin
    }

    /// Logs in as the superuser with more parameters; gives what both were told.
    #[track_caller]
    pub(crate) fn log_in(proxy: &Proxy, parameters: &[(&str, &str)]) -> (Self, Reply) {
        Self::log_in_version(proxy, PROTOCOL_3_0, parameters)
    }

    /// Logs in with any version of the protocol.
    #[track_caller]
    pub(crate) fn log_in_version(
        proxy: &Proxy,
        version: u32,
        parameters: &[(&str, &str)],
    ) -> (Self, Reply) {
        let mut twin = Self::connect(proxy);
        let told = [(&mut twin.direct, DIRECT), (&mut twin.proxied, PROXIED)].map(|(wire, own)| {
            let login = [("user", "postgres"), ("database", own)];
            let given =
                login.iter().filter(|(name, _)| parameters.iter().all(|(key, _)| key != name));
            let login: Vec<_> = given.chain(parameters).copied().collect();
            wire.log_in_version(version, &login, None)
        });
        let reply = same(told);
        (twin, reply)
    }

    /// Connected; nothing is sent yet.
    #[track_caller]
    pub(crate) fn connect(proxy: &Proxy) -> Self {
        databases();
        let direct = Wire::connect(Postgres::shared().port());
        Self { direct, proxied: Wire::connect(proxy.port()) }
    }

    /// Sends bytes that end in one ReadyForQuery.
    #[track_caller]
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Reply {
        self.ask_times(bytes, 1)
    }

    /// Sends bytes that are answered with so many ReadyForQuery.
    #[track_caller]
    pub(crate) fn ask_times(&mut self, bytes: &[u8], readies: usize) -> Reply {
        self.both(|wire| {
            wire.send(bytes);
            let replies = (0..readies).flat_map(|_| wire.until_ready().0);
            Reply(replies.collect())
        })
    }

    /// Sends bytes and reads up to a message of this type.
    #[track_caller]
    pub(crate) fn ask_until(&mut self, bytes: &[u8], tag: u8) -> Reply {
        self.both(|wire| {
            wire.send(bytes);
            wire.until(tag)
        })
    }

    /// Sends bytes and reads to the end of the stream.
    #[track_caller]
    pub(crate) fn ask_last(&mut self, bytes: &[u8]) -> Reply {
        self.both(|wire| {
            wire.send(bytes);
            wire.until_end()
        })
    }

    /// A simple query.
    #[track_caller]
    pub(crate) fn query(&mut self, sql: &str) -> Reply {
        self.both(|wire| wire.query(sql))
    }

    /// Does the same to both; they must be told the same.
    #[track_caller]
    pub(crate) fn both(&mut self, mut act: impl FnMut(&mut Wire) -> Reply) -> Reply {
        same([act(&mut self.direct), act(&mut self.proxied)])
    }

    /// Asks both what need not be the same byte for byte: first the direct one's.
    #[track_caller]
    pub(crate) fn each<T>(&mut self, mut act: impl FnMut(&mut Wire) -> T) -> [T; 2] {
        [act(&mut self.direct), act(&mut self.proxied)]
    }

    /// Says goodbye; nothing else may have been left to read.
    #[track_caller]
    pub(crate) fn close(mut self) {
        let rest = self.ask_last(&crate::support::frames::terminate());
        assert!(rest.0.is_empty(), "not expected any more:\n{rest}");
    }
}

/// Severity, SQLSTATE and message of the errors: what an error of the proxy's own has in common with
/// PostgreSQL's.
pub(crate) fn words(reply: &Reply) -> Vec<String> {
    let frames = reply.all(b'E');
    frames.map(ToString::to_string).collect()
}

/// Databases of the two.
const DIRECT: &str = "twin_direct";
const PROXIED: &str = "twin_proxied";

fn databases() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        for name in [DIRECT, PROXIED] {
            Postgres::shared().psql(&format!("create database {name}"));
        }
    });
}

#[track_caller]
fn same([direct, proxied]: [Reply; 2]) -> Reply {
    let [expected, found] = [&direct, &proxied].map(masked);
    let at = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    assert!(
        expected == found,
        "not the same from message {at} on; direct:\n{direct}through the proxy:\n{proxied}"
    );
    proxied
}

fn masked(reply: &Reply) -> Vec<Vec<u8>> {
    reply.0.iter().map(mask).collect()
}

/// A message without what can't be the same.
fn mask(frame: &Frame) -> Vec<u8> {
    let mut frame = frame.clone();
    match frame.tag {
        b'K' => frame.body = vec![0; frame.body.len()],
        b'A' => frame.body[..4].fill(0),
        b'T' => mask_table_oids(&mut frame.body),
        // The databases have different names.
        b'E' => {
            let text = String::from_utf8_lossy(&frame.body).replace(PROXIED, DIRECT);
            frame.body = text.into_bytes();
        }
        _ => {}
    }
    frame.to_bytes()
}

/// A column is its name, a zero byte, and 18 bytes that begin with the table's OID.
fn mask_table_oids(body: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) {
        let oid = at + end + 1;
        body[oid..oid + 4].fill(0);
        at = oid + 18;
    }
}
