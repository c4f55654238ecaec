//! This file knows which `Init` is worth its bytes: it is well-formed, by the elected proposer, and signed.
//!
//! The checks here look at the `Init` alone: it binds every list, so none is needed. `machine/offers.rs`, which knows
//! the current round, decides whether its height and round, and one more value, are admissible now.

use std::sync::LazyLock;

use ultramarine_types::{Chain, ChainParams, Init, ListKind, Lists, Roots, ValidatorSet, ValueMetadata};
use ultramarine_types::{limits, sidecar, sign};

use crate::signing::{Seal, SignatureVerifier};

/// The roots of lists without items.
static EMPTY: LazyLock<Roots> = LazyLock::new(|| Lists::default().roots());

/// Checks form, election and both signatures of an `Init`; [`check_roots`] checks the rest.
pub fn check_init(
    set: &ValidatorSet,
    chain: &Chain,
    init: &Init,
    id: &ultramarine_types::ValueId,
    verifier: &mut SignatureVerifier,
) -> Result<(), &'static str> {
    let metadata = &init.metadata;
    if metadata.chain != chain.identity {
        return Err("of another chain");
    }
    if metadata.validator_set_hash != set.hash() {
        return Err("of another validator set");
    }
    check_sizes(&chain.params, metadata)?;
    let elected = set.proposer(metadata.height, metadata.origin_round);
    if elected != &metadata.origin_proposer {
        return Err("not by the elected proposer");
    }
    if set.index_of(elected) != Some(metadata.origin_proposer_index) {
        return Err("wrong proposer index");
    }
    let key = set.get(elected).ok_or("not by a validator")?.public_key;
    let root = sidecar::header(metadata, chain.params.genesis_time).root();
    let (of_init, of_header) = (
        sign::init(&chain.identity, id),
        sign::sidecar_header(&chain.identity, &root),
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

fn check_sizes(params: &ChainParams, metadata: &ValueMetadata) -> Result<(), &'static str> {
    if metadata.blobs_count > params.blobs_per_block_max {
        return Err("more blobs than the chain allows");
    }
    if metadata.payload_bytes == 0 {
        return Err("no payload");
    }
    if metadata.payload_bytes as usize > limits::PAYLOAD_BYTES_MAX {
        return Err("payload too long");
    }
    if metadata.header.extra_data.len() > limits::EXTRA_DATA_BYTES_MAX {
        return Err("extra data too long");
    }
    if metadata.header.timestamp <= params.genesis_time {
        return Err("not after the genesis");
    }
    Ok(())
}

/// Checks that a list has the root of no items exactly if it has none. Nobody could ever send another one.
pub fn check_roots(params: &ChainParams, metadata: &ValueMetadata) -> Result<(), &'static str> {
    let proofs_per_blob = params.proofs_per_blob(metadata.header.timestamp);
    let fits =
        |kind: &ListKind| (metadata.list_len(*kind, proofs_per_blob) == 0) == (metadata.root(*kind) == EMPTY.of(*kind));
    match ListKind::ALL.into_iter().find(|kind| !fits(kind)) {
        None => Ok(()),
        Some(ListKind::Chunks) => Err("the root of no chunks"),
        Some(ListKind::Commitments) => Err("the commitments' root does not fit the number of blobs"),
        Some(ListKind::Digests) => Err("the digests' root does not fit the number of blobs"),
        Some(ListKind::Proofs) => Err(PROOFS_MISFIT),
    }
}

/// Why [`check_roots`] refuses a value whose proofs are none, or too many.
pub const PROOFS_MISFIT: &str = "the proofs' root does not fit the number of blobs";

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
