//! This file knows what a value is: the metadata that its id hashes, and the `Init` that vouches for it. The lists
//! behind the metadata's roots are in [`crate::lists`].

use rkyv::{Archive, Deserialize, Serialize};

use crate::canonical::{Canonical, Cursor, FORMAT_VERSION};
use crate::ids::{Address, ChainIdentity, Hash, Height, Round, Signature, ValueId, ValueKey};
use crate::limits::{BLOB_BYTES, EXTRA_DATA_BYTES_MAX};

/// What the bytes of a value's id begin with.
const METADATA_DOMAIN: &str = "ultramarine/value/2";

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
    /// Root of the parent's sidecar header on our chains; zero at the first height.
    pub parent_beacon_block_root: Hash,
    /// EIP-7685 requests hash from Prague on.
    pub requests_hash: Option<Hash>,
    /// keccak-256 of the RLP header.
    pub block_hash: Hash,
}

impl Canonical {
    /// Appends the fields of an execution header in order.
    #[must_use]
    pub fn header(self, header: &ExecutionHeader) -> Self {
        self.hash(&header.parent_hash)
            .address(&header.fee_recipient)
            .hash(&header.state_root)
            .hash(&header.transactions_root)
            .hash(&header.receipts_root)
            .fixed(&header.logs_bloom)
            .u64(header.number)
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

/// The roots of a value's four lists. Each binds the list's length and every item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Roots {
    /// SHA-256 over domain, count and the hashes of the payload's chunks.
    pub chunks: Hash,
    /// SSZ root of the commitments as a `List[KZGCommitment, 4096]`: the sidecar header needs this one, and no list.
    pub commitments: Hash,
    /// SHA-256 over domain, count and the blobs' digests.
    pub digests: Hash,
    /// SHA-256 over domain, count and the proofs.
    pub proofs: Hash,
}

/// All that the value id binds: fixed fields, and roots of the lists.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct ValueMetadata {
    pub chain: ChainIdentity,
    /// Height the value is for.
    pub height: Height,
    pub origin_proposer: Address,
    /// Position of the origin proposer in the validator set: the sidecar header's proposer index.
    pub origin_proposer_index: u32,
    /// The round it was built in.
    pub origin_round: Round,
    /// Hash of the validator set in force.
    pub validator_set_hash: Hash,
    /// The execution block's header. Its `parent_beacon_block_root` is the root of the parent's sidecar header.
    pub header: ExecutionHeader,
    /// Length of the payload bytes.
    pub payload_bytes: u32,
    pub blobs_count: u32,
    pub roots: Roots,
}

impl ValueMetadata {
    /// Bytes of the payload and of all blobs.
    pub const fn whole_bytes(&self) -> u64 {
        self.payload_bytes as u64 + self.blobs_count as u64 * BLOB_BYTES as u64
    }

    /// The value id: SHA-256 over the canonical encoding of every field; `docs/FORMATS.md` writes it out.
    pub fn id(&self) -> ValueId {
        ValueId(self.canonical().sha256().0)
    }

    /// The bytes that the value id hashes.
    pub fn canonical(&self) -> Canonical {
        Canonical::new(METADATA_DOMAIN)
            .u32(FORMAT_VERSION)
            .fixed(&self.chain.0)
            .height(self.height)
            .address(&self.origin_proposer)
            .u32(self.origin_proposer_index)
            .round(self.origin_round)
            .hash(&self.validator_set_hash)
            .header(&self.header)
            .u32(self.payload_bytes)
            .u32(self.blobs_count)
            .hash(&self.roots.chunks)
            .hash(&self.roots.commitments)
            .hash(&self.roots.digests)
            .hash(&self.roots.proofs)
    }

    /// Reads what [`canonical`](Self::canonical) writes, and nothing else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Cursor::new(bytes);
        let domain = fields.u8()?;
        if fields.slice(usize::from(domain))? != METADATA_DOMAIN.as_bytes() || fields.u32()? != FORMAT_VERSION {
            return None;
        }
        let metadata = Self {
            chain: ChainIdentity(fields.array()?),
            height: Height(fields.u64()?),
            origin_proposer: Address(fields.array()?),
            origin_proposer_index: fields.u32()?,
            origin_round: Round(fields.u32()?),
            validator_set_hash: Hash(fields.array()?),
            header: ExecutionHeader::read(&mut fields)?,
            payload_bytes: fields.u32()?,
            blobs_count: fields.u32()?,
            roots: Roots {
                chunks: Hash(fields.array()?),
                commitments: Hash(fields.array()?),
                digests: Hash(fields.array()?),
                proofs: Hash(fields.array()?),
            },
        };
        fields.rest().is_empty().then_some(metadata)
    }
}

impl ExecutionHeader {
    /// Reads what [`Canonical::header`] appends.
    fn read(fields: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            parent_hash: Hash(fields.array()?),
            fee_recipient: Address(fields.array()?),
            state_root: Hash(fields.array()?),
            transactions_root: Hash(fields.array()?),
            receipts_root: Hash(fields.array()?),
            logs_bloom: fields.array()?,
            number: fields.u64()?,
            gas_limit: fields.u64()?,
            gas_used: fields.u64()?,
            timestamp: fields.u64()?,
            extra_data: {
                let bytes = usize::try_from(fields.u32()?).ok()?;
                fields.slice(bytes).filter(|_| bytes <= EXTRA_DATA_BYTES_MAX)?.to_vec()
            },
            prev_randao: Hash(fields.array()?),
            base_fee_per_gas: Hash(fields.array()?),
            withdrawals_root: Hash(fields.array()?),
            blob_gas_used: fields.u64()?,
            excess_blob_gas: fields.u64()?,
            parent_beacon_block_root: Hash(fields.array()?),
            requests_hash: match fields.u8()? {
                0 => None,
                1 => Some(Hash(fields.array()?)),
                _ => return None,
            },
            block_hash: Hash(fields.array()?),
        })
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
}

#[cfg(test)]
pub(crate) mod tests;
