//! Any bytes, as the name of a file in the folder of segments: a stranger's, or the one name of its kind and number.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::file_name(bytes);
});
