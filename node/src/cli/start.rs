//! This file knows `ultramarine start`: check everything that can be checked, then run the node.

use anyhow::ensure;
use ultramarine_runtime::signals::Signal;

use crate::cli::home::HomeArgs;
use crate::config::{Config, Layers};
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
        super::parent::end_with(parent, Signal::KILL)?;
    }
    let (home, config, layers) = args.home.load()?;
    crate::log::start(&config.log.filter)?;
    let genesis = Genesis::load(&home)?;
    let keys = Keys::load(&home)?;
    keys::read_secret(&config.engine.jwt_secret)?;
    let wrong = misfits(&config, &layers, &genesis, &keys);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
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

/// What is wrong, and only shows when configuration, genesis and keys are seen together.
pub fn misfits(config: &Config, layers: &Layers, genesis: &Genesis, keys: &Keys) -> Vec<String> {
    let origin = |name: &str| &layers.get(name).origin;
    let mut wrong = Vec::new();
    let least = genesis.params.blob_retention_heights_min;
    if let Some(heights) = config.retention.blobs_heights.filter(|heights| *heights < least) {
        let name = "retention.blobs_heights";
        wrong.push(format!(
            "{}: {name} is {heights}, and every node of this chain keeps the blobs of at least {least} heights: raise it, or \
             set 0 to keep them for ever",
            origin(name)
        ));
    }
    let embedded = config.engine.embedded;
    let listens = [
        ("http.listen", Some(config.http.listen)),
        ("engine.embedded_http", embedded.map(|el| el.http)),
        ("engine.embedded_auth", embedded.map(|el| el.auth)),
    ];
    for (index, (name, address)) in listens.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        if let Some((before, _)) = listens[..index].iter().find(|(_, other)| *other == Some(address)) {
            wrong.push(format!(
                "{}: {name} is {address}, as is {before} ({}); choose another port for one of them",
                origin(name),
                origin(before)
            ));
        }
    }
    if let Some(address) = keys
        .address()
        .filter(|address| genesis.validators.get(address).is_none())
    {
        wrong.push(format!(
            "validator.key is of {address}, who is no validator of this chain. Remove the file to run a full node, or use the \
             genesis.json of the right chain"
        ));
    }
    wrong
}

/// What the node is, for people.
pub fn role(genesis: &Genesis, keys: &Keys) -> String {
    match keys.address() {
        Some(address) => format!("validator {address} of {}", genesis.validators.len()),
        None => format!("full node beside {} validators", genesis.validators.len()),
    }
}
