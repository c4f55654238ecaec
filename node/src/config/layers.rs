//! This file knows how to lay flags over environment over file over defaults, keeping where each value came from.
//!
//! `default.toml` is the list of known keys: a key's kind is the kind of its default. Nothing is known twice.

use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use crate::config::environment;
use crate::config::origin::{Origin, line_of};
use crate::config::problem::{Problem, nearest};
use crate::config::value::SettingValue;

/// The manual of all settings.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// One setting, with the value that won.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub section: String,
    /// Its key within the section.
    pub key: String,
    pub value: SettingValue,
    /// Where it came from.
    pub origin: Origin,
}

/// Where values may come from, other than the defaults.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    /// A config file: its path (for messages) and its text.
    pub file: Option<(PathBuf, String)>,
    pub environment: Vec<(String, String)>,
    /// Flags; later ones win.
    pub flags: Vec<Override>,
}

/// A setting given on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// The flag as typed, such as `--engine`.
    pub flag: String,
    /// The setting, written as `section.key`.
    pub name: String,
    /// The value, as text.
    pub value: String,
}

/// All settings, in the order of the manual.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layers {
    settings: Vec<Setting>,
}

impl Layers {
    /// Merges all sources. A wrong name or kind is reported and changes nothing.
    pub fn merge(sources: &Sources) -> (Self, Vec<Problem>) {
        let mut layers = Self::defaults();
        let mut problems = Vec::new();
        if let Some((path, text)) = &sources.file {
            layers.lay_file(path, text, &mut problems);
        }
        layers.lay_environment(&sources.environment, &mut problems);
        layers.lay_flags(&sources.flags, &mut problems);
        (layers, problems)
    }

    /// All settings, in the order of the manual.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    /// A setting by `section.key`; every name used in this crate stands in the manual.
    pub fn get(&self, name: &str) -> &Setting {
        self.find(name)
            .unwrap_or_else(|| panic!("`{name}` stands in default.toml"))
    }

    fn find(&self, name: &str) -> Option<&Setting> {
        let (section, key) = name.split_once('.')?;
        self.settings
            .iter()
            .find(|setting| setting.section == section && setting.key == key)
    }

    fn defaults() -> Self {
        let document = Document::parse(DEFAULTS).expect("default.toml is checked by a test");
        let mut settings = Vec::new();
        for (section, item) in document.iter() {
            let table = item.as_table_like().expect("default.toml has only sections at its top");
            for (key, item) in table.iter() {
                let value = item
                    .as_value()
                    .and_then(SettingValue::from_toml)
                    .expect("default.toml has only known kinds");
                settings.push(Setting {
                    section: section.to_owned(),
                    key: key.to_owned(),
                    value,
                    origin: Origin::Default,
                });
            }
        }
        Self { settings }
    }

    fn lay_file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let origin = |offset: Option<usize>| Origin::File {
            path: path.to_owned(),
            line: line_of(text, offset.unwrap_or_default()),
        };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                problems.push(Problem {
                    origin: origin(error.span().map(|span| span.start)),
                    what: error.message().trim().replace('\n', ", "),
                    expected: "TOML: `[section]` lines and `key = value` lines".to_owned(),
                    nearest: None,
                });
                return;
            }
        };
        for (section, item) in document.iter() {
            let start = key_offset(document.as_table(), section, item);
            match item.as_table_like() {
                None => problems.push(self.stray_key(section, origin(start))),
                Some(_) if !self.has_section(section) => problems.push(Problem {
                    origin: origin(start),
                    what: format!("unknown section [{section}]"),
                    expected: format!("one of {}", self.sections().join(", ")),
                    nearest: nearest(section, self.sections().into_iter()).map(|name| format!("[{name}]")),
                }),
                Some(table) => {
                    for (key, item) in table.iter() {
                        let origin = origin(key_offset(table, key, item));
                        self.lay_item(section, key, item, origin, problems);
                    }
                }
            }
        }
    }

    fn lay_item(&mut self, section: &str, key: &str, item: &Item, origin: Origin, problems: &mut Vec<Problem>) {
        let Some(index) = self.position(section, key) else {
            problems.push(self.unknown_key(section, key, origin));
            return;
        };
        let kind = self.settings[index].value.kind();
        match item
            .as_value()
            .and_then(SettingValue::from_toml)
            .filter(|value| value.kind() == kind)
        {
            Some(value) => self.set(index, value, origin),
            None => problems.push(Problem {
                origin,
                what: format!("`{key}` in [{section}] is {}", describe(item)),
                expected: format!(
                    "{}, such as {}",
                    kind.expected_in_file(),
                    example(&self.settings[index])
                ),
                nearest: None,
            }),
        }
    }

    fn lay_environment(&mut self, variables: &[(String, String)], problems: &mut Vec<Problem>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(environment::PREFIX) else {
                continue;
            };
            let rest = rest.to_lowercase();
            let Some((section, key)) = rest.split_once('_') else {
                continue;
            };
            if self.position(section, key).is_none() && environment::is_of_service(&rest, text) {
                continue;
            }
            // Other ULTRAMARINE_ variables exist (ULTRAMARINE_HOME). Only those named after a section are settings, or
            // are meant to be.
            let origin = Origin::Environment { name: name.clone() };
            if self.has_section(section) && !environment::is_text(text) {
                problems.push(Problem {
                    origin,
                    what: format!("`{section}.{key}` is {text:?}, with bytes that are not UTF-8"),
                    expected: "UTF-8 text".to_owned(),
                    nearest: None,
                });
            } else if self.has_section(section) {
                self.lay_text(section, key, text, origin, problems);
            } else if let Some(meant) = nearest(section, self.sections().into_iter()).filter(|it| alike(it, section)) {
                problems.push(Problem {
                    origin,
                    what: format!("unknown section `{section}`"),
                    expected: format!("one of {}", self.sections().join(", ")),
                    nearest: Some(format!(
                        "{}{}_{}",
                        environment::PREFIX,
                        meant.to_uppercase(),
                        key.to_uppercase()
                    )),
                });
            }
        }
    }

    fn lay_flags(&mut self, flags: &[Override], problems: &mut Vec<Problem>) {
        for flag in flags {
            let origin = Origin::Flag {
                name: flag.flag.clone(),
            };
            match flag.name.split_once('.') {
                Some((section, key)) if self.has_section(section) => {
                    self.lay_text(section, key, &flag.value, origin, problems);
                }
                _ => problems.push(Problem {
                    origin,
                    what: format!("unknown setting `{}`", flag.name),
                    expected: "SECTION.KEY=VALUE".to_owned(),
                    nearest: self.nearest_name(&flag.name),
                }),
            }
        }
    }

    fn lay_text(&mut self, section: &str, key: &str, text: &str, origin: Origin, problems: &mut Vec<Problem>) {
        let Some(index) = self.position(section, key) else {
            problems.push(self.unknown_key(section, key, origin));
            return;
        };
        let kind = self.settings[index].value.kind();
        match kind.parse(text) {
            Some(value) => self.set(index, value, origin),
            None => problems.push(Problem {
                origin,
                what: format!("`{section}.{key}` is {text:?}"),
                expected: format!(
                    "{}, such as {}",
                    kind.expected_in_text(),
                    example(&self.settings[index])
                ),
                nearest: None,
            }),
        }
    }

    fn set(&mut self, index: usize, value: SettingValue, origin: Origin) {
        self.settings[index].value = value;
        self.settings[index].origin = origin;
    }

    fn position(&self, section: &str, key: &str) -> Option<usize> {
        self.settings
            .iter()
            .position(|setting| setting.section == section && setting.key == key)
    }

    fn has_section(&self, name: &str) -> bool {
        self.settings.iter().any(|setting| setting.section == name)
    }

    fn sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = self.settings.iter().map(|setting| setting.section.as_str()).collect();
        sections.dedup();
        sections
    }

    fn keys<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings
            .iter()
            .filter(move |setting| setting.section == section)
            .map(|setting| setting.key.as_str())
    }

    fn unknown_key(&self, section: &str, key: &str, origin: Origin) -> Problem {
        // A right name in the wrong section is a likelier mistake than a name that merely looks alike.
        let elsewhere = self.settings.iter().find(|setting| setting.key == key);
        let nearest = match elsewhere {
            Some(setting) => Some(format!("{}.{key}", setting.section)),
            None => nearest(key, self.keys(section)).map(str::to_owned),
        };
        Problem {
            origin,
            what: format!("unknown key `{key}` in [{section}]"),
            expected: format!("one of {}", self.keys(section).collect::<Vec<_>>().join(", ")),
            nearest,
        }
    }

    fn stray_key(&self, key: &str, origin: Origin) -> Problem {
        Problem {
            origin,
            what: format!("`{key}` stands outside a section"),
            expected: format!("a section before it, one of {}", self.sections().join(", ")),
            nearest: self.nearest_name(key),
        }
    }

    fn nearest_name(&self, found: &str) -> Option<String> {
        let wanted = found.rsplit('.').next().unwrap_or(found);
        self.settings
            .iter()
            .map(|setting| {
                let whole = format!("{}.{}", setting.section, setting.key);
                let likeness = strsim::normalized_damerau_levenshtein(found, &whole)
                    .max(strsim::normalized_damerau_levenshtein(wanted, &setting.key));
                (likeness, whole)
            })
            .max_by(|left, right| left.0.total_cmp(&right.0))
            .map(|(_, name)| name)
    }
}

/// Whether one name may be the other one mistyped.
fn alike(one: &str, other: &str) -> bool {
    strsim::normalized_damerau_levenshtein(one, other) >= 0.7
}

/// Where a key stands in its file. A key without a span of its own (a section's header) starts with its value.
fn key_offset(table: &dyn TableLike, key: &str, item: &Item) -> Option<usize> {
    let (name, _) = table.get_key_value(key)?;
    name.span().or_else(|| item.span()).map(|span| span.start)
}

fn describe(item: &Item) -> String {
    match item.as_value() {
        Some(value) => format!("{} ({})", value.to_string().trim(), value.type_name()),
        None => format!("a {}", item.type_name()),
    }
}

fn example(setting: &Setting) -> String {
    match &setting.value {
        SettingValue::Text(text) if text.is_empty() => "\"\" (empty)".to_owned(),
        value => value.to_string(),
    }
}
