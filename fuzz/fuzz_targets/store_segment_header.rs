//! Any bytes, as the header page of a segment: refused, or one that reads the same from its own page.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::segment_header(bytes);
});
