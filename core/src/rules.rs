//! This file knows the block rules: what a value's metadata must be, given its parent. The same for every node.
//!
//! What needs the payload itself (its hash, its header fields, the versioned hashes of its transactions) is checked
//! by the execution client's driver, which answers `Broken` or an `Inspected` error. Whether a timestamp is too far
//! ahead of our clock is no rule: it only withholds the verdict.

use ultramarine_types::execution::ParentBlock;
use ultramarine_types::limits;
use ultramarine_types::{ChainParams, Hash, ValueMetadata};

/// Gas of one blob (EIP-4844).
pub const GAS_PER_BLOB: u64 = 131_072;

/// Root of the empty withdrawals list: keccak-256 of the RLP of an empty string, the root of an empty trie.
pub const EMPTY_ROOT: Hash = Hash([
    0x56, 0xe8, 0x1f, 0x17, 0x1b, 0xcc, 0x55, 0xa6, 0xff, 0x83, 0x45, 0xe6, 0x92, 0xc0, 0xf8, 0x6e, 0x5b, 0x48, 0xe0,
    0x1b, 0x99, 0x6c, 0xad, 0xc0, 0x01, 0x62, 0x2f, 0xb5, 0xe3, 0x63, 0xb4, 0x21,
]);

/// `prevRandao` on our chains: the number one.
pub const PREV_RANDAO: Hash = {
    let mut bytes = [0; 32];
    bytes[31] = 1;
    Hash(bytes)
};

/// What a block is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// The decided head's execution block.
    pub block: ParentBlock,
    /// Root of the decided head's sidecar header; zero at the first height.
    pub blob_root: Hash,
}

/// A broken rule; the text is what an operator reads.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

macro_rules! rule {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(Broken(format!($($text)+)));
        }
    };
}

/// Checks a value's metadata against its parent.
pub fn check(chain: &ChainParams, parent: &Parent, metadata: &ValueMetadata) -> Result<(), Broken> {
    let header = &metadata.header;
    let block = &parent.block;
    rule!(
        metadata.chain_id == chain.chain_id,
        "chain id {} is not {}",
        metadata.chain_id,
        chain.chain_id
    );
    rule!(
        metadata.height.0 == block.number + 1,
        "height {} does not follow block {}",
        metadata.height,
        block.number
    );
    rule!(
        header.number == block.number + 1,
        "block number {} does not follow {}",
        header.number,
        block.number
    );
    rule!(
        header.parent_hash == block.hash,
        "parent {} is not our head {}",
        header.parent_hash,
        block.hash
    );
    rule!(
        header.timestamp > block.timestamp,
        "timestamp {} is not after the parent's {}",
        header.timestamp,
        block.timestamp
    );
    rule!(
        header.prev_randao == PREV_RANDAO,
        "prevRandao {} is not one",
        header.prev_randao
    );
    rule!(
        header.withdrawals_root == EMPTY_ROOT,
        "the withdrawals root {} is not of no withdrawals",
        header.withdrawals_root
    );
    rule!(
        header.parent_beacon_block_root == block.hash,
        "parentBeaconBlockRoot {} is not the parent's hash {}",
        header.parent_beacon_block_root,
        block.hash
    );
    rule!(
        (chain.gas_limit_min..=chain.gas_limit_max).contains(&header.gas_limit),
        "gas limit {} is outside {} to {}",
        header.gas_limit,
        chain.gas_limit_min,
        chain.gas_limit_max
    );
    rule!(
        header.gas_used <= header.gas_limit,
        "gas used {} is above the limit {}",
        header.gas_used,
        header.gas_limit
    );
    rule!(
        header.extra_data.len() <= limits::EXTRA_DATA_BYTES_MAX,
        "extra data has {} bytes",
        header.extra_data.len()
    );
    let prague = chain.is_prague(header.timestamp);
    rule!(
        header.requests_hash.is_some() == prague,
        "the requests hash is {} and the block {} Prague's",
        if header.requests_hash.is_some() {
            "present"
        } else {
            "absent"
        },
        if prague { "is" } else { "is not" }
    );
    let blobs = metadata.commitments.len() as u64;
    rule!(
        blobs <= u64::from(chain.blobs_per_block_max),
        "{blobs} blobs; at most {} are allowed",
        chain.blobs_per_block_max
    );
    rule!(
        header.blob_gas_used == blobs * GAS_PER_BLOB,
        "blob gas used {} is not that of {blobs} blobs",
        header.blob_gas_used
    );
    rule!(
        metadata.parent_blob_root == parent.blob_root,
        "parent blob root {} is not ours {}",
        metadata.parent_blob_root,
        parent.blob_root
    );
    Ok(())
}

/// Whether a block's timestamp is too far ahead of our clock for a first verdict.
pub fn is_ahead(timestamp: u64, unix_ns: u64) -> bool {
    timestamp > (unix_ns / 1_000_000_000).saturating_add(limits::TIMESTAMP_AHEAD_SECONDS)
}

#[cfg(test)]
#[path = "rules/tests.rs"]
pub(crate) mod tests;
