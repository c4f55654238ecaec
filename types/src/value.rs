//! This file knows what a value is: the metadata that its id hashes and the `Init` that vouches for it.

use rkyv::{Archive, Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::ids::{Address, Hash, Height, KzgCommitment, Round, Signature, ValueId, ValueKey};

/// Every field of an execution block header (Cancun, with Prague's `requests_hash`), plus its hash.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize)]
#[rkyv(derive(Debug))]
pub struct ExecutionHeader {
    /// Hash of the parent block.
    pub parent_hash: Hash,
    /// Receives the priority fees.
    pub fee_recipient: Address,
    /// State after the block.
    pub state_root: Hash,
    /// Root of the transactions.
    pub transactions_root: Hash,
    /// Root of the receipts.
    pub receipts_root: Hash,
    /// Bloom filter of the logs, 256 bytes.
    #[serde(with = "hex::serde")]
    pub logs_bloom: [u8; 256],
    /// Block number; equals the consensus height.
    pub number: u64,
    pub gas_limit: u64,
    pub gas_used: u64,
    /// Unix time, in seconds.
    pub timestamp: u64,
    /// At most 32 bytes.
    #[serde(with = "hex::serde")]
    pub extra_data: Vec<u8>,
    /// The `mixHash` field: RANDAO value, 1 on our chains.
    pub prev_randao: Hash,
    /// Base fee, 256-bit big-endian.
    pub base_fee_per_gas: Hash,
    /// Root of the withdrawals list, always that of the empty list.
    pub withdrawals_root: Hash,
    /// Gas spent on blobs.
    pub blob_gas_used: u64,
    /// EIP-4844 excess blob gas.
    pub excess_blob_gas: u64,
    /// The parent's block hash on our chains.
    pub parent_beacon_block_root: Hash,
    /// EIP-7685 requests hash from Prague on.
    pub requests_hash: Option<Hash>,
    /// keccak-256 of the RLP header.
    pub block_hash: Hash,
}

/// The header's fields in order. A value id hashes the bloom between the two halves.
impl Canonical {
    #[must_use]
    pub fn header_before_bloom(self, header: &ExecutionHeader) -> Self {
        self.hash(&header.parent_hash)
            .address(&header.fee_recipient)
            .hash(&header.state_root)
            .hash(&header.transactions_root)
            .hash(&header.receipts_root)
    }

    #[must_use]
    pub fn header_after_bloom(self, header: &ExecutionHeader) -> Self {
        self.u64(header.number)
            .u64(header.gas_limit)
            .u64(header.gas_used)
            .u64(header.timestamp)
            .bytes(&header.extra_data)
            .hash(&header.prev_randao)
            .hash(&header.base_fee_per_gas)
            .hash(&header.withdrawals_root)
            .u64(header.blob_gas_used)
            .u64(header.excess_blob_gas)
            .hash(&header.parent_beacon_block_root)
            .optional(header.requests_hash.as_ref().map(Hash::as_bytes))
            .hash(&header.block_hash)
    }
}

/// All that the value id binds.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct ValueMetadata {
    pub chain_id: u64,
    /// Height the value is for.
    pub height: Height,
    pub origin_proposer: Address,
    /// Position of the origin proposer in the validator set: the sidecar header's proposer index.
    pub origin_proposer_index: u32,
    /// The round it was built in.
    pub origin_round: Round,
    /// Hash of the validator set in force.
    pub validator_set_hash: Hash,
    /// The execution block's header.
    pub header: ExecutionHeader,
    /// Length of the payload bytes.
    pub payload_bytes: u32,
    /// SHA-256 of the payload bytes.
    pub payload_hash: Hash,
    /// SHA-256 of each chunk of [`limits::PAYLOAD_CHUNK_BYTES`](crate::limits::PAYLOAD_CHUNK_BYTES), the last may be
    /// shorter.
    pub chunk_hashes: Vec<Hash>,
    /// One commitment per blob, in block order.
    pub commitments: Vec<KzgCommitment>,
    /// Root of the sidecar header of the height before; zero at the first height.
    pub parent_blob_root: Hash,
}

impl ValueMetadata {
    /// The value id: SHA-256 over the canonical encoding of every field.
    pub fn id(&self) -> ValueId {
        let header = &self.header;
        let hash = Canonical::new("ultramarine/value/1")
            .u64(self.chain_id)
            .height(self.height)
            .address(&self.origin_proposer)
            .u32(self.origin_proposer_index)
            .round(self.origin_round)
            .hash(&self.validator_set_hash)
            .header_before_bloom(header)
            .fixed(&header.logs_bloom)
            .header_after_bloom(header)
            .u32(self.payload_bytes)
            .hash(&self.payload_hash)
            .list(self.chunk_hashes.iter().map(Hash::as_bytes))
            .list(self.commitments.iter().map(KzgCommitment::as_bytes))
            .hash(&self.parent_blob_root)
            .sha256();
        ValueId(hash.0)
    }
}

/// A value's metadata, signed once by its origin proposer; stored, and restreamed unchanged by anybody.
///
/// The id is computed when it is made or received, never trusted from the wire, so `id` always equals
/// `metadata.id()`.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Init {
    /// What the value is.
    pub metadata: ValueMetadata,
    /// The origin proposer's signature over [`crate::sign::init`].
    pub signature: Signature,
    /// The origin proposer's signature over [`crate::sign::sidecar_header`].
    pub header_signature: Signature,
}

impl Init {
    /// The key of the value; hashes the metadata, so keep the answer.
    pub fn key(&self) -> ValueKey {
        ValueKey {
            height: self.metadata.height,
            id: self.metadata.id(),
        }
    }

    /// Number of blobs; the largest number of all for one that no memory can hold.
    pub fn blobs_count(&self) -> u32 {
        u32::try_from(self.metadata.commitments.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
pub(crate) mod tests;
