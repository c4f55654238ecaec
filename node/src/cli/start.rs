//! This file knows `ultramarine start`: check everything that can be checked, then run the node.

use anyhow::{Context, bail, ensure};

use crate::cli::home::HomeArgs;
use crate::config::Config;
use crate::genesis::Genesis;
use crate::keys::{self, Keys};
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
    let (home, config, _) = args.home.load()?;
    super::log_to_stderr(&super::quiet_engine(&config.log.filter));
    let genesis = Genesis::load(&home)?;
    let keys = Keys::load(&home)?;
    keys::read_secret(&config.engine.jwt_secret)?;
    check(&config, &genesis, &keys)?;
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

/// What only shows when configuration, genesis and keys are seen together.
pub fn check(config: &Config, genesis: &Genesis, keys: &Keys) -> anyhow::Result<()> {
    if let Some(heights) = config.retention.blobs_heights {
        let least = genesis.params.blob_retention_heights_min;
        ensure!(
            heights >= least,
            "retention.blobs_heights is {heights}, and every node of this chain keeps the blobs of at least {least} heights: \
             raise it, or set 0 to keep them for ever"
        );
    }
    let listens = [
        Some(config.http.listen),
        config.engine.embedded.map(|el| el.http),
        config.engine.embedded.map(|el| el.auth),
    ];
    let listens: Vec<_> = listens
        .into_iter()
        .flatten()
        .filter(|address| address.port() != 0)
        .collect();
    for (index, address) in listens.iter().enumerate() {
        if listens[..index].contains(address) {
            bail!("{address} is set twice among http.listen, engine.embedded_http and engine.embedded_auth");
        }
    }
    if let Some(address) = keys
        .address()
        .filter(|address| genesis.validators.get(address).is_none())
    {
        bail!(
            "validator.key is of {address}, who is no validator of this chain. Remove the file to run a full node, or use the \
             genesis.json of the right chain"
        );
    }
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
