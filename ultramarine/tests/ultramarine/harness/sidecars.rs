//! Checks served sidecars as a stranger would: with `c-kzg`, with another implementation of SSZ, with an ed25519
//! library, and from the specifications' text. Nothing of ours is called here.

use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ssz_rs::prelude::*;

/// `KZG_COMMITMENT_INCLUSION_PROOF_DEPTH` (Deneb p2p specification).
const DEPTH: usize = 17;
/// Generalized index of `blob_kzg_commitments[0]` in a Deneb `BeaconBlockBody`: field 11 of 16, then the list's data
/// beside its length, then the first of 4096 leaves.
const FIRST_COMMITMENT: usize = (16 + 11) * 2 * 4096;

/// `BeaconBlockHeader` of the phase 0 specification.
#[derive(Default, Debug, SimpleSerialize)]
struct BeaconBlockHeader {
    slot: u64,
    proposer_index: u64,
    parent_root: [u8; 32],
    state_root: [u8; 32],
    body_root: [u8; 32],
}

/// What the sidecars of one block turned out to say.
pub struct Checked {
    /// Versioned hashes in block order (EIP-4844: 0x01, then the commitment's SHA-256 without its first byte).
    pub versioned_hashes: Vec<String>,
    /// Root of the block's header.
    pub header_root: String,
    /// Root of the header below.
    pub parent_root: String,
}

/// Verifies every sidecar of an answer of `/eth/v1/beacon/blob_sidecars/{block}`. `chain` is the chain's identity, and
/// `genesis` a node's `genesis.json`.
pub fn verify(answer: &Value, chain: &Value, genesis: &Value, slot: u64) -> Checked {
    let sidecars = answer["data"].as_array().expect("a list");
    assert!(!sidecars.is_empty(), "a block with blobs has sidecars: {answer}");
    let mut checked = None;
    let mut versioned_hashes = Vec::new();
    for (index, sidecar) in sidecars.iter().enumerate() {
        assert_eq!(sidecar["index"], index.to_string());
        let commitment: [u8; 48] = bytes(&sidecar["kzg_commitment"]);
        proof_holds(sidecar);
        let header = &sidecar["signed_block_header"];
        let root = header_is_signed(header, chain, genesis, slot);
        is_included(
            &commitment,
            index,
            &sidecar["kzg_commitment_inclusion_proof"],
            &header["message"],
        );
        versioned_hashes.push(versioned_hash_of(&sidecar["kzg_commitment"]));
        checked = Some((root, header["message"]["parent_root"].clone()));
    }
    let (root, parent) = checked.expect("there was one");
    Checked {
        versioned_hashes,
        header_root: format!("0x{}", hex::encode(root)),
        parent_root: parent.as_str().expect("hex").to_owned(),
    }
}

/// EIP-4844's `kzg_to_versioned_hash`.
pub fn versioned_hash_of(commitment: &Value) -> String {
    let mut hash = Sha256::digest(bytes::<48>(commitment));
    hash[0] = 1;
    format!("0x{}", hex::encode(hash))
}

/// The versioned hash of a blob, by its content alone.
pub fn versioned_hash_of_blob(blob: &Value) -> String {
    let blob = hex::decode(blob.as_str().expect("hex")).expect("hex");
    let blob = c_kzg::Blob::from_bytes(&blob).expect("131,072 bytes");
    let commitment = c_kzg::ethereum_kzg_settings(0)
        .blob_to_kzg_commitment(&blob)
        .expect("canonical");
    versioned_hash_of(&Value::from(format!(
        "0x{}",
        hex::encode(commitment.to_bytes().as_slice())
    )))
}

/// EIP-4844's `verify_blob_kzg_proof`.
pub fn proof_holds(sidecar: &Value) {
    let blob = hex::decode(sidecar["blob"].as_str().expect("hex")).expect("hex");
    let blob = c_kzg::Blob::from_bytes(&blob).expect("131,072 bytes");
    let (commitment, proof) = (bytes(&sidecar["kzg_commitment"]), bytes(&sidecar["kzg_proof"]));
    let holds = c_kzg::ethereum_kzg_settings(0).verify_blob_kzg_proof(&blob, &commitment.into(), &proof.into());
    assert!(
        holds.expect("well-formed"),
        "the proof of blob {} does not hold",
        sidecar["index"]
    );
}

/// The Deneb p2p specification's `verify_blob_sidecar_inclusion_proof`.
fn is_included(commitment: &[u8; 48], index: usize, proof: &Value, header: &Value) {
    let mut commitment: Vector<u8, 48> = commitment.to_vec().try_into().expect("48 bytes");
    let leaf = commitment.hash_tree_root().expect("bytes have a root");
    let node = |value: &Value| Node::try_from(bytes::<32>(value).as_slice()).expect("32 bytes");
    let branch: Vec<Node> = proof.as_array().expect("a list").iter().map(node).collect();
    assert_eq!(branch.len(), DEPTH);
    // `get_subtree_index` of the generalized index.
    let position = (FIRST_COMMITMENT + index) % (1 << DEPTH);
    let root = node(&header["body_root"]);
    assert!(
        is_valid_merkle_branch(&leaf, branch.iter(), DEPTH, position, &root),
        "commitment {index} is not in the body"
    );
    let beside = position ^ 1;
    assert!(!is_valid_merkle_branch(&leaf, branch.iter(), DEPTH, beside, &root));
}

/// The origin proposer's signature as README.md words it; answers the header's root.
fn header_is_signed(signed: &Value, chain: &Value, genesis: &Value, slot: u64) -> [u8; 32] {
    let message = &signed["message"];
    let number = |field: &str| {
        message[field]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    };
    let mut header = BeaconBlockHeader {
        slot: number("slot"),
        proposer_index: number("proposer_index"),
        parent_root: bytes(&message["parent_root"]),
        state_root: bytes(&message["state_root"]),
        body_root: bytes(&message["body_root"]),
    };
    assert_eq!(header.slot, slot, "the header is of this slot");
    let root: [u8; 32] = header
        .hash_tree_root()
        .expect("a header has a root")
        .as_ref()
        .try_into()
        .expect("32 bytes");
    let domain = b"ultramarine/sidecar-header/2";
    let mut text = vec![domain.len() as u8];
    text.extend_from_slice(domain);
    text.extend_from_slice(&bytes::<32>(chain));
    text.extend_from_slice(&root);
    let proposer = usize::try_from(header.proposer_index).expect("few validators");
    let validators = genesis["validators"].as_array().expect("a list");
    let mut keys: Vec<[u8; 32]> = validators
        .iter()
        .map(|validator| bytes(&validator["public_key"]))
        .collect();
    keys.sort_by_key(|key| <[u8; 20]>::try_from(&Sha256::digest(key)[..20]).expect("20 of 32 bytes"));
    let key = keys[proposer];
    let key = VerifyingKey::from_bytes(&key).expect("a point");
    // 96 bytes, as the standard's SSZ has it: ed25519's 64, then zeros.
    let signature: [u8; 96] = bytes(&signed["signature"]);
    let (signature, zeros) = signature.split_first_chunk::<64>().expect("96 are more than 64");
    assert_eq!(zeros, [0; 32]);
    let signature = Signature::from_bytes(signature);
    assert!(
        key.verify_strict(&text, &signature).is_ok(),
        "validator {proposer} has not signed the header of slot {slot}"
    );
    root
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    let bytes = hex::decode(value.as_str().unwrap_or_else(|| panic!("{value} is no text"))).expect("hex");
    bytes.try_into().unwrap_or_else(|_| panic!("{value} has not {N} bytes"))
}
