//! This file knows the URLs we speak: `http://host`, with a port and a path if need be, and nothing else.

use std::str::FromStr;

use crate::host::{Host, HostPort, split};

/// Port of a URL that names none.
const PORT: u16 = 80;

/// Where an HTTP server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpUrl {
    pub host: Host,
    /// Its port, if the URL names one.
    pub port: Option<u16>,
    /// Where what it serves begins: a slash, and no other at the end.
    pub path: String,
}

/// A URL we do not speak.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` {why}; expected a URL such as http://127.0.0.1:8545")]
pub struct UrlError {
    pub text: String,
    /// What is wrong with it, as the end of a sentence that begins with the text.
    pub why: &'static str,
}

impl HttpUrl {
    /// Reads a URL; the error ends a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty");
        }
        let (scheme, rest) = text.split_once("://").ok_or("does not begin with http://")?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err("asks for TLS, which is not spoken here; use http:// over loopback or a private network");
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("has a scheme other than http");
        }
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment; leave it out");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("has a user name before an @; leave it out");
        }
        if !path.bytes().all(|letter| letter.is_ascii_graphic()) {
            return Err("has a character in its path that no URL has");
        }
        let (host, port) = split(authority)?;
        Ok(Self {
            host,
            port,
            path: format!("/{}", path.trim_end_matches('/')),
        })
    }

    /// Host and port, with HTTP's own if none is named.
    pub fn authority(&self) -> HostPort {
        HostPort {
            host: self.host.clone(),
            port: self.port.unwrap_or(PORT),
        }
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Self::read(text).map_err(|why| UrlError {
            text: text.to_owned(),
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_plain_http_to_a_host() {
        for (text, authority, path) in [
            ("http://h", "h:80", "/"),
            (" http://h:1/ ", "h:1", "/"),
            ("HTTP://H.example:1", "h.example:1", "/"),
            ("http://[::1]:7/x/", "[::1]:7", "/x"),
            ("http://[::1]", "[::1]:80", "/"),
            ("http://10.0.0.1:8551/a/b", "10.0.0.1:8551", "/a/b"),
        ] {
            let url: HttpUrl = text.parse().expect(text);
            assert_eq!(
                (url.authority().to_string().as_str(), url.path.as_str()),
                (authority, path)
            );
        }
        for (text, why) in [
            ("", "empty"),
            ("h:1", "http://"),
            ("127.0.0.1:8545", "http://"),
            ("https://h:1", "TLS"),
            ("ws://h:1", "scheme"),
            ("http:/h:1", "http://"),
            ("http://", "no host"),
            ("http://:1", "no host"),
            ("http:///x", "no host"),
            ("http://h:port", "port"),
            ("http://h:0", "port"),
            ("http://h:", "port"),
            ("http://a@h:1", "user name"),
            ("http://a:b@h:1", "user name"),
            ("http://::1:8545", "brackets"),
            ("http://[fe80::1%eth0]:1", "interface"),
            ("http://0.0.0.0:1", "no address to dial"),
            ("http://h:1/?x=1", "query"),
            ("http://h:1#x", "query"),
            ("http://h h:1", "white space"),
            ("http://h:1/a b", "path"),
            ("http://http://h:1", "port"),
        ] {
            let error = text.parse::<HttpUrl>().expect_err(text).why;
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
