//! This file knows how to have our client build a block, and what we check of it before the core sees it.

use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::B256;
use ultramarine_types::execution::{Built, ParentBlock, PayloadStatus};
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::{Hash, Height, KzgCommitment, Lists, limits};

use crate::call::CallError;
use crate::client::{Attributes, BuiltPayload, Bundle, Client, prev_randao};
use crate::header;
use crate::options::EngineOptions;
use crate::own_bundles::{BundleError, OwnBundles};
use crate::payload::{BrokenPayload, Payload};
use crate::proofs::{Proofs, ProofsError};
use crate::turns::Turn;

/// A block to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// The height that the block is for.
    pub height: Height,
    /// The decided head, on which the block is built.
    pub parent: ParentBlock,
    /// Root of the parent's sidecar header; zero on genesis.
    pub parent_beacon_block_root: Hash,
    /// Unix time in seconds. The block gets a later one if its parent's timestamp demands that.
    pub timestamp: u64,
}

/// Why there is no block of ours. The core is told in words: it proposes nothing, whichever it is.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("forkchoiceUpdated: {0}")]
    Forkchoice(CallError),
    #[error("the execution client answers forkchoiceUpdated on our head with {0}")]
    HeadNotValid(PayloadStatus),
    /// Clients that dislike the attributes, or that think the head an old block, answer `VALID` without a build.
    #[error("the execution client began no build: it has a newer head or refused the attributes")]
    NotBegun,
    #[error("getPayload: {0}")]
    Fetch(CallError),
    #[error("the built block claims hash {claimed} and has {computed}")]
    BlockHash { claimed: Hash, computed: Hash },
    /// Another parent, number, time, `prevRandao` or fee recipient than we asked for, or withdrawals.
    #[error("the built block is not the one that was asked for")]
    NotAsked,
    #[error("the bundle has {blobs} blobs for {hashes} versioned hashes")]
    BlobsCount { blobs: usize, hashes: usize },
    /// The commitment at this position does not hash to what its transaction names.
    #[error("commitment {0} of the bundle is not the one its transaction names")]
    Commitment(usize),
    #[error("the execution client's requests: {0}")]
    Requests(BrokenPayload),
    #[error("the built block: {0}")]
    Payload(BrokenPayload),
    #[error("the built payload is {0} bytes, above {max}", max = limits::PAYLOAD_BYTES_MAX)]
    Oversize(usize),
    #[error(transparent)]
    Proofs(#[from] ProofsError),
    #[error("the execution client's bundle: {0}")]
    Bundle(BundleError),
    #[error("the execution client answers newPayload of its own block with {0}")]
    NotValid(PayloadStatus),
    #[error("newPayload: {0}")]
    Execute(CallError),
}

/// Builds a block and checks it like anyone else's: bundle, proofs, block hash, and our own client's `VALID`.
pub async fn build(
    client: &Client,
    own_bundles: &OwnBundles,
    proofs: &Proofs,
    options: &EngineOptions,
    order: &Order,
    mut turn: Turn,
) -> Result<Box<Built>, BuildError> {
    let timestamp = order.timestamp.max(order.parent.timestamp.saturating_add(1));
    let attributes = Attributes {
        timestamp,
        fee_recipient: options.fee_recipient,
        parent_beacon_block_root: order.parent_beacon_block_root,
    };
    turn.begin().await;
    let forkchoice = client.forkchoice_updated(order.parent.hash, Some(&attributes)).await;
    drop(turn);
    let forkchoice = forkchoice.map_err(BuildError::Forkchoice)?;
    if !matches!(forkchoice.status, PayloadStatus::Valid { .. }) {
        return Err(BuildError::HeadNotValid(forkchoice.status));
    }
    let id = forkchoice.payload_id.ok_or(BuildError::NotBegun)?;
    if !options.build_wait.is_zero() {
        tokio::time::sleep(options.build_wait).await;
    }
    let built = client.get_payload(&id, options.is_prague(timestamp)).await;
    let built = built.map_err(BuildError::Fetch)?;
    let Finished {
        payload,
        mut built,
        bundle,
    } = check(order, timestamp, options, built)?;
    let verify = async {
        let transactions: Vec<usize> = hashes_of(&payload)?.iter().map(Vec::len).collect();
        // The other validators wait for our proposal: making proofs may take half of that time.
        let within = options.limits.propose_timeout().as_duration() / 2;
        let blobs = proofs
            .complete(own_bundles, order.height, &transactions, bundle, within)
            .await?;
        let verified = own_bundles.verify(order.height, &blobs).await;
        let digests = verified.map_err(BuildError::Bundle)?;
        Ok::<_, BuildError>((blobs, digests))
    };
    let (verified, executed) = tokio::join!(verify, execute(client, &payload, built.header.parent_beacon_block_root));
    let (blobs, digests) = verified?;
    executed?;
    built.lists.digests = digests;
    for part in blobs {
        built.lists.commitments.push(part.commitment);
        built.lists.proofs.push(part.proof);
        built.blobs.push(part.blob);
    }
    Ok(Box::new(built))
}

struct Finished {
    payload: Payload,
    /// The block for the core, still without its blobs and their lists.
    built: Built,
    bundle: Bundle,
}

/// Checks all that can be checked without asking the client or the lanes.
fn check(order: &Order, timestamp: u64, options: &EngineOptions, answer: BuiltPayload) -> Result<Finished, BuildError> {
    let BuiltPayload { payload, bundle } = answer;
    let computed = header::of(&payload, &order.parent_beacon_block_root);
    let header = computed.claimed;
    if header.block_hash != computed.block_hash {
        return Err(BuildError::BlockHash {
            claimed: header.block_hash,
            computed: computed.block_hash,
        });
    }
    let asked = header.parent_hash == order.parent.hash
        && header.number == order.parent.number + 1
        && header.timestamp == timestamp
        && header.prev_randao == prev_randao()
        && header.fee_recipient == options.fee_recipient
        && payload.execution.payload_inner.withdrawals.is_empty();
    if !asked {
        return Err(BuildError::NotAsked);
    }
    check_bundle(&payload, bundle.blobs.iter().map(|(commitment, _)| commitment))?;
    payload.check_requests().map_err(BuildError::Requests)?;
    let bytes = payload.encode();
    if bytes.len() > limits::PAYLOAD_BYTES_MAX {
        return Err(BuildError::Oversize(bytes.len()));
    }
    let built = Built {
        header,
        lists: Lists {
            chunks: chunk_hashes(&bytes),
            ..Lists::default()
        },
        payload: bytes,
        blobs: Vec::new(),
    };
    Ok(Finished { payload, built, bundle })
}

fn hashes_of(payload: &Payload) -> Result<Vec<Vec<B256>>, BuildError> {
    payload.hashes_by_transaction().map_err(BuildError::Payload)
}

/// Checks that there is one blob for each versioned hash that the transactions name, in their order.
fn check_bundle<'a>(
    payload: &Payload,
    commitments: impl ExactSizeIterator<Item = &'a KzgCommitment>,
) -> Result<(), BuildError> {
    let named = hashes_of(payload)?.concat();
    if named.len() != commitments.len() {
        return Err(BuildError::BlobsCount {
            blobs: commitments.len(),
            hashes: named.len(),
        });
    }
    let differs = named
        .iter()
        .zip(commitments)
        .position(|(hash, commitment)| *hash != kzg_to_versioned_hash(&commitment.0));
    match differs {
        None => Ok(()),
        Some(index) => Err(BuildError::Commitment(index)),
    }
}

async fn execute(client: &Client, payload: &Payload, root: Hash) -> Result<(), BuildError> {
    let hashes = hashes_of(payload)?.concat();
    match client.new_payload(payload, &hashes, root).await {
        Ok(PayloadStatus::Valid { .. }) => Ok(()),
        Ok(status) => Err(BuildError::NotValid(status)),
        Err(error) => Err(BuildError::Execute(error)),
    }
}
