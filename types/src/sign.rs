//! This file knows the exact bytes that validators sign. Each starts with a domain tag and the chain id.

use crate::canonical::Canonical;
use crate::consensus::VoteKind;
use crate::ids::{Hash, Height, PeerId, Round, ValueId};

/// Bytes of a vote: domain, chain id, kind, height, round, value or nil.
pub fn vote(chain_id: u64, kind: VoteKind, height: Height, round: Round, value_id: Option<&ValueId>) -> Vec<u8> {
    let kind = match kind {
        VoteKind::Prevote => 1,
        VoteKind::Precommit => 2,
    };
    Canonical::new("ultramarine/vote/1")
        .u64(chain_id)
        .u8(kind)
        .height(height)
        .round(round)
        .optional(value_id.map(ValueId::as_bytes))
        .into_bytes()
}

/// Bytes of a proposal: domain, chain id, height, round, value, valid round.
pub fn proposal(
    chain_id: u64,
    height: Height,
    round: Round,
    value_id: &ValueId,
    valid_round: Option<Round>,
) -> Vec<u8> {
    let valid_round = valid_round.map(|round| round.0.to_le_bytes());
    Canonical::new("ultramarine/proposal/1")
        .u64(chain_id)
        .height(height)
        .round(round)
        .fixed(&value_id.0)
        .optional(valid_round.as_ref())
        .into_bytes()
}

/// Bytes of an [`Init`](crate::Init): domain, chain id, value id. Everything else is bound by the id.
pub fn init(chain_id: u64, value_id: &ValueId) -> Vec<u8> {
    Canonical::new("ultramarine/init/1")
        .u64(chain_id)
        .fixed(&value_id.0)
        .into_bytes()
}

/// Bytes of a sidecar header: domain, chain id, hash tree root of the `BeaconBlockHeader`.
pub fn sidecar_header(chain_id: u64, header_root: &Hash) -> Vec<u8> {
    Canonical::new("ultramarine/sidecar-header/1")
        .u64(chain_id)
        .hash(header_root)
        .into_bytes()
}

/// Bytes with which a validator vouches for its node's QUIC key until `expiry` (Unix seconds).
pub fn attestation(chain_id: u64, genesis_hash: &Hash, peer: &PeerId, expiry: u64) -> Vec<u8> {
    Canonical::new("ultramarine/peer-attestation/1")
        .u64(chain_id)
        .hash(genesis_hash)
        .fixed(&peer.0)
        .u64(expiry)
        .into_bytes()
}

#[cfg(test)]
mod tests;
