#!/usr/bin/env bash
# pgbench: -i in each way, then its own and custom scripts by simple, extended and prepared protocol, and pipelines.
# Seeds are fixed, so the sums in the tables must be the same; figures of speed are left out.
set -u
cd "$(mktemp -d)" || exit 1
trap 'rm -rf "$PWD"' EXIT
exec 2>&1
psql -XqAtc "select" || exit 1
number=0
step() { number=$((number + 1)); echo "[$number] $*"; }
# Counts are results; times, rates and the version are not.
bench() { pgbench -n --random-seed=4711 "$@" | grep -vE '^(latency|initial|tps|pgbench \(|scaling|done in|maximum number)|[0-9.]+ s \(|ms$|^ +[0-9.]+ +[0-9]+ '; }
init() { pgbench -i -q "$@" 2>&1 | sed -E 's/ in [0-9.]+ s.*//; s/\(elapsed.*//; /tuples/d'; }
sums() {
  psql -XAt -c "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), (select sum(tbalance) from pgbench_tellers), (select count(*) from pgbench_history), (select sum(delta) from pgbench_history)"
}

step "init, data from the client"
init
sums
step "init, data from the server, foreign keys"
init -I dtGvpf --foreign-keys
psql -XAtc "select count(*), sum(aid) from pgbench_accounts"
step "init, partitions, unlogged"
init --partitions=4 --unlogged-tables
psql -XAtc "select tableoid::regclass, count(*) from pgbench_accounts group by 1 order by 1"
step "init, plain again"
init
for mode in simple extended prepared; do
  step "tpcb-like, $mode, one client"
  bench -M $mode -c 1 -t 50
  sums
  step "tpcb-like, $mode, three clients"
  bench -M $mode -c 3 -j 2 -t 30
  sums
  step "select-only, $mode, a connection per transaction"
  bench -M $mode -S -C -c 2 -t 20
done
step "simple and extended, eight clients"
bench -M simple -b simple-update -c 8 -j 2 -t 20
bench -M extended -b select-only -c 8 -j 2 -t 40
sums
cat >pipeline.sql <<'SQL'
\set aid random(1, 100000)
\startpipeline
begin;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_accounts set abalance = abalance + 1 where aid = :aid;
select 1;
end;
\endpipeline
SQL
for mode in extended prepared; do
  step "pipelines, $mode"
  bench -M $mode -f pipeline.sql -c 3 -t 30
  sums
done
cat >variables.sql <<'SQL'
select 40 + 2 as answer, 'x' as letter \gset
\set twice :answer * 2
select :twice as got \gset
\if :got = 84
select 'as it should be';
\else
select 1/0;
\endif
SQL
for mode in simple extended prepared; do
  step "\\gset, $mode"
  bench -M $mode -f variables.sql -c 2 -t 10
done
cat >retry.sql <<'SQL'
\set n random(1, 3)
begin isolation level serializable;
update pgbench_branches set bbalance = bbalance + 1 where bid = 1;
end;
SQL
echo 'select 1 as one \; select 2 as two \gset' >two.sql
step "two statements in one query"
bench -f two.sql -c 1 -t 2
step "serialisation failures are retried"
bench -f retry.sql -c 3 -t 20 --max-tries=1000 | grep -E 'processed|failed'
psql -XAtc "select bbalance - (select sum(delta) from pgbench_history) from pgbench_branches where bid = 1"
echo 'select 1/0;' >wrong.sql
step "an error ends it"
bench -f wrong.sql -c 1 -t 1
