//! The server's side against RFC 7677's vector, postgres-protocol's client and recorded answers of PostgreSQL 15.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::*;
use crate::auth::initial_response;

/// Few iterations: the tests need no slowness.
fn verifier(password: &str) -> Verifier {
    Verifier::derive(password, b"salt of 16 bytes", 2)
}

fn begin(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::begin(client_first, verifier("secret"), false)
}

/// SQLSTATE, message, detail: what PostgreSQL would send.
fn shown(error: &ScramError) -> (&'static str, String, String) {
    (error.sqlstate(), error.to_string(), error.detail().unwrap_or_default())
}

#[test]
fn rfc_7677_section_3() {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::derive("pencil", &salt, 4096);
    let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    let (exchange, server_first) =
        ServerExchange::challenge(&first, verifier, false, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        server_first,
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let server_final = exchange.finish(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
          p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    );
    assert_eq!(server_final.unwrap(), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// Runs postgres-protocol's client against us.
fn log_in(
    password: &str,
    binding: ChannelBinding,
    verifier: Verifier,
    is_mock: bool,
) -> Result<(), ScramError> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let (exchange, server_first) = ServerExchange::begin(client.message(), verifier, is_mock)?;
    client.update(&server_first).unwrap();
    let server_final = exchange.finish(client.message())?;
    client.finish(&server_final).unwrap();
    Ok(())
}

#[test]
fn a_client_logs_in_and_trusts_us() {
    for password in ["secret", "gehe\u{ad}im \u{2168}", "bell \u{7}"] {
        for binding in [ChannelBinding::unsupported, ChannelBinding::unrequested] {
            assert_eq!(log_in(password, binding(), verifier(password), false), Ok(()));
        }
    }
}

#[test]
fn wrong_password_and_mock_fail_alike() {
    let unsupported = ChannelBinding::unsupported;
    let wrong = log_in("other", unsupported(), verifier("secret"), false).unwrap_err();
    let mock = Verifier::mock("ghost", &[7; 32]);
    let unknown = log_in("secret", unsupported(), mock.clone(), true).unwrap_err();
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.sqlstate(), "28P01");
    assert!(!wrong.is_protocol_violation());
    // The flag alone is enough, and so are the mock's keys.
    let doomed = log_in("secret", unsupported(), verifier("secret"), true);
    assert_eq!(doomed.unwrap_err(), wrong);
    let unflagged = log_in("secret", unsupported(), mock, false);
    assert_eq!(unflagged.unwrap_err(), wrong);
}

#[test]
fn nonces_differ_and_are_as_long_as_postgresqls() {
    let (_, one) = begin(b"n,,n=,r=abc").unwrap();
    let (_, other) = begin(b"n,,n=,r=abc").unwrap();
    assert_ne!(one, other);
    let nonce = one.split(|byte| *byte == b',').next().unwrap();
    assert_eq!(nonce.len(), "r=abc".len() + 24);
}

/// Recorded from PostgreSQL 15.20: message, detail.
const MALFORMED_FIRST: &[(&str, &str)] = &[
    ("", "The message is empty."),
    ("x", r#"Unexpected channel-binding flag "'x'"."#),
    ("n", r#"Comma expected, but found character "0x00"."#),
    ("nx", r#"Comma expected, but found character "'x'"."#),
    ("n,x,", r#"Unexpected attribute "'x'" in client-first-message."#),
    ("n,,", r#"Expected attribute "n" but found "0x00"."#),
    ("n,,x=", r#"Expected attribute "n" but found "'x'"."#),
    ("n,,n", r#"Expected character "=" for attribute "n"."#),
    ("n,,n=,", r#"Expected attribute "r" but found "0x00"."#),
    ("n,,n=,r", r#"Expected character "=" for attribute "r"."#),
    ("n,,n=,r=a,1=2", r#"Attribute expected, but found invalid character "'1'"."#),
    ("n,,n=,r=a,b", r#"Expected character "=" for attribute "b"."#),
    ("n,,n=,r=a\0b", "Message length does not match input length."),
    (
        "p=tls-server-end-point,,n=,r=a",
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
    ),
];

#[test]
fn malformed_first_messages_get_the_words_of_postgresql() {
    for (message, detail) in MALFORMED_FIRST {
        let error = begin(message.as_bytes()).unwrap_err();
        let expected = ("08P01", "malformed SCRAM message".into(), (*detail).into());
        assert_eq!(shown(&error), expected, "{message}");
        assert!(error.is_protocol_violation());
    }
    let error = begin(b"\xff").unwrap_err();
    assert!(error.detail().unwrap().contains("\"0xff\""));
}

#[test]
fn other_faults_of_first_messages_get_the_words_of_postgresql() {
    for (message, sqlstate, words) in [
        (b"n,,n=,r=a\x01b".as_slice(), "08P01", "non-printable characters in SCRAM nonce"),
        (b"n,,n=,r=\xe9", "08P01", "non-printable characters in SCRAM nonce"),
        (b"n,a=x,n=,r=a", "0A000", "client uses authorization identity, but it is not supported"),
        (b"n,,m=x,n=,r=a", "0A000", "client requires an unsupported SCRAM extension"),
    ] {
        let error = begin(message).unwrap_err();
        assert_eq!(shown(&error), (sqlstate, words.into(), String::new()));
    }
}

#[test]
fn odd_first_messages_that_postgresql_takes_are_taken() {
    for message in [b"n,,n=,r=a,".as_slice(), b"n,,n=,r=", b"n,,n=\xff,r=a,b=x", b"y,,n=,r=a"] {
        assert!(begin(message).is_ok(), "{message:?}");
    }
}

/// Recorded from PostgreSQL 15.20: message (N stands for the nonce, P for a well-formed wrong proof), detail.
const MALFORMED_FINAL: &[(&str, &str)] = &[
    ("", "The message is empty."),
    ("c=biws", r#"Expected attribute "r" but found "0x00"."#),
    ("c=biws,r=N", "Attribute expected, but found end of string."),
    ("c=biws,r=N,x=1", "Attribute expected, but found end of string."),
    ("r=N,P", r#"Expected attribute "c" but found "'r'"."#),
    ("c=biws,p=AAAA", r#"Expected attribute "r" but found "'p'"."#),
    ("c=biws,r=N,9=1", r#"Attribute expected, but found invalid character "'9'"."#),
    ("c=biws,r=N,p=AAAA", "Malformed proof in client-final-message."),
    ("c=biws,r=N,p=!!", "Malformed proof in client-final-message."),
    ("c=biws,r=N,P,x=1", "Garbage found at the end of client-final-message."),
    ("c=biws,r=N,P\0", "Message length does not match input length."),
];

/// The error that a final message gets; `message` is written as in [`MALFORMED_FINAL`].
fn finish(flag: char, message: &str) -> ScramError {
    const PROOF: &str = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (exchange, _) = begin(format!("{flag},,n=,r=abc").as_bytes()).unwrap();
    let nonce = String::from_utf8(exchange.nonce.clone()).unwrap();
    let filled = message.replace('P', PROOF).replace('N', &nonce);
    exchange.finish(filled.as_bytes()).unwrap_err()
}

#[test]
fn malformed_final_messages_get_the_words_of_postgresql() {
    for (message, detail) in MALFORMED_FINAL {
        let error = finish('n', message);
        let expected = ("08P01", "malformed SCRAM message".into(), (*detail).into());
        assert_eq!(shown(&error), expected, "{message}");
    }
}

#[test]
fn other_faults_of_final_messages_get_the_words_of_postgresql() {
    for message in ["c=biws,r=Nx,P", "c=biws,r=xN,P", "c=biws,r=,P"] {
        let expected = ("08P01", "invalid SCRAM response".into(), "Nonce does not match.".into());
        assert_eq!(shown(&finish('n', message)), expected, "{message}");
    }
    for (flag, message) in [('y', "c=biws,r=N,P"), ('n', "c=eSws,r=N,P"), ('n', "c=bi ws,r=N,P")] {
        assert_eq!(finish(flag, message), ScramError::ChannelBinding);
    }
    for (flag, message) in [
        ('n', "c=biws,r=N,P"),
        ('y', "c=eSws,r=N,P"),
        ('n', "c=biws,r=N,P,"),
        ('n', "c=biws,r=N,x=1,P"),
    ] {
        assert_eq!(finish(flag, message), ScramError::Proof);
    }
}

#[test]
fn a_proof_counts_for_its_own_exchange_only() {
    let mut client = ScramSha256::new(b"secret", ChannelBinding::unsupported());
    let (_, server_first) = begin(client.message()).unwrap();
    let (other, _) = begin(client.message()).unwrap();
    client.update(&server_first).unwrap();
    assert_eq!(other.finish(client.message()), Err(ScramError::NonceMismatch));
}

#[test]
fn initial_responses_get_the_answers_of_postgresql() {
    let good = b"SCRAM-SHA-256\0\0\0\0\x03n,,";
    assert_eq!(initial_response(good), Ok(Some(b"n,,".as_slice())));
    let none = b"SCRAM-SHA-256\0\xff\xff\xff\xff";
    assert_eq!(initial_response(none), Ok(None));
    for (body, message) in [
        (b"".as_slice(), "invalid string in message"),
        (b"SCRAM-SHA-256", "invalid string in message"),
        (b"SCRAM-SHA-256\0", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\x05ab", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xfe", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\x01ab", "invalid message format"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xffab", "invalid message format"),
        (b"\0", "client selected an invalid SASL authentication mechanism"),
        (
            b"SCRAM-SHA-256-PLUS\0\0\0\0\0",
            "client selected an invalid SASL authentication mechanism",
        ),
    ] {
        let error = initial_response(body).unwrap_err();
        assert_eq!(shown(&error), ("08P01", message.into(), String::new()));
    }
}

#[test]
fn debug_shows_no_key() {
    let (exchange, _) = begin(b"n,,n=,r=abc").unwrap();
    let key = format!("{:?}", exchange.verifier.stored_key);
    assert!(!format!("{exchange:?}").contains(&key));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = initial_response(&bytes);
        let _ = begin(&bytes);
        let (exchange, _) = begin(b"n,,n=,r=abc").unwrap();
        prop_assert!(exchange.finish(&bytes).is_err());
    }

    #[test]
    fn near_messages_never_panic(first in "[nyp,=amr]{0,12}", last in "c=(biws|eSws),r=[abp,=]{0,12}") {
        let _ = begin(first.as_bytes());
        let (exchange, _) = begin(b"n,,n=,r=abc").unwrap();
        prop_assert!(exchange.finish(last.as_bytes()).is_err());
    }
}
