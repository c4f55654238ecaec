//! Any bytes, as an execution client's answer with a block that it built: an error, or a payload that has canonical
//! bytes.
#![no_main]

use ultramarine_engine::client::read_built;
use ultramarine_engine::payload::Payload;

/// Blobs that the answer may carry.
const BLOBS_MAX: usize = 6;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for prague in [false, true] {
        if let Ok(built) = read_built(bytes, prague, BLOBS_MAX)
            && built.payload.check_requests().is_ok()
        {
            // The client's own payload may be too large for us, but nothing else is wrong with what we write of it.
            let _ = Payload::decode(&built.payload.encode());
        }
    }
});
