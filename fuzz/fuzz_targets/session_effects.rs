//! Any bytes have session effects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteward::analysis::session_effects::session_effects;

fuzz_target!(|text: &[u8]| {
    session_effects(text);
});
