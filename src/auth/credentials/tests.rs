//! Lookups of users of every kind.

use super::*;
use crate::config::{Secret, Source, User, load};

const VERIFIER: &str = "SCRAM-SHA-256$4096:IXUYul96V/g3OfchWuNcBA==$\
    BbkAPWjfHSosiMfhBalAYYlhswL4Vt6ItUF5DZpaE3g=:pOXQjGMn6G2Z1I/jvP4INEfcHQELbIEshxu2nrUwVf4=";
const MD5: &str = "md562af4dd09bbb41884907a838a3233294";

fn user(name: &str, password: Option<&str>) -> User {
    User {
        name: name.to_owned(),
        password: password.map(Secret::new),
        server_user: None,
        server_password: None,
        pool_mode: None,
        pool_size: None,
    }
}

fn credentials(users: &[User]) -> Credentials {
    let upstream = Some("postgres://localhost".to_owned());
    let mut config = load(&Source { upstream, ..Source::default() }).unwrap().config;
    config.auth.mock_key = [9; 32];
    config.users = users.iter().map(|user| (user.name.clone(), user.clone())).collect();
    Credentials::new(&config)
}

#[test]
fn a_configured_verifier_is_known() {
    let credentials = credentials(&[user("app", Some(VERIFIER))]);
    let Lookup::Known(verifier) = credentials.verifier("app") else {
        panic!("not known");
    };
    assert_eq!(Some(verifier), Verifier::parse(VERIFIER));
}

#[test]
fn a_plain_password_is_derived_once() {
    let credentials = credentials(&[user("app", Some("pencil"))]);
    let (Lookup::Derive(one), Lookup::Derive(other)) =
        (credentials.verifier("app"), credentials.verifier("app"))
    else {
        panic!("no job");
    };
    let derived = std::thread::spawn(|| one.compute()).join().unwrap();
    let Lookup::Known(known) = credentials.verifier("app") else {
        panic!("not kept");
    };
    assert_eq!(known, derived);
    assert_eq!(other.compute(), derived);
    let salt = verifier::salt_of("app", &[9; 32]);
    assert_eq!(Verifier::derive("pencil", &salt, ITERATIONS), derived);
}

#[test]
fn derive_all_leaves_nothing_to_derive() {
    let credentials = Arc::new(credentials(&[
        user("one", Some("pencil")),
        user("two", Some("pen")),
        user("three", None),
    ]));
    let shared = Arc::clone(&credentials);
    std::thread::spawn(move || shared.derive_all()).join().unwrap();
    for name in ["one", "two"] {
        assert!(matches!(credentials.verifier(name), Lookup::Known(_)));
    }
}

#[test]
fn users_without_a_usable_password_are_mocked() {
    let malformed = VERIFIER.trim_end_matches('=');
    let credentials = credentials(&[
        user("none", None),
        user("empty", Some("")),
        user("md5", Some(MD5)),
        user("bad", Some(malformed)),
        user("good", Some("md5 is no hash")),
    ]);
    for name in ["none", "empty", "md5", "bad", "ghost"] {
        let Lookup::Mock(verifier) = credentials.verifier(name) else {
            panic!("{name} is not mocked");
        };
        assert_eq!(verifier, Verifier::mock(name, &[9; 32]));
    }
    let mut unusable: Vec<_> = credentials.unusable().collect();
    unusable.sort_by_key(|(name, _)| *name);
    assert_eq!(
        unusable,
        [
            ("bad", Unusable::MalformedVerifier),
            ("empty", Unusable::NoPassword),
            ("md5", Unusable::Md5Hash),
            ("none", Unusable::NoPassword),
        ]
    );
}

#[test]
fn a_users_salt_does_not_tell_whether_it_exists() {
    let with = credentials(&[user("app", Some("pencil"))]);
    let Lookup::Derive(job) = with.verifier("app") else {
        panic!("no job");
    };
    let Lookup::Mock(mock) = credentials(&[]).verifier("app") else {
        panic!("no mock");
    };
    assert_eq!(job.compute().salt, mock.salt);
}

#[test]
fn the_servers_password_is_the_plain_one_unless_set() {
    let shown = |user: &User| server_password(user).map(|secret| secret.reveal().to_owned());
    assert_eq!(shown(&user("app", None)), None);
    assert_eq!(shown(&user("app", Some("pencil"))), Some("pencil".into()));
    assert_eq!(shown(&user("app", Some(VERIFIER))), None);
    assert_eq!(shown(&user("app", Some(MD5))), None);
    let mut set = user("app", Some("pencil"));
    set.server_password = Some(Secret::new("pen"));
    assert_eq!(shown(&set), Some("pen".into()));
}

#[test]
fn debug_shows_no_password() {
    let credentials = credentials(&[user("app", Some("pencil"))]);
    let shown = format!("{credentials:?} {:?}", credentials.verifier("app"));
    assert_eq!(shown, "Credentials { users: 1, .. } Derive(DeriveJob { .. })");
}
