//! The sidecar tree of a block: our body root and all inclusion proofs, beside ssz_rs merkleizing the commitments
//! alone.
//!
//! ssz_rs does less here: no proofs, and not the eleven other fields of the body.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use ssz_rs::prelude::*;
use ultramarine_types::sidecar::BodyTree;
use ultramarine_types::{Hash, KzgCommitment};

/// Commitments one block may have (`MAX_BLOB_COMMITMENTS_PER_BLOCK`, Deneb).
const COMMITMENTS_MAX: usize = 4096;

fn commitments(blobs: usize) -> Vec<KzgCommitment> {
    let commitment = |index: usize| {
        let mut bytes = [0xaa; 48];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        KzgCommitment(bytes)
    };
    (0..blobs).map(commitment).collect()
}

fn trees(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sidecar tree");
    for blobs in [6, 128, 1024] {
        let commitments = commitments(blobs);
        group.bench_with_input(
            BenchmarkId::new("root and all proofs", blobs),
            &commitments,
            |bencher, commitments| {
                bencher.iter(|| {
                    let tree = BodyTree::of(&Hash::ZERO, commitments);
                    for index in 0..commitments.len() {
                        black_box(tree.proof(index));
                    }
                    tree.root()
                });
            },
        );
        let commitments = commitments
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
