//! Any bytes, as the payload of a proposal: an error, or a payload that has no other bytes.
#![no_main]

use ultramarine_engine::payload::Payload;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(payload) = Payload::decode(bytes) {
        assert_eq!(payload.encode(), bytes);
    }
});
