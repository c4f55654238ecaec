//! This file knows how to make a second value out of a first: other header, other commitments, all hashes and
//! signatures right. It also names it in a proposal.

use std::sync::Arc;

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{
    Assembly, BlobPart, ExecutionHeader, Init, KzgCommitment, Proposal, Signature, ValueId, ValueMetadata, sidecar,
    sign,
};

use super::Means;
use crate::{blobs, block};

/// Makes a value like `original`, with header and blobs changed by `change`, blobs recommitted, and everything signed.
pub fn forge(
    means: &Means<'_>,
    original: &Assembly,
    salt: u64,
    blobs_count: usize,
    change: impl FnOnce(&mut ValueMetadata, &mut [(KzgCommitment, BlobPart)]),
) -> Assembly {
    let mut blobs: Vec<(KzgCommitment, BlobPart)> = (0..blobs_count as u32)
        .map(|index| blobs::part(index + 3, salt))
        .collect();
    let mut metadata = original.init.metadata.clone();
    metadata.header.extra_data = salt.to_le_bytes().to_vec();
    metadata.header.blob_gas_used = (blobs_count * BLOB_BYTES) as u64;
    change(&mut metadata, &mut blobs);
    metadata.header.block_hash = block::block_hash(&metadata.header);
    finish(means, metadata, blobs)
}

fn finish(means: &Means<'_>, mut metadata: ValueMetadata, blobs: Vec<(KzgCommitment, BlobPart)>) -> Assembly {
    let header: ExecutionHeader = metadata.header.clone();
    let built = block::finish(header, blobs, 200);
    metadata.payload_bytes = built.payload.len() as u32;
    metadata.payload_hash = built.payload_hash;
    metadata.chunk_hashes = built.chunk_hashes;
    metadata.commitments = built.blobs.iter().map(|(commitment, _)| *commitment).collect();
    let mut init = Init {
        metadata,
        signature: Signature::ZERO,
        header_signature: Signature::ZERO,
    };
    let key = init.key();
    let chain_id = init.metadata.chain_id;
    init.signature = means.sign(&sign::init(chain_id, &key.id));
    init.header_signature = means.sign(&sign::sidecar_header(chain_id, &sidecar::header(&init.metadata).root()));
    Assembly {
        key,
        init: Arc::new(init),
        payload: built.payload,
        blobs: built.blobs.into_iter().map(|(_, part)| part).collect(),
    }
}

/// Names another value in a proposal, and signs it again.
pub fn rename(means: &Means<'_>, proposal: &mut Proposal, value_id: ValueId) {
    let (height, round) = (proposal.height, proposal.round);
    let bytes = sign::proposal(means.chain.chain_id, height, round, &value_id, proposal.valid_round);
    proposal.value_id = value_id;
    proposal.signature = means.sign(&bytes);
}
