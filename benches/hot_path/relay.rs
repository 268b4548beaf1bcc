//! The whole relay step: a client's chunk and the server's answer, from bytes to bytes.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pgsteward::client_state::ClientState;
use pgsteward::config::{AfterUnknown, Limits, LostListener, PoolMode, SessionPolicy};
use pgsteward::pool::{Deed, Exchange, Owed, Statements};
use pgsteward::strategy::relay::{Splice, from_client, from_server};

use super::statements;
use super::traffic::{self, Transaction};

const POLICY: SessionPolicy = SessionPolicy {
    after_unknown: AfterUnknown::Reset,
    keep_sequences: false,
    shares_listener: true,
    lost_listener: LostListener::Relisten,
    announces_pins: false,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    let [simple, extended, prepared] = traffic::transactions();
    for transaction in [simple, extended] {
        let mut relay = Relay::new();
        relay.statements.bounds.unnamed = false;
        group.bench_function(transaction.name, |bencher| {
            bencher.iter(|| relay.transaction(black_box(&transaction)));
        });
    }
    let mut relay = Relay::new();
    relay.transaction(&traffic::named("P0_1"));
    group.bench_function(prepared.name, |bencher| {
        bencher.iter(|| relay.transaction(black_box(&prepared)));
    });
    // From its second coming on an unnamed statement is a named one: it is not parsed any more.
    let [_, mut extended, _] = traffic::transactions();
    extended.reply = traffic::executed("").reply;
    let mut relay = Relay::new();
    relay.transaction(&traffic::named("P0_1"));
    group.bench_function("extended, shared", |bencher| {
        bencher.iter(|| relay.transaction(black_box(&extended)));
    });
    let rows = traffic::rows(1000);
    let mut relay = Relay::new();
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("server, 1000 rows", |bencher| {
        bencher.iter(|| {
            relay.exchange.ledger.sent(Owed::Query, Deed::None);
            relay.answer(black_box(&rows));
        });
    });
}

/// One client with a server connection.
struct Relay {
    client: ClientState,
    exchange: Exchange,
    limits: Limits,
    statements: Statements,
}

impl Relay {
    fn new() -> Self {
        Self {
            client: ClientState::new(PoolMode::Transaction, POLICY, Rc::default()),
            exchange: Exchange::default(),
            limits: limits(),
            statements: statements::table(),
        }
    }

    /// As on a server connection that was just lent.
    fn transaction(&mut self, transaction: &Transaction) {
        self.exchange.unnamed_ready = false;
        self.ask(&transaction.request);
        self.answer(&transaction.reply);
    }

    fn ask(&mut self, chunk: &[u8]) {
        let mut to_server = Splice::new(chunk);
        let mut to_client = Vec::new();
        let exchange = Some(&mut self.exchange);
        let taken = from_client(
            &mut self.client,
            exchange,
            &self.limits,
            &self.statements,
            chunk,
            &mut to_server,
            &mut to_client,
        );
        assert_eq!(taken.bytes, chunk.len());
        black_box(to_server.bytes());
    }

    fn answer(&mut self, chunk: &[u8]) {
        let mut to_client = Splice::new(chunk);
        from_server(&mut self.client, &mut self.exchange, chunk, &mut to_client).unwrap();
        black_box(to_client.bytes());
        assert!(self.exchange.ready.take().is_some() && self.exchange.is_clean());
    }
}

fn limits() -> Limits {
    Limits {
        clients: 1,
        login_timeout: Duration::ZERO,
        statement_bytes: 1024 * 1024,
        pipeline_depth: 1024,
        notification_bytes: 0,
        idle_transaction: None,
        startup_variants: 1,
    }
}
