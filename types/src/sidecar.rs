//! This file knows how to rebuild a blob sidecar's signed header and inclusion proofs from a value's metadata alone.
//!
//! Consumers of blobs expect the Beacon chain's shape: a `BeaconBlockHeader` whose body root commits to the list of KZG
//! commitments. We have no beacon body, so ours is a Deneb `BeaconBlockBody` in which two of the twelve fields are
//! filled and the other leaves are zero. SSZ merkleization (`hash_tree_root`) is plain SHA-256 over pairs:
//!
//! ```text
//!   depth 0                    body root                        generalized index 1
//!     4      0 … 0 │ 9: execution block hash │ 10: 0 │ 11: blob_kzg_commitments │ 0 … 0     27
//!     5                                            list data root │ length                  54 │ 55
//!    17                                     4096 leaves: sha256(48 bytes ‖ 16 zeros)        54·4096 + index
//! ```
//!
//! A proof runs from leaf to body root: 12 siblings inside the list, the length, 4 siblings among the fields: 17, the
//! `KZG_COMMITMENT_INCLUSION_PROOF_DEPTH` of the Deneb p2p specification.

use sha2::{Digest, Sha256};

use crate::ids::{Hash, KzgCommitment};
use crate::value::ValueMetadata;

/// Length of a slot in seconds, as `/eth/v1/config/spec` names it.
pub const SECONDS_PER_SLOT: u64 = 1;

/// Hashes of an inclusion proof (Deneb p2p specification).
pub const INCLUSION_PROOF_DEPTH: usize = LIST_DEPTH + 1 + FIELDS_DEPTH;
/// From a commitment's leaf up to the body root.
pub type InclusionProof = [Hash; INCLUSION_PROOF_DEPTH];

/// Two to this power is `MAX_BLOB_COMMITMENTS_PER_BLOCK`, 4096.
const LIST_DEPTH: usize = 12;
/// Twelve fields, padded to sixteen.
const FIELDS_DEPTH: usize = 4;
/// Position of `execution_payload` in a Deneb body.
const EXECUTION_FIELD: usize = 9;
/// Position of `blob_kzg_commitments` in a Deneb body.
const COMMITMENTS_FIELD: usize = 11;

const _: () = assert!(INCLUSION_PROOF_DEPTH == 17);
const _: () = assert!(crate::limits::BLOBS_PER_BLOCK_MAX as usize <= 1 << LIST_DEPTH);

/// The header that a blob's sidecars carry; the origin proposer signs its root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeaconBlockHeader {
    /// The Beacon chain's slot: [`slot_at`] the block's timestamp. Block times are whole seconds and rise, so a slot
    /// holds one block at most, and whoever knows a block's time finds its blobs.
    pub slot: u64,
    /// Position of the origin proposer in the validator set.
    pub proposer_index: u64,
    /// Root of the header of the height before; zero at the first height.
    pub parent_root: Hash,
    /// State root of the execution block.
    pub state_root: Hash,
    /// [`body_root`] of the value.
    pub body_root: Hash,
}

impl BeaconBlockHeader {
    /// SSZ hash tree root: five leaves, padded to eight.
    pub fn root(&self) -> Hash {
        let leaves = [
            number(self.slot),
            number(self.proposer_index),
            self.parent_root,
            self.state_root,
            self.body_root,
        ];
        let zero = Hash::ZERO;
        let left = pair(&pair(&leaves[0], &leaves[1]), &pair(&leaves[2], &leaves[3]));
        let right = pair(&pair(&leaves[4], &zero), &pair(&zero, &zero));
        pair(&left, &right)
    }
}

/// The sidecar header of a value of a chain whose execution genesis has this Unix time, in seconds.
///
/// Everything in it is bound by the value id, and none of it needs a list: anybody can check the header's signature
/// from the metadata alone.
pub fn header(metadata: &ValueMetadata, genesis_time: u64) -> BeaconBlockHeader {
    BeaconBlockHeader {
        slot: slot_at(metadata.header.timestamp, genesis_time),
        proposer_index: u64::from(metadata.origin_proposer_index),
        parent_root: metadata.header.parent_beacon_block_root,
        state_root: metadata.header.state_root,
        body_root: body_root(metadata),
    }
}

/// The slot of a block: seconds since the execution genesis, as [`SECONDS_PER_SLOT`] is one. Zero for a time before it,
/// which no admitted block has.
pub const fn slot_at(timestamp: u64, genesis_time: u64) -> u64 {
    timestamp.saturating_sub(genesis_time) / SECONDS_PER_SLOT
}

/// The body root of a value: over the root of its commitments and its execution block's hash.
pub fn body_root(metadata: &ValueMetadata) -> Hash {
    fields(&metadata.header.block_hash, &metadata.roots.commitments)[1]
}

/// SSZ root of a `List[KZGCommitment, 4096]`.
pub fn commitments_root(commitments: &[KzgCommitment]) -> Hash {
    ListTree::of(commitments).root()
}

/// Whether `commitment` stands at `index` of the list under `body_root`.
pub fn verify_inclusion_proof(
    commitment: &KzgCommitment,
    index: usize,
    proof: &InclusionProof,
    body_root: &Hash,
) -> bool {
    if index >= 1 << LIST_DEPTH {
        return false;
    }
    // The path's turns, lowest first: position in the list, left of the length, position of the field.
    let mut turns = (COMMITMENTS_FIELD << (LIST_DEPTH + 1)) | index;
    let mut node = leaf(commitment);
    for sibling in proof {
        node = if turns & 1 == 1 {
            pair(sibling, &node)
        } else {
            pair(&node, sibling)
        };
        turns >>= 1;
    }
    node == *body_root
}

/// Nodes of a body's sixteen fields in heap order: 1 is the root, 16..32 are the leaves.
#[expect(
    clippy::indexing_slicing,
    reason = "nodes are positions in an array of the tree's own fixed shape"
)]
fn fields(block_hash: &Hash, commitments_root: &Hash) -> [Hash; 2 << FIELDS_DEPTH] {
    let mut fields = [Hash::ZERO; 2 << FIELDS_DEPTH];
    fields[(1 << FIELDS_DEPTH) + EXECUTION_FIELD] = *block_hash;
    fields[(1 << FIELDS_DEPTH) + COMMITMENTS_FIELD] = *commitments_root;
    for node in (1..1 << FIELDS_DEPTH).rev() {
        fields[node] = pair(&fields[2 * node], &fields[2 * node + 1]);
    }
    fields
}

/// The hash tree of the list of commitments.
#[derive(Clone, Debug)]
struct ListTree {
    /// Level 0 is the leaves; each level ends where the zero subtrees begin.
    levels: [Vec<Hash>; LIST_DEPTH + 1],
    /// Roots of zero subtrees by level.
    zeros: [Hash; LIST_DEPTH + 1],
    length: Hash,
}

#[expect(
    clippy::indexing_slicing,
    reason = "levels are positions in arrays of the tree's own fixed shape; none comes from outside"
)]
impl ListTree {
    /// Admission bounds the commitments far below the list's limit of 4096; leaves beyond it are left out.
    fn of(commitments: &[KzgCommitment]) -> Self {
        let mut zeros = [Hash::ZERO; LIST_DEPTH + 1];
        for level in 0..LIST_DEPTH {
            zeros[level + 1] = pair(&zeros[level], &zeros[level]);
        }
        let mut levels: [Vec<Hash>; LIST_DEPTH + 1] = Default::default();
        levels[0] = commitments.iter().take(1 << LIST_DEPTH).map(leaf).collect();
        for level in 0..LIST_DEPTH {
            let nodes = levels[level]
                .chunks(2)
                .map(|two| pair(&two[0], two.get(1).unwrap_or(&zeros[level])));
            levels[level + 1] = nodes.collect();
        }
        Self {
            levels,
            zeros,
            length: number(commitments.len() as u64),
        }
    }

    fn root(&self) -> Hash {
        let data = self.levels[LIST_DEPTH].first().unwrap_or(&self.zeros[LIST_DEPTH]);
        pair(data, &self.length)
    }
}

/// The hash tree of a value's body: built once (two hashes a commitment), it gives every proof without hashing again.
#[derive(Clone, Debug)]
pub struct BodyTree {
    list: ListTree,
    fields: [Hash; 2 << FIELDS_DEPTH],
}

#[expect(
    clippy::indexing_slicing,
    reason = "levels and nodes are positions in arrays of the tree's own fixed shape; none comes from outside"
)]
impl BodyTree {
    /// Builds the tree over an execution block's hash and the commitments of its value.
    pub fn of(block_hash: &Hash, commitments: &[KzgCommitment]) -> Self {
        let list = ListTree::of(commitments);
        Self {
            fields: fields(block_hash, &list.root()),
            list,
        }
    }

    pub fn root(&self) -> Hash {
        self.fields[1]
    }

    /// The proof of the commitment at `index`; `None` if there is no such blob.
    pub fn proof(&self, index: usize) -> Option<InclusionProof> {
        let list = &self.list;
        if index >= list.levels[0].len() {
            return None;
        }
        let mut proof = [Hash::ZERO; INCLUSION_PROOF_DEPTH];
        for (level, sibling) in proof.iter_mut().enumerate().take(LIST_DEPTH) {
            *sibling = *list.levels[level]
                .get((index >> level) ^ 1)
                .unwrap_or(&list.zeros[level]);
        }
        proof[LIST_DEPTH] = list.length;
        let mut node = (1 << FIELDS_DEPTH) + COMMITMENTS_FIELD;
        for sibling in &mut proof[LIST_DEPTH + 1..] {
            *sibling = self.fields[node ^ 1];
            node /= 2;
        }
        Some(proof)
    }
}

/// Hash tree root of a `Bytes48`: two chunks, the second padded with zeros.
fn leaf(commitment: &KzgCommitment) -> Hash {
    let mut chunks = [0; 64];
    chunks[..48].copy_from_slice(&commitment.0);
    Hash(Sha256::digest(chunks).into())
}

/// Hash tree root of a `uint64`.
fn number(value: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Hash(bytes)
}

fn pair(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

#[cfg(test)]
mod tests;
