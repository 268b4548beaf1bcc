//! The scan of a statement for session state.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgsteward::analysis::session_effects::{Effects, footprint};

use super::traffic;

/// As an object mapper writes it.
const JOIN: &str = r#"SELECT "a"."aid" AS "t0_c0", "a"."abalance" AS "t0_c1", "b"."bid" AS "t1_c0",
    "b"."bbalance" AS "t1_c1", "t"."tid" AS "t2_c0", "t"."tbalance" AS "t2_c1"
    FROM "public"."pgbench_accounts" AS "a"
    INNER JOIN "public"."pgbench_branches" AS "b" ON "b"."bid" = "a"."bid"
    LEFT OUTER JOIN "public"."pgbench_tellers" AS "t" ON "t"."bid" = "b"."bid"
    WHERE "a"."aid" = $1 AND "a"."abalance" IS NOT NULL ORDER BY "t"."tid" ASC LIMIT $2 OFFSET $3"#;

pub(crate) fn bench(criterion: &mut Criterion) {
    let values = vec!["(1, 'a value of some length', NULL, 2.5)"; 400].join(", ");
    let insert = format!("INSERT INTO things (id, name, note, weight) VALUES {values}");
    let mut group = criterion.benchmark_group("session_effects");
    for (name, text) in [("select", traffic::SELECT), ("join", JOIN), ("insert", &insert)] {
        assert_eq!(footprint(text.as_bytes()).effects, Effects::NONE, "{name} leaves nothing");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| footprint(black_box(text.as_bytes())));
        });
    }
}
