//! Cutting a chunk into frames.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgsteward::protocol::frame::{client_header, server_header};
use pgsteward::protocol::{FrameError, Header};

use super::traffic;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for transaction in traffic::transactions() {
        let (request, reply) = (&transaction.request, &transaction.reply);
        group.bench_function(format!("client, {}", transaction.name), |bencher| {
            bencher.iter(|| cut(black_box(request), client_header));
        });
        group.bench_function(format!("server, {}", transaction.name), |bencher| {
            bencher.iter(|| cut(black_box(reply), server_header));
        });
    }
    let rows = traffic::rows(1000);
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("server, 1000 rows", |bencher| {
        bencher.iter(|| cut(black_box(&rows), server_header));
    });
}

/// Number of frames in `chunk`, which holds whole ones only.
fn cut(mut chunk: &[u8], header: fn(&[u8]) -> Result<Option<Header>, FrameError>) -> usize {
    let mut frames = 0;
    while let Some(front) = header(chunk).unwrap() {
        chunk = &chunk[front.bytes..];
        frames += 1;
    }
    frames
}
