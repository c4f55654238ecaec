//! What a good value is, judged from outside: no honest node accepts one that is not, and none calls a good one
//! invalid.

use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{ChainParams, Hash, Init, sidecar};

use crate::{blobs, block};

/// The first rule a value breaks. `below`: the decided value of the height before, `None` at the first height.
pub fn judge(init: &Init, below: Option<&Init>, chain: &ChainParams) -> Result<(), &'static str> {
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
                sidecar::header(&below.metadata).root(),
            )
        }
    };
    let blobs_count = metadata.commitments.len() as u64;
    let mut one = [0; 32];
    one[31] = 1;
    let rules = [
        (header.parent_hash == parent_hash, "parent hash"),
        (header.number == metadata.height.0, "number"),
        (header.timestamp > parent_time, "timestamp"),
        (header.prev_randao == Hash(one), "randao"),
        (header.withdrawals_root == block::empty_withdrawals(), "withdrawals"),
        (header.parent_beacon_block_root == parent_hash, "beacon root"),
        (header.blob_gas_used == blobs_count * BLOB_BYTES as u64, "blob gas"),
        (metadata.commitments.iter().all(blobs::is_well_formed), "commitments"),
        (blobs_count <= u64::from(chain.blobs_per_block_max), "blob count"),
        (
            header.requests_hash == chain.is_prague(header.timestamp).then(|| sha256(b"")),
            "requests",
        ),
        (header.gas_limit == block::GAS_LIMIT, "gas limit"),
        (
            header.state_root == block::state_root(&header.parent_hash, header.number),
            "state root",
        ),
        (header.block_hash == block::block_hash(header), "block hash"),
        (metadata.parent_blob_root == parent_root, "parent blob root"),
    ];
    rules
        .iter()
        .find(|(kept, _)| !kept)
        .map_or(Ok(()), |(_, rule)| Err(rule))
}
