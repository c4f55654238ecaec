//! This file knows `ultramarine config`: check a configuration, show where it comes from, print the manual.

use std::time::Duration;

use ultramarine_node::config::layers::{DEFAULTS, Layers};
use ultramarine_node::genesis::Genesis;
use ultramarine_runtime::print;

use crate::cli::home::HomeArgs;
use crate::cli::whole::Whole;

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
            let (home, config, layers) = args.load()?;
            let genesis = Genesis::load(&home).ok();
            let timeout = genesis.map(|genesis| config.engine.timeout_on(&genesis.chain.params.limits()));
            let timeout = timeout.filter(|_| config.engine.timeout.is_none());
            Ok(print::text(table(&layers, timeout))?)
        }
        Action::Default => Ok(print::text(DEFAULTS)?),
    }
}

fn check(args: &HomeArgs) -> anyhow::Result<()> {
    let whole = Whole::load(args)?;
    for what in whole.warnings() {
        print::note(format_args!("warning: {what}"));
    }
    print::line(format_args!(
        "{} is fine: chain {}, {}",
        whole.home.root().display(),
        whole.genesis.chain.params.chain_id,
        super::start::role(&whole.genesis, &whole.keys)
    ))?;
    Ok(())
}

/// One line a setting, by section; values and origins in columns. `timeout` is what the engine's follows from the
/// chain.
fn table(layers: &Layers, timeout: Option<Duration>) -> String {
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
        let derived = timeout.filter(|_| (section, setting.key.as_str()) == ("engine", "timeout_ms"));
        let derived = derived.map(|timeout| format!("; {} on this chain", timeout.as_millis()));
        text.push_str(&format!(
            "{:key_width$} = {value:value_width$}  # {}{}\n",
            setting.key,
            setting.origin,
            derived.unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use ultramarine_node::config::{Config, Sources};
    use ultramarine_node::home::Home;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn check_says_what_is_wrong_with_every_part() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let line = ["ultramarine", "testnet", "--validators", "1", "--dir"];
        let line = line
            .map(std::ffi::OsStr::new)
            .into_iter()
            .chain([dir.path().as_os_str()]);
        let Command::Testnet(testnet) = Cli::try_parse_from(line).expect("parses").command else {
            panic!("another command");
        };
        crate::cli::testnet::run(&testnet).expect("lays out");
        let home = Home::open(&dir.path().join("node0")).expect("a home");
        let args = |set: &[&str]| HomeArgs {
            home: home.root().to_owned(),
            set: set.iter().map(|set| (*set).to_owned()).collect(),
            io: None,
            engine: None,
            jwt_secret: None,
            log: None,
            log_format: None,
        };
        check(&args(&[])).expect("all is well");
        let error = check(&args(&["retention.blobs_heights=1"]))
            .expect_err("too few")
            .to_string();
        assert!(error.starts_with("flag --set: retention.blobs_heights is 1"), "{error}");

        if cfg!(feature = "dev-el") {
            let twice = [
                "engine.embedded=true",
                "http.listen=[::1]:9",
                "engine.embedded_auth=[::1]:9",
            ];
            let error = check(&args(&twice)).expect_err("one address").to_string();
            assert!(
                error.starts_with("flag --set: engine.embedded_auth is [::1]:9, as is http.listen (flag --set)"),
                "{error}"
            );
        }

        let error = check(&args(&["log.file=validator.key"]))
            .expect_err("a key")
            .to_string();
        assert!(
            error.starts_with("flag --set: log.file is ") && error.contains("which is the validator's key"),
            "{error}"
        );

        std::fs::write(home.root().join("jwt.hex"), "no hex").expect("ours");
        let error = check(&args(&["retention.blobs_heights=1"]))
            .expect_err("both")
            .to_string();
        assert!(error.contains("jwt.hex") && error.contains("blobs_heights"), "{error}");

        std::fs::write(home.genesis(), "{").expect("ours");
        std::fs::write(home.config(), "[http]\nlissten = \"a\"\nrequests_max = 0\n").expect("ours");
        let error = check(&args(&[])).expect_err("all of it").to_string();
        for part in ["config.toml:2", "config.toml:3", "genesis.json"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn show_prints_every_setting_with_its_origin_and_is_valid_toml() {
        let sources = Sources {
            file: Some(("h/config.toml".into(), "[node]\n\nname = \"alpha\"\n".to_owned())),
            environment: vec![("ULTRAMARINE_LOG_FILTER".to_owned(), "warn".to_owned())],
            ..Sources::default()
        };
        let (_, layers) = Config::load("h".as_ref(), &sources).expect("valid");
        let text = table(&layers, Some(Duration::from_secs(9)));
        assert!(
            text.lines()
                .any(|line| line.starts_with("timeout_ms ") && line.ends_with("; 9000 on this chain")),
            "{text}"
        );
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
