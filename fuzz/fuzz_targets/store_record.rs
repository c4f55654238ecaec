//! Any bytes, as a record of a segment: refused, or a value of which the same record is written.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::record(bytes);
});
