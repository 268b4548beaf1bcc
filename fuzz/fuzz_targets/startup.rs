//! Any bytes are the front of a startup packet, decode, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteward::protocol::startup::{PACKET_MAX, Startup, decode, packet_length};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(length)) = packet_length(bytes) {
        assert!((8..=PACKET_MAX).contains(&length));
        if let Some(packet) = bytes.get(..length) {
            check(packet);
        }
    }
    check(bytes);
});

/// What is decoded was all in the packet.
fn check(packet: &[u8]) {
    match decode(packet) {
        Ok(Startup::Session(request)) => {
            assert!(!request.user.is_empty() && !request.database.is_empty());
            let settings = request.settings.iter().map(|(name, value)| name.len() + value.len());
            assert!(settings.sum::<usize>() < packet.len());
            let _ = request.is_replication();
        }
        Ok(Startup::Cancel { key, .. }) => assert!((1..=256).contains(&key.len())),
        Ok(Startup::SslRequest | Startup::GssEncRequest) => assert_eq!(packet.len(), 8),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
