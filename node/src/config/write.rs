//! This file knows how to write settings into a config file's text, keeping its comments and everything else in it.

use toml_edit::{DocumentMut, Item, Table, TomlError};

use crate::config::value::SettingValue;

/// How a new config file begins.
const HEADER: &str = "\
# Only what differs from the defaults. All keys with their meaning: `ultramarine config default`;
# the outcome and where each value comes from: `ultramarine config show --home DIR`.
";

/// A new config file with these settings, named `section.key`.
pub fn new_file(settings: &[(&str, SettingValue)]) -> String {
    let text = with_settings("", settings).expect("an empty text is valid TOML");
    format!("{HEADER}\n{text}")
}

/// The same text with these settings changed or added.
pub fn with_settings(text: &str, settings: &[(&str, SettingValue)]) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    for (name, value) in settings {
        let (section, key) = name.split_once('.').expect("settings are named section.key");
        let table = document.entry(section).or_insert_with(|| Item::Table(Table::new()));
        if let Some(table) = table.as_table_like_mut() {
            match table.get_mut(key).and_then(Item::as_value_mut) {
                Some(old) => {
                    // This keeps the comment behind the old value.
                    let decor = old.decor().clone();
                    *old = value.to_toml();
                    *old.decor_mut() = decor;
                }
                None => {
                    table.insert(key, Item::Value(value.to_toml()));
                }
            }
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn a_written_file_reads_back() {
        let settings = [
            ("node.name", SettingValue::Text("a \"quoted\" name".to_owned())),
            ("node.lanes", SettingValue::Number(2)),
            ("engine.embedded", SettingValue::Boolean(true)),
            (
                "network.peers",
                SettingValue::List(vec!["a:1".to_owned(), "b:2".to_owned()]),
            ),
        ];
        let sources = Sources {
            file: Some(("c.toml".into(), new_file(&settings))),
            ..Sources::default()
        };
        let (config, _) = Config::load("/h".as_ref(), &sources).expect("valid");
        assert_eq!(config.node.name, "a \"quoted\" name");
        assert_eq!(config.node.lanes, 2);
        assert_eq!(config.network.peers.len(), 2);
    }

    #[test]
    fn what_is_not_changed_is_kept_with_its_comments() {
        let before = "# mine\n[node]\nname = \"a\" # why\n\n[log]\nfilter = \"warn\"\n";
        let after = with_settings(
            before,
            &[
                ("node.name", SettingValue::Text("b".to_owned())),
                ("node.lanes", SettingValue::Number(1)),
            ],
        );
        assert_eq!(
            after.expect("valid"),
            "# mine\n[node]\nname = \"b\" # why\nlanes = 1\n\n[log]\nfilter = \"warn\"\n"
        );
    }
}
