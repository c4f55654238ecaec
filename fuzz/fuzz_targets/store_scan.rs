//! Any bytes, as a head, a position and a segment file: a scan from there ends, and finds records in order.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::segment_scan(bytes);
});
