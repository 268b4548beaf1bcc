//! Who may use the console, for what; and that no secret is told anywhere.

use crate::support::{Postgres, Proxy, Wire};

const SECRETS: &[&str] =
    &["s3cret-of-ann", "s3cret-of-bob", "s3cret-on-server", "s3cret-token", "s3cret-mock"];

fn guarded() -> Proxy {
    let port = Postgres::shared().port();
    Proxy::with_config(&format!(
        r#"
[log]
level = "trace"
[auth]
method = "scram-sha-256"
mock_key = "s3cret-mock"
[admin]
admin_users = ["ann"]
stats_users = ["bob"]
token = "s3cret-token"
[databases."*"]
host = "127.0.0.1"
port = {port}
user = "postgres"
password = "s3cret-on-server"
[[users]]
name = "ann"
password = "s3cret-of-ann"
[[users]]
name = "bob"
password = "s3cret-of-bob"
[[users]]
name = "eve"
password = "s3cret-of-bob"
server_user = "bob"
"#
    ))
}

fn console_as(proxy: &Proxy, user: &str, password: &str) -> (Wire, Option<String>) {
    let mut wire = Wire::connect(proxy.port());
    let reply = wire.log_in(&[("user", user), ("database", "pgsteward")], Some(password));
    let code = reply.sqlstate();
    (wire, code)
}

#[test]
fn admins_do_what_they_like_readers_look_and_others_stay_out() {
    let proxy = guarded();
    let (mut ann, refused) = console_as(&proxy, "ann", "s3cret-of-ann");
    assert_eq!(refused, None);
    ann.query("PAUSE").ok();
    ann.query("RESUME").ok();
    let (mut bob, refused) = console_as(&proxy, "bob", "s3cret-of-bob");
    assert_eq!(refused, None);
    bob.query("SHOW CONFIG").ok();
    for sql in
        ["PAUSE", "RELOAD", "SET pool.size = 3", "KILL", "KILL_CLIENT 1", "SHUTDOWN", "DISABLE x"]
    {
        assert_eq!(bob.query(sql).sqlstate().as_deref(), Some("42501"), "{sql}");
    }
    assert_eq!(console_as(&proxy, "eve", "s3cret-of-bob").1.as_deref(), Some("28000"));
    assert_eq!(console_as(&proxy, "ann", "wrong").1.as_deref(), Some("28P01"));
    assert_eq!(console_as(&proxy, "nobody", "wrong").1.as_deref(), Some("28P01"));
}

#[test]
fn the_token_guards_http_but_not_the_probes() {
    let proxy = guarded();
    assert_eq!(proxy.get("/livez").0, 200);
    let (_, probe) = proxy.get("/readyz");
    assert!(!probe.contains("databases"), "{probe}");
    for path in ["/metrics", "/api/pools", "/api"] {
        assert_eq!(proxy.get(path).0, 401, "{path}");
        assert_eq!(proxy.get_with(path, "Authorization: Bearer wrong\r\n").0, 401, "{path}");
        let right = "Authorization: Bearer s3cret-token\r\n";
        assert_eq!(proxy.get_with(path, right).0, 200, "{path}");
    }
    let (_, probe) = proxy.get_with("/readyz", "Authorization: Bearer s3cret-token\r\n");
    assert!(probe.contains("databases"), "{probe}");
}

#[test]
fn no_secret_is_told() {
    let proxy = guarded();
    let (mut ann, _) = console_as(&proxy, "ann", "s3cret-of-ann");
    let mut told = Vec::new();
    for what in ["CONFIG", "DATABASES", "USERS", "CLIENTS", "SERVERS", "POOLS", "HELP"] {
        told.push(format!("{:?}", ann.query(&format!("SHOW {what}"))));
    }
    // Failures tell what was wrong, and with what: not with which password.
    let mut client = Wire::connect(proxy.port());
    client.log_in(&[("user", "ann"), ("database", "postgres")], Some("s3cret-of-ann"));
    told.push(format!("{:?}", client.try_send(b"Q\0\0\0\x0dselect 1\0")));
    told.push(format!("{:?}", ann.query("SET auth.mock_key = 's3cret-mock'")));
    let bearer = "Authorization: Bearer s3cret-token\r\n";
    for path in ["/metrics", "/api/config", "/api/users", "/readyz"] {
        told.push(proxy.get_with(path, bearer).1);
    }
    told.push(proxy.log());
    let told = told.join("\n");
    assert!(told.contains("***"), "secrets are shown as stars");
    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[test]
fn http_for_others_needs_a_token() {
    let upstream = format!("postgres://127.0.0.1:{}", Postgres::shared().port());
    let refusal = Proxy::builder()
        .args(["--upstream", &upstream])
        .set("server.admin_listen=0.0.0.0:0")
        .try_start()
        .unwrap_err();
    assert!(refusal.log.contains("admin.token"), "{}", refusal.log);
}
