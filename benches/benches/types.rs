//! The sidecar tree of a block: our body root and all inclusion proofs, beside ssz_rs merkleizing the commitments
//! alone.
//!
//! ssz_rs does less here: no proofs, and not the eleven other fields of the body.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use ssz_rs::prelude::*;
use ultramarine_types::canonical::sha256;
use ultramarine_types::sidecar::BodyTree;
use ultramarine_types::{Address, ExecutionHeader, Hash, Height, KzgCommitment, Round, ValueMetadata};

/// Commitments one block may have (`MAX_BLOB_COMMITMENTS_PER_BLOCK`, Deneb).
const COMMITMENTS_MAX: usize = 4096;

fn metadata(blobs: usize) -> ValueMetadata {
    let commitment = |index: usize| {
        let mut bytes = [0xaa; 48];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        KzgCommitment(bytes)
    };
    ValueMetadata {
        chain_id: 1,
        height: Height(1),
        origin_proposer: Address::ZERO,
        origin_proposer_index: 0,
        origin_round: Round(0),
        validator_set_hash: Hash::ZERO,
        header: ExecutionHeader {
            parent_hash: Hash::ZERO,
            fee_recipient: Address::ZERO,
            state_root: Hash::ZERO,
            transactions_root: Hash::ZERO,
            receipts_root: Hash::ZERO,
            logs_bloom: [0; 256],
            number: 1,
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
        },
        payload_bytes: 1,
        payload_hash: sha256(&[0]),
        chunk_hashes: vec![sha256(&[0])],
        commitments: (0..blobs).map(commitment).collect(),
        parent_blob_root: Hash::ZERO,
    }
}

fn trees(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sidecar tree");
    for blobs in [6, 128, 1024] {
        let metadata = metadata(blobs);
        group.bench_with_input(
            BenchmarkId::new("root and all proofs", blobs),
            &metadata,
            |bencher, metadata| {
                bencher.iter(|| {
                    let tree = BodyTree::of(metadata);
                    for index in 0..metadata.commitments.len() {
                        black_box(tree.proof(index));
                    }
                    tree.root()
                });
            },
        );
        let commitments = metadata
            .commitments
            .iter()
            .map(|commitment| Vector::<u8, 48>::try_from(commitment.0.to_vec()).expect("48 bytes"));
        let list: List<Vector<u8, 48>, COMMITMENTS_MAX> =
            commitments.collect::<Vec<_>>().try_into().expect("below the limit");
        group.bench_with_input(
            BenchmarkId::new("ssz_rs, root of the list", blobs),
            &list,
            |bencher, list| {
                // It remembers roots, so each turn gets a fresh copy.
                bencher.iter_batched(
                    || list.clone(),
                    |mut list| list.hash_tree_root().expect("a root"),
                    BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(benches, trees);
criterion_main!(benches);
