//! Any bytes from either side, in any pieces: headers are cut, the relay deals with them, nothing is read
//! that is not there.
#![no_main]

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pgsteward::client_state::{Budget, ClientState};
use pgsteward::config::{AfterUnknown, Limits, PoolMode, Prepared, SessionPolicy};
use pgsteward::pool::{Exchange, Statements};
use pgsteward::protocol::frame::{HEADER_BYTES, client_header, login_header, server_header};
use pgsteward::strategy::relay::{Splice, Stop, from_client, from_server, server_lost};

const POLICY: SessionPolicy =
    SessionPolicy { after_unknown: AfterUnknown::Reset, keep_sequences: false };

/// The relay leaves less than this of a server's chunk to come again.
const SERVER_HELD_MAX: usize = 300 * 1024;

// One byte says the mode, then each piece is a byte for its side and length, and so many bytes.
fuzz_target!(|bytes: &[u8]| {
    for cut in [client_header(bytes), login_header(bytes), server_header(bytes)] {
        if let Ok(Some(header)) = cut {
            assert!(header.bytes >= HEADER_BYTES);
        }
    }
    let Some((mode, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut peers = Peers::new(*mode);
    while let Some((piece, after)) = rest.split_first() {
        let length = usize::from(piece >> 1).min(after.len());
        let (chunk, after) = after.split_at(length);
        rest = after;
        let goes_on =
            if piece & 1 == 0 { peers.client_says(chunk) } else { peers.server_says(chunk) };
        if !goes_on {
            break;
        }
    }
    if let Some(exchange) = &peers.exchange {
        server_lost(&mut peers.state, exchange, "the end");
    }
});

/// A client and, once it needs one, its server connection.
struct Peers {
    state: ClientState,
    exchange: Option<Exchange>,
    statements: Statements,
    inbox: Vec<u8>,
    held: Vec<u8>,
}

impl Peers {
    fn new(mode: u8) -> Self {
        let mode = match mode % 3 {
            0 => PoolMode::Transaction,
            1 => PoolMode::Session,
            _ => PoolMode::Statement,
        };
        let state = ClientState::new(mode, POLICY, Rc::default());
        Self {
            state,
            exchange: None,
            statements: statements(),
            inbox: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Whether the client goes on.
    fn client_says(&mut self, chunk: &[u8]) -> bool {
        self.inbox.extend_from_slice(chunk);
        loop {
            let mut splice = Splice::new(&self.inbox);
            let mut answers = Vec::new();
            let taken = from_client(
                &mut self.state,
                self.exchange.as_mut(),
                &limits(),
                &self.statements,
                &self.inbox,
                &mut splice,
                &mut answers,
            );
            assert!(taken.bytes <= self.inbox.len());
            self.inbox.drain(..taken.bytes);
            match taken.stop {
                Stop::More | Stop::Full => return true,
                Stop::NeedServer => assert!(self.exchange.replace(Exchange::default()).is_none()),
                Stop::Terminate | Stop::Violation(_) => return false,
            }
        }
    }

    /// Whether the server goes on. The connection is given back where the session would do it.
    fn server_says(&mut self, chunk: &[u8]) -> bool {
        let Some(exchange) = &mut self.exchange else {
            return true;
        };
        self.held.extend_from_slice(chunk);
        let mut splice = Splice::new(&self.held);
        let Ok(taken) = from_server(&mut self.state, exchange, &self.held, &mut splice) else {
            return false;
        };
        assert!(taken <= self.held.len());
        assert!(splice.bytes().len() <= taken);
        self.held.drain(..taken);
        assert!(self.held.len() < SERVER_HELD_MAX);
        exchange.ready = None;
        let is_clean = exchange.is_clean() && self.held.is_empty();
        if is_clean && !self.state.keeps_server() && !self.state.is_mid_frame() {
            self.exchange = None;
        }
        true
    }
}

fn statements() -> Statements {
    let bounds = Prepared {
        client_statements: 4,
        server_statements: NonZeroUsize::MIN,
        memory: 64 * 1024,
        unnamed: true,
    };
    let budget = Budget::new(bounds.memory);
    Statements::new(bounds, Arc::default(), budget)
}

fn limits() -> Limits {
    Limits {
        clients: 1,
        login_timeout: std::time::Duration::ZERO,
        statement_bytes: 64,
        pipeline_depth: 16,
        idle_transaction: None,
        startup_variants: 1,
    }
}
