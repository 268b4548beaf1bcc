//! Time of each step that a transaction takes through the proxy, without sockets.
//!
//! `cargo bench` runs all of them, `cargo bench -- ledger` one group.
#![expect(clippy::unwrap_used, reason = "a bench that can't be set up has nothing to say")]

mod checkout;
mod frames;
mod ledger;
mod relay;
mod session_effects;
mod statements;
mod traffic;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    frames::bench(&mut criterion);
    session_effects::bench(&mut criterion);
    ledger::bench(&mut criterion);
    relay::bench(&mut criterion);
    statements::bench(&mut criterion);
    checkout::bench(&mut criterion);
    criterion.final_summary();
}
