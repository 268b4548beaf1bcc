//! `pgsteward check`: what it prints and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const GOOD: &str = "[server]\nlisten = \"127.0.0.1:7777\"\nworkers = 2\n\
    [pool]\nsize = 7\nmode = \"session\"\n\
    [databases.shop]\nhost = \"db.example\"\nuser = \"shop_rw\"\npassword = \"hush\"\n\
    pool_size = 3\npool_mode = \"transaction\"\n\
    [databases.\"*\"]\nhost = \"/run/postgresql\"\n\
    [[users]]\nname = \"ann\"\npassword = \"hush\"\n";

struct Checked {
    code: Option<i32>,
    out: String,
    errors: String,
}

/// A file that is removed with its test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("check.{}.{number}.toml", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn pgsteward(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsteward"));
    command.args(arguments).env_remove("PGSTEWARD_UPSTREAM");
    // No proxy.toml is there.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn ended(command: &mut Command) -> Checked {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Checked { code: status.code(), out: text(stdout), errors: text(stderr) }
}

fn check(text: &str, more: &[&str]) -> Checked {
    let file = File::new(text);
    let path = file.0.to_str().unwrap();
    let mut checked = ended(pgsteward(&["check", "--config", path]).args(more));
    for text in [&mut checked.out, &mut checked.errors] {
        *text = text.replace(path, "FILE");
    }
    checked
}

#[test]
fn a_good_file_is_explained() {
    let Checked { code, out, errors } = check(GOOD, &[]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [
            "FILE: ok",
            "clients connect to 127.0.0.1:7777, served by 2 worker(s)",
            "database shop: the client's database at db.example:5432 as shop_rw, \
             pool of 3 (transaction mode)",
            "database *: the client's database at /run/postgresql/.s.PGSQL.5432 as the client's \
             own name, pool of 7 (session mode)",
            "1 user(s) with settings of their own",
        ]
    );
}

#[test]
fn all_faults_are_listed_with_their_lines() {
    let text = "[pool]\nsise = 3\nwait_timeout = 250\n[sever]\n\
        [databases.shop]\nhost = \"x\"\npassword = 12345\nport = 99999\n[[users]]\nname = \"\"\n";
    let Checked { code, out, errors } = check(text, &["--set", "limits.clients=many"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(!errors.contains("12345"), "{errors}");
    let lines: Vec<_> = errors.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected =
        ["FILE:2", "FILE:3", "FILE:4", "FILE:7", "FILE:8", "FILE:9", "--set limits.clients"];
    assert_eq!(lines, expected, "{errors}");
    assert!(errors.contains("did you mean pool.size?"), "{errors}");
}

#[test]
fn warnings_do_not_fail_it() {
    let malformed = "md5d41d8cd98f00b204e9800998ecf8427e";
    let text = format!("{GOOD}[[users]]\nname = \"bob\"\npassword = \"{malformed}\"\n");
    let Checked { code, out, .. } = check(&text, &["--listen", "0.0.0.0:7777"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("warning: user bob can't log in with a password"), "{out}");
    assert!(out.contains("warning: listening on 0.0.0.0:7777"), "{out}");
    assert!(!out.contains("hush") && !out.contains(malformed), "{out}");
}

#[test]
fn arguments_are_checked_as_in_serve() {
    let Checked { code, out, .. } = check(GOOD, &["--set", "pool.size=4", "--listen", "[::1]:1"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("pool of 4") && out.contains("[::1]:1"), "{out}");

    let url = "postgres://ann:hush@db.example:5433/shop";
    let upstream = ended(&mut pgsteward(&["check", "--upstream", url]));
    let environment = ended(pgsteward(&["check"]).env("PGSTEWARD_UPSTREAM", url));
    assert_eq!((upstream.code, environment.code), (Some(0), Some(0)));
    assert_eq!(upstream.out, environment.out);
    assert!(upstream.out.contains("database shop") && upstream.out.contains("as ann"));
    assert!(upstream.out.contains("db.example:5433") && !upstream.out.contains("hush"));

    let bad =
        ended(&mut pgsteward(&["check", "--upstream", "postgres://a:hush@h/x?sslmode=require"]));
    assert_eq!(bad.code, Some(1));
    assert!(bad.errors.starts_with("--upstream: ") && !bad.errors.contains("hush"));
}

#[test]
fn what_is_missing_is_named() {
    let missing = ended(&mut pgsteward(&["check", "--config", "/nonexistent/proxy.toml"]));
    assert_eq!(missing.code, Some(1));
    assert!(missing.errors.starts_with("/nonexistent/proxy.toml: can't be read"));
    let nothing = ended(&mut pgsteward(&["check"]));
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.errors.contains("no database"), "{}", nothing.errors);
}

#[test]
fn wrong_arguments_have_their_own_code() {
    for arguments in [&["check", "--no-such-thing"][..], &["chek"], &[]] {
        let wrong = ended(&mut pgsteward(arguments));
        assert_eq!(wrong.code, Some(2), "{arguments:?}");
        assert!(wrong.errors.contains("Usage"), "{}", wrong.errors);
    }
    let help = ended(&mut pgsteward(&["check", "--help"]));
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("--config"));
}

/// What stands in a usual pgbouncer.ini.
const PGBOUNCER: &str = "[databases]\nshop = host=10.0.0.5 port=5433 dbname=shop_prod pool_size=7 connect_query='select 1'\n\
    * = host=10.0.0.6\n[users]\nann = pool_mode=session\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\n\
    auth_type = scram-sha-256\nauth_file = userlist.txt\nadmin_users = ann, bob\npool_mode = transaction\n\
    default_pool_size = 25\nserver_idle_timeout = 0\nquery_wait_timeout = 2.5\nclient_tls_sslmode = require\n\
    ; a comment\nignore_startup_parameters = extra_float_digits\n";

#[test]
fn a_pgbouncer_ini_becomes_a_configuration() {
    let ini = File::new(PGBOUNCER);
    let users = ini.0.with_file_name("userlist.txt");
    fs::write(
        &users,
        "\"ann\" \"it's \"\"hers\"\"\"\n\"old\" \"md562af4dd09bbb41884907a838a3233294\"\n",
    )
    .unwrap();
    let made = ended(&mut pgsteward(&["check", "--from-pgbouncer", ini.0.to_str().unwrap()]));
    assert_eq!(made.code, Some(0), "{}", made.errors);
    for expected in [
        "listen = \"0.0.0.0:6432\"",
        "size = 25",
        "idle_timeout = \"off\"",
        "wait_timeout = \"2500ms\"",
        "admin_users = [\"ann\", \"bob\"]",
        "# not carried over: client_tls_sslmode: TLS is not built yet",
        "# not carried over: databases.shop: connect_query has no counterpart",
        "# not carried over: user old: an md5 hash can't be used for SCRAM",
        "pool_mode = \"session\"",
    ] {
        assert!(made.out.contains(expected), "{expected} is not in\n{}", made.out);
    }
    let config = File::new(&made.out);
    let checked = ended(&mut pgsteward(&["check", "--config", config.0.to_str().unwrap()]));
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.errors, made.out);
    assert!(checked.out.contains("shop_prod at 10.0.0.5:5433"), "{}", checked.out);
    let missing = ended(&mut pgsteward(&["check", "--from-pgbouncer", "/nowhere.ini"]));
    assert_eq!(missing.code, Some(1));
}
