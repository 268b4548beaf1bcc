//! Any bytes have session effects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteward::analysis::session_effects::footprint;

fuzz_target!(|text: &[u8]| {
    footprint(text);
});
