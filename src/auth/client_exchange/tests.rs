//! Logins on a server played by hand and, for SCRAM, by our own server side.

use proptest::prelude::*;

use super::*;
use crate::auth::{MECHANISMS, ServerExchange, Verifier, initial_response};

fn login(password: &str) -> ServerLogin {
    ServerLogin::new("shop", Some(&Secret::new(password)))
}

/// Body of an `R` message.
fn request(code: i32, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), data].concat()
}

/// The body of the frame that a step sends; tag and length are checked.
fn sent(step: Step) -> Vec<u8> {
    let Step::Send(frame) = step else {
        panic!("nothing sent: {step:?}");
    };
    body(&frame).to_vec()
}

fn body(frame: &[u8]) -> &[u8] {
    assert_eq!(frame[0], b'p');
    let length = u32::from_be_bytes(frame[1..5].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 1);
    &frame[5..]
}

/// SCRAM up to the proof, against a server that knows `server_password`; gives the server's final data.
fn prove(login: &mut ServerLogin, server_password: &str) -> Option<Vec<u8>> {
    let initial = sent(login.answer(&request(10, MECHANISMS)).unwrap());
    let client_first = initial_response(&initial).unwrap().unwrap();
    let verifier = Verifier::derive(server_password, b"salt", 2);
    let (server, server_first) = ServerExchange::begin(client_first, verifier, false).unwrap();
    let Step::SendSlow(proof) = login.answer(&request(11, &server_first)).unwrap() else {
        panic!("no proof asked");
    };
    let computed = std::thread::spawn(|| proof.compute().unwrap());
    let frame = login.resume(computed.join().unwrap()).unwrap();
    server.finish(body(&frame)).ok()
}

#[test]
fn trust() {
    let mut login = ServerLogin::new("shop", None);
    let step = login.answer(&request(0, b"")).unwrap();
    assert!(matches!(step, Step::Authenticated));
    let error = login.answer(&request(0, b"")).unwrap_err();
    assert!(matches!(error, LoginError::OutOfTurn("AuthenticationOk")));
}

#[test]
fn cleartext() {
    let mut login = login("secret");
    let step = login.answer(&request(3, b"")).unwrap();
    assert_eq!(sent(step), b"secret\0");
    let step = login.answer(&request(0, b"")).unwrap();
    assert!(matches!(step, Step::Authenticated));
}

/// The hash is `concat('md5', md5(concat(md5(concat(password, username)), salt)))` of the manual.
#[test]
fn md5() {
    let mut login = ServerLogin::new("md5_user", Some(&Secret::new("password")));
    let step = login.answer(&request(5, &[0x2a, 0x3d, 0x8f, 0xe0])).unwrap();
    assert_eq!(sent(step), b"md562af4dd09bbb41884907a838a3233294\0");
    let step = login.answer(&request(0, b"")).unwrap();
    assert!(matches!(step, Step::Authenticated));
}

#[test]
fn scram_proves_both_sides() {
    let mut login = login("secret");
    let server_final = prove(&mut login, "secret").unwrap();
    let step = login.answer(&request(12, &server_final)).unwrap();
    assert!(matches!(step, Step::Continue));
    let step = login.answer(&request(0, b"")).unwrap();
    assert!(matches!(step, Step::Authenticated));
}

#[test]
fn scram_is_chosen_beside_plus() {
    let offered = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    let initial = sent(login("secret").answer(&request(10, offered)).unwrap());
    assert!(initial.starts_with(b"SCRAM-SHA-256\0"));
    let client_first = initial_response(&initial).unwrap().unwrap();
    assert!(client_first.starts_with(b"n,,n=,r="));
}

#[test]
fn a_server_without_the_password_is_not_trusted() {
    let mut wrong = login("secret");
    assert_eq!(prove(&mut wrong, "other"), None);
    let error = wrong.answer(&request(0, b"")).unwrap_err();
    assert!(matches!(error, LoginError::ServerUnproven));

    let mut forged = login("secret");
    prove(&mut forged, "secret").unwrap();
    let signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let error = forged.answer(&request(12, signature)).unwrap_err();
    assert!(matches!(error, LoginError::Scram(_)));
    let error = forged.answer(&request(0, b"")).unwrap_err();
    assert!(matches!(error, LoginError::OutOfTurn(_)));

    let mut early = login("secret");
    early.answer(&request(10, MECHANISMS)).unwrap();
    let error = early.answer(&request(0, b"")).unwrap_err();
    assert!(matches!(error, LoginError::ServerUnproven));
}

#[test]
fn a_missing_password_names_the_setting() {
    for password in [None, Some(Secret::new(""))] {
        for (asked, method) in [
            (request(3, b""), "password"),
            (request(5, b"salt"), "md5"),
            (request(10, MECHANISMS), "scram-sha-256"),
        ] {
            let mut login = ServerLogin::new("shop", password.as_ref());
            let error = login.answer(&asked).unwrap_err();
            assert!(error.is_ours());
            let text = error.to_string();
            for part in ["\"shop\"", method, "databases.NAME.password", "[[users]]"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}

#[test]
fn other_methods_are_named() {
    for (code, name) in
        [(1, "Kerberos V4"), (2, "Kerberos V5"), (7, "GSSAPI"), (8, "GSSAPI"), (9, "SSPI")]
    {
        let error = login("secret").answer(&request(code, b"")).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = login("secret").answer(&request(-7, b"")).unwrap_err();
    assert!(matches!(error, LoginError::Unknown(-7)));
    let offered = b"OAUTHBEARER\0SCRAM-SHA-256-PLUS\0\0";
    let error = login("secret").answer(&request(10, offered)).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("only: OAUTHBEARER SCRAM-SHA-256-PLUS"));
}

#[test]
fn malformed_requests_are_refused() {
    for body in [
        b"".as_slice(),
        &[0, 0, 0],
        &request(0, b"x"),
        &request(3, b"x"),
        &request(5, b"abc"),
        &request(5, b"abcde"),
        &request(10, b""),
        &request(10, b"SCRAM-SHA-256"),
        &request(10, b"SCRAM-SHA-256\0"),
    ] {
        let mut login = login("secret");
        let error = login.answer(body).unwrap_err();
        assert!(matches!(error, LoginError::Malformed(_)), "{body:?}");
        // An error is final.
        let error = login.answer(&request(0, b"")).unwrap_err();
        assert!(matches!(error, LoginError::OutOfTurn(_)), "{body:?}");
    }
    let error = login("secret").answer(&request(10, b"\0")).unwrap_err();
    assert!(matches!(error, LoginError::NoMechanism(_)));
}

#[test]
fn requests_out_of_turn_are_refused() {
    for (code, data) in [(11, b"r=".as_slice()), (12, b"v=")] {
        let error = login("secret").answer(&request(code, data)).unwrap_err();
        assert!(matches!(error, LoginError::OutOfTurn(_)));
    }
    let mut twice = login("secret");
    twice.answer(&request(3, b"")).unwrap();
    let error = twice.answer(&request(3, b"")).unwrap_err();
    assert!(matches!(error, LoginError::OutOfTurn(_)));
}

#[test]
fn a_password_with_a_zero_byte_is_not_cut_short() {
    let error = login("sec\0ret").answer(&request(3, b"")).unwrap_err();
    assert!(matches!(error, LoginError::Unsendable { .. }));
}

#[test]
fn an_excessive_iteration_count_is_refused() {
    let mut login = login("secret");
    let initial = sent(login.answer(&request(10, MECHANISMS)).unwrap());
    let nonce = initial.rsplit(|byte| *byte == b'=').next().unwrap();
    let server_first = [b"r=", nonce, b"x,s=AAAA,i=2000000000"].concat();
    let Step::SendSlow(proof) = login.answer(&request(11, &server_first)).unwrap() else {
        panic!("no proof asked");
    };
    assert!(matches!(proof.compute(), Err(LoginError::Scram(_))));
}

#[test]
fn debug_shows_no_password() {
    let mut login = login("secret");
    assert!(!format!("{login:?}").contains("secret"));
    login.answer(&request(10, MECHANISMS)).unwrap();
    let step = login.answer(&request(11, b"r=")).unwrap();
    assert!(!format!("{login:?} {step:?}").contains("secret"));
}

/// A server that says anything: every request is answered or refused.
fn play(bodies: &[Vec<u8>]) {
    let mut login = login("secret");
    for body in bodies {
        if let Ok(Step::SendSlow(proof)) = login.answer(body)
            && let Ok(computed) = proof.compute()
        {
            let _ = login.resume(computed);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(bodies: Vec<Vec<u8>>) {
        play(&bodies);
    }

    #[test]
    fn known_codes_with_arbitrary_data_never_panic(
        requests in prop::collection::vec((0..14_i32, any::<Vec<u8>>()), 0..4)
    ) {
        let bodies: Vec<_> = requests.iter().map(|(code, data)| request(*code, data)).collect();
        play(&bodies);
    }

    #[test]
    fn arbitrary_scram_data_never_panics(first: Vec<u8>, last: Vec<u8>) {
        play(&[request(10, MECHANISMS), request(11, &first), request(12, &last)]);
        let mut login = login("secret");
        prove(&mut login, "secret");
        prop_assert!(login.answer(&request(12, &last)).is_err());
    }
}
