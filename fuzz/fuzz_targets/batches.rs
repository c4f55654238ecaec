//! Any bytes, as a batch of doubtful claims: every path of ours finds what `c-kzg` finds of each claim alone.
#![no_main]

use ultramarine_kzg_pipeline::differential::compare;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    compare(bytes, 6);
});
