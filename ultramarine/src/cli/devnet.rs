//! This file knows the flags of `ultramarine devnet`.

use std::path::PathBuf;

use ultramarine_node::home::network::{RETENTION_HEIGHTS_MAX, RETENTION_HEIGHTS_MIN};
use ultramarine_runtime::signals::Signal;
use ultramarine_types::limits;

use crate::devnet::{self, DevnetOptions};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many validators a new network has [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=limits::VALIDATORS_MAX as i64))]
    validators: Option<u16>,
    /// Folder to keep the network in; resumed when it exists [default: a fresh one, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// File, or folder of files, to publish as blobs, round and round [default: fresh blobs, none of which comes twice]
    #[arg(long, value_name = "PATH")]
    blobs: Option<PathBuf>,
    /// Make the same fresh blobs as another run with this seed [default: a random one]
    #[arg(long, value_name = "NUMBER", conflicts_with = "blobs")]
    seed: Option<u64>,
    /// Run each node's execution client in a process of its own, so that memory and CPU of the two can be told apart
    #[arg(long)]
    separate_clients: bool,
    /// Most blobs a block of a new network may carry; written to its genesis [default: 6]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32)
            .range(limits::BLOBS_PER_BLOCK_MIN as i64..=limits::BLOBS_PER_BLOCK_MAX as i64)
    )]
    blobs_per_block: Option<u32>,
    /// Heights for which the nodes of a new network keep blobs, 10 or more; written to its genesis and to each
    /// config.toml [default: for ever, and the genesis asks for 4096]
    #[arg(
        long,
        value_name = "H",
        value_parser = clap::value_parser!(u64).range(RETENTION_HEIGHTS_MIN..=RETENTION_HEIGHTS_MAX)
    )]
    retention: Option<u64>,
    /// Folder below which each node archives every height, in nodeN; written to each config.toml [default: no archive]
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// End when every node has decided this height; exit code 1 when nothing moves for 60 s (with large blocks longer)
    #[arg(long, value_name = "H")]
    until_height: Option<u64>,
    /// Print one JSON object at the end: agreement, figures, latencies (everything else goes to standard error)
    #[arg(long)]
    json: bool,
    /// How the nodes drive disk and network
    #[arg(long, value_name = "MODE", value_parser = ["auto", "uring", "fallback"])]
    io: Option<String>,
    /// What the nodes log, such as debug or "info,ultramarine_net=debug"
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Stop when the process with this id, which must be our parent, is gone
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(parent) = args.parent {
        super::parent::end_with(parent, Signal::TERM)?;
    }
    crate::log::start("warn")?;
    let Args {
        validators,
        dir,
        blobs,
        seed,
        separate_clients,
        blobs_per_block,
        retention,
        archive,
        until_height,
        json,
        io,
        log,
        parent: _,
    } = args;
    devnet::run(&DevnetOptions {
        validators,
        dir,
        blobs,
        seed,
        separate_clients,
        blobs_per_block,
        retention,
        archive,
        until_height,
        json,
        io,
        log,
    })
}
