//! This file knows how to measure every way this processor has of doing a stage, not only the one that is chosen.

use std::hint::black_box;
use std::time::Duration;

use super::{Processor, SampleClaim, best, tiled};
use crate::challenge::HashPath;
use crate::claim::Claim;
use crate::evaluate::{Domain, EvaluationPath, Scratch};
use crate::fast::Fast;
use crate::field::Fr;
use crate::group::PointPath;

/// One way to do a stage, in microseconds of thread CPU per blob.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PathRow {
    pub stage: &'static str,
    pub path: &'static str,
    /// Blobs of the batch.
    pub blobs: usize,
    pub us: f64,
}

/// Batch sizes at which the choice may differ.
const SIZES: [usize; 5] = [1, 3, 6, 16, 64];

/// Measures every path, for about `seconds` in all.
pub fn paths(samples: &[SampleClaim], seconds: f64) -> Vec<PathRow> {
    let count = SIZES.len() * HashPath::all().len()
        + EvaluationPath::all().len()
        + 4 * PointPath::all().len()
        + 2 * whole().len();
    let budget = Duration::from_secs_f64((seconds / count as f64).max(0.0));
    let mut rows = Vec::new();
    let mut row = |stage, path, claims: &[Claim<'_>], work: &mut dyn FnMut()| {
        let [us] = best(budget, [work]);
        rows.push(PathRow {
            stage,
            path,
            blobs: claims.len(),
            us: us / claims.len() as f64,
        });
    };
    for path in HashPath::all() {
        for blobs in SIZES {
            let claims = tiled(samples, blobs);
            row("hash", path.name(), &claims, &mut || {
                drop(black_box(path.hash_all(&claims)))
            });
        }
    }
    for (name, verifier) in whole() {
        for blobs in [64, 512] {
            let claims = tiled(samples, blobs);
            row("whole", name, &claims, &mut || super::run(&verifier, &claims));
        }
    }
    let (claims, mut scratch) = (tiled(samples, 16), Scratch::default());
    let z = Fr::from_hash(&[7; 32]);
    for path in EvaluationPath::all() {
        row("evaluate", path.name(), &claims, &mut || {
            for claim in &claims {
                let blob = claim.blob.try_into().expect("whole blobs are measured");
                black_box(Domain::get().evaluate(path, blob, &z, &mut scratch));
            }
        });
    }
    for blobs in [1, 16] {
        let claims = tiled(samples, blobs);
        let encodings: Vec<_> = claims
            .iter()
            .flat_map(|claim| [&claim.commitment.0, &claim.proof.0])
            .collect();
        for path in PointPath::all() {
            row("decompress", path.name(), &claims, &mut || {
                drop(black_box(path.decompress_all(&encodings)))
            });
            let points: Vec<_> = path.decompress_all(&encodings).into_iter().flatten().collect();
            row("subgroup", path.name(), &claims, &mut || {
                drop(black_box(path.are_in_group(&points)))
            });
        }
    }
    rows
}

/// Whole verifiers as lesser processors would run them.
fn whole() -> Vec<(&'static str, Fast)> {
    let all = Processor::ALL.iter();
    all.filter_map(|processor| Some((processor.name(), processor.verifier()?)))
        .collect()
}
