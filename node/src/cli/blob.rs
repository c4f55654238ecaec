//! This file knows `ultramarine blob`: a file becomes blobs on one node and a file again from another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Context;
use ultramarine_runtime::print;

use crate::engine::genesis::dev_account;
use crate::program;
use crate::publish::{self, BlobName, GetOptions, Progress, PutBlob, PutOptions};

/// Longest wait that can be asked for, in seconds.
const YEAR_S: u64 = 365 * 24 * 3600;

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
    /// Give up when no further transaction of the file has been decided for so long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(..=YEAR_S))]
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
    /// Its blobs, as in the command that `blob put` ends with: a versioned hash alone is looked for in recent blocks only
    #[arg(value_name = "HASH[@HEIGHT]", required = true)]
    blobs: Vec<BlobName>,
}

pub fn run(action: Action) -> anyhow::Result<()> {
    crate::log::start("warn")?;
    let runtime = super::client_runtime()?;
    match action {
        Action::Put(args) => runtime.block_on(put(args)),
        Action::Get(args) => runtime.block_on(get(args)),
    }
}

/// Prints one line a blob as it is decided, in the file's order: its versioned hash and its height.
async fn put(args: Put) -> anyhow::Result<()> {
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let options = PutOptions {
        file,
        rpc: args.rpc,
        signer: signer(args.key.as_deref())?,
        patience: Duration::from_secs(args.timeout),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    // An output that takes no more is no reason to stop half-way; what it missed is said at the end.
    let mut printed = Ok(());
    let outcome = publish::put(options, |blob| {
        if printed.is_ok() {
            printed = print::line(line(blob));
        }
    })
    .await?;
    let Some(trouble) = outcome.trouble else {
        print::reason(format_args!(
            "\nRestore it from any node:\n  {}",
            get_command(&outcome.blobs)
        ));
        return printed.context("the file is published; only not every line about it was printed");
    };
    print::reason("\nNot all of it is decided:");
    outcome
        .blobs
        .iter()
        .for_each(|blob| print::reason(format_args!("  {}", line(blob))));
    let is_pooled = |blob: &PutBlob| matches!(blob.progress, Progress::Pooled | Progress::Decided(_));
    if outcome.blobs.iter().all(is_pooled) {
        print::reason(format_args!(
            "What is in the pool is not lost as long as that client runs; when it is decided, restore the file with\n  {}",
            get_command(&outcome.blobs)
        ));
    } else {
        print::reason("Publish the file again when the execution client takes it.");
    }
    Err(trouble)
}

fn line(blob: &PutBlob) -> String {
    let hash = blob.versioned_hash;
    match blob.progress {
        Progress::Decided(height) => format!("{hash} {height}"),
        Progress::Pooled => format!("{hash} in the pool"),
        Progress::Unanswered => format!("{hash} sent, and not answered"),
        Progress::Unsent => format!("{hash} not sent"),
    }
}

/// The command that restores a file, with what is known of where its blobs are.
fn get_command(blobs: &[PutBlob]) -> String {
    let name = |blob: &PutBlob| BlobName {
        versioned_hash: blob.versioned_hash,
        height: match blob.progress {
            Progress::Decided(height) => Some(height),
            Progress::Pooled | Progress::Unanswered | Progress::Unsent => None,
        },
    };
    let names: Vec<String> = blobs.iter().map(|blob| name(blob).to_string()).collect();
    format!("{} blob get --node URL --out FILE {}", program::name(), names.join(" "))
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
        blobs: args.blobs,
    })
    .await?;
    std::fs::write(&args.out, &file).with_context(|| format!("cannot write {}", args.out.display()))?;
    let out = args.out.display();
    print::line(format_args!("{out}: {} bytes", file.len()))
        .with_context(|| format!("{out} is written and whole; only this was not printed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_restores_a_file_keeps_its_order_and_says_what_heights_are_known() {
        let blob = |byte, progress| PutBlob {
            versioned_hash: B256::repeat_byte(byte),
            progress,
        };
        let blobs = [blob(9, Progress::Decided(12)), blob(1, Progress::Pooled)];
        let (first, second) = (B256::repeat_byte(9), B256::repeat_byte(1));
        let command = get_command(&blobs);
        assert!(command.ends_with(&format!(" {first}@12 {second}")), "{command}");
        assert_eq!(line(&blobs[0]), format!("{first} 12"));
        assert_eq!(line(&blobs[1]), format!("{second} in the pool"));
    }
}
