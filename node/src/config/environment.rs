//! This file knows which variables of the environment are meant for us.
//!
//! Kubernetes and Docker name variables after services, so one called `ultramarine-node` makes some that look like
//! settings:
//!
//! ```text
//!   ULTRAMARINE_NODE_SERVICE_HOST=10.0.0.1     ULTRAMARINE_NODE_PORT=tcp://10.0.0.1:8580
//!   ULTRAMARINE_NODE_SERVICE_PORT=8580         ULTRAMARINE_NODE_PORT_8580_TCP_ADDR=10.0.0.1
//! ```

use std::ffi::OsString;

/// How the names of our environment variables begin.
pub const PREFIX: &str = "ULTRAMARINE_";

/// Stands for bytes that are not UTF-8.
const NO_TEXT: char = char::REPLACEMENT_CHARACTER;

/// Names and values in the environment of this process. Bytes that are no text get a mark, which [`is_text`] finds.
pub fn of_this_process() -> Vec<(String, String)> {
    let text = |it: OsString| it.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Whether a name or value was UTF-8.
pub fn is_text(text: &str) -> bool {
    !text.contains(NO_TEXT)
}

/// Whether an orchestrator made this variable for a service; `rest` is its name in lower case after [`PREFIX`].
pub fn is_of_service(rest: &str, value: &str) -> bool {
    let is_url = || {
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
    };
    rest.ends_with("_service_host")
        || rest.ends_with("_service_port")
        // Named ports, and the environment of a linked container.
        || rest.contains("_service_port_")
        || rest.contains("_env_")
        || (rest.ends_with("_port") && is_url())
        || rest.match_indices("_port_").any(|(at, link)| is_port(&rest[at + link.len()..]))
}

/// What follows `_port_`: a number, a protocol, and perhaps a part of the address.
fn is_port(text: &str) -> bool {
    let mut words = text.split('_');
    let is_number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let is_protocol = words.next().is_some_and(|word| matches!(word, "tcp" | "udp" | "sctp"));
    let is_part = words
        .next()
        .is_none_or(|word| matches!(word, "proto" | "port" | "addr" | "start" | "end"));
    is_number && is_protocol && is_part
}
