//! Any bytes, as the hello of a peer: a reason to part, or a hello that comes back as it is sent.
#![no_main]

use ultramarine_net::bounds::WIRE_VERSIONS;
use ultramarine_net::frame::HEADER_BYTES;
use ultramarine_net::hello::Hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((hello, version)) = Hello::parse(bytes, WIRE_VERSIONS) {
        let frame = hello.frame();
        // Fields of a later version are passed over.
        let body = &frame[HEADER_BYTES..];
        assert!(bytes.len() >= body.len());
        assert_eq!(Hello::parse(body, WIRE_VERSIONS), Ok((hello, version)));
    }
});
