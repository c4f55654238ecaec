//! This file knows what a host may be called: a name or an IP address, alone or with a port behind it.
//!
//! Hosts of `testnet`, peers, and URLs are all read here, so that what one command writes another one reads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Longest name of the DNS, without the dot of its root.
const NAME_BYTES_MAX: usize = 253;
/// Longest part of a name between two dots.
const LABEL_BYTES_MAX: usize = 63;

const HAS_SCHEME: &str = "has a scheme; leave it out";
const HAS_PORT: &str = "has a port, and none belongs here; leave it out";

/// A machine, as others name it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// An address to dial. An IPv4 address inside IPv6 is kept as itself.
    Address(IpAddr),
    /// A name in lower case, looked up when it is dialled.
    Name(String),
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPort {
    pub host: Host,
    /// The port, never zero.
    pub port: u16,
}

/// A text that names no host. The text says what is wrong with it, as the end of a sentence that begins with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` {why}")]
pub struct HostError {
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Host {
    /// Reads a host that nothing stands behind; the error ends a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err("has white space inside");
        }
        if text.contains("://") {
            return Err(HAS_SCHEME);
        }
        if text.contains('@') {
            return Err("has something before an @; leave it out");
        }
        if text.contains('/') {
            return Err("has a path; leave it out");
        }
        if let Some(inside) = text.strip_prefix('[') {
            return match inside.split_once(']') {
                Some((address, "")) => Self::of_version_6(address),
                Some((_, behind)) if behind.starts_with(':') => Err(HAS_PORT),
                _ => Err("has a bracket without its other one"),
            };
        }
        if text.contains('%') {
            return Self::of_version_6(text);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::of(address);
        }
        match text.matches(':').count() {
            0 => name(text).map(Self::Name),
            1 => Err(HAS_PORT),
            _ => Err("is no IPv6 address"),
        }
    }

    fn of_version_6(text: &str) -> Result<Self, &'static str> {
        if text.contains('%') {
            return Err("names an interface of one machine after the %; give an address that every node can dial");
        }
        match text.parse::<IpAddr>() {
            Ok(address @ IpAddr::V6(_)) => Self::of(address),
            _ => Err("is no IPv6 address"),
        }
    }

    /// The machine with an address that can be dialled.
    pub fn of(address: IpAddr) -> Result<Self, &'static str> {
        let address = address.to_canonical();
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        if address.is_unspecified() {
            return Err("is no address to dial; give one under which the machine is reached");
        }
        if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err("is not the address of one machine");
        }
        if is_link_local {
            return Err("is good on one network interface only; give an address that every node can dial");
        }
        Ok(Self::Address(address))
    }

    /// Its loopback address, if only its own machine reaches it.
    pub fn loopback(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address).filter(IpAddr::is_loopback),
            Self::Name(_) => {
                let name = self.machine();
                let is_local = name == "localhost" || name.ends_with(".localhost");
                is_local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
        }
    }

    /// Whether both are on one machine, as far as their names tell.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.machine() == other.machine() || (self.loopback().is_some() && other.loopback().is_some())
    }

    /// Whether it is an address of IPv6.
    pub fn is_version_6(&self) -> bool {
        matches!(self, Self::Address(IpAddr::V6(_)))
    }

    /// The same text for the same machine: the dot of the root is only a way to write a name.
    fn machine(&self) -> String {
        let text = self.to_string();
        text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_trimmed(text, Self::read)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl HostPort {
    /// Reads a host with a port; the error ends a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let (host, port) = split(text)?;
        Ok(Self {
            host,
            port: port.ok_or("has no port; write it behind a colon")?,
        })
    }
}

impl FromStr for HostPort {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_trimmed(text, Self::read)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_version_6() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A host and the port behind it, if there is one.
pub fn split(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    let (host, port) = match text.split_once(']') {
        Some((_, "")) => (text, None),
        Some((address, behind)) if text.starts_with('[') && behind.starts_with(':') => {
            (&text[..=address.len()], Some(&behind[1..]))
        }
        _ if text.contains("://") => return Err(HAS_SCHEME),
        _ => match text.rsplit_once(':') {
            Some((before, _)) if before.contains(':') => {
                return Err("looks like an IPv6 address; write it in brackets, such as [::1]:26650");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("has no host before the port");
    }
    let host = Host::read(host)?;
    Ok((host, port.map(read_port).transpose()?))
}

/// White space around a text is no fault of it.
fn read_trimmed<T>(text: &str, read: fn(&str) -> Result<T, &'static str>) -> Result<T, HostError> {
    let text = text.trim();
    read(text).map_err(|why| HostError {
        text: text.to_owned(),
        why,
    })
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port > 0)
        .ok_or("has a port that is not a number from 1 to 65535")
}

/// Underscores are no part of the DNS's host names, but containers and services have them, and resolvers take them.
fn name(text: &str) -> Result<String, &'static str> {
    if !text.is_ascii() {
        return Err("has letters that are not ASCII; give the name as the DNS has it (xn--…)");
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.len() > NAME_BYTES_MAX {
        return Err("is longer than the 253 letters of a name");
    }
    for label in labels.split('.') {
        if label.is_empty() {
            return Err("has nothing between two dots");
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err("has more than 63 letters between two dots");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("has a hyphen at an end of one of its parts");
        }
        if !label
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
        {
            return Err("has a character that no name has");
        }
    }
    // Resolvers read "1.2.3", "017.0.0.1" and "0x7f000001" as addresses, each in its own way.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|digit| digit.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if is_number {
        return Err("is neither a name nor an IPv4 address of four numbers from 0 to 255");
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_that_can_be_dialled() {
        // Three labels of 63, one of 61, and three dots.
        let longest_name = [63, 63, 63, 61].map(|bytes| "a".repeat(bytes)).join(".");
        let dotted = format!("{longest_name}.");
        for (text, expected) in [
            ("a", "a"),
            (" b ", "b"),
            ("\tnode-1.Example.COM\n", "node-1.example.com"),
            ("a.example.", "a.example."),
            ("node_0", "node_0"),
            ("0a", "0a"),
            ("1.example", "1.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("2001:DB8::A", "2001:db8::a"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            (longest_name.as_str(), longest_name.as_str()),
            (dotted.as_str(), dotted.as_str()),
        ] {
            assert_eq!(text.parse::<Host>().expect(text).to_string(), expected, "{text:?}");
        }
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{longest_name}a");
        assert_eq!((longest_name.len(), long_name.len()), (253, 254));
        for (text, why) in [
            ("", "empty"),
            ("  ", "empty"),
            ("a:26650", "port"),
            ("10.0.0.1:26650", "port"),
            ("[::1]:26650", "port"),
            ("http://a", "scheme"),
            ("quic://[::1]", "scheme"),
            ("a/b", "path"),
            ("12@a", "before an @"),
            ("a b", "white space"),
            ("a\u{a0}b", "white space"),
            ("a\0", "white space"),
            ("fe80::1%eth0", "interface"),
            ("[fe80::1%1]", "interface"),
            ("fe80::1", "interface"),
            ("0.0.0.0", "no address to dial"),
            ("::", "no address to dial"),
            ("[::]", "no address to dial"),
            ("::ffff:0.0.0.0", "no address to dial"),
            ("224.0.0.1", "one machine"),
            ("255.255.255.255", "one machine"),
            ("ff02::1", "one machine"),
            ("[::1", "bracket"),
            ("[10.0.0.1]", "no IPv6 address"),
            ("1:2:3", "no IPv6 address"),
            ("::12345", "no IPv6 address"),
            ("300.0.0.1", "IPv4 address"),
            ("127.1", "IPv4 address"),
            ("a.1", "IPv4 address"),
            ("010.0.0.1", "IPv4 address"),
            ("0x7f000001", "IPv4 address"),
            ("1", "IPv4 address"),
            ("bücher.example", "ASCII"),
            ("a..b", "dots"),
            (".a", "dots"),
            (".", "dots"),
            ("-a", "hyphen"),
            ("a-.b", "hyphen"),
            ("a!b", "character"),
            ("a,b", "character"),
            (long_label.as_str(), "63"),
            (long_name.as_str(), "253"),
        ] {
            let error = text.parse::<Host>().expect_err(text).why;
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_port_stands_behind_its_host_and_version_6_in_brackets() {
        for (text, expected) in [
            ("a:1", "a:1"),
            (" a:26650 ", "a:26650"),
            ("[::1]:5", "[::1]:5"),
            ("[::ffff:10.0.0.1]:5", "10.0.0.1:5"),
            ("10.0.0.1:026650", "10.0.0.1:26650"),
        ] {
            assert_eq!(text.parse::<HostPort>().expect(text).to_string(), expected, "{text:?}");
        }
        for (text, why) in [
            ("a", "no port"),
            ("[::1]", "no port"),
            ("::1:5", "brackets"),
            (":5", "no host"),
            ("[]:5", "IPv6"),
            ("a:", "port"),
            ("a:0", "port"),
            ("a:70000", "port"),
            ("a:+5", "port"),
            ("a:5 6", "port"),
            ("http://a:5", "scheme"),
            ("[::1]5", "bracket"),
            ("0.0.0.0:5", "no address to dial"),
            ("", "no host"),
        ] {
            let error = text.parse::<HostPort>().expect_err(text).why;
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn one_machine_may_be_written_in_many_ways() {
        let host = |text: &str| text.parse::<Host>().expect(text);
        for (one, other) in [
            ("a.example", "A.example."),
            ("localhost", "127.0.0.2"),
            ("::1", "127.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert!(host(one).is_beside(&host(other)), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("localhost", "10.0.0.1"), ("10.0.0.1", "localhost")] {
            assert!(!host(one).is_beside(&host(other)), "{one} {other}");
        }
        assert_eq!(host("::1").loopback(), Some("::1".parse().expect("an address")));
        for name in ["localhost.", "a.localhost"] {
            let expected = "127.0.0.1".parse().expect("an address");
            assert_eq!(host(name).loopback(), Some(expected), "{name}");
        }
        assert_eq!(host("localhost.example").loopback(), None);
    }
}
