//! This file knows the execution blocks of the simulated chain: how one is built, what its bytes are, and when its
//! state transition is right.
//!
//! Payload bytes are the canonical encoding of the header and commitments followed by filler, so "the bytes are what
//! the metadata says" is one comparison. The state root of a good block follows from its parent and its blobs.

use bytes::Bytes;
use ultramarine_types::canonical::{Canonical, sha256};
use ultramarine_types::execution::{Built, ParentBlock};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::{Address, ChainParams, ExecutionHeader, Hash, Init, KzgCommitment, Lists};

use crate::blobs::{self, Committed};

/// Unix time of the execution genesis, in seconds.
pub const GENESIS_SECONDS: u64 = 1_700_000_000;
/// Root of the empty withdrawals list.
const EMPTY_WITHDRAWALS: [u8; 32] = [
    0x56, 0xe8, 0x1f, 0x17, 0x1b, 0xcc, 0x55, 0xa6, 0xff, 0x83, 0x45, 0xe6, 0x92, 0xc0, 0xf8, 0x6e, 0x5b, 0x48, 0xe0,
    0x1b, 0x99, 0x6c, 0xad, 0xc0, 0x01, 0x62, 0x2f, 0xb5, 0xe3, 0x63, 0xb4, 0x21,
];
/// Gas limit of every block, unless a client aims at another one.
pub const GAS_LIMIT: u64 = 30_000_000;

pub fn genesis() -> ParentBlock {
    ParentBlock {
        hash: sha256(b"ultramarine simulated genesis"),
        number: 0,
        timestamp: GENESIS_SECONDS,
    }
}

/// Root of the empty withdrawals list.
pub fn empty_withdrawals() -> Hash {
    Hash(EMPTY_WITHDRAWALS)
}

/// What a builder chooses.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub parent: ParentBlock,
    /// Root of the parent's sidecar header.
    pub sidecar_root: Hash,
    /// In Unix seconds.
    pub timestamp: u64,
    /// Receives the fees; tells builders apart.
    pub fee_recipient: Address,
    /// Makes two blocks of one builder differ.
    pub salt: u64,
    pub blobs_count: u32,
    /// Bytes of filler behind the header: more than one chunk now and then.
    pub filler_bytes: usize,
    pub gas_limit: u64,
}

pub fn build(recipe: &Recipe, chain: &ChainParams) -> Built {
    let blobs: Vec<Committed> = (0..recipe.blobs_count)
        .map(|index| blobs::committed(index + recipe.salt as u32 % 7, recipe.salt))
        .collect();
    let mut randao = [0; 32];
    randao[31] = 1;
    let mut fee = [0; 32];
    fee[31] = 7;
    let mut header = ExecutionHeader {
        parent_hash: recipe.parent.hash,
        fee_recipient: recipe.fee_recipient,
        state_root: state_root(&recipe.parent.hash, recipe.parent.number + 1),
        transactions_root: sha256(&recipe.salt.to_le_bytes()),
        receipts_root: Hash::ZERO,
        logs_bloom: [0; 256],
        number: recipe.parent.number + 1,
        gas_limit: recipe.gas_limit,
        gas_used: 21_000 * u64::from(recipe.blobs_count),
        timestamp: recipe.timestamp,
        extra_data: recipe.salt.to_le_bytes().to_vec(),
        prev_randao: Hash(randao),
        base_fee_per_gas: Hash(fee),
        withdrawals_root: Hash(EMPTY_WITHDRAWALS),
        blob_gas_used: u64::from(recipe.blobs_count) * BLOB_BYTES as u64,
        excess_blob_gas: 0,
        parent_beacon_block_root: recipe.sidecar_root,
        requests_hash: chain.is_prague(recipe.timestamp).then(|| sha256(b"")),
        block_hash: Hash::ZERO,
    };
    header.block_hash = block_hash(&header);
    finish(header, blobs, recipe.filler_bytes)
}

/// Payload and lists of a block whose header is settled.
pub fn finish(header: ExecutionHeader, blobs: Vec<Committed>, filler_bytes: usize) -> Built {
    let commitments: Vec<KzgCommitment> = blobs.iter().map(|it| it.commitment).collect();
    let mut payload = encode(&header, &commitments);
    payload.resize(payload.len() + filler_bytes, 0xab);
    let lists = Lists {
        chunks: chunk_hashes(&payload),
        digests: blobs.iter().map(|it| blobs::digest(&it.blob, &it.commitment)).collect(),
        proofs: blobs.iter().filter_map(|it| it.proof).collect(),
        commitments,
    };
    Built {
        payload: Bytes::from(payload),
        header,
        lists,
        blobs: blobs.into_iter().map(|it| it.blob).collect(),
    }
}

/// The state root a block must have to be valid.
pub fn state_root(parent: &Hash, number: u64) -> Hash {
    Canonical::new("ultramarine/sim/state/1")
        .hash(parent)
        .u64(number)
        .sha256()
}

/// The block's hash, over every field of the header but itself.
pub fn block_hash(header: &ExecutionHeader) -> Hash {
    let mut header = header.clone();
    header.block_hash = Hash::ZERO;
    sha256(&encode(&header, &[]))
}

/// The first rule that the bytes break, given what the metadata claims of them.
pub fn inspect(init: &Init, lists: &Lists, payload: &Bytes) -> Result<(), String> {
    let metadata = &init.metadata;
    if !payload.starts_with(&encode(&metadata.header, &lists.commitments)) {
        return Err("payload bytes are not those of the header".to_owned());
    }
    if block_hash(&metadata.header) != metadata.header.block_hash {
        return Err("block hash".to_owned());
    }
    Ok(())
}

fn encode(header: &ExecutionHeader, commitments: &[KzgCommitment]) -> Vec<u8> {
    Canonical::new("ultramarine/sim/payload/1")
        .header(header)
        .list(commitments.iter().map(KzgCommitment::as_bytes))
        .into_bytes()
}
