//! This file knows `ultramarine start`: check everything that can be checked, then run the node.

use anyhow::{Context, ensure};

use crate::cli::home::HomeArgs;
use crate::cli::whole::Whole;
use crate::genesis::Genesis;
use crate::keys::Keys;
use crate::node::{self, NodeOptions};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    home: HomeArgs,
    /// Stop when the process with this id, which must be our parent, is gone
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(parent) = args.parent {
        die_with(parent)?;
    }
    let whole = Whole::load(&args.home)?;
    let doubtful = whole.warnings();
    let Whole {
        home,
        config,
        genesis,
        keys,
        ..
    } = whole;
    super::log_to_stderr(&super::quiet_engine(&config.log.filter));
    doubtful.iter().for_each(|what| tracing::warn!("{what}"));
    tracing::info!(
        name = config.node.name,
        chain_id = genesis.params.chain_id,
        genesis = %genesis.hash,
        peer_id = %keys.peer_id(),
        "starting {}",
        role(&genesis, &keys)
    );
    node::run(NodeOptions {
        config,
        home,
        genesis,
        keys,
        handle_signals: true,
    })?;
    Ok(())
}

/// What the node is, for people.
pub fn role(genesis: &Genesis, keys: &Keys) -> String {
    match keys.address() {
        Some(address) => format!("validator {address} of {}", genesis.validators.len()),
        None => format!("full node beside {} validators", genesis.validators.len()),
    }
}

/// Asks the kernel to end this process with its parent, so that a devnet leaves nothing behind however it ends.
fn die_with(parent: u32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask to end with the parent process")?;
    // The parent may have gone before the request was in place.
    let found = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    ensure!(
        found == i32::try_from(parent).ok(),
        "the parent process {parent} is gone"
    );
    Ok(())
}
