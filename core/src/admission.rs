//! This file knows which `Init` is worth its bytes: it is well-formed, by the elected proposer, and signed.
//!
//! The checks here look at the `Init` alone. `machine/offers.rs`, which knows the current round, decides whether its
//! height and round, and one more value, are admissible now.

use ultramarine_types::{ChainParams, Init, ValidatorSet, limits, sidecar, sign};

use crate::signing::{Seal, SignatureVerifier};

/// Checks form, election and both signatures of an `Init`.
pub fn check_init(
    set: &ValidatorSet,
    chain: &ChainParams,
    init: &Init,
    id: &ultramarine_types::ValueId,
    verifier: &mut SignatureVerifier,
) -> Result<(), &'static str> {
    let metadata = &init.metadata;
    if metadata.chain_id != chain.chain_id {
        return Err("of another chain");
    }
    if metadata.validator_set_hash != set.hash() {
        return Err("of another validator set");
    }
    if metadata.commitments.len() > chain.blobs_per_block_max as usize {
        return Err("more blobs than the chain allows");
    }
    let payload_bytes = metadata.payload_bytes as usize;
    if payload_bytes > limits::PAYLOAD_BYTES_MAX {
        return Err("payload too long");
    }
    if metadata.chunk_hashes.len() != payload_bytes.div_ceil(limits::PAYLOAD_CHUNK_BYTES) {
        return Err("chunk hashes do not fit the payload's length");
    }
    if metadata.header.extra_data.len() > limits::EXTRA_DATA_BYTES_MAX {
        return Err("extra data too long");
    }
    let elected = set.proposer(metadata.height, metadata.origin_round);
    if elected != &metadata.origin_proposer {
        return Err("not by the elected proposer");
    }
    if set.index_of(elected) != Some(metadata.origin_proposer_index) {
        return Err("wrong proposer index");
    }
    let key = set.get(elected).ok_or("not by a validator")?.public_key;
    let root = sidecar::header(metadata).root();
    let (of_init, of_header) = (
        sign::init(chain.chain_id, id),
        sign::sidecar_header(chain.chain_id, &root),
    );
    let seal = |message, signature| Seal {
        key,
        message,
        signature,
    };
    let both = [seal(&of_init, init.signature), seal(&of_header, init.header_signature)];
    match verifier.first_bad(&both) {
        None => Ok(()),
        Some(0) => Err("the signature does not verify"),
        Some(_) => Err("the sidecar header's signature does not verify"),
    }
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
