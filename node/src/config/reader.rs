//! This file knows how to read settings into their Rust types, collecting everything that does not fit.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::config::layers::Layers;
use crate::config::problem::Problem;
use crate::config::value::Value;

/// Reads typed settings; a wrong one is noted and read as `None`, so that all wrong ones are found in one pass.
pub struct Reader<'a> {
    layers: &'a Layers,
    home: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
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
        let setting = self.layers.get(name);
        self.problems.push(Problem {
            place: setting.origin.clone(),
            what: format!("`{}` in [{}] is {}", setting.key, setting.section, setting.value),
            expected: expected.to_owned(),
            nearest: None,
        });
    }

    /// Text as it stands.
    pub fn text(&self, name: &str) -> String {
        match &self.layers.get(name).value {
            Value::Text(text) => text.clone(),
            other => panic!("`{name}` is a text in default.toml, not {other}"),
        }
    }

    /// Text that another type can read.
    pub fn parse<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.text_as(name, expected, |text| text.parse().ok())
    }

    /// Text that `convert` accepts.
    pub fn text_as<T>(&mut self, name: &str, expected: &str, convert: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = convert(&self.text(name));
        if value.is_none() {
            self.refuse(name, expected);
        }
        value
    }

    /// A path, from the home directory if relative; `None` without a complaint when empty.
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
        self.parse(name, "an IP address and a port, such as \"127.0.0.1:8580\"")
    }

    /// A number within bounds.
    pub fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Value::Number(number) = self.layers.get(name).value else {
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

    /// True or false.
    pub fn switch(&self, name: &str) -> bool {
        match self.layers.get(name).value {
            Value::Switch(switch) => switch,
            ref other => panic!("`{name}` is true or false in default.toml, not {other}"),
        }
    }

    /// A list whose every item another type can read.
    pub fn list<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<Vec<T>> {
        let Value::List(items) = &self.layers.get(name).value else {
            panic!("`{name}` is a list in default.toml")
        };
        let parsed: Option<Vec<T>> = items.iter().map(|item| item.parse().ok()).collect();
        if parsed.is_none() {
            self.refuse(name, expected);
        }
        parsed
    }
}
