//! Waiting for a condition: the only place where tests sleep.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// Polls `condition` until it holds; panics with `what` after `timeout`.
#[track_caller]
pub fn eventually(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    assert!(holds_within(timeout, &mut condition), "not within {timeout:?}: {what}");
}

/// Polls `condition` until it holds (true) or `timeout` has passed (false).
pub fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
