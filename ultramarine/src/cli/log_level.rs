//! This file knows `ultramarine log-level`: what a running node logs, and how that is changed.

use ultramarine_node::control;
use ultramarine_runtime::print;

use crate::cli::home::HomeArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    home: HomeArgs,
    /// What to log from now on until the next start, such as debug or "info,ultramarine_net=debug"; without it, only
    /// say what is logged
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (_, config, _) = args.home.load()?;
    let filter = control::log_filter(&config.node.data_dir, args.filter.as_deref())?;
    print::line(format_args!("the node logs {filter}"))?;
    Ok(())
}
