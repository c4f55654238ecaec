//! This file knows how to turn any bytes into a batch of doubtful claims, and how to hold every path of ours to what
//! `c-kzg` says of each claim alone. The fuzz target and the tests run the same function.
//!
//! ```text
//!   byte 0     low half: claims that are opened at a time, less one; high half: the same of claims that are summed
//!   byte 1     company: from 128 on, two claims for each step, which hold, are open already, and join the first piece
//!   then       for each claim: a base (1 byte), how many changes (1 byte, modulo 4), and for each change
//!              its kind (1 byte) and what it asks for (positions, bits, another base)
//! ```
//!
//! Bytes that are missing are zero; the batch ends when none are left.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use c_kzg::{Blob, Bytes48};
use sha2::{Digest, Sha256};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw, Refutation};

use crate::challenge::HashPath;
use crate::evaluate::EvaluationPath;
use crate::fast::Fast;
use crate::fixtures::{
    FIELD_MODULUS, INFINITY, Owned, Seeded, claims, constant, line, lines, random, shifted_by_order_three,
};
use crate::group::{Point, PointPath};
use crate::opening::{Finding, OpenedClaim, Opening};
use crate::setup;
use crate::verifier::Verifier;
use crate::wellformed::MODULUS;

/// Kinds of change to a claim.
const KINDS: u8 = 20;

/// Verdicts of `c-kzg` that are kept, as each costs 1.5 ms or more.
const ORACLE_CLAIMS_MAX: usize = 1 << 14;

/// Makes a batch of at most `claims_max` claims out of `bytes`, and judges it by every path, in one piece and in
/// several. Panics where a finding differs from what `c-kzg` says of that claim alone. Returns what `c-kzg` says.
pub fn compare(bytes: &[u8], claims_max: usize) -> Vec<Finding> {
    let mut cursor = Cursor(bytes);
    let (sizes, company) = (cursor.byte(), company(cursor.byte()));
    let mut batch: Vec<Owned> = Vec::new();
    while batch.len() < claims_max && !cursor.0.is_empty() {
        let claim = doubtful(&mut cursor, &batch);
        batch.push(claim);
    }
    let expected: Vec<_> = batch.iter().map(oracle).collect();
    for (at, verifier) in every_path().iter().enumerate() {
        let pieces = Pieces {
            opened: usize::from(sizes % 16) + 1,
            summed: usize::from(sizes / 16) + 1,
            // What hashes and evaluates does not matter to claims that are open: each way to sum has company once.
            company: if at < PointPath::all().len() { &company } else { &[] },
        };
        judge(verifier, &batch, &expected, pieces);
    }
    expected
}

/// How a batch is judged in pieces.
#[derive(Clone, Copy)]
pub struct Pieces<'a> {
    /// Claims that are opened at a time.
    pub opened: usize,
    /// Claims that are summed at a time.
    pub summed: usize,
    /// Claims that hold and are summed with the first piece.
    pub company: &'a [OpenedClaim],
}

/// Claims that make sums longer, as long sums are made in another way than short ones: blst has buckets from 32 points
/// on. We have windows of eight bits from 451 terms on, three a claim. The claims are opened once, so 254 more of them
/// cost a sum.
fn company(step: u8) -> Vec<OpenedClaim> {
    static OPEN: OnceLock<Vec<OpenedClaim>> = OnceLock::new();
    let open = OPEN.get_or_init(|| {
        let pool: Vec<_> = lines(24).into_iter().chain(bases().to_vec()).collect();
        let openings = Fast::new().open(&claims(&pool), &mut |_, _| true).into_iter();
        openings
            .map(|opening| match opening {
                Opening::Open(claim) => claim,
                other => unreachable!("a true claim opens: {other:?}"),
            })
            .collect()
    });
    let mut seeded = Seeded(u64::from(step));
    (0..2 * usize::from(step.saturating_sub(128)))
        .map(|_| open[seeded.below(open.len())].clone())
        .collect()
}

/// Holds one verifier to the expected findings: the whole, and every piece, holds if all its claims do.
pub fn judge(verifier: &Fast, batch: &[Owned], expected: &[Finding], pieces: Pieces<'_>) {
    let all = claims(batch);
    let holds = expected.iter().all(Result::is_ok);
    assert_eq!(verifier.verify(&all), holds, "{}, whole", verifier.path());
    let mut open = Vec::new();
    for (claims, expected) in all.chunks(pieces.opened).zip(expected.chunks(pieces.opened)) {
        for (opening, expected) in verifier.open(claims, &mut |_, _| true).into_iter().zip(expected) {
            match opening {
                Opening::Open(claim) => open.push((claim, expected.is_ok())),
                Opening::Settled(finding) => assert_eq!(finding, *expected, "{}, opened", verifier.path()),
                Opening::Hashed => panic!("all are wanted"),
            }
        }
    }
    let mut sums = Vec::new();
    for (at, piece) in open.chunks(pieces.summed).enumerate() {
        let (mut claims, hold): (Vec<_>, Vec<_>) = piece.iter().cloned().unzip();
        claims.extend_from_slice(if at == 0 { pieces.company } else { &[] });
        let sum = verifier.sum(&claims);
        let all_hold = hold.iter().all(|hold| *hold);
        assert_eq!(verifier.hold(&[&sum]), all_hold, "{}, piece {at}", verifier.path());
        sums.push(sum);
    }
    let all_hold = open.iter().all(|(_, holds)| *holds);
    let together = verifier.hold(&sums.iter().collect::<Vec<_>>());
    assert_eq!(together, all_hold, "{}, all pieces", verifier.path());
}

/// Our verifier on every combination that differs from the others in some path.
pub fn every_path() -> &'static [Fast] {
    static MADE: OnceLock<Vec<Fast>> = OnceLock::new();
    MADE.get_or_init(|| {
        let (hashing, evaluating) = (HashPath::all(), EvaluationPath::all());
        let points = PointPath::all();
        (0..hashing.len().max(evaluating.len()).max(points.len()))
            .map(|at| {
                let hashing = hashing[at % hashing.len()];
                let evaluating = evaluating[at % evaluating.len()];
                Fast::new().by(hashing, evaluating, points[at % points.len()])
            })
            .collect()
    })
}

/// What `c-kzg` says of a claim alone. It does not say which part is malformed, so the others are put right in turn.
pub fn oracle(claim: &Owned) -> Finding {
    static KNOWN: OnceLock<Mutex<HashMap<[u8; 32], Finding>>> = OnceLock::new();
    let name: [u8; 32] = Sha256::new()
        .chain_update(&claim.blob)
        .chain_update(claim.commitment.0)
        .chain_update(claim.proof.0)
        .finalize()
        .into();
    let known = || {
        KNOWN
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    if let Some(finding) = known().get(&name) {
        return *finding;
    }
    let finding = ask(claim);
    let mut known = known();
    if known.len() >= ORACLE_CLAIMS_MAX {
        known.clear();
    }
    known.insert(name, finding);
    finding
}

fn ask(claim: &Owned) -> Finding {
    let malformed = |what| Err(Refutation::Malformed(what));
    let settings = c_kzg::ethereum_kzg_settings(0);
    let infinity = Bytes48::from(INFINITY);
    let commitment = Bytes48::from(claim.commitment.0);
    let Ok(blob) = Blob::from_bytes(&claim.blob) else {
        return malformed(Malformed::Blob(BlobFlaw::Length(claim.blob.len())));
    };
    match settings.verify_blob_kzg_proof(&blob, &commitment, &Bytes48::from(claim.proof.0)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refutation::Wrong),
        Err(_) if settings.verify_blob_kzg_proof(&blob, &infinity, &infinity).is_err() => {
            let element = claim.blob.chunks(32).position(|element| element >= MODULUS.as_slice());
            let element = element.expect("c-kzg refuses the blob, so an element is not below the modulus");
            malformed(Malformed::Blob(BlobFlaw::Element(element as u16)))
        }
        Err(_)
            if settings
                .verify_blob_kzg_proof(&Blob::default(), &commitment, &infinity)
                .is_err() =>
        {
            malformed(Malformed::Commitment(flaw(&claim.commitment.0)))
        }
        Err(_) => malformed(Malformed::Proof(flaw(&claim.proof.0))),
    }
}

/// What is wrong with a point that `c-kzg` refuses: it does not say.
fn flaw(bytes: &[u8; 48]) -> PointFlaw {
    let mut x = *bytes;
    x[0] &= 0x1f;
    // Infinity in its one encoding is not refused.
    if bytes[0] & 0xc0 != 0x80 || x >= FIELD_MODULUS {
        PointFlaw::Encoding
    } else if x == [0; 48] || Point::decompress(bytes).is_some() {
        PointFlaw::Subgroup
    } else {
        PointFlaw::Curve
    }
}

/// Bytes to be read to their end and beyond.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn below(&mut self, bound: usize) -> usize {
        let high = usize::from(self.byte());
        (high << 16 | usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound
    }
}

/// True claims: lines, constants, and two random blobs.
fn bases() -> &'static [Owned] {
    static MADE: OnceLock<Vec<Owned>> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut largest = MODULUS;
        largest[31] -= 1;
        let mut five = [0; 32];
        five[31] = 5;
        let constants = [[0; 32], five, largest].map(constant);
        (0..5)
            .map(line)
            .chain(constants)
            .chain(random()[..2].to_vec())
            .collect()
    })
}

fn base(cursor: &mut Cursor<'_>) -> &'static Owned {
    let bases = bases();
    &bases[usize::from(cursor.byte()) % bases.len()]
}

fn doubtful(cursor: &mut Cursor<'_>, before: &[Owned]) -> Owned {
    let mut claim = base(cursor).clone();
    for _ in 0..cursor.byte() % 4 {
        let kind = cursor.byte() % KINDS;
        change(kind, &mut claim, cursor, before);
    }
    claim
}

/// One change of one kind. Many make a true claim wrong or malformed; some, like another's whole claim, do not.
fn change(kind: u8, claim: &mut Owned, cursor: &mut Cursor<'_>, before: &[Owned]) {
    let shifted = |bytes: &mut [u8; 48]| {
        if Point::decompress(bytes).is_some() {
            *bytes = shifted_by_order_three(bytes);
        }
    };
    match kind {
        0 if !claim.blob.is_empty() => {
            let at = cursor.below(claim.blob.len());
            claim.blob[at] ^= 1 << (cursor.byte() % 8);
        }
        1 => flip(&mut claim.commitment.0, cursor),
        2 => flip(&mut claim.proof.0, cursor),
        3 => claim.blob.clone_from(&base(cursor).blob),
        4 => claim.commitment = base(cursor).commitment,
        5 => claim.proof = base(cursor).proof,
        6 if claim.blob.len() == BLOB_BYTES => {
            let at = 32 * cursor.below(BLOB_BYTES / 32);
            claim.blob[at..at + 32].copy_from_slice(&extreme(cursor));
        }
        7 => claim.commitment.0 = INFINITY,
        8 => claim.proof.0 = INFINITY,
        9 => shifted(&mut claim.commitment.0),
        10 => shifted(&mut claim.proof.0),
        11 => claim.blob.fill(0),
        12 => {
            let length = [
                0,
                1,
                32,
                BLOB_BYTES - 32,
                BLOB_BYTES - 1,
                BLOB_BYTES + 1,
                BLOB_BYTES + 32,
            ][cursor.below(7)];
            claim.blob.resize(length, 0);
        }
        // The sign: the opposite point.
        13 => claim.commitment.0[0] ^= 0x20,
        14 => claim.proof.0[0] ^= 0x20,
        15 => claim.commitment.0 = stray(cursor),
        16 => claim.proof.0 = stray(cursor),
        17 => std::mem::swap(&mut claim.commitment.0, &mut claim.proof.0),
        18 => {
            claim.commitment.0 = if cursor.byte().is_multiple_of(2) {
                setup::GENERATOR_G1
            } else {
                setup::TAU_G1
            }
        }
        // One that came before, whole or with the opposite proof.
        19 => {
            if let Some(earlier) = before.get(usize::from(cursor.byte()) % before.len().max(1)) {
                claim.clone_from(earlier);
                claim.proof.0[0] ^= (cursor.byte() % 2) << 5;
            }
        }
        _ => {}
    }
}

fn flip(bytes: &mut [u8; 48], cursor: &mut Cursor<'_>) {
    let at = cursor.below(48);
    bytes[at] ^= 1 << (cursor.byte() % 8);
}

/// An element at a border: near the modulus, near a word of it, or all ones.
fn extreme(cursor: &mut Cursor<'_>) -> [u8; 32] {
    let mut element = [MODULUS, [0; 32], [0xff; 32]][cursor.below(3)];
    let (word, step) = (usize::from(cursor.byte() % 4) * 8, cursor.byte());
    element[word + 7] = element[word + 7].wrapping_add(step % 3).wrapping_sub(1);
    element
}

/// Bytes that are probably no point of the group. They are random, or their x belongs to a point of the curve outside
/// the subgroup, or their coordinate is not below the field's modulus.
fn stray(cursor: &mut Cursor<'_>) -> [u8; 48] {
    let kind = cursor.byte() % 3;
    let mut seeded = Seeded(u64::from(cursor.byte()));
    let mut bytes = [0; 48];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&seeded.next().to_be_bytes());
    }
    match kind {
        0 => bytes,
        1 => {
            bytes[0] = 0x80 | bytes[0] & 0x2f;
            bytes[1] = 0;
            while Point::decompress(&bytes).is_none() {
                bytes[47] = bytes[47].wrapping_add(1);
                bytes[46] ^= bytes[47];
            }
            bytes
        }
        _ => {
            bytes[..4].fill(0xff);
            bytes[0] = 0x9f;
            bytes
        }
    }
}

#[cfg(test)]
mod tests;
