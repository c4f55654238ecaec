//! Any bytes, as a record of the consensus log: an error, or a record that has no other bytes.
#![no_main]

use ultramarine_core::log::LogRecord;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = LogRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
});
