//! The whole relay step: a client's chunk and the server's answer, from bytes to bytes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pgsteward::client_state::ClientState;
use pgsteward::config::{Limits, PoolMode};
use pgsteward::pool::{Exchange, Owed};
use pgsteward::strategy::relay::{Splice, from_client, from_server};

use super::traffic::{self, Transaction};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    for transaction in traffic::transactions() {
        // A client that names a statement keeps its server connection: there is nothing to make its own.
        let is_lent_anew = transaction.name != "prepared";
        let mut relay = Relay::new();
        group.bench_function(transaction.name, |bencher| {
            bencher.iter(|| relay.transaction(black_box(&transaction), is_lent_anew));
        });
    }
    let rows = traffic::rows(1000);
    let mut relay = Relay::new();
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("server, 1000 rows", |bencher| {
        bencher.iter(|| {
            relay.exchange.ledger.sent(Owed::Query);
            relay.answer(black_box(&rows));
        });
    });
}

/// One client with a server connection.
struct Relay {
    client: ClientState,
    exchange: Exchange,
    limits: Limits,
}

impl Relay {
    fn new() -> Self {
        let exchange = Exchange { unnamed_ready: true, ..Exchange::default() };
        Self { client: ClientState::new(PoolMode::Transaction), exchange, limits: limits() }
    }

    fn transaction(&mut self, transaction: &Transaction, is_lent_anew: bool) {
        if is_lent_anew {
            self.exchange.unnamed_ready = false;
        }
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
            chunk,
            &mut to_server,
            &mut to_client,
        );
        assert_eq!((taken.bytes, black_box(to_server.bytes()).len()), (chunk.len(), chunk.len()));
    }

    fn answer(&mut self, chunk: &[u8]) {
        let mut to_client = Splice::new(chunk);
        from_server(&mut self.client, &mut self.exchange, chunk, &mut to_client).unwrap();
        assert_eq!(black_box(to_client.bytes()).len(), chunk.len());
        assert!(self.exchange.ready.take().is_some() && self.exchange.is_clean());
    }
}

fn limits() -> Limits {
    Limits {
        clients: 1,
        login_timeout: Duration::ZERO,
        statement_bytes: 1024 * 1024,
        pipeline_depth: 1024,
        idle_transaction: None,
        startup_variants: 1,
    }
}
