//! This file knows how to measure verifiers beside each other: one measuring code for operators and for developers.
//!
//! Method: 64 distinct blobs are made in parallel before any clock starts, and tiled to each batch size; verifiers take
//! turns in one process on one thread; the thread's CPU time counts, not the wall's; the best of the repeats stands. No memo,
//! and no verifier merges duplicates.

use std::time::{Duration, Instant};

use ultramarine_types::verify::Finding;
use ultramarine_types::{KzgCommitment, KzgProof};

use crate::ckzg::CKzg;
use crate::fast::Fast;
use crate::memo::Memo;
use crate::verifier::{Claim, Verifier};
use crate::{cpu_time, fast};

mod paths;
pub use paths::{PathRow, paths};

/// The batch sizes that reports show.
pub const SIZES: [usize; 7] = [1, 6, 16, 64, 128, 512, 1024];
/// Distinct blobs behind every batch.
const DISTINCT: usize = 64;

/// A true claim that owns its parts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// 131,072 bytes.
    pub blob: Box<[u8]>,
    /// Its commitment.
    pub commitment: KzgCommitment,
    /// Its proof.
    pub proof: KzgProof,
}

impl Sample {
    /// The claim.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            blob: &self.blob,
            commitment: &self.commitment,
            proof: &self.proof,
        }
    }
}

/// Pseudo-random blobs with commitments and proofs by `c-kzg`, about 0.1 CPU seconds each, on all cores.
pub fn samples(count: usize) -> Vec<Sample> {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mine = (thread..count).step_by(threads);
                    mine.map(|index| (index, sample(settings, index as u64)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut made: Vec<_> = makers
            .into_iter()
            .flat_map(|maker| maker.join().expect("making does not panic"))
            .collect();
        made.sort_by_key(|(index, _)| *index);
        made.into_iter().map(|(_, sample)| sample).collect()
    })
}

fn sample(settings: &c_kzg::KzgSettings, seed: u64) -> Sample {
    // splitmix64: reproducible, and every element differs.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let mut bytes: Vec<u8> = (0..131_072 / 8).flat_map(|_| next().to_be_bytes()).collect();
    // Below 2²⁵⁴, so below the modulus.
    bytes.iter_mut().step_by(32).for_each(|top| *top &= 0x3f);
    let blob = c_kzg::Blob::from_bytes(&bytes).expect("a blob's length");
    let commitment = settings
        .blob_to_kzg_commitment(&blob)
        .expect("canonical elements")
        .to_bytes();
    let proof = settings
        .compute_blob_kzg_proof(&blob, &commitment)
        .expect("a commitment just made")
        .to_bytes();
    Sample {
        blob: bytes.into_boxed_slice(),
        commitment: KzgCommitment(*commitment),
        proof: KzgProof(*proof),
    }
}

/// One batch size, in microseconds of thread CPU per blob.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Blobs of the batch.
    pub blobs: usize,
    /// Ours.
    pub ours_us: f64,
    /// `c-kzg`'s batch call (its single call at one blob).
    pub ckzg_us: f64,
}

impl Row {
    /// How many times faster ours is.
    pub fn ratio(&self) -> f64 {
        self.ckzg_us / self.ours_us
    }
}

/// A stage of our verifier, in microseconds of thread CPU per blob.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StageRow {
    /// What.
    pub stage: &'static str,
    /// How long.
    pub us: f64,
}

/// What a run found.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The processor's own name.
    pub cpu: String,
    /// Which code hashes and evaluates, as chosen for this processor.
    pub path: String,
    /// Ours beside `c-kzg`.
    pub rows: Vec<Row>,
    /// Where our time goes at 64 blobs.
    pub stages: Vec<StageRow>,
}

/// Measures for about `seconds` (more where one repeat of the largest batch takes longer), at [`SIZES`].
pub fn report(seconds: f64) -> Report {
    let samples = samples(DISTINCT);
    let (ours, theirs) = (Fast::new(Memo::new(0)), CKzg::new(Memo::new(0)));
    let budget = Duration::from_secs_f64((seconds / (SIZES.len() + 1) as f64).max(0.0));
    let rows = SIZES
        .into_iter()
        .map(|blobs| {
            let claims = tiled(&samples, blobs);
            let [ours_us, ckzg_us] = best(
                budget,
                blobs,
                [&mut || run(&ours, &claims), &mut || run(&theirs, &claims)],
            );
            Row {
                blobs,
                ours_us,
                ckzg_us,
            }
        })
        .collect();
    let stages = fast::stages(&ours, &tiled(&samples, 64), budget);
    Report {
        cpu: cpu_name(),
        path: ours.path(),
        rows,
        stages,
    }
}

/// `count` claims over the samples, each sample as often as it takes.
pub fn tiled(samples: &[Sample], count: usize) -> Vec<Claim<'_>> {
    samples.iter().cycle().take(count).map(Sample::claim).collect()
}

/// Takes turns until the budget is spent, and at least three turns unless they are long; the best of each, per blob.
pub(crate) fn best<const N: usize>(budget: Duration, blobs: usize, mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let began = Instant::now();
    let mut best = [f64::INFINITY; N];
    let mut turns = 0;
    while turns == 0 || began.elapsed() < budget || (turns < 3 && began.elapsed() < 4 * budget) {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let before = cpu_time::thread();
            work();
            let took = cpu_time::thread() - before;
            *best = best.min(took.as_secs_f64() * 1e6 / blobs as f64);
        }
        turns += 1;
    }
    best
}

fn run(verifier: &dyn Verifier, claims: &[Claim<'_>]) {
    let findings = verifier.verify(claims);
    assert!(
        findings.iter().all(|finding| *finding == Finding::Holds),
        "the samples are true claims"
    );
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1));
    name.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_every_row_and_positive_figures() {
        let samples = samples(2);
        let (ours, theirs) = (Fast::new(Memo::new(0)), CKzg::new(Memo::new(0)));
        let claims = tiled(&samples, 3);
        assert_eq!(claims.len(), 3);
        let figures = best(
            Duration::ZERO,
            3,
            [&mut || run(&ours, &claims), &mut || run(&theirs, &claims)],
        );
        assert!(figures.iter().all(|figure| figure.is_finite() && *figure > 0.0));
        let stages = fast::stages(&ours, &claims, Duration::ZERO);
        let rows = paths(&samples, 0.0);
        assert!(rows.iter().all(|row| row.us > 0.0 && row.us.is_finite()));
        assert!(stages.len() >= 5 && stages.iter().all(|row| row.us >= 0.0 && row.us.is_finite()));
    }
}
