//! This file knows a block's sidecars and its header as JSON and as SSZ (Deneb p2p specification, `BlobSidecar`).

use bytes::Bytes;
use serde_json::{Value, json};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::sidecar::{self, BeaconBlockHeader, BodyTree, INCLUSION_PROOF_DEPTH};
use ultramarine_types::value::Init;
use ultramarine_types::{Lists, Signature};

/// Bytes of a BLS signature, which readers of the standard's SSZ expect.
const SIGNATURE_BYTES: usize = 96;
/// SSZ bytes of a header with its signature: two numbers, three roots, the signature.
const SIGNED_HEADER_BYTES: usize = 2 * 8 + 3 * 32 + SIGNATURE_BYTES;
/// SSZ bytes of a `BlobSidecar`. All its fields have fixed lengths, so a list of them is one after the other.
pub const SIDECAR_BYTES: usize = 8 + BLOB_BYTES + 48 + 48 + SIGNED_HEADER_BYTES + 32 * INCLUSION_PROOF_DEPTH;

/// The header under which a block's blobs are served, and the origin proposer's signature over it.
#[derive(Clone, Debug)]
pub struct SignedHeader {
    pub header: BeaconBlockHeader,
    signature: [u8; SIGNATURE_BYTES],
}

impl SignedHeader {
    pub fn of(init: &Init, genesis_time: u64) -> Self {
        Self {
            header: sidecar::header(&init.metadata, genesis_time),
            signature: padded(&init.header_signature),
        }
    }

    pub fn json(&self) -> Value {
        let header = &self.header;
        json!({
            "message": {
                "slot": header.slot.to_string(),
                "proposer_index": header.proposer_index.to_string(),
                "parent_root": header.parent_root,
                "state_root": header.state_root,
                "body_root": header.body_root,
            },
            "signature": hex::encode_prefixed(self.signature),
        })
    }

    fn write_ssz(&self, bytes: &mut Vec<u8>) {
        let header = &self.header;
        bytes.extend_from_slice(&header.slot.to_le_bytes());
        bytes.extend_from_slice(&header.proposer_index.to_le_bytes());
        for root in [header.parent_root, header.state_root, header.body_root] {
            bytes.extend_from_slice(&root.0);
        }
        bytes.extend_from_slice(&self.signature);
    }
}

/// What all sidecars of a block have in common.
pub struct SidecarPage {
    tree: BodyTree,
    header: SignedHeader,
    header_json: String,
}

impl SidecarPage {
    pub fn new(init: &Init, lists: &Lists, genesis_time: u64) -> Self {
        let header = SignedHeader::of(init, genesis_time);
        Self {
            tree: BodyTree::of(&init.metadata.header.block_hash, &lists.commitments),
            header_json: header.json().to_string(),
            header,
        }
    }

    /// One sidecar as JSON; `None` only if there is no such blob.
    pub fn json(&self, lists: &Lists, index: usize, blob: &[u8]) -> Option<String> {
        // A chain has one proof for each blob.
        let (commitment, proof) = (lists.commitments.get(index)?, lists.proofs.get(index)?);
        let inclusion = json!(self.tree.proof(index)?);
        Some(format!(
            concat!(
                r#"{{"index":"{}","blob":"0x{}","kzg_commitment":"{}","kzg_proof":"{}","#,
                r#""signed_block_header":{},"kzg_commitment_inclusion_proof":{}}}"#
            ),
            index,
            hex::encode(blob),
            commitment,
            proof,
            self.header_json,
            inclusion,
        ))
    }

    /// One sidecar as SSZ: what stands before the blob, the blob as it is held, and what stands behind it. `None` only
    /// if there is no such blob.
    pub fn ssz(&self, lists: &Lists, index: usize, blob: Bytes) -> Option<[Bytes; 3]> {
        let (commitment, proof) = (lists.commitments.get(index)?, lists.proofs.get(index)?);
        let mut behind = Vec::with_capacity(SIDECAR_BYTES - BLOB_BYTES - 8);
        behind.extend_from_slice(&commitment.0);
        behind.extend_from_slice(&proof.0);
        self.header.write_ssz(&mut behind);
        for node in self.tree.proof(index)? {
            behind.extend_from_slice(&node.0);
        }
        Some([
            Bytes::copy_from_slice(&(index as u64).to_le_bytes()),
            blob,
            behind.into(),
        ])
    }
}

/// A signature in the length that the standard's readers expect: ours, then zeros.
fn padded(ours: &Signature) -> [u8; SIGNATURE_BYTES] {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes[..ours.0.len()].copy_from_slice(&ours.0);
    bytes
}
