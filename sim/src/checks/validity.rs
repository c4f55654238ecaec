//! What a good value is, judged from outside: no honest node accepts one that is not, and none calls a good one
//! invalid.

use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Chain, Hash, Init, Lists, ValidatorSet, sidecar, sign};

use crate::block;

/// The first rule a value breaks. `below`: the decided value of the height before, `None` at the first height.
/// `is_false`: it was forged so that a blob of its own refutes it.
pub fn judge(init: &Init, below: Option<&Init>, chain: &Chain, is_false: bool) -> Result<(), &'static str> {
    let metadata = &init.metadata;
    let header = &metadata.header;
    let genesis = block::genesis();
    let (parent_hash, parent_time, parent_root) = match below {
        None => (genesis.hash, genesis.timestamp, Hash::ZERO),
        Some(below) => {
            let header = &below.metadata.header;
            (
                header.block_hash,
                header.timestamp,
                sidecar::header(&below.metadata, chain.params.genesis_time).root(),
            )
        }
    };
    let blobs_count = u64::from(metadata.blobs_count);
    let mut one = [0; 32];
    one[31] = 1;
    let rules = [
        (header.parent_hash == parent_hash, "parent hash"),
        (header.number == metadata.height.0, "number"),
        (header.timestamp > parent_time, "timestamp"),
        (header.prev_randao == Hash(one), "randao"),
        (header.withdrawals_root == block::empty_withdrawals(), "withdrawals"),
        (header.parent_beacon_block_root == parent_root, "beacon root"),
        (header.blob_gas_used == blobs_count * BLOB_BYTES as u64, "blob gas"),
        (!is_false, "a blob refutes it"),
        (metadata.chain == chain.identity, "chain"),
        (blobs_count <= u64::from(chain.params.blobs_per_block_max), "blob count"),
        (
            header.requests_hash == chain.params.is_prague(header.timestamp).then(|| sha256(b"")),
            "requests",
        ),
        (header.gas_limit == block::GAS_LIMIT, "gas limit"),
        (
            header.state_root == block::state_root(&header.parent_hash, header.number),
            "state root",
        ),
        (header.block_hash == block::block_hash(header), "block hash"),
    ];
    rules
        .iter()
        .find(|(kept, _)| !kept)
        .map_or(Ok(()), |(_, rule)| Err(rule))
}

/// What an honest node may take under its own name, whatever the value is worth: its `Init` is of this chain, both its
/// signatures are its origin proposer's, and its lists can be had.
pub fn admissible(init: &Init, chain: &Chain, validators: &ValidatorSet) -> Result<(), &'static str> {
    let metadata = &init.metadata;
    if metadata.chain != chain.identity {
        return Err("of another chain");
    }
    if metadata.header.timestamp <= chain.params.genesis_time {
        return Err("not after the genesis");
    }
    let validator = validators.get(&metadata.origin_proposer).ok_or("by a stranger")?;
    let signed = |bytes: &[u8], signature| sign::holds(&validator.public_key, bytes, signature);
    if !signed(&sign::init(&chain.identity, &metadata.id()), &init.signature) {
        return Err("not signed");
    }
    let root = sidecar::header(metadata, chain.params.genesis_time).root();
    if !signed(&sign::sidecar_header(&chain.identity, &root), &init.header_signature) {
        return Err("its sidecar header is not signed");
    }
    let (none, roots) = (Lists::default().roots(), &metadata.roots);
    let has_blobs = metadata.blobs_count > 0;
    let is_had = roots.chunks != none.chunks
        && (roots.commitments != none.commitments) == has_blobs
        && (roots.digests != none.digests) == has_blobs
        && (roots.proofs != none.proofs) == has_blobs;
    if is_had {
        Ok(())
    } else {
        Err("a list that nobody can have")
    }
}
