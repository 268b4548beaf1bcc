#!/usr/bin/env bash
# pgbench with eight clients that prepare their statements. Figures of speed are left out.
set -u
cd "$(mktemp -d)" || exit 1
trap 'rm -rf "$PWD"' EXIT
exec 2>&1
number=0
step() { number=$((number + 1)); echo "[$number] $*"; }
# A thread for each client: pgbench prepares with a call that blocks, with a transaction open in another client of
# its thread.
bench() { pgbench -n --random-seed=4711 -c 8 -j 8 "$@" | grep -E '^(transaction type|query mode|number of transactions)'; }

pgbench -i -q >init.log 2>&1 || cat init.log
for mode in prepared extended; do
  step "select-only, $mode"
  bench -M $mode -S -t 300
  step "tpcb-like, $mode"
  bench -M $mode -t 50
done
psql -XAt -c "select count(*) from pgbench_history" -c "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
