//! Any bytes, as a request for parts or for a height: refused, or a request whose one encoding they are.
#![no_main]

use ultramarine_net::frame::HEADER_BYTES;
use ultramarine_net::message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = message::read_parts_request(bytes) {
        assert_eq!(&message::parts_request_frame(&request)[HEADER_BYTES..], bytes);
    }
    if let Ok(request) = message::read_value_request(bytes) {
        assert_eq!(&message::value_request_frame(&request)[HEADER_BYTES..], bytes);
    }
});
