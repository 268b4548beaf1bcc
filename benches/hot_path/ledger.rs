//! The ledger over one transaction: every message noted, every reply held against it.

use std::hint::black_box;

use criterion::Criterion;
use pgsteward::pool::{Deed, Ledger, Owed};
use pgsteward::protocol::frame::server_header;

use super::traffic;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    for transaction in traffic::transactions() {
        let tags = tags(&transaction.reply);
        // Kept from one transaction to the next, as on a server connection.
        let mut ledger = Ledger::default();
        group.bench_function(transaction.name, |bencher| {
            bencher.iter(|| settle(&mut ledger, black_box(transaction.owed), black_box(&tags)));
        });
        assert!(ledger.is_clean());
    }
}

fn settle(ledger: &mut Ledger, owed: &[Owed], tags: &[u8]) {
    for owed in owed {
        ledger.sent(*owed, Deed::None);
    }
    for tag in tags {
        black_box(ledger.received(*tag, b'I').unwrap());
    }
}

fn tags(mut reply: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    while let Some(header) = server_header(reply).unwrap() {
        tags.push(header.tag);
        reply = &reply[header.bytes..];
    }
    tags
}
