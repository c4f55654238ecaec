//! Any bytes, as the text of a peer's close frame: no lapse, or one that reads the same from the text that we write of
//! it.
#![no_main]

use ultramarine_net::lapse::Lapse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(lapse) = Lapse::parse(bytes) {
        assert_eq!(Lapse::parse(lapse.text().as_bytes()), Some(lapse));
    }
});
