//! This file knows how to measure verifiers beside each other: one measuring code for operators and for developers.
//!
//! Method: 64 distinct blobs are made in parallel before any clock starts, and tiled to each batch size. Verifiers take
//! turns in one process on one thread. The thread's CPU time counts, not the wall's, and the best of the repeats
//! stands. No verifier merges duplicates. Lanes are measured by the wall clock too: `paced.rs`.

mod paced;
mod paths;
mod peers;
mod processor;
mod replay;
mod stages;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use ultramarine_types::verify::{Urgency, VerifyJob};
use ultramarine_types::{Hash, Height, KzgCommitment, KzgProof, ValueId, ValueKey};

use crate::challenge;
use crate::claim::Claim;
use crate::cpu_time;
use crate::fast::Fast;
use crate::verifier::Verifier;

pub use paced::{LanesRow, PacedRow, paced, throughput};
pub use paths::{PathRow, paths};
pub use peers::{CKzgPeer, Eip4844};
pub use processor::Processor;
pub use stages::StageRow;

/// The batch sizes that reports show.
pub const SIZES: [usize; 7] = [1, 6, 16, 64, 128, 512, 1024];
/// Distinct blobs behind every batch.
const DISTINCT: usize = 64;
/// Blobs behind a figure of `c-kzg`'s single call. A blob costs the same however many follow.
const SINGLE_BLOBS_MAX: usize = 6;

/// A true claim that owns its parts.
#[derive(Clone, Debug)]
pub struct SampleClaim {
    /// All 131,072 bytes of the blob.
    pub blob: Box<[u8]>,
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
}

impl SampleClaim {
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            blob: &self.blob,
            commitment: &self.commitment,
            proof: &self.proof,
        }
    }
}

/// A sample that jobs share.
struct Shared {
    blob: Bytes,
    commitment: KzgCommitment,
    proof: KzgProof,
    digest: Hash,
}

impl Shared {
    fn all(samples: &[SampleClaim]) -> Vec<Self> {
        let own = |sample: &SampleClaim| Self {
            blob: Bytes::copy_from_slice(&sample.blob),
            commitment: sample.commitment,
            proof: sample.proof,
            digest: Hash(challenge::hash(&sample.blob, &sample.commitment)),
        };
        samples.iter().map(own).collect()
    }

    fn job(&self, index: usize, blobs: usize) -> VerifyJob {
        let count = |count| u16::try_from(count).expect("no more blobs than a block has");
        VerifyJob {
            key: ValueKey {
                height: Height(1),
                id: ValueId::ZERO,
            },
            index: count(index),
            blobs_count: count(blobs),
            sender: None,
            urgency: Urgency::Current,
            blob: self.blob.clone(),
            commitment: self.commitment,
            proof: self.proof,
            digest: Some(self.digest),
        }
    }
}

/// Pseudo-random blobs with commitments and proofs by `c-kzg`, about 0.1 CPU seconds each, on all cores.
pub fn samples(count: usize) -> Vec<SampleClaim> {
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

fn sample(settings: &c_kzg::KzgSettings, seed: u64) -> SampleClaim {
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
    SampleClaim {
        blob: bytes.into_boxed_slice(),
        commitment: KzgCommitment(*commitment),
        proof: KzgProof(*proof),
    }
}

/// One batch size, in microseconds of thread CPU per blob.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Blobs of the batch.
    pub blobs: usize,
    /// Our verifier, from claims to findings.
    pub ours_us: f64,
    /// `c-kzg`'s batch call, its inputs in its own types beforehand.
    pub ckzg_us: f64,
    /// `c-kzg`'s call for a single blob, blob by blob.
    pub ckzg_single_us: f64,
    /// The `eip4844` crate's batch call.
    pub eip4844_us: f64,
    /// How many times faster ours is than `c-kzg`'s batch call.
    pub ratio: f64,
}

/// What a run found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MeasureReport {
    /// The processor's own name.
    pub cpu: String,
    /// The processor it played: [`Processor::name`].
    pub as_processor: &'static str,
    /// Which code hashes and evaluates, as chosen for this processor.
    pub path: String,
    /// Our verifier beside others, by batch size.
    pub rows: Vec<Row>,
    /// Where our time goes at 64 blobs.
    pub stages: Vec<StageRow>,
    /// How much one lane takes, two lanes, and so on up to the number of cores. This and `paced` are empty where a
    /// processor without the SHA extension is played.
    pub lanes: Vec<LanesRow>,
    /// How long the last blob of a block waits for its verdict on one lane.
    pub paced: Vec<PacedRow>,
}

impl fmt::Display for MeasureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cpu)?;
        if self.as_processor != Processor::Here.name() {
            write!(f, ", as {} would do it", self.as_processor)?;
        }
        writeln!(f, ": {}", self.path)?;
        writeln!(f, "\nµs of thread CPU a blob, by blobs of a batch")?;
        writeln!(
            f,
            "{:>6} {:>9} {:>9} {:>12} {:>9} {:>7}",
            "blobs", "ours", "c-kzg", "c-kzg single", "eip4844", "ratio"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:>6} {:>9.1} {:>9.1} {:>12.1} {:>9.1} {:>7.2}",
                row.blobs, row.ours_us, row.ckzg_us, row.ckzg_single_us, row.eip4844_us, row.ratio
            )?;
        }
        writeln!(f, "\nwhere our time goes, µs a blob of 64")?;
        for row in &self.stages {
            writeln!(f, "{:>12} {:>8.1}", row.stage, row.us)?;
        }
        if self.lanes.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nblobs a second, with a core for each lane and here")?;
        for row in &self.lanes {
            let lanes = if row.lanes == 1 { "lane " } else { "lanes" };
            writeln!(
                f,
                "{:>6} {lanes} {:>8.0} {:>8.0}",
                row.lanes, row.replayed_per_second, row.blobs_per_second
            )?;
        }
        writeln!(f, "\nlast byte to verdict, ms, at nine tenths of one lane's pace")?;
        writeln!(
            f,
            "{:>6} {:>14} {:>10} {:>10}",
            "blobs", "a core to it", "best here", "median"
        )?;
        for row in &self.paced {
            let ms = |us: f64| us / 1e3;
            writeln!(
                f,
                "{:>6} {:>14.2} {:>10.2} {:>10.2}",
                row.blobs,
                ms(row.replayed_us),
                ms(row.best_us),
                ms(row.median_us)
            )?;
        }
        Ok(())
    }
}

/// Measures at [`SIZES`] as `processor` would do the work, for about `seconds` (more where one repeat of the largest
/// batch takes longer). `None` if this machine cannot play that processor.
pub fn report(seconds: f64, processor: Processor) -> Option<MeasureReport> {
    let ours = processor.verifier()?;
    let samples = samples(DISTINCT);
    let _playing = processor.play();
    // Half of the time for batches and stages, a quarter each for lanes and for blocks that arrive.
    let budget = |share: f64| Duration::from_secs_f64((seconds * share).max(0.0));
    let each = budget(0.5 / (SIZES.len() + 1) as f64);
    let sizes: Vec<usize> = SIZES.into_iter().filter(|blobs| processor.can_play(*blobs)).collect();
    let rows = rows(&samples, &ours, &sizes, each);
    let stages = stages::stages(&ours, &tiled(&samples, 64), each);
    let path = ours.path();
    let ours: Arc<dyn Verifier> = Arc::new(ours);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Lanes verify blobs singly when they keep up.
    let (cores_used, paced_sizes) = if processor.can_play(1) {
        (cores, &paced::SIZES[..])
    } else {
        (0, &[][..])
    };
    let lanes = (1..=cores_used)
        .map(|lanes| throughput(&ours, lanes, &samples, budget(0.25 / cores as f64)))
        .collect();
    Some(MeasureReport {
        cpu: cpu_name(),
        as_processor: processor.name(),
        path,
        rows,
        stages,
        lanes,
        paced: paced(&ours, 1, &samples, paced_sizes, budget(0.25)),
    })
}

/// The verifiers side by side at each size, each size within a budget.
fn rows(samples: &[SampleClaim], ours: &Fast, sizes: &[usize], budget: Duration) -> Vec<Row> {
    let other = Eip4844::new();
    let most = sizes.iter().copied().max().unwrap_or(0).max(SINGLE_BLOBS_MAX);
    let all = tiled(samples, most);
    let theirs = CKzgPeer::new(&all);
    let row = |&blobs: &usize| {
        let claims = theirs.claims(&all, blobs);
        let singles = blobs.min(SINGLE_BLOBS_MAX);
        let [ours, batch, alone, other] = best(
            budget,
            [
                &mut || run(ours, &claims),
                &mut || assert!(theirs.batch_holds(blobs), "the samples are true claims"),
                &mut || assert!(theirs.each_holds(singles), "the samples are true claims"),
                &mut || assert!(other.holds(&claims), "the samples are true claims"),
            ],
        );
        Row {
            blobs,
            ours_us: ours / blobs as f64,
            ckzg_us: batch / blobs as f64,
            ckzg_single_us: alone / singles as f64,
            eip4844_us: other / blobs as f64,
            ratio: batch / ours,
        }
    };
    sizes.iter().map(row).collect()
}

/// `count` claims over the samples, which repeat as often as it takes.
pub fn tiled(samples: &[SampleClaim], count: usize) -> Vec<Claim<'_>> {
    samples.iter().cycle().take(count).map(SampleClaim::claim).collect()
}

/// Lets the works take turns until the budget is spent, three turns at least unless they are long. Returns the best of
/// each, in microseconds.
pub(crate) fn best<const N: usize>(budget: Duration, mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let began = Instant::now();
    let mut best = [f64::INFINITY; N];
    let mut turns = 0;
    while turns == 0 || began.elapsed() < budget || (turns < 3 && began.elapsed() < 4 * budget) {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let before = cpu_time::thread();
            work();
            let took = cpu_time::thread() - before;
            *best = best.min(took.as_secs_f64() * 1e6);
        }
        turns += 1;
    }
    best
}

fn run(verifier: &dyn Verifier, claims: &[Claim<'_>]) {
    assert!(verifier.verify(claims), "the samples are true claims");
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
    fn rows_stages_and_lanes_have_positive_figures() {
        let samples = samples(2);
        let ours = Fast::new();
        for row in rows(&samples, &ours, &[1, 3], Duration::ZERO) {
            for figure in [row.ours_us, row.ckzg_us, row.ckzg_single_us, row.eip4844_us, row.ratio] {
                assert!(figure.is_finite() && figure > 0.0, "{row:?}");
            }
        }
        let by_path = paths(&samples, 0.0);
        assert!(by_path.iter().all(|row| row.us > 0.0 && row.us.is_finite()));
        let stages = stages::stages(&ours, &tiled(&samples, 3), Duration::ZERO);
        assert!(stages.len() >= 5 && stages.iter().all(|row| row.us >= 0.0 && row.us.is_finite()));
        let ours: Arc<dyn Verifier> = Arc::new(ours);
        let row = throughput(&ours, 2, &samples, Duration::ZERO);
        assert!(row.lanes == 2 && row.blobs_per_second > 0.0 && row.replayed_per_second > 0.0);
        let rows = paced(&ours, 1, &samples, &[1, 9], Duration::ZERO);
        assert!(
            rows.iter()
                .all(|row| row.repeats == 3 && row.replayed_us > 0.0 && row.best_us > 0.0)
        );
        assert_eq!((rows[0].blobs, rows[1].blobs), (1, 9));
    }
}
