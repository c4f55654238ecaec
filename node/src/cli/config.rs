//! This file knows `ultramarine config`: check a configuration, show where it comes from, print the manual.

use crate::cli::home::HomeArgs;
use crate::config::layers::{DEFAULTS, Layers};
use crate::genesis::Genesis;
use crate::keys::Keys;

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Say everything that is wrong with a home's configuration, genesis and keys
    Check(HomeArgs),
    /// Print every setting with its value and where the value came from
    Show(HomeArgs),
    /// Print the manual: every key, its meaning, its unit, its default
    Default,
}

pub fn run(action: &Action) -> anyhow::Result<()> {
    match action {
        Action::Check(args) => check(args),
        Action::Show(args) => {
            let (_, _, layers) = args.load()?;
            print!("{}", table(&layers));
            Ok(())
        }
        Action::Default => {
            print!("{DEFAULTS}");
            Ok(())
        }
    }
}

fn check(args: &HomeArgs) -> anyhow::Result<()> {
    let (home, config, _) = args.load()?;
    let genesis = Genesis::load(&home)?;
    let keys = Keys::load(&home)?;
    crate::keys::read_secret(&config.engine.jwt_secret)?;
    super::start::check(&config, &genesis, &keys)?;
    println!(
        "{} is fine: chain {}, {}",
        home.root().display(),
        genesis.params.chain_id,
        super::start::role(&genesis, &keys)
    );
    Ok(())
}

/// One line a setting, by section; values and origins in columns.
fn table(layers: &Layers) -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let key_width = width(&mut layers.iter().map(|setting| setting.key.chars().count()));
    let value_width = width(&mut layers.iter().map(|setting| setting.value.to_string().chars().count())).min(48);
    let mut text = String::new();
    let mut section = "";
    for setting in layers.iter() {
        if setting.section != section {
            section = &setting.section;
            text.push_str(&format!("{}[{section}]\n", if text.is_empty() { "" } else { "\n" }));
        }
        let value = setting.value.to_string();
        text.push_str(&format!(
            "{:key_width$} = {value:value_width$}  # {}\n",
            setting.key, setting.origin
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn show_prints_every_setting_with_its_origin_and_is_valid_toml() {
        let sources = Sources {
            file: Some(("h/config.toml".into(), "[node]\n\nname = \"alpha\"\n".to_owned())),
            environment: vec![("ULTRAMARINE_LOG_FILTER".to_owned(), "warn".to_owned())],
            ..Sources::default()
        };
        let (_, layers) = Config::load("h".as_ref(), &sources).expect("valid");
        let text = table(&layers);
        assert!(
            text.lines()
                .any(|line| line.starts_with("name ") && line.ends_with("# h/config.toml:3")),
            "{text}"
        );
        assert!(text.contains("# environment variable ULTRAMARINE_LOG_FILTER"), "{text}");
        assert_eq!(text.matches("# default").count(), layers.iter().count() - 2, "{text}");
        let again = Sources {
            file: Some(("again".into(), text)),
            ..Sources::default()
        };
        Config::load("h".as_ref(), &again).expect("what is shown can be used as a file");
    }
}
