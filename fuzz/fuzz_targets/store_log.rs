//! Any bytes, as a log file: another's, damaged, or records that read the same from a log that is written of them.
#![no_main]

use ultramarine_store::laws;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laws::log_file(bytes);
});
