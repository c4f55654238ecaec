//! This file knows `ultramarine blob`: a file becomes blobs on one node and a file again from another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Context;

use crate::engine::genesis::dev_account;
use crate::publish::{self, GetOptions, PutOptions};

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Publish a file as blobs through an execution client, and wait until it is decided
    Put(Put),
    /// Restore a published file from a node
    Get(Get),
}

#[derive(Debug, clap::Args)]
pub struct Put {
    /// The file
    file: PathBuf,
    /// JSON-RPC of the execution client, such as http://127.0.0.1:8545
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// File with the private key of the account that pays, 64 hex digits, permissions 0600; without it, an account that
    /// every network made by `devnet` or `testnet` has funded
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Longest time to wait for the decision, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Debug, clap::Args)]
pub struct Get {
    /// HTTP of a node, such as http://127.0.0.1:8580
    #[arg(long, value_name = "URL")]
    node: String,
    /// Where to write the file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Versioned hashes of its blobs, as printed by `blob put`
    #[arg(value_name = "HASH", required = true)]
    hashes: Vec<B256>,
}

pub fn run(action: Action) -> anyhow::Result<()> {
    super::log_to_stderr("warn");
    let runtime = super::client_runtime()?;
    match action {
        Action::Put(args) => runtime.block_on(put(args)),
        Action::Get(args) => runtime.block_on(get(args)),
    }
}

/// Prints one line a blob, in order: its versioned hash and its height.
async fn put(args: Put) -> anyhow::Result<()> {
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let outcome = publish::put(PutOptions {
        file,
        rpc: args.rpc,
        signer: signer(args.key.as_deref())?,
        timeout: Duration::from_secs(args.timeout),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    })
    .await?;
    for blob in &outcome.blobs {
        println!("{} {}", blob.versioned_hash, blob.height);
    }
    let hashes: Vec<String> = outcome
        .blobs
        .iter()
        .map(|blob| blob.versioned_hash.to_string())
        .collect();
    eprintln!(
        "\nRestore it from any node:\n  ultramarine blob get --node URL --out FILE {}",
        hashes.join(" ")
    );
    Ok(())
}

fn signer(key: Option<&Path>) -> anyhow::Result<PrivateKeySigner> {
    match key {
        // The devnet's publishers use those after it.
        None => Ok(dev_account(0)),
        Some(path) => {
            let secret = crate::keys::read_secret(path)?;
            PrivateKeySigner::from_bytes(&B256::new(secret))
                .with_context(|| format!("{} is no private key", path.display()))
        }
    }
}

async fn get(args: Get) -> anyhow::Result<()> {
    let file = publish::get(&GetOptions {
        node: args.node,
        versioned_hashes: args.hashes,
    })
    .await?;
    std::fs::write(&args.out, &file).with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{}: {} bytes", args.out.display(), file.len());
    Ok(())
}
