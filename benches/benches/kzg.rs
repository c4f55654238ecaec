//! Verifying blob proofs: ours beside `c-kzg`'s batch call and the `eip4844` crate, one thread each; and making fresh
//! blobs.
//!
//! `cargo bench -p ultramarine-benches --bench kzg` gives criterion's statistics on wall time. The table of record, on
//! thread CPU time with the verifiers taking turns, is `cargo run --release -p ultramarine-kzg-pipeline --example
//! measure`; both use the samples of `ultramarine_kzg_pipeline::measure`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use ultramarine::publish::fresh::Fresh;
use ultramarine_kzg_pipeline::measure::{CKzgPeer, Eip4844, samples, tiled};
use ultramarine_kzg_pipeline::{BackEnd, verifier};

fn batches(criterion: &mut Criterion) {
    let samples = samples(64);
    let ours = verifier(BackEnd::Fast);
    let theirs = CKzgPeer::new(&tiled(&samples, 512));
    let other = Eip4844::new();
    for blobs in [1, 6, 64, 512] {
        let mut group = criterion.benchmark_group(format!("verify {blobs} blobs"));
        group.sample_size(10).throughput(Throughput::Elements(blobs as u64));
        let claims = tiled(&samples, blobs);
        group.bench_with_input(BenchmarkId::from_parameter("fast"), &claims, |bencher, claims| {
            bencher.iter(|| assert!(ours.verify(black_box(claims))));
        });
        group.bench_with_input(BenchmarkId::from_parameter("c-kzg"), &blobs, |bencher, blobs| {
            bencher.iter(|| assert!(theirs.batch_holds(black_box(*blobs))));
        });
        group.bench_with_input(BenchmarkId::from_parameter("eip4844"), &claims, |bencher, claims| {
            bencher.iter(|| assert!(other.holds(black_box(claims))));
        });
        group.finish();
    }
}

/// A bad blob among good ones: what the answer *no* costs beside the batch that holds.
fn one_wrong(criterion: &mut Criterion) {
    let mut samples = samples(64);
    samples[37].proof = samples[38].proof;
    let ours = verifier(BackEnd::Fast);
    let claims = tiled(&samples, 64);
    let mut group = criterion.benchmark_group("verify 64 blobs, one wrong");
    group.sample_size(10);
    group.bench_function("fast", |bencher| {
        bencher.iter(|| assert!(!ours.verify(black_box(&claims))));
    });
    group.finish();
}

/// A blob nobody has seen, with its commitment and proof: ours of low degree beside `c-kzg`'s of the same blob. One
/// thread.
fn fresh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make a fresh blob, commit and prove");
    group.sample_size(10);
    let mut publisher = Fresh::new(1, 0);
    group.bench_function("low degree", |bencher| bencher.iter(|| black_box(publisher.make())));
    let settings = c_kzg::ethereum_kzg_settings(0);
    let blob = c_kzg::Blob::from_bytes(&publisher.make().blob).expect("131,072 bytes");
    group.bench_function("c-kzg", |bencher| {
        bencher.iter(|| {
            let commitment = settings
                .blob_to_kzg_commitment(black_box(&blob))
                .expect("canonical")
                .to_bytes();
            settings.compute_blob_kzg_proof(&blob, &commitment).expect("a point")
        });
    });
    group.finish();
}

criterion_group!(kzg, batches, one_wrong, fresh);
criterion_main!(kzg);
