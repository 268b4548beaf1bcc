//! `--upstream postgres://user:password@host:port/database`: a server without a file.
//!
//! The URL's form is libpq's (manual 34.1.1.2, "Connection URIs"). What the proxy can't do is refused.

use super::fault::Faults;
use super::written::{Entry, Node, Origin, Table, put};

/// Adds the databases of an upstream URL: every name goes to that server, the URL's own included.
pub(super) fn add(root: &mut Table, url: &str, faults: &mut Faults) {
    // The URL itself may hold a password: it is never repeated.
    let origin = Origin::Argument("--upstream".to_owned());
    match parse(url) {
        Ok(upstream) => {
            upstream.put(root, "*", &origin);
            if let Some(database) = &upstream.database {
                upstream.put(root, database, &origin);
            }
        }
        Err(why) => faults.add(&origin, why),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Upstream {
    host: String,
    port: Option<u16>,
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

impl Upstream {
    fn put(&self, root: &mut Table, database: &str, origin: &Origin) {
        // A login that was meant for another server must not reach this one.
        if let Some(Entry { node: Node::Table(databases), .. }) = root.get_mut("databases")
            && let Some(Entry { node: Node::Table(table), .. }) = databases.get_mut(database)
        {
            table.retain(|key, _| key.starts_with("pool_"));
        }
        let texts = [
            ("host", Some(&self.host)),
            ("user", self.user.as_ref()),
            ("password", self.password.as_ref()),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                let entry = Entry { node: Node::Text(text.clone()), origin: origin.clone() };
                put(root, &["databases", database, key], entry);
            }
        }
        if let Some(port) = self.port {
            let entry = Entry { node: Node::Integer(port.into()), origin: origin.clone() };
            put(root, &["databases", database, "port"], entry);
        }
    }
}

fn parse(url: &str) -> Result<Upstream, String> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or("expected postgres://user:password@host:port/database")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (login, host),
        None => ("", authority),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut upstream = Upstream {
        user: non_empty(decode(user)?),
        password: non_empty(decode(password)?),
        database: non_empty(decode(database)?),
        ..Upstream::default()
    };
    read_host(&mut upstream, host)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        read_parameter(&mut upstream, pair)?;
    }
    if upstream.host.is_empty() {
        "localhost".clone_into(&mut upstream.host);
    }
    Ok(upstream)
}

fn read_host(upstream: &mut Upstream, host: &str) -> Result<(), String> {
    if host.contains(',') {
        return Err("several hosts are not supported: name one".to_owned());
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(address) => {
            let (address, rest) = address.split_once(']').ok_or("an IPv6 address is not closed")?;
            (address, rest.strip_prefix(':').unwrap_or(""))
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    upstream.host = decode(name)?;
    if !port.is_empty() {
        upstream.port = Some(port_number(port)?);
    }
    Ok(())
}

fn read_parameter(upstream: &mut Upstream, pair: &str) -> Result<(), String> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let value = decode(value)?;
    match name {
        "host" => upstream.host = value,
        "port" => upstream.port = Some(port_number(&value)?),
        "user" => upstream.user = non_empty(value),
        "password" => upstream.password = non_empty(value),
        "dbname" => upstream.database = non_empty(value),
        "sslmode" if matches!(&*value, "disable" | "allow" | "prefer") => {}
        "sslmode" => {
            return Err(format!(
                "sslmode={value} needs TLS to the server, which is not built yet: use sslmode=disable"
            ));
        }
        // Its name is not repeated: after a stray `?` it may be the end of a password.
        _ => {
            let known = "host, port, dbname, user, password, sslmode";
            return Err(format!("a parameter after the ? is not supported: known are {known}"));
        }
    }
    Ok(())
}

fn port_number(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| "the port is not a number up to 65535".to_owned())
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.extend(u8::try_from(high * 16 + low)),
            _ => return Err("a % is not followed by two hexadecimal digits".to_owned()),
        }
    }
    String::from_utf8(bytes).map_err(|_utf8| "percent-encoded bytes are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_in_all_their_forms() {
        let all = parse("postgresql://ann:p%40ss@db.example:5433/shop?sslmode=prefer").unwrap();
        assert_eq!(all.user.as_deref(), Some("ann"));
        assert_eq!(all.password.as_deref(), Some("p@ss"));
        assert_eq!((all.host.as_str(), all.port), ("db.example", Some(5433)));
        assert_eq!(all.database.as_deref(), Some("shop"));
        assert_eq!(parse("postgres://[::1]:5433").unwrap().host, "::1");
        assert_eq!(parse("postgres:///x?host=/run/postgresql").unwrap().host, "/run/postgresql");
        assert_eq!(parse("postgres://").unwrap().host, "localhost");
    }

    #[test]
    fn what_is_not_supported_is_refused_without_the_password() {
        for url in [
            "mysql://x",
            "postgres://a:secret@h1,h2/x",
            "postgres://a:secret@h/x?sslmode=require",
            "postgres://a:secret@h/x?target_session_attrs=any",
            "postgres://a:secret@h:99999/x",
            "postgres://a:sec%zzret@h/x",
        ] {
            assert!(!parse(url).unwrap_err().contains("sec"), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused(rest in ".{0,40}") {
            let _ = parse(&format!("postgres://{rest}"));
        }
    }
}
