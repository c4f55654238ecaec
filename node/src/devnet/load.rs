//! This file knows how to keep a network supplied with blobs: one publisher a node, as execution clients without peers do
//! not pass transactions on.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::devnet::layout::Layout;
use crate::devnet::voice::complain;
use crate::engine::genesis::dev_account;
use crate::publish::encode::PIECE_BYTES;
use crate::publish::{Prover, PublisherOptions, publish};

/// Files generated when the operator names none; each becomes one transaction.
const FILES: u64 = 4;
/// Blobs of each: two transactions fill a block of six.
const BLOBS_PER_FILE: usize = 3;

/// The running publishers.
#[derive(Debug)]
pub struct Load {
    cancel: CancellationToken,
    publishers: JoinSet<()>,
}

impl Load {
    /// Starts a publisher for each node, fed with `blobs` (a file or a folder) or with generated content.
    pub fn start(blobs: Option<&Path>, layout: &Layout) -> anyhow::Result<Self> {
        let path = match blobs {
            Some(path) => {
                path.metadata()
                    .with_context(|| format!("cannot publish {}", path.display()))?;
                path.to_owned()
            }
            None => generate(layout.dir())?,
        };
        let prover = Prover::new(std::thread::available_parallelism().map_or(1, usize::from));
        let cancel = CancellationToken::new();
        let mut publishers = JoinSet::new();
        for node in layout.nodes() {
            let options = PublisherOptions {
                rpc: node.rpc(),
                // Account 0 is for people: `blob put` uses it.
                signer: dev_account(1 + node.id),
                path: path.clone(),
                blobs_per_block: layout.blobs_per_block(),
                prover: prover.clone(),
            };
            let (cancel, id) = (cancel.clone(), node.id);
            publishers.spawn(async move {
                if let Err(error) = publish(options, cancel).await {
                    complain(format_args!("publishing through node{id} ended: {error:#}"));
                }
            });
        }
        Ok(Self { cancel, publishers })
    }

    /// Stops all publishers.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // They may be waiting for a proof or a client; nothing is lost with them.
        self.publishers.shutdown().await;
    }
}

/// Writes files whose content looks random (so that nothing can be gained by compressing it) and is always the same.
fn generate(dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = dir.join("blobs");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in 0..FILES {
        let path = folder.join(format!("{file}.bin"));
        std::fs::write(&path, noise(file + 1)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// Marsaglia's xorshift64: no randomness is needed here, only bytes that differ.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = BLOBS_PER_FILE * PIECE_BYTES / 8;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..words).flat_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::encode::encode;

    #[test]
    fn generated_files_fill_their_blobs_and_differ() {
        let files: Vec<Vec<u8>> = (1..=FILES).map(noise).collect();
        for (index, file) in files.iter().enumerate() {
            assert_eq!(encode(file).expect("small").len(), BLOBS_PER_FILE);
            assert!(!files[..index].contains(file));
        }
    }
}
