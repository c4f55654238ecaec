//! This file knows `ultramarine init`: the home of a full node that joins an existing network.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ultramarine_node::config::value::SettingValue;
use ultramarine_node::config::{Config, Override, PeerAddress, Sources, write};
use ultramarine_node::embedded::EmbeddedClient;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::{Contents, Home, fit};
use ultramarine_node::keys::{self, Keys};
use ultramarine_runtime::{print, signals};

use crate::embedded;
use crate::program;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to make
    #[arg(long, value_name = "DIR", env = "ULTRAMARINE_HOME")]
    home: PathBuf,
    /// The chain's genesis.json, from any of its nodes
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The chain's execution-genesis.json; without it, the one beside genesis.json
    #[arg(long, value_name = "FILE")]
    execution_genesis: Option<PathBuf>,
    /// Nodes to connect to, as PEER_ID@host:port; without it, those in genesis.json
    #[arg(long, value_name = "PEER,…", value_delimiter = ',')]
    peers: Vec<String>,
    /// A name for this node
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run the embedded development client in place of an execution client of its own
    #[arg(long)]
    embedded: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let execution_path = args
        .execution_genesis
        .clone()
        .unwrap_or_else(|| args.genesis.with_file_name("execution-genesis.json"));
    let text = read(&args.genesis)?;
    let execution_text = read(&execution_path).map_err(|error| match &args.execution_genesis {
        Some(_) => error,
        None => {
            error.context("the chain's other file; if it is not beside genesis.json, name it with --execution-genesis")
        }
    })?;
    let genesis = Genesis::check(&args.genesis, &text, &execution_path, &execution_text)?;
    let keys = Keys {
        node: keys::generate()?,
        validator: None,
    };
    let settings = settings(args, &genesis, &keys)?;
    // Whoever interrupts it finds all of it, or nothing.
    let deferred = signals::defer();
    let home = Home::create(
        &args.home,
        &Contents {
            config: &write::new_file(&settings),
            genesis: &text,
            execution_genesis: &execution_text,
            node_key: &keys.node,
            validator_key: None,
            jwt_secret: &keys::random_secret()?,
        },
    )?;
    drop(deferred);
    let root = home.root().display();
    print::line(format_args!(
        "{root}: full node of chain {}, peer id {}\nRun it: {} start --home {root}",
        genesis.chain.params.chain_id,
        hex::encode(keys.peer_id().0),
        program::name(),
    ))
    .with_context(|| format!("the home {root} is made and whole; only this was not printed"))
}

/// What the new home sets, looked at as the node will.
fn settings(args: &Args, genesis: &Genesis, keys: &Keys) -> anyhow::Result<Vec<(&'static str, SettingValue)>> {
    let mut flags = Vec::new();
    let mut push = |flag: &str, name: &str, value: String| {
        flags.push(Override {
            flag: flag.to_owned(),
            name: name.to_owned(),
            value,
        });
    };
    if let Some(name) = &args.name {
        push("--name", "node.name", name.clone());
    }
    if !args.peers.is_empty() {
        push("--peers", "network.peers", args.peers.join(","));
    }
    if args.embedded {
        push("--embedded", "engine.embedded", true.to_string());
    }
    let load = |flags: &[Override]| {
        let flags = flags.to_vec();
        Config::load(
            &args.home,
            &Sources {
                flags,
                ..Sources::default()
            },
        )
    };
    let (mut config, mut layers) = load(&flags)?;
    let peers = if config.network.peers.is_empty() {
        &genesis.peers
    } else {
        &config.network.peers
    };
    // The default is for IPv4 alone.
    let listen = peers
        .iter()
        .any(|peer| peer.host_port.host.is_version_6())
        .then(|| format!("[::]:{}", config.network.listen.port()));
    if let Some(listen) = &listen {
        flags.push(Override {
            flag: "--peers".to_owned(),
            name: "network.listen".to_owned(),
            value: listen.clone(),
        });
        (config, layers) = load(&flags)?;
    }
    let mut wrong = fit::misfits(&config, &layers, genesis, keys);
    wrong.extend(EmbeddedClient::misfit(
        embedded::client(),
        &config,
        &layers,
        Some(genesis),
    ));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut settings = Vec::new();
    if let Some(name) = &args.name {
        settings.push(("node.name", SettingValue::Text(name.clone())));
    }
    settings.extend(listen.map(|listen| ("network.listen", SettingValue::Text(listen))));
    if !config.network.peers.is_empty() {
        let peers = config.network.peers.iter().map(PeerAddress::to_string).collect();
        settings.push(("network.peers", SettingValue::List(peers)));
    }
    if args.embedded {
        settings.push(("engine.embedded", SettingValue::Boolean(true)));
    }
    Ok(settings)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
