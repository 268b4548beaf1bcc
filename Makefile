# The ways to build and check pgsteward. `make setup` first; nothing else needs the network but cargo.

MODE ?= session
SECONDS ?= 60
ARGS ?=

.PHONY: help setup build release test lint test-versions demo bench regress asyncpg fuzz soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing (Debian packages, npm, PyPI); repeats harmlessly
	@scripts/setup.sh

build: ## the debug build
	cargo build --locked

release: ## the release build
	cargo build --locked --release

test: lint ## format, lints, documentation, all tests
	cargo test --locked

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

test-versions: ## the wire tests against PostgreSQL 15, 17 and 18
	for major in 15 17 18; do \
	  echo "PostgreSQL $$major"; \
	  PGSTEWARD_TEST_PG=$$major cargo test --locked --test wire || exit 1; \
	done

demo: ## see it work (ARGS=--exit: don't stay up)
	cargo run --locked --release -- demo $(ARGS)

bench: release ## compare with PgBouncer and a direct connection (ARGS=--quick); the steps alone: cargo bench
	bench/compare $(ARGS)

regress: release ## PostgreSQL's own regression suite through the proxy (MODE=session|transaction)
	tests/regress/libpq_pipeline.py --mode $(MODE)
	tests/regress/run.py --mode $(MODE) $(ARGS)

asyncpg: release ## asyncpg's own test suite through the proxy
	tests/asyncpg/run.py $(ARGS)

fuzz: ## each fuzz target for SECONDS=60
	for target in $$(cd fuzz && cargo fuzz list); do \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(SECONDS) || exit 1; \
	done

soak: ## clients that come, work, cancel and die at random (SECONDS=600)
	PGSTEWARD_SOAK_SECONDS=$(SECONDS) cargo test --locked --release --test soak -- --nocapture
