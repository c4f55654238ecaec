//! This file knows whether the bytes of a payload are what a value's metadata says.

use alloy_eips::eip4844::kzg_to_versioned_hash;
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::{KzgCommitment, ListKind, Lists, ValueMetadata};

use crate::header;
use crate::payload::{BrokenPayload, Payload};

/// Checks that `bytes` are exactly what `metadata` says, by recomputing everything, and returns them decoded. `lists`
/// are those that the metadata binds.
///
/// The core checks what depends on the parent, on the clock or on the chain's bounds.
pub fn inspect(metadata: &ValueMetadata, lists: &Lists, bytes: &[u8]) -> Result<Payload, BrokenPayload> {
    let payload = Payload::decode_within(bytes, metadata.header.gas_limit)?;
    if usize::try_from(metadata.payload_bytes) != Ok(bytes.len()) || chunk_hashes(bytes) != lists.chunks {
        return Err(BrokenPayload::Bytes);
    }
    if lists.root(ListKind::Chunks) != metadata.roots.chunks
        || lists.root(ListKind::Commitments) != metadata.roots.commitments
    {
        return Err(BrokenPayload::Lists);
    }
    let withdrawals = payload.execution.payload_inner.withdrawals.len();
    if withdrawals != 0 {
        return Err(BrokenPayload::Withdrawals(withdrawals));
    }
    payload.check_requests()?;
    let computed = header::of(&payload, &metadata.header.parent_beacon_block_root);
    if computed.claimed.block_hash != computed.block_hash {
        return Err(BrokenPayload::BlockHash {
            claimed: computed.claimed.block_hash,
            computed: computed.block_hash,
        });
    }
    if let Some(field) = header::first_difference(&metadata.header, &computed.claimed) {
        return Err(BrokenPayload::Header(field));
    }
    check_versioned_hashes(&payload, &lists.commitments)?;
    Ok(payload)
}

fn check_versioned_hashes(payload: &Payload, commitments: &[KzgCommitment]) -> Result<(), BrokenPayload> {
    let named = payload.versioned_hashes()?;
    let equal = named.len() == commitments.len()
        && named
            .iter()
            .zip(commitments)
            .all(|(hash, commitment)| *hash == kzg_to_versioned_hash(&commitment.0));
    if equal {
        Ok(())
    } else {
        Err(BrokenPayload::VersionedHashes {
            transactions: named.len(),
            commitments: commitments.len(),
        })
    }
}

#[cfg(test)]
mod tests;
