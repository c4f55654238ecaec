//! This file knows the block rules: what a value's metadata must be, given its parent. They are the same on every node.
//!
//! The execution client's driver checks what needs the payload itself: its hash, its header fields, the versioned
//! hashes of its transactions. It answers `Broken`, or an `Inspected` error. That a timestamp is not too far ahead of
//! our clock is no rule: it only withholds the verdict.

use ultramarine_types::execution::ParentBlock;
use ultramarine_types::limits;
use ultramarine_types::{Chain, ChainIdentity, ChainParams, Hash, Height, ValueMetadata};

/// Gas of one blob (EIP-4844).
pub const GAS_PER_BLOB: u64 = 131_072;
// EIP-4844 charges one unit of gas for each byte of a blob.
const _: () = assert!(GAS_PER_BLOB == limits::BLOB_BYTES as u64);

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
    pub sidecar_root: Hash,
}

/// The rule that a value breaks: what was found in the value, and what the rule asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokenRule {
    #[error("it is of chain {found}, and ours is {ours}")]
    Chain { found: ChainIdentity, ours: ChainIdentity },
    #[error("height {found} does not follow block {parent}")]
    Height { found: Height, parent: u64 },
    #[error("block number {found} does not follow {parent}")]
    Number { found: u64, parent: u64 },
    #[error("parent {found} is not our head {ours}")]
    ParentHash { found: Hash, ours: Hash },
    #[error("timestamp {found} is not after the parent's {parent}")]
    Timestamp { found: u64, parent: u64 },
    #[error("prevRandao {found} is not one")]
    PrevRandao { found: Hash },
    #[error("the withdrawals root {found} is not of no withdrawals")]
    Withdrawals { found: Hash },
    #[error("parentBeaconBlockRoot {found} is not the root of our head's sidecar header {ours}")]
    BeaconRoot { found: Hash, ours: Hash },
    #[error("gas limit {found} is outside {least} to {most}")]
    GasLimit { found: u64, least: u64, most: u64 },
    #[error("gas used {found} is above the limit {limit}")]
    GasUsed { found: u64, limit: u64 },
    #[error("extra data has {found} bytes")]
    ExtraData { found: usize },
    #[error("the requests hash is present and the block is not Prague's")]
    RequestsBeforePrague,
    #[error("the requests hash is absent and the block is Prague's")]
    NoRequests,
    #[error("{found} blobs; at most {most} are allowed")]
    BlobsCount { found: u64, most: u32 },
    #[error("blob gas used {found} is not that of {blobs} blobs")]
    BlobGas { found: u64, blobs: u64 },
}

/// Checks a value's metadata against its parent; `Err` names the first rule it breaks.
pub fn check(chain: &Chain, parent: &Parent, metadata: &ValueMetadata) -> Result<(), BrokenRule> {
    check_ancestry(chain, parent, metadata)?;
    check_header(&chain.params, parent, metadata)?;
    check_blobs(&chain.params, metadata)
}

fn require(holds: bool, broken: BrokenRule) -> Result<(), BrokenRule> {
    if holds { Ok(()) } else { Err(broken) }
}

/// The value is of our chain and follows our head.
fn check_ancestry(chain: &Chain, parent: &Parent, metadata: &ValueMetadata) -> Result<(), BrokenRule> {
    let (header, block) = (&metadata.header, &parent.block);
    let (found, ours) = (metadata.chain, chain.identity);
    require(found == ours, BrokenRule::Chain { found, ours })?;
    let (found, parent) = (metadata.height, block.number);
    require(found.0 == parent + 1, BrokenRule::Height { found, parent })?;
    let found = header.number;
    require(found == parent + 1, BrokenRule::Number { found, parent })?;
    let (found, ours) = (header.parent_hash, block.hash);
    require(found == ours, BrokenRule::ParentHash { found, ours })?;
    let (found, parent) = (header.timestamp, block.timestamp);
    require(found > parent, BrokenRule::Timestamp { found, parent })
}

/// The header's other fields are those of our chains, gas included.
fn check_header(chain: &ChainParams, parent: &Parent, metadata: &ValueMetadata) -> Result<(), BrokenRule> {
    let header = &metadata.header;
    let found = header.prev_randao;
    require(found == PREV_RANDAO, BrokenRule::PrevRandao { found })?;
    let found = header.withdrawals_root;
    require(found == EMPTY_ROOT, BrokenRule::Withdrawals { found })?;
    let (found, ours) = (header.parent_beacon_block_root, parent.sidecar_root);
    require(found == ours, BrokenRule::BeaconRoot { found, ours })?;
    let (found, least, most) = (header.gas_limit, chain.gas_limit_min, chain.gas_limit_max);
    require(
        (least..=most).contains(&found),
        BrokenRule::GasLimit { found, least, most },
    )?;
    let (found, limit) = (header.gas_used, header.gas_limit);
    require(found <= limit, BrokenRule::GasUsed { found, limit })?;
    let found = header.extra_data.len();
    require(found <= limits::EXTRA_DATA_BYTES_MAX, BrokenRule::ExtraData { found })?;
    match (header.requests_hash.is_some(), chain.is_prague(header.timestamp)) {
        (true, false) => Err(BrokenRule::RequestsBeforePrague),
        (false, true) => Err(BrokenRule::NoRequests),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The blobs' count and gas fit each other and the chain.
fn check_blobs(chain: &ChainParams, metadata: &ValueMetadata) -> Result<(), BrokenRule> {
    let blobs = u64::from(metadata.blobs_count);
    let (found, most) = (blobs, chain.blobs_per_block_max);
    require(found <= u64::from(most), BrokenRule::BlobsCount { found, most })?;
    let found = metadata.header.blob_gas_used;
    require(found == blobs * GAS_PER_BLOB, BrokenRule::BlobGas { found, blobs })
}

/// Whether a block's timestamp is too far ahead of our clock for a first verdict. The earliest that may follow the
/// parent never is: no honest proposer has a better one, so the chain would stand still until our clock is there.
pub fn is_ahead(timestamp: u64, parent: &ParentBlock, unix_ns: u64) -> bool {
    let latest = (unix_ns / 1_000_000_000).saturating_add(limits::TIMESTAMP_AHEAD_SECONDS);
    timestamp > latest.max(parent.timestamp.saturating_add(1))
}

#[cfg(test)]
#[path = "rules/tests.rs"]
pub(crate) mod tests;
