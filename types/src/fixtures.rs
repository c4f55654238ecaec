//! This file knows made-up headers, metadata, values and statuses for tests and benches: whole in shape, and true of no
//! block or peer.
//!
//! Always compiled. A feature for tests alone would make `cargo run` and `cargo test` compile the workspace differently
//! (`xtask/tests/features.rs` forbids that), and what no program calls is no part of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::assembly::Assembly;
use crate::consensus::{CertificateSignature, CommitCertificate};
use crate::ids::{Address, ChainIdentity, Hash, Height, KzgCommitment, KzgProof, Round, Signature, ValueKey};
use crate::lists::Lists;
use crate::network::{ClockReading, Status};
use crate::positions::Positions;
use crate::value::{ExecutionHeader, Init, ValueMetadata};

/// An empty block's header: zero wherever zero is legal.
pub const fn header(number: u64) -> ExecutionHeader {
    ExecutionHeader {
        parent_hash: Hash::ZERO,
        fee_recipient: Address::ZERO,
        state_root: Hash::ZERO,
        transactions_root: Hash::ZERO,
        receipts_root: Hash::ZERO,
        logs_bloom: [0; 256],
        number,
        gas_limit: 30_000_000,
        gas_used: 0,
        timestamp: 1,
        extra_data: Vec::new(),
        prev_randao: Hash::ZERO,
        base_fee_per_gas: Hash::ZERO,
        withdrawals_root: Hash::ZERO,
        blob_gas_used: 0,
        excess_blob_gas: 0,
        parent_beacon_block_root: Hash::ZERO,
        requests_hash: None,
        block_hash: Hash::ZERO,
    }
}

/// The identity of a chain that nobody runs.
pub const CHAIN: ChainIdentity = ChainIdentity([7; 32]);

/// Metadata of a value with these payload bytes and lists, hashed as a proposer would.
pub fn metadata(height: u64, payload: &[u8], lists: &Lists) -> ValueMetadata {
    ValueMetadata {
        chain: CHAIN,
        height: Height(height),
        origin_proposer: Address::ZERO,
        origin_proposer_index: 0,
        origin_round: Round(0),
        validator_set_hash: Hash::ZERO,
        header: header(height),
        payload_bytes: u32::try_from(payload.len()).expect("a test's payload is far below 4 GiB"),
        blobs_count: u32::try_from(lists.commitments.len()).expect("a test's blobs are few"),
        roots: lists.roots(),
    }
}

/// An `Init` whose signatures nobody checks.
pub const fn unsigned(metadata: ValueMetadata) -> Init {
    Init {
        metadata,
        signature: Signature::ZERO,
        header_signature: Signature::ZERO,
    }
}

/// A whole value of these parts, which fit each other.
pub fn assembly(init: Init, lists: Lists, payload: Bytes, blobs: Vec<Bytes>) -> Assembly {
    Assembly {
        key: init.key(),
        init: Arc::new(init),
        lists: Arc::new(lists),
        payload,
        blobs,
    }
}

/// A value of height 1 with one blob as often as said; its commitments and proofs are zero.
pub fn uniform(payload: Bytes, blob: Bytes, blobs_count: usize) -> Assembly {
    let blobs = vec![blob; blobs_count];
    let committed = blobs.iter().map(|blob| (&blob[..], KzgCommitment::ZERO));
    let lists = Lists::of(&payload, committed, vec![KzgProof::ZERO; blobs_count]);
    let init = unsigned(metadata(1, &payload, &lists));
    assembly(init, lists, payload, blobs)
}

/// The same value as another block at another height.
pub fn at_height(value: &Assembly, height: Height) -> Assembly {
    let mut init = Init::clone(&value.init);
    init.metadata.height = height;
    init.metadata.header.timestamp = height.0;
    init.metadata.header.block_hash.0[..8].copy_from_slice(&height.0.to_le_bytes());
    Assembly {
        key: init.key(),
        init: Arc::new(init),
        ..value.clone()
    }
}

/// A certificate of one validator, whose signature nobody checks.
pub fn certificate(key: ValueKey, round: Round) -> CommitCertificate {
    CommitCertificate {
        height: key.height,
        round,
        value_id: key.id,
        signatures: vec![CertificateSignature {
            address: Address([1; 20]),
            signature: Signature([2; 64]),
        }],
    }
}

/// A peer with every blob up to its tip, no undecided value, and clocks of which it says nothing.
pub const fn status(tip: Height) -> Status {
    Status {
        tip,
        oldest_blobs: Height(1),
        round: Round(0),
        holds: Vec::new(),
        seen_signed: None,
        clock: ClockReading {
            unix_ns: 0,
            token: 0,
            echo: None,
        },
        ready: true,
        links: Positions::NONE,
        proposes: true,
    }
}
