//! This file knows `ultramarine start`: check everything that can be checked, then run the node.

use anyhow::Context;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::keys::Keys;
use ultramarine_node::node::{self, NodeOptions};
use ultramarine_node::signals::StopRequest;
use ultramarine_runtime::signals::Signal;

use crate::cli::home::HomeArgs;
use crate::cli::whole::Whole;
use crate::embedded;
use crate::log::{self, Log};

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
        super::parent::end_with(parent, Signal::KILL)?;
    }
    if let Some(format) = args.home.log_format() {
        log::speak(format);
    }
    let stop = StopRequest::take_over().context("cannot take over signals")?;
    let whole = Whole::load(&args.home)?;
    let doubtful = whole.warnings();
    let Whole {
        config, genesis, keys, ..
    } = whole;
    let log = Log::of_node(&config.log)?;
    doubtful.iter().for_each(|what| tracing::warn!("{what}"));
    tracing::info!(
        name = config.node.name,
        chain_id = genesis.chain.params.chain_id,
        identity = %genesis.chain.identity,
        peer_id = %keys.peer_id(),
        "starting {}",
        role(&genesis, &keys)
    );
    let ended = node::run(NodeOptions {
        config,
        genesis,
        keys,
        embedded: embedded::client(),
        log: Some(log.switch.clone()),
        stop: Some(stop),
    });
    log.finish();
    Ok(ended?)
}

/// What the node is, for people.
pub fn role(genesis: &Genesis, keys: &Keys) -> String {
    match keys.address() {
        Some(address) => format!("validator {address} of {}", genesis.validators.len()),
        None => format!("full node beside {} validators", genesis.validators.len()),
    }
}
