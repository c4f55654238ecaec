//! Any bytes, as a kind and a row of the index: refused, or a row that reads the same from its own bytes.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::index_row(bytes);
});
