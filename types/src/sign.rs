//! This file knows the exact bytes that validators sign, and which signatures hold. Each message starts with a domain
//! tag and the chain's identity. So no signature of one kind or chain is one of another.

use ed25519_zebra::VerificationKey;

use crate::canonical::{Canonical, sha256};
use crate::consensus::{SignedMessage, VoteKind};
use crate::hearing::Heard;
use crate::ids::{Address, ChainIdentity, Hash, Height, Nonce, PeerId, PublicKey, Round, Signature, ValueId};

/// Bytes of a vote: domain, chain identity, kind, height, round, value or nil.
pub fn vote(
    chain: &ChainIdentity,
    kind: VoteKind,
    height: Height,
    round: Round,
    value_id: Option<&ValueId>,
) -> Vec<u8> {
    let kind = match kind {
        VoteKind::Prevote => 1,
        VoteKind::Precommit => 2,
    };
    Canonical::new("ultramarine/vote/2")
        .fixed(&chain.0)
        .u8(kind)
        .height(height)
        .round(round)
        .optional(value_id.map(ValueId::as_bytes))
        .into_bytes()
}

/// Bytes of a proposal: domain, chain identity, height, round, value, valid round.
pub fn proposal(
    chain: &ChainIdentity,
    height: Height,
    round: Round,
    value_id: &ValueId,
    valid_round: Option<Round>,
) -> Vec<u8> {
    let valid_round = valid_round.map(|round| round.0.to_le_bytes());
    Canonical::new("ultramarine/proposal/2")
        .fixed(&chain.0)
        .height(height)
        .round(round)
        .fixed(&value_id.0)
        .optional(valid_round.as_ref())
        .into_bytes()
}

/// Bytes of an [`Init`](crate::Init): domain, chain identity, value id. Everything else is bound by the id.
pub fn init(chain: &ChainIdentity, value_id: &ValueId) -> Vec<u8> {
    Canonical::new("ultramarine/init/2")
        .fixed(&chain.0)
        .fixed(&value_id.0)
        .into_bytes()
}

/// Bytes of a sidecar header: domain, chain identity, hash tree root of the `BeaconBlockHeader`.
pub fn sidecar_header(chain: &ChainIdentity, header_root: &Hash) -> Vec<u8> {
    Canonical::new("ultramarine/sidecar-header/2")
        .fixed(&chain.0)
        .hash(header_root)
        .into_bytes()
}

/// Bytes with which a validator vouches for its node's QUIC key until `expiry` (Unix seconds).
pub fn attestation(chain: &ChainIdentity, peer: &PeerId, expiry: u64) -> Vec<u8> {
    Canonical::new("ultramarine/peer-attestation/2")
        .fixed(&chain.0)
        .fixed(&peer.0)
        .u64(expiry)
        .into_bytes()
}

/// Bytes of a call of a validator that has just started: domain, chain identity, listener, nonce.
pub fn call(chain: &ChainIdentity, listener: &Address, nonce: &Nonce) -> Vec<u8> {
    Canonical::new("ultramarine/call/2")
        .fixed(&chain.0)
        .fixed(&listener.0)
        .fixed(&nonce.0)
        .into_bytes()
}

/// Bytes of an answer to a call: domain, chain identity, listener, nonce, newest decided height, and SHA-256 of what
/// was seen of the listener, if anything: the message's own bytes and its signature.
pub fn heard(chain: &ChainIdentity, heard: &Heard) -> Vec<u8> {
    let seen = heard.seen.as_ref().map(|seen| match seen {
        SignedMessage::Vote(seen) => {
            let value_id = seen.value_id.as_ref();
            let bytes = vote(chain, seen.kind, seen.height, seen.round, value_id);
            sha256(&[&bytes[..], &seen.signature.0].concat())
        }
        SignedMessage::Proposal(seen) => {
            let bytes = proposal(chain, seen.height, seen.round, &seen.value_id, seen.valid_round);
            sha256(&[&bytes[..], &seen.signature.0].concat())
        }
    });
    Canonical::new("ultramarine/heard/2")
        .fixed(&chain.0)
        .fixed(&heard.listener.0)
        .fixed(&heard.nonce.0)
        .height(heard.tip)
        .optional(seen.as_ref().map(|seen| &seen.0))
        .into_bytes()
}

/// Whether a validator's signature holds, by the rule of ZIP-215. `core/src/signing/rule.rs` says why that rule, and
/// verifies batches by it.
pub fn holds(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_zebra::Signature::from_bytes(&signature.0);
    VerificationKey::try_from(key.0).is_ok_and(|key| key.verify(&signature, message).is_ok())
}

#[cfg(test)]
mod tests;
