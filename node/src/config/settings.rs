//! This file knows how to read settings into their Rust types, and collects everything that does not fit.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ultramarine_types::host::{Host, HostPort};

use crate::config::layers::Layers;
use crate::config::problem::Problem;
use crate::config::value::SettingValue;

/// Reads typed settings. A wrong one is noted and reads as `None`, so that one pass finds all wrong ones.
pub struct Settings<'a> {
    layers: &'a Layers,
    home: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Settings<'a> {
    /// Relative paths start at `home`.
    pub fn new(layers: &'a Layers, home: &'a Path) -> Self {
        Self {
            layers,
            home,
            problems: Vec::new(),
        }
    }

    /// What did not fit.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Notes that the setting `name` is wrong.
    pub fn refuse(&mut self, name: &str, expected: &str) {
        let value = self.layers.get(name).value.to_string();
        self.note(name, &format!("is {value}"), expected);
    }

    /// Notes what is wrong with the setting `name`. `what` continues a sentence that begins with the name.
    pub fn note(&mut self, name: &str, what: &str, expected: &str) {
        let setting = self.layers.get(name);
        self.problems.push(Problem {
            origin: setting.origin.clone(),
            what: format!("`{}` in [{}] {what}", setting.key, setting.section),
            expected: expected.to_owned(),
            nearest: None,
        });
    }

    /// Text as it stands.
    pub fn text(&self, name: &str) -> String {
        match &self.layers.get(name).value {
            SettingValue::Text(text) => text.clone(),
            other => panic!("`{name}` is a text in default.toml, not {other}"),
        }
    }

    /// Text that another type can read.
    pub fn parse<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.text_as(name, expected, |text| text.trim().parse().ok())
    }

    /// Text that `convert` accepts.
    pub fn text_as<T>(&mut self, name: &str, expected: &str, convert: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = convert(&self.text(name));
        if value.is_none() {
            self.refuse(name, expected);
        }
        value
    }

    /// Text that `read` accepts, without the white space around it. The error says what is wrong.
    pub fn trimmed<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(name);
        match read(text.trim()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.note(name, &format!("is {text:?}, which {why}"), expected);
                None
            }
        }
    }

    /// A path, which starts at the home directory if it is relative. An empty one is `None`, without a complaint.
    pub fn path_if_any(&mut self, name: &str) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| self.home.join(text))
    }

    /// A path that must be given.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        let path = self.path_if_any(name);
        if path.is_none() {
            self.refuse(name, "a path");
        }
        path
    }

    /// An IP address and port.
    pub fn address(&mut self, name: &str) -> Option<SocketAddr> {
        let expected = "an IP address and a port, such as \"127.0.0.1:8580\" or \"[::1]:8580\"";
        self.trimmed(name, expected, read_listener)
    }

    /// A number within bounds.
    pub fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let SettingValue::Number(number) = self.layers.get(name).value else {
            panic!("`{name}` is a number in default.toml")
        };
        if bounds.contains(&number) {
            return Some(number);
        }
        self.refuse(
            name,
            &format!("a whole number from {} to {}", bounds.start(), bounds.end()),
        );
        None
    }

    /// A span of milliseconds within bounds.
    pub fn milliseconds(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<Duration> {
        self.number(name, bounds).map(Duration::from_millis)
    }

    pub fn boolean(&self, name: &str) -> bool {
        match self.layers.get(name).value {
            SettingValue::Boolean(boolean) => boolean,
            ref other => panic!("`{name}` is true or false in default.toml, not {other}"),
        }
    }

    /// A list. `read` accepts each item, without the white space around it, or says what is wrong.
    pub fn list<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<Vec<T>> {
        let SettingValue::List(items) = &self.layers.get(name).value else {
            panic!("`{name}` is a list in default.toml")
        };
        let (mut values, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match read(item.trim()) {
                Ok(value) => values.push(value),
                Err(why) => wrong.push(format!("has {item:?} at position {}, which {why}", index + 1)),
            }
        }
        wrong.iter().for_each(|what| self.note(name, what, expected));
        wrong.is_empty().then_some(values)
    }
}

/// Reads an address to listen on: one of this machine's, or all of them.
fn read_listener(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let ip = address.ip().to_canonical();
        return if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Err("is not an address of this machine")
        } else {
            Ok(address)
        };
    }
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains("://") {
        return Err("has a scheme; leave it out");
    }
    if text.strip_prefix(':').unwrap_or(text).parse::<u16>().is_ok() {
        return Err("has no IP address: 127.0.0.1 is for this machine only, 0.0.0.0 for all of its networks");
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err("has no port, or an IPv6 address without brackets");
    }
    let host = HostPort::read(text)
        .map(|found| found.host)
        .or_else(|_| Host::read(text));
    match host {
        Ok(Host::Name(_)) => Err("is a name, and a name may stand for several addresses"),
        _ => Err("cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_of_this_machine_with_a_port() {
        for text in ["0.0.0.0:1", "[::]:26650", "[::1]:0", "127.0.0.1:8580", "10.0.0.1:65535"] {
            assert_eq!(read_listener(text).expect(text).to_string(), text);
        }
        for (text, why) in [
            ("", "empty"),
            ("localhost", "name"),
            ("localhost:8580", "name"),
            ("8580", "no IP address"),
            (":8580", "no IP address"),
            ("127.0.0.1", "no port"),
            ("::1", "no port"),
            ("[::1]", "no port"),
            ("::1:8580", "brackets"),
            ("http://127.0.0.1:8580", "scheme"),
            ("127.0.0.1:70000", "cannot be read"),
            ("127.0.0.1:1/x", "cannot be read"),
            ("224.0.0.1:1", "this machine"),
            ("255.255.255.255:1", "this machine"),
        ] {
            let error = read_listener(text).expect_err(text);
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
