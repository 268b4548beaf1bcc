//! Looking statements up: by what a Parse says, by what a server connection has.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;

use criterion::Criterion;
use pgsteward::analysis::session_effects::footprint;
use pgsteward::client_state::Budget;
use pgsteward::config;
use pgsteward::pool::{Prepared, Statements};

use super::traffic;

/// As many as a busy application has.
const STATEMENTS: usize = 1000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("statements");
    let statements = table();
    let definitions: Vec<_> = (0..STATEMENTS).map(definition).collect();
    let mut prepared = Prepared::default();
    for definition in &definitions {
        let footprint = footprint(traffic::SELECT.as_bytes());
        prepared.insert(statements.add(definition, footprint).unwrap().id);
    }
    let mut next = (0..STATEMENTS).cycle();
    group.bench_function("find", |bencher| {
        bencher.iter(|| statements.find(black_box(&definitions[next.next().unwrap()])).unwrap());
    });
    let ids: Vec<_> = definitions.iter().map(|each| statements.find(each).unwrap().id).collect();
    group.bench_function("on a server connection", |bencher| {
        bencher.iter(|| assert!(prepared.touch(black_box(ids[next.next().unwrap()]))));
    });
    group.bench_function("seen again", |bencher| {
        bencher.iter(|| statements.is_seen_again(black_box(&definitions[next.next().unwrap()])));
    });
}

pub(crate) fn table() -> Statements {
    let bounds = config::Prepared {
        client_statements: STATEMENTS,
        server_statements: NonZeroUsize::new(STATEMENTS).unwrap(),
        memory: 64 * 1024 * 1024,
        unnamed: true,
    };
    let budget = Budget::new(bounds.memory);
    Statements::new(bounds, Arc::default(), budget)
}

/// What follows the name in a Parse.
fn definition(number: usize) -> Vec<u8> {
    format!("{} -- {number}\0\0\0", traffic::SELECT).into_bytes()
}
