//! This file knows by which names a node answers: it refuses a request that came for somebody else's name.
//!
//! A web page may have its own name point to the reader's machine ("DNS rebinding"). Then the browser takes our answers
//! for the page's own, whatever `http.cors_origins` says. The `Host` header still has the page's name, and no page can
//! change that. See `docs/decisions/0065-names-are-checked-on-loopback.md`.
//!
//! A request that names no host, or several, is refused before (RFC 9112, section 3.2): two readers of it could take it
//! for two requests.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};

use crate::http::error::ApiError;

/// Where Linux says the machine's name.
const MACHINE_NAME: &str = "/proc/sys/kernel/hostname";
/// Characters of a name that a refusal repeats.
const QUOTED_MAX: usize = 80;

/// By which names this node answers.
#[derive(Clone, Debug, Default)]
pub struct HostNames {
    /// In small letters.
    names: Arc<[String]>,
    /// Whether every connection is held to them, or those from this machine alone.
    is_everywhere: bool,
    is_any: bool,
}

impl HostNames {
    /// Those that the configuration names, this machine's, and the node's own.
    pub fn new(listed: &[String], node: &str) -> Self {
        let machine = fs::read_to_string(MACHINE_NAME).unwrap_or_default();
        Self::with_machine(listed, node, machine.trim())
    }

    fn with_machine(listed: &[String], node: &str, machine: &str) -> Self {
        let names = listed.iter().map(String::as_str).chain([node, machine]);
        Self {
            names: names.map(normal).filter(|name| !name.is_empty()).collect(),
            is_everywhere: !listed.is_empty(),
            is_any: listed.iter().any(|name| name == "*"),
        }
    }

    /// Refuses a request that came for another name. `is_local`: its connection ends at a loopback address.
    pub fn check(&self, is_local: bool, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.is_any || !(is_local || self.is_everywhere) {
            return Ok(());
        }
        let in_headers = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
        let mut asked = uri
            .authority()
            .map(|authority| authority.as_str())
            .into_iter()
            .chain(in_headers);
        match asked.find(|authority| !self.is_ours(authority)) {
            None => Ok(()),
            Some(other) => Err(refusal(other)),
        }
    }

    /// Whether `host` or `host:port` is an address or one of our names. Nobody's DNS can redirect an address.
    fn is_ours(&self, authority: &str) -> bool {
        let host = without_port(authority.trim());
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if address.unwrap_or(host).parse::<IpAddr>().is_ok() || host.is_empty() {
            return true;
        }
        let host = normal(host);
        host == "localhost" || host.ends_with(".localhost") || self.names.contains(&host)
    }
}

/// Refuses a request without a `Host` header, with two, or with one that is no host and port. HTTP/1.0 has no such
/// header.
pub fn one_host(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.count()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(ApiError::bad_request(
            "the request has no Host header: HTTP/1.1 asks for one (RFC 9112, section 3.2)",
        )),
        (Some(host), 0) if host.to_str().is_ok_and(is_host) => Ok(()),
        (Some(host), 0) => {
            let host = shown(&String::from_utf8_lossy(host.as_bytes()));
            Err(ApiError::bad_request(format!(
                "the Host header is `{host}`, which is no host, and no host:port"
            )))
        }
        (Some(_), others) => Err(ApiError::bad_request(format!(
            "the request has {} Host headers: send one (RFC 9112, section 3.2)",
            others + 1
        ))),
    }
}

/// Whether it is a host or `host:port`. It is empty if the target has no host.
fn is_host(text: &str) -> bool {
    let host = without_port(text);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.is_empty() || (!host.contains([':', '@', '[', ']']) && host.parse::<Authority>().is_ok()),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// A name as names are compared: without capitals, and without the dot of the DNS's root.
fn normal(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

fn refusal(other: &str) -> ApiError {
    let name = shown(without_port(other));
    ApiError::forbidden(format!(
        "the Host header names `{name}`, which is no name of this node: ask by its IP address, or list the name in \
         http.hosts (\"*\" allows every name)"
    ))
}

/// As much of a name as a refusal repeats.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    fn asks(names: &HostNames, is_local: bool, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).expect("a header"));
        }
        names.check(is_local, &Uri::from_static("/status"), &headers).is_ok()
    }

    #[test]
    fn from_this_machine_a_node_answers_by_address_and_by_its_own_names_alone() {
        let names = HostNames::with_machine(&[], "Node-3", "box.example");
        for host in [
            "127.0.0.1",
            "127.0.0.1:8580",
            "10.1.2.3:1",
            "[::1]",
            "[::1]:8580",
            "localhost",
            "LocalHost.:8580",
            "a.localhost:1",
            "node-3:8580",
            "box.example:8580",
            "",
        ] {
            assert!(asks(&names, true, &[host]), "{host}");
        }
        assert!(asks(&names, true, &[]), "HTTP/1.0 has no such header");
        for host in [
            "evil.example",
            "evil.example:8580",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "box.example.evil",
            "box",
            "[::1].evil.example",
            "localhost:80.evil.example",
            "user@localhost",
        ] {
            assert!(!asks(&names, true, &[host]), "{host}");
            assert!(
                asks(&names, false, &[host]),
                "{host}: whoever comes over the network by a name"
            );
        }
        assert!(!asks(&names, true, &["localhost", "evil.example"]), "each of two");
        let uri = Uri::from_static("http://evil.example/status");
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("localhost"));
        let refused = names
            .check(true, &uri, &headers)
            .expect_err("the URI's name counts too");
        assert_eq!(refused.into_response().status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_list_of_names_holds_for_every_connection_and_a_star_for_all_names() {
        let listed = HostNames::with_machine(&["node.example".to_owned()], "test", "box");
        let any = HostNames::with_machine(&["*".to_owned()], "test", "box");
        for is_local in [true, false] {
            assert!(asks(&listed, is_local, &["node.example:443"]));
            assert!(asks(&listed, is_local, &["192.0.2.1"]));
            assert!(!asks(&listed, is_local, &["evil.example"]));
            assert!(asks(&any, is_local, &["evil.example"]));
        }
        let said = format!("{:?}", refusal("evil.example:80"));
        assert!(said.contains("`evil.example`") && said.contains("http.hosts"), "{said}");
    }
}
