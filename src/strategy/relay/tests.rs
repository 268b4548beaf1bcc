//! The relay over any bytes in any pieces: nothing panics, nothing depends on where the pieces end.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::server::ERROR_SEEN_BYTES;
use super::{ServerFault, Splice, Stop, from_client, from_server};
use crate::client_state::{Body, Budget, ClientState};
use crate::config::{AfterUnknown, Limits, LostListener, PoolMode, Prepared, SessionPolicy};
use crate::pool::{Deed, Exchange, Owed, Statements};
use crate::protocol::TransactionStatus;
use crate::protocol::writer::frame;

const POLICY: SessionPolicy = SessionPolicy {
    after_unknown: AfterUnknown::Reset,
    keep_sequences: false,
    shares_listener: false,
    lost_listener: LostListener::Relisten,
    announces_pins: false,
};

/// Statements of more bytes are passed on unread.
const STATEMENT_BYTES: usize = 64;

fn limits() -> Limits {
    Limits {
        clients: 1,
        login_timeout: std::time::Duration::ZERO,
        statement_bytes: STATEMENT_BYTES,
        pipeline_depth: 16,
        notification_bytes: 0,
        idle_transaction: None,
        startup_variants: 1,
    }
}

/// With such bounds nothing is shared: messages go on as they are.
fn none_shared() -> Statements {
    let bounds = Prepared {
        client_statements: 0,
        server_statements: NonZeroUsize::MIN,
        memory: 1 << 20,
        unnamed: false,
    };
    Statements::new(bounds, Arc::default(), Budget::new(1 << 20))
}

/// Pieces of `stream`, as long as `lengths` say, over and over; without any it is one piece.
fn pieces<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().copied().unwrap_or(rest.len()).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
fn a_server_that_goes_down_while_settings_are_applied_takes_nothing_with_it() {
    let refused = |body: &[u8]| {
        let mut state = ClientState::new(PoolMode::Transaction, POLICY, Rc::default());
        let mut exchange = Exchange::default();
        super::apply(&mut exchange, &[(b"role", Some(b"bob"))], &mut Vec::new());
        let message = frame(b'E', body);
        let mut splice = Splice::new(&message);
        let relayed = from_server(&mut state, &mut exchange, &message, &mut splice);
        assert!(splice.bytes().is_empty());
        relayed.map(|_| super::server_lost(&mut state, &exchange, "it closed the connection"))
    };
    let down = refused(b"SFATAL\0VFATAL\0C57P01\0Mgoing down\0\0");
    assert_eq!(down, Ok(super::Farewell::Stay(Vec::new())));
    let gone = refused(b"SERROR\0VERROR\0C22023\0Mrole \"bob\" does not exist\0\0");
    assert!(matches!(gone, Err(ServerFault::NotApplied { .. })), "{gone:?}");
}

/// What came of a client's stream.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    owed: Vec<Owed>,
    end: Stop,
    left: Vec<u8>,
    mid_frame: bool,
}

/// Relays a client's stream. It gets a server connection when it needs one; that owes all replies.
fn ask(stream: &[u8], lengths: &[usize]) -> Asked {
    let mut state = ClientState::new(PoolMode::Transaction, POLICY, Rc::default());
    let mut exchange = None;
    let (mut to_server, mut to_client, mut inbox) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = Stop::More;
    for piece in pieces(stream, lengths) {
        inbox.extend_from_slice(piece);
        if end != Stop::More {
            continue;
        }
        loop {
            let mut splice = Splice::new(&inbox);
            let exchange_now = exchange.as_mut();
            let taken = from_client(
                &mut state,
                exchange_now,
                &limits(),
                &none_shared(),
                &inbox,
                &mut splice,
                &mut to_client,
            );
            assert!(taken.bytes <= inbox.len());
            to_server.extend_from_slice(splice.bytes());
            inbox.drain(..taken.bytes);
            if taken.stop != Stop::NeedServer {
                end = taken.stop;
                break;
            }
            assert!(exchange.is_none());
            exchange = Some(Exchange::default());
        }
    }
    let owed = exchange.iter().flat_map(|exchange| exchange.ledger.owed()).collect();
    Asked { to_server, to_client, owed, end, left: inbox, mid_frame: state.is_mid_frame() }
}

/// What came of a server's stream.
#[derive(Debug, PartialEq, Eq)]
struct Answered {
    to_client: Vec<u8>,
    owed: Vec<Owed>,
    status: TransactionStatus,
    is_fatal: bool,
    held: Vec<u8>,
    mid_frame: bool,
}

/// Relays a server's stream to a client that is owed all this.
fn answer(owed: &[Owed], stream: &[u8], lengths: &[usize]) -> Result<Answered, ServerFault> {
    let mut state = ClientState::new(PoolMode::Transaction, POLICY, Rc::default());
    let mut exchange = Exchange::default();
    for owed in owed {
        exchange.ledger.sent(*owed, Deed::None);
    }
    let (mut to_client, mut held) = (Vec::new(), Vec::new());
    for piece in pieces(stream, lengths) {
        held.extend_from_slice(piece);
        let mut splice = Splice::new(&held);
        let taken = from_server(&mut state, &mut exchange, &held, &mut splice)?;
        to_client.extend_from_slice(splice.bytes());
        held.drain(..taken);
        assert!(held.len() < ERROR_SEEN_BYTES, "{} bytes are held", held.len());
    }
    Ok(Answered {
        to_client,
        owed: exchange.ledger.owed().collect(),
        status: exchange.ledger.status(),
        is_fatal: exchange.fatal.is_some(),
        held,
        mid_frame: exchange.body != Body::None,
    })
}

fn text(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().flat_map(|text| [text, &b"\0"[..]].concat()).collect()
}

/// A Parse without parameter types.
fn parse(name: &[u8], sql: &[u8]) -> Vec<u8> {
    let mut body = text(&[name, sql]);
    body.extend([0, 0]);
    frame(b'P', &body)
}

fn name() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![3 => Just(&b""[..]), 1 => Just(&b"s"[..])]
}

fn statement() -> impl Strategy<Value = Vec<u8>> {
    let padding = 0..2 * STATEMENT_BYTES;
    (prop_oneof![Just("select 1"), Just("set x = 1"), Just("begin")], padding)
        .prop_map(|(sql, padding)| [sql.as_bytes(), &vec![b' '; padding]].concat())
}

/// One message of a client, most often a good one.
fn client_frame() -> impl Strategy<Value = Vec<u8>> {
    let tail = || vec(any::<u8>(), 0..2 * STATEMENT_BYTES);
    let tags = prop::sample::select(&b"QPBDECSHFdcf"[..]);
    prop_oneof![
        statement().prop_map(|sql| frame(b'Q', &text(&[&sql]))),
        (name(), statement()).prop_map(|(name, sql)| parse(name, &sql)),
        (name(), name(), tail()).prop_map(|(portal, statement, tail)| {
            frame(b'B', &[text(&[portal, statement]), tail].concat())
        }),
        (prop::sample::select(&b"DC"[..]), any::<bool>(), name()).prop_map(
            |(tag, is_portal, name)| {
                let kind = if is_portal { b'P' } else { b'S' };
                frame(tag, &[vec![kind], text(&[name])].concat())
            }
        ),
        Just(frame(b'E', b"\0\0\0\0\0")),
        Just(frame(b'S', b"")),
        Just(frame(b'H', b"")),
        tail().prop_map(|data| frame(b'd', &data)),
        prop_oneof![Just(frame(b'c', b"")), Just(frame(b'f', b"why\0"))],
        (any::<u32>(), tail())
            .prop_map(|(oid, tail)| frame(b'F', &[&oid.to_be_bytes()[..], &tail].concat())),
        // Of any form; portal names as long as a statement are not told from others.
        (tags, vec(any::<u8>(), 0..40)).prop_map(|(tag, body)| frame(tag, &body)),
    ]
}

fn client_stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(frame(b'X', b"")),
        1 => vec(any::<u8>(), 0..8),
    ];
    (vec(client_frame(), 0..24), end).prop_map(|(frames, end)| [frames.concat(), end].concat())
}

fn server_frame() -> impl Strategy<Value = Vec<u8>> {
    let error = |severity: &'static str| {
        (0..2 * ERROR_SEEN_BYTES).prop_map(move |padding| {
            let message = format!("M{}", "m".repeat(padding));
            let severity = format!("V{severity}");
            let fields: [&[u8]; 4] = [severity.as_bytes(), b"C57P01", message.as_bytes(), b""];
            frame(b'E', &text(&fields))
        })
    };
    let tags = prop::sample::select(&b"123CDIGHNSTVZdcnst"[..]);
    prop_oneof![
        1 => prop::sample::select(&b"ITE"[..]).prop_map(|status| frame(b'Z', &[status])),
        4 => (tags, vec(any::<u8>(), 0..60)).prop_map(|(tag, body)| frame(tag, &body)),
        1 => error("ERROR"),
        1 => error("FATAL"),
    ]
}

fn owed() -> impl Strategy<Value = Vec<Owed>> {
    let one = prop::sample::select(vec![
        Owed::Parse,
        Owed::Bind,
        Owed::Describe,
        Owed::Execute,
        Owed::Close,
        Owed::Sync,
        Owed::Query,
        Owed::Function,
        Owed::CopyEnd,
    ]);
    vec(one, 0..12)
}

/// Replies that fit what is owed.
fn conversation() -> impl Strategy<Value = (Vec<Owed>, Vec<u8>)> {
    let group = prop_oneof![
        Just((vec![Owed::Query], "TDDCZ")),
        Just((vec![Owed::Query], "NTDSEZ")),
        Just((vec![Owed::Query], "HddcCZ")),
        Just((vec![Owed::Function], "VZ")),
        Just((vec![Owed::Parse, Owed::Bind, Owed::Execute, Owed::Sync], "12DCZ")),
        Just((vec![Owed::Parse, Owed::Describe, Owed::Close, Owed::Sync], "1tT3Z")),
        Just((vec![Owed::Bind, Owed::Describe, Owed::Execute, Owed::Sync], "2nsZ")),
        Just((vec![Owed::Bind, Owed::Execute, Owed::Parse, Owed::Sync], "2EZ")),
    ];
    let body = |tag: u8, bytes: &[u8]| match tag {
        b'Z' => b"I".to_vec(),
        b'E' => [&b"SERROR\0VERROR\0C22012\0M"[..], &vec![b'm'; bytes.len()], b"\0\0"].concat(),
        _ => bytes.to_vec(),
    };
    vec((group, vec(any::<u8>(), 0..300)), 0..8).prop_map(move |groups| {
        let owed = groups.iter().flat_map(|((owed, _), _)| owed.clone()).collect();
        let frames = groups.iter().flat_map(|((_, tags), bytes)| {
            tags.bytes().flat_map(|tag| frame(tag, &body(tag, bytes)))
        });
        (owed, frames.collect())
    })
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(1..40_usize, 1..30)]
}

proptest! {
    #[test]
    fn a_clients_stream_is_relayed_alike_in_any_pieces(
        stream in client_stream(),
        lengths in lengths(),
    ) {
        prop_assert_eq!(ask(&stream, &[]), ask(&stream, &lengths));
    }

    #[test]
    fn a_clients_stream_goes_on_as_it_is(frames in vec(client_frame(), 0..16)) {
        // With a server connection that has its unnamed statement nothing is added or left out.
        let stream = [parse(b"", b"select 1"), frames.concat()].concat();
        let asked = ask(&stream, &[]);
        if asked.end == Stop::More {
            let relayed = [asked.to_server, asked.left].concat();
            prop_assert_eq!(relayed, stream);
            prop_assert!(asked.to_client.is_empty());
        }
    }

    #[test]
    fn a_servers_stream_is_relayed_alike_in_any_pieces(
        (owed, stream) in conversation(),
        lengths in lengths(),
    ) {
        let whole = answer(&owed, &stream, &[]).unwrap();
        prop_assert_eq!(&whole.to_client, &stream);
        prop_assert!(whole.owed.is_empty() && whole.held.is_empty());
        prop_assert_eq!(Ok(whole), answer(&owed, &stream, &lengths));
    }

    #[test]
    fn whatever_a_server_sends_is_relayed_or_refused_alike(
        owed in owed(),
        frames in vec(server_frame(), 0..12),
        lengths in lengths(),
    ) {
        let stream = frames.concat();
        prop_assert_eq!(answer(&owed, &stream, &[]), answer(&owed, &stream, &lengths));
    }

    #[test]
    fn any_bytes_of_either_side_are_dealt_with(
        owed in owed(),
        stream in vec(any::<u8>(), 0..300),
        lengths in lengths(),
    ) {
        let asked = ask(&stream, &lengths);
        prop_assert!(asked.left.len() <= stream.len());
        let _ = answer(&owed, &stream, &lengths);
    }
}
