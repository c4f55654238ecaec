//! This file knows `ultramarine topology`: print the machine a node would build.

use ultramarine_node::config::{Config, Sources};
use ultramarine_node::topology;
use ultramarine_runtime::affinity::cores;
use ultramarine_runtime::print;

use crate::cli::home::HomeArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Home whose configuration is used; without it, the defaults
    #[arg(long, value_name = "DIR", env = "ULTRAMARINE_HOME")]
    home: Option<std::path::PathBuf>,
    /// Change a setting, such as node.lanes=4
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = load(args)?;
    let table = topology::table(config.shape());
    let placement = table.place(&if config.node.pin { cores() } else { Vec::new() });
    Ok(print::text(table.display(&placement))?)
}

fn load(args: &Args) -> anyhow::Result<Config> {
    let home_args = |home| HomeArgs {
        home,
        set: args.set.clone(),
        io: None,
        engine: None,
        jwt_secret: None,
        log: None,
        log_format: None,
    };
    match &args.home {
        Some(home) => Ok(home_args(home.clone()).load()?.1),
        None => {
            let here = std::path::PathBuf::from(".");
            let flags = home_args(here.clone()).overrides()?;
            Ok(Config::load(
                &here,
                &Sources {
                    flags,
                    ..Sources::default()
                },
            )?
            .0)
        }
    }
}
