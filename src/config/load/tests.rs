//! Every kind of fault is found, named and placed; what has none is used as written.

use super::*;
use crate::config::PoolMode;
use proptest::prelude::*;

fn from_text(text: &str, set: &[&str]) -> Result<Loaded, Faults> {
    let dir = std::env::temp_dir().join(format!("pgsteward-config-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let name = format!("{:?}.toml", std::thread::current().id());
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    load(&Source { file: Some(file), set, ..Source::default() })
}

fn faults(text: &str, set: &[&str]) -> Vec<String> {
    let faults = from_text(text, set).unwrap_err().to_string();
    faults
        .lines()
        .map(|line| line.rsplit_once(".toml:").map_or(line, |(_, rest)| rest).to_owned())
        .collect()
}

const DATABASE: &str = "[databases.shop]\nhost = \"localhost\"\n";

#[test]
fn defaults_are_all_valid_and_used() {
    let config = from_text(DATABASE, &[]).unwrap().config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:6432");
    let shop = config.databases.find("shop").unwrap();
    assert_eq!(shop.pool.size, 20);
    assert_eq!(shop.pool.wait_timeout, Duration::from_secs(120));
    assert_eq!(shop.address, Address::Tcp { host: "localhost".to_owned(), port: 5432 });
    assert!(config.databases.find("other").is_none());
    for section in keys::SECTIONS.iter().chain([&keys::DATABASE, &keys::USER]) {
        for key in section.keys {
            if let Some(default) = key.default {
                let read = Value::read(key, &written::literal(default));
                assert!(read.is_ok(), "{}.{}: {read:?}", section.name, key.name);
            }
        }
    }
}

#[test]
fn all_faults_are_listed_at_once_with_their_lines() {
    let text = "[pool]\nsise = 3\nwait_timeout = 250\nmode = \"fast\"\n[sever]\n\
                [databases.shop]\nhost = \"x\"\npool_size = 0\n[[users]]\npassword = \"p\"\n";
    assert_eq!(
        faults(text, &["limits.clients=0"]),
        [
            "2: pool.sise: unknown key (did you mean pool.size?)",
            "3: pool.wait_timeout: \"250\" has no unit (ms, s, min, h, d): write e.g. \"250ms\"",
            "4: pool.mode: expected one of \"transaction\", \"session\", \"statement\", not \"fast\"",
            "5: sever: unknown key (did you mean server?)",
            "8: databases.shop.pool_size: expected a whole number from 1 to 1000000, not 0",
            "9: users.name: required",
            "--set limits.clients: limits.clients: expected a whole number from 1 to 1000000, not 0",
        ]
    );
}

#[test]
fn syntax_faults_have_lines_too() {
    let found = faults("[pool]\nsize = = 3\n[databases.x]\nhost = \"h\"\n", &[]);
    assert!(found[0].starts_with("2: "), "{found:?}");
}

#[test]
fn a_secret_is_never_repeated() {
    let text = format!("{DATABASE}password = 12345\n[[users]]\nname = \"a\"\npassword = 54321\n");
    let found = faults(&text, &[]).join("\n");
    assert!(found.contains("databases.shop.password") && !found.contains("12345"), "{found}");
    let config = from_text(&format!("{DATABASE}password = \"hush\"\n"), &[]).unwrap().config;
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn the_nearest_pool_setting_wins() {
    let text = "[pool]\nsize = 7\n[databases.a]\nhost = \"h\"\npool_size = 3\npool_mode = \"session\"\n\
                [databases.\"*\"]\nhost = \"/run/postgresql\"\n";
    let config = from_text(text, &["pool.min=2", "databases.a.port=6000"]).unwrap().config;
    let a = config.databases.find("a").unwrap();
    assert_eq!((a.pool.size, a.pool.min, a.pool.mode), (3, 2, PoolMode::Session));
    assert_eq!(a.address, Address::Tcp { host: "h".to_owned(), port: 6000 });
    let any = config.databases.find("whatever").unwrap();
    assert_eq!(any.pool.size, 7);
    assert_eq!(any.address, Address::Unix(PathBuf::from("/run/postgresql/.s.PGSQL.5432")));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let too_small = faults(&format!("[pool]\nmin = 30\n{DATABASE}"), &[]);
    assert!(too_small[0].contains("min: 30 is more than"), "{too_small:?}");
    assert!(faults("", &[])[0].contains("no database"));
    let nobody = faults(&format!("[auth]\nmethod = \"scram-sha-256\"\n{DATABASE}"), &[]);
    assert!(nobody[0].contains("needs [[users]]"), "{nobody:?}");
    let twice =
        faults(&format!("{DATABASE}[[users]]\nname = \"a\"\n[[users]]\nname = \"a\"\n"), &[]);
    assert!(twice[0].contains("stands there twice"), "{twice:?}");
    let bad_set = faults(DATABASE, &["pool.size", "pool=3", "x.y=1"]);
    assert_eq!(bad_set.len(), 3, "{bad_set:?}");
}

#[test]
fn an_upstream_needs_no_file() {
    let upstream = Some("postgres://ann:pw@h:5433/shop".to_owned());
    let loaded =
        load(&Source { upstream, listen: Some("[::1]:0".to_owned()), ..Source::default() });
    let config = loaded.unwrap().config;
    assert!(config.listen.is_ipv6());
    for name in ["shop", "other"] {
        let database = config.databases.find(name).unwrap();
        assert_eq!(database.user.as_deref(), Some("ann"));
        assert_eq!(database.dbname, None);
    }
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let file = Some(PathBuf::from("/nonexistent/x.toml"));
    let faults = load(&Source { file, ..Source::default() }).unwrap_err().to_string();
    assert!(faults.contains("/nonexistent/x.toml: can't be read"), "{faults}");
}

#[test]
fn trust_off_loopback_is_warned_of() {
    let loaded = from_text(DATABASE, &["server.listen=0.0.0.0:6432"]).unwrap();
    assert!(loaded.warnings[0].contains("only loopback clients"), "{:?}", loaded.warnings);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]a-z.=\"0-9\n ]{0,80}", set in ".{0,20}") {
        let mut faults = Faults::default();
        let mut root = written::parse("x", &text, &mut faults);
        written::set(&mut root, &set, &mut faults);
        let whole = Origin::Whole("x".to_owned());
        Reader { root: &root, whole, faults, warnings: Vec::new() }.config();
    }
}

#[test]
fn an_upstream_takes_nothing_of_another_servers_login() {
    let file = "[databases.\"*\"]\nhost = \"old\"\nuser = \"u\"\npassword = \"p\"\npool_size = 3\n";
    let mut faults = Faults::default();
    let mut root = written::parse("x", file, &mut faults);
    upstream::add(&mut root, "postgres://new", &mut faults);
    let whole = Origin::Whole("x".to_owned());
    let mut reader = Reader { root: &root, whole, faults, warnings: Vec::new() };
    let any = reader.config().databases.any.unwrap();
    assert_eq!((any.user, any.password, any.pool.size), (None, None, 3));
}

#[test]
fn arguments_of_any_depth_are_refused_or_used() {
    let deep = format!("{}=1", vec!["a"; 50_000].join("."));
    assert!(faults(DATABASE, &[&deep])[0].contains("expected section.key=value"));
    let dotted = from_text(DATABASE, &["databases.\"a.b\".host=h"]).unwrap().config;
    assert!(dotted.databases.find("a.b").is_some());
}

#[test]
fn two_passwords_for_one_user_of_the_server_are_refused() {
    let two = |password: &str| {
        format!(
            "{DATABASE}[[users]]\nname = \"a\"\nserver_user = \"x\"\nserver_password = \"1\"\n\
             [[users]]\nname = \"b\"\nserver_user = \"x\"\nserver_password = \"{password}\"\n"
        )
    };
    assert!(from_text(&two("1"), &[]).is_ok());
    assert!(faults(&two("2"), &[])[0].contains("are both \"x\" on the server"));
}
