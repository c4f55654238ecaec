//! This file knows `ultramarine init`: the home of a full node that joins an existing network.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ultramarine_runtime::print;

use crate::config::value::Value;
use crate::config::{PeerAddress, write};
use crate::genesis::Genesis;
use crate::home::{Contents, Home};
use crate::keys::{self, Keys};
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
    peers: Vec<PeerAddress>,
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
    let (text, execution_text) = (read(&args.genesis)?, read(&execution_path)?);
    let genesis = Genesis::check(&args.genesis, &text, &execution_path, &execution_text)?;
    let mut settings = Vec::new();
    if let Some(name) = &args.name {
        settings.push(("node.name", Value::Text(name.clone())));
    }
    if !args.peers.is_empty() {
        settings.push((
            "network.peers",
            Value::List(args.peers.iter().map(PeerAddress::to_string).collect()),
        ));
    }
    if args.embedded {
        settings.push(("engine.embedded", Value::Switch(true)));
    }
    let home = Home::create(
        &args.home,
        &Contents {
            config: &write::new_file(&settings),
            genesis: &text,
            execution_genesis: &execution_text,
            node_key: &keys::generate()?,
            validator_key: None,
            jwt_secret: &keys::random_secret()?,
        },
    )?;
    let keys = Keys::load(&home)?;
    let root = home.root().display();
    print::line(format_args!(
        "{root}: full node of chain {}, peer id {}\nRun it: {} start --home {root}",
        genesis.params.chain_id,
        hex::encode(keys.peer_id().0),
        program::name(),
    ))
    .with_context(|| format!("the home {root} is made and whole; only this was not printed"))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
