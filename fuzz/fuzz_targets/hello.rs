//! Any bytes, as the hello of a peer: a reason to part, or a hello that comes back as it is sent.
#![no_main]

use ultramarine_net::hello::Hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(hello) = Hello::parse(bytes) {
        let frame = hello.frame();
        let body = &frame[frame.len() - bytes.len()..];
        assert_eq!(Hello::parse(body), Ok(hello));
    }
});
