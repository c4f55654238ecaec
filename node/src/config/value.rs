//! This file knows the four kinds of values a setting may have, and how each is written in a file and in a flag.

use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingValue {
    Text(String),
    /// A whole number, zero or more.
    Number(u64),
    Boolean(bool),
    /// Texts, written as `["a", "b"]`.
    List(Vec<String>),
}

/// The kind of a [`SettingValue`]; each setting has the kind of its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingKind {
    Text,
    Number,
    Boolean,
    List,
}

impl SettingValue {
    pub fn kind(&self) -> SettingKind {
        match self {
            Self::Text(_) => SettingKind::Text,
            Self::Number(_) => SettingKind::Number,
            Self::Boolean(_) => SettingKind::Boolean,
            Self::List(_) => SettingKind::List,
        }
    }

    /// Reads a TOML value; `None` if no setting has such a kind (floats, dates, tables, negative numbers, mixed lists).
    pub fn from_toml(item: &toml_edit::Value) -> Option<Self> {
        match item {
            toml_edit::Value::String(text) => Some(Self::Text(text.value().clone())),
            toml_edit::Value::Integer(number) => u64::try_from(*number.value()).ok().map(Self::Number),
            toml_edit::Value::Boolean(boolean) => Some(Self::Boolean(*boolean.value())),
            toml_edit::Value::Array(list) => list
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::List),
            _ => None,
        }
    }

    /// As a TOML value, for writing a config file.
    pub fn to_toml(&self) -> toml_edit::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            // Settings come from TOML (63 bits) or are ports, counts and milliseconds.
            Self::Number(number) => i64::try_from(*number).unwrap_or(i64::MAX).into(),
            Self::Boolean(boolean) => (*boolean).into(),
            Self::List(list) => list.iter().map(String::as_str).collect::<toml_edit::Array>().into(),
        }
    }
}

impl SettingKind {
    /// Reads a value of this kind from a flag or the environment, where everything is text. A list is written as in a
    /// file, or with commas alone.
    pub fn parse(self, text: &str) -> Option<SettingValue> {
        match self {
            Self::Text => Some(SettingValue::Text(text.to_owned())),
            Self::Number => text.parse().ok().map(SettingValue::Number),
            Self::Boolean => text.parse().ok().map(SettingValue::Boolean),
            Self::List => list(text.trim()).map(SettingValue::List),
        }
    }

    /// What an operator should write, in a TOML file.
    pub fn expected_in_file(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Number => "a whole number, zero or more, without quotes",
            Self::Boolean => "true or false, without quotes",
            Self::List => "a list of texts, such as [\"a\", \"b\"]",
        }
    }

    /// What an operator should write, in a flag or variable.
    pub fn expected_in_text(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a whole number, zero or more",
            Self::Boolean => "true or false",
            Self::List => "texts separated by commas, or a list such as [\"a\", \"b\"]",
        }
    }
}

/// Reads a list: `["a", "b"]` as in a file, `[a, b]` as shells leave that, or `a, b`.
fn list(text: &str) -> Option<Vec<String>> {
    let inner = enclosed(text);
    if inner.unwrap_or(text).contains(['"', '\'']) {
        let value: toml_edit::Value = text.parse().ok()?;
        return match SettingValue::from_toml(&value)? {
            SettingValue::List(items) => Some(items),
            _ => None,
        };
    }
    // An empty text is an empty list. An empty item is a mistake, which the item's reader names.
    let text = inner.unwrap_or(text).trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    Some(text.split(',').map(|item| item.trim().to_owned()).collect())
}

/// What stands between two brackets that hold all of the text. Those of an IPv6 address hold only a part of it.
fn enclosed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut depth = 0i32;
    for letter in inner.chars() {
        depth += match letter {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        if depth < 0 {
            return None;
        }
    }
    Some(inner)
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::List(list) => write!(f, "{list:?}"),
        }
    }
}
