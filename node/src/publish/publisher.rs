//! This file knows how to keep one execution client's pool supplied with blobs: the same content, round and round.
//!
//! Embedded clients do not gossip, so each node has a publisher with an account of its own. The pool holds a bounded
//! number of our transactions: enough for the node's next turns to propose, never so many that it would drop some.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::encode::encode;
use super::prove::{ProvenBlob, Prover};
use super::rpc::{Fees, Rpc};
use super::transaction::{BLOBS_MAX, Terms, sign};

/// How often the pool is looked at.
const POLL: Duration = Duration::from_millis(250);
/// A pool that loses nothing includes its first transaction within this; a client that restarted lost its pool.
const STUCK: Duration = Duration::from_secs(20);
/// Blocks' worth of our transactions in the pool: the one that is built, and the next.
const BLOCKS_AHEAD: u64 = 2;
/// Files are read whole, one at a time.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What one publisher does.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Public JSON-RPC of the node's own client, `http://host:port`.
    pub rpc: String,
    /// An account that no other publisher uses.
    pub signer: PrivateKeySigner,
    /// A file, or a folder whose files are taken in order of name.
    pub path: PathBuf,
    /// The chain's blob limit.
    pub blobs_per_block: u32,
    /// Shared by all publishers of a process, so that each blob is proven once.
    pub prover: Prover,
}

/// Publishes until cancelled. Errors of the client are waited out; only content that cannot be read is an error.
pub async fn publish(options: PublisherOptions, cancel: CancellationToken) -> Result<()> {
    let rpc = Rpc::new(&options.rpc)?;
    let mut content = Content::open(&options.path)?;
    let mut account = Account::new(&options);
    loop {
        match account.supply(&rpc, &options, &mut content, &cancel).await {
            Ok(()) => {}
            Err(Trouble::Content(error)) => return Err(error),
            Err(Trouble::Client(error)) => tracing::debug!("publishing through {}: {error:#}", options.rpc),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

enum Trouble {
    /// The files are at fault.
    Content(anyhow::Error),
    /// The client is away or refuses; it may come back.
    Client(anyhow::Error),
}

/// The account's view of its own transactions.
struct Account {
    pending_max: u64,
    chain_id: Option<u64>,
    /// Nonce of the next transaction.
    next: u64,
    /// Transactions in blocks, and since when that many.
    included: u64,
    since: Instant,
}

impl Account {
    fn new(options: &PublisherOptions) -> Self {
        let per_block = u64::from(options.blobs_per_block).div_ceil(BLOBS_MAX as u64).max(1);
        Self {
            pending_max: BLOCKS_AHEAD * per_block,
            chain_id: None,
            next: 0,
            included: 0,
            since: Instant::now(),
        }
    }

    /// Tops the pool up.
    async fn supply(
        &mut self,
        rpc: &Rpc,
        options: &PublisherOptions,
        content: &mut Content,
        cancel: &CancellationToken,
    ) -> Result<(), Trouble> {
        let chain_id = match self.chain_id {
            Some(known) => known,
            None => *self.chain_id.insert(rpc.chain_id().await.map_err(Trouble::Client)?),
        };
        let included = rpc.nonce(options.signer.address()).await.map_err(Trouble::Client)?;
        self.observe(included, Instant::now());
        let fees = rpc.fees().await.map_err(Trouble::Client)?;
        while self.next.saturating_sub(self.included) < self.pending_max && !cancel.is_cancelled() {
            let blobs = content.next(&options.prover).await.map_err(Trouble::Content)?;
            self.send(rpc, options, chain_id, fees, &blobs)
                .await
                .map_err(Trouble::Client)?;
        }
        Ok(())
    }

    /// Learns how many of our transactions are in blocks by now.
    fn observe(&mut self, included: u64, now: Instant) {
        // Fewer than before: the client lost its state and will be fed the blocks again. Its pool is empty, but the
        // transactions in those blocks will come back, so nothing may be sent with their nonces until it stands still.
        let moved = included != self.included;
        self.included = included;
        self.next = self.next.max(included);
        if moved {
            self.since = now;
        } else if now.duration_since(self.since) >= STUCK {
            // Nothing of ours was included for long: the pool may have lost it. What it still has it will refuse.
            self.next = included;
            self.since = now;
        }
    }

    async fn send(
        &mut self,
        rpc: &Rpc,
        options: &PublisherOptions,
        chain_id: u64,
        fees: Fees,
        blobs: &[ProvenBlob],
    ) -> Result<()> {
        let terms = Terms {
            chain_id,
            nonce: self.next,
            fees,
        };
        let transaction = sign(&options.signer, &terms, blobs)?;
        match rpc.send(&transaction.raw).await {
            Ok(()) => {
                self.next += 1;
                Ok(())
            }
            Err(error) => {
                // Taken by a transaction that the pool still holds, or that a block already has: go on behind it.
                let text = error.to_string().to_lowercase();
                if ["underpriced", "nonce too low", "nonce is too low", "nonce already"]
                    .iter()
                    .any(|known| text.contains(known))
                {
                    self.next += 1;
                    return Ok(());
                }
                Err(error).with_context(|| format!("transaction with nonce {}", terms.nonce))
            }
        }
    }
}

/// The blobs of some files, for ever.
struct Content {
    files: Vec<PathBuf>,
    next_file: usize,
    blobs: std::vec::IntoIter<Bytes>,
}

impl Content {
    fn open(path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
                let entry = entry.with_context(|| format!("reading {}", path.display()))?;
                if entry.file_type()?.is_file() {
                    files.push(entry.path());
                }
            }
        } else {
            files.push(path.to_owned());
        }
        files.sort();
        ensure!(!files.is_empty(), "{} has no files to publish", path.display());
        for file in &files {
            let bytes = std::fs::metadata(file)
                .with_context(|| format!("reading {}", file.display()))?
                .len();
            ensure!(
                bytes <= FILE_BYTES_MAX,
                "{} is {bytes} bytes; publish files of at most {FILE_BYTES_MAX}",
                file.display()
            );
        }
        Ok(Self {
            files,
            next_file: 0,
            blobs: Vec::new().into_iter(),
        })
    }

    /// Blobs for one more transaction, proven: as many as fit, from as many files as it takes, so that small files make
    /// as much load as large ones.
    async fn next(&mut self, prover: &Prover) -> Result<Vec<ProvenBlob>> {
        let mut blobs: Vec<Bytes> = Vec::with_capacity(BLOBS_MAX);
        while blobs.len() < BLOBS_MAX {
            if self.blobs.len() == 0 {
                let file = &self.files[self.next_file];
                self.next_file = (self.next_file + 1) % self.files.len();
                let bytes = tokio::fs::read(file)
                    .await
                    .with_context(|| format!("reading {}", file.display()))?;
                self.blobs = encode(&bytes)?.into_iter();
            }
            blobs.extend(self.blobs.by_ref().take(BLOBS_MAX - blobs.len()));
        }
        prover.prove(&blobs).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::genesis::dev_account;
    use crate::publish::encode::PIECE_BYTES;

    fn options(path: &Path, blobs_per_block: u32) -> PublisherOptions {
        PublisherOptions {
            rpc: "http://127.0.0.1:1".to_owned(),
            signer: dev_account(0),
            path: path.to_owned(),
            blobs_per_block,
            prover: Prover::new(2),
        }
    }

    #[tokio::test]
    async fn files_are_published_in_order_of_name_and_round_and_round() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("b"), vec![2; 10]).expect("written");
        std::fs::write(folder.path().join("a"), vec![1; 7 * PIECE_BYTES]).expect("written");
        let mut content = Content::open(folder.path()).expect("two files");
        let prover = Prover::new(2);
        let mut names = Vec::new();
        for _ in 0..3 {
            let blobs = content.next(&prover).await.expect("proven");
            assert_eq!(blobs.len(), BLOBS_MAX, "small files fill a transaction together");
            names.extend(blobs.iter().map(ProvenBlob::versioned_hash));
        }
        let once: std::collections::BTreeSet<_> = names[..8].iter().collect();
        assert_eq!(once.len(), 8, "seven pieces of the first file, one of the second");
        assert_eq!(names[8..16], names[..8], "and again");
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Content::open(folder.path()).is_err());
        assert!(Content::open(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn the_pool_holds_two_blocks_worth() {
        assert_eq!(Account::new(&options(Path::new("."), 6)).pending_max, 2);
        assert_eq!(Account::new(&options(Path::new("."), 24)).pending_max, 8);
        assert_eq!(Account::new(&options(Path::new("."), 25)).pending_max, 10);
    }

    #[test]
    fn a_pool_that_lost_everything_is_filled_again() {
        let mut account = Account::new(&options(Path::new("."), 6));
        let start = Instant::now();
        account.observe(5, start);
        account.next = 7;
        account.observe(5, start + STUCK / 2);
        assert_eq!(account.next, 7, "it may still come");
        account.observe(5, start + STUCK);
        assert_eq!(account.next, 5, "it did not");
        account.observe(9, start + STUCK);
        assert_eq!(account.next, 9, "blocks are ahead of us");
    }
}
