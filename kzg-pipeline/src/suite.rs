//! Claims about every [`Verifier`], asserted for each back end by its own tests.

use ultramarine_types::digest::blob_digest;
use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw, Refutation};

use crate::fixtures::{
    FIELD_MODULUS, INFINITY, Owned, Seeded, claims, constant, lines, random, shifted_by_order_three,
};
use crate::opening::{Finding, OpenedClaim, Opening};
use crate::verifier::Verifier;
use crate::wellformed::MODULUS;

const HOLDS: Finding = Ok(());
const WRONG: Finding = Err(Refutation::Wrong);

const fn bad_blob(flaw: BlobFlaw) -> Finding {
    Err(Refutation::Malformed(Malformed::Blob(flaw)))
}

const fn bad_commitment(flaw: PointFlaw) -> Finding {
    Err(Refutation::Malformed(Malformed::Commitment(flaw)))
}

const fn bad_proof(flaw: PointFlaw) -> Finding {
    Err(Refutation::Malformed(Malformed::Proof(flaw)))
}

/// A way to spoil a claim, and what is then found.
pub type Spoiler = (&'static str, fn(&mut Owned), Finding);

/// Every way to spoil a claim.
pub const SPOILERS: [Spoiler; 17] = [
    (
        "an element is one more",
        |claim| claim.blob[131_071 - 32 * 17] ^= 1,
        WRONG,
    ),
    ("the blob is zero", |claim| claim.blob.fill(0), WRONG),
    (
        "the proof is another point",
        |claim| claim.proof.0 = crate::setup::TAU_G1,
        WRONG,
    ),
    ("the proof is infinity", |claim| claim.proof.0 = INFINITY, WRONG),
    (
        "the commitment is infinity",
        |claim| claim.commitment.0 = INFINITY,
        WRONG,
    ),
    ("the proof is negated", |claim| claim.proof.0[0] ^= 0x20, WRONG),
    (
        "an element is the modulus",
        |claim| claim.blob[32 * 99..32 * 100].copy_from_slice(&MODULUS),
        bad_blob(BlobFlaw::Element(99)),
    ),
    (
        "the last element is all ones",
        |claim| claim.blob[131_040..].fill(0xff),
        bad_blob(BlobFlaw::Element(4095)),
    ),
    (
        "two elements are all ones",
        |claim| claim.blob[32 * 7..32 * 9].fill(0xff),
        bad_blob(BlobFlaw::Element(7)),
    ),
    (
        "the blob is short",
        |claim| claim.blob.truncate(131_071),
        bad_blob(BlobFlaw::Length(131_071)),
    ),
    (
        "the blob is long",
        |claim| claim.blob.push(0),
        bad_blob(BlobFlaw::Length(131_073)),
    ),
    (
        "the commitment is not compressed",
        |claim| claim.commitment.0[0] &= 0x7f,
        bad_commitment(PointFlaw::Encoding),
    ),
    (
        "the commitment's x is no x of the curve",
        |claim| claim.commitment.0 = off_curve(),
        bad_commitment(PointFlaw::Curve),
    ),
    (
        "the commitment is moved by a point of order three",
        |claim| claim.commitment.0 = shifted_by_order_three(&claim.commitment.0),
        bad_commitment(PointFlaw::Subgroup),
    ),
    (
        "the proof is moved by a point of order three",
        |claim| claim.proof.0 = shifted_by_order_three(&claim.proof.0),
        bad_proof(PointFlaw::Subgroup),
    ),
    (
        "the proof's x is the field's modulus",
        |claim| claim.proof.0 = compressed(FIELD_MODULUS),
        bad_proof(PointFlaw::Encoding),
    ),
    // (0, 2) is on the curve, of order three.
    (
        "the proof's x is zero",
        |claim| claim.proof.0 = compressed([0; 48]),
        bad_proof(PointFlaw::Subgroup),
    ),
];

/// A compressed encoding whose x belongs to no point: x³ + 4 is no square for x = 1 (5 is no square modulo p).
fn off_curve() -> [u8; 48] {
    let mut x = [0; 48];
    x[47] = 1;
    compressed(x)
}

/// With the flag of a compressed point.
fn compressed(mut x: [u8; 48]) -> [u8; 48] {
    x[0] |= 0x80;
    x
}

/// Opens claims together and settles each alone. What all of them are found to be together agrees with that.
pub fn judge(verifier: &dyn Verifier, owned: &[Owned]) -> Vec<Finding> {
    let claims = claims(owned);
    let settled = |opening| match opening {
        Opening::Settled(finding) => finding,
        Opening::Open(claim) => {
            let holds = verifier.hold(&[&verifier.sum(&[claim])]);
            if holds { HOLDS } else { WRONG }
        }
        Opening::Hashed => panic!("all are wanted"),
    };
    let openings = verifier.open(&claims, &mut |_, _| true);
    let findings: Vec<_> = openings.into_iter().map(settled).collect();
    assert_eq!(verifier.verify(&claims), findings.iter().all(Result::is_ok));
    findings
}

/// Nothing in, nothing wrong.
pub fn no_claims_hold(verifier: &dyn Verifier) {
    assert_eq!(judge(verifier, &[]), []);
}

/// Claims of random blobs and of lines hold at several batch sizes, alone too.
pub fn true_claims_hold(verifier: &dyn Verifier, most: usize) {
    for claim in random() {
        assert_eq!(judge(verifier, std::slice::from_ref(claim)), [HOLDS]);
    }
    assert_eq!(judge(verifier, random()), [HOLDS; 6]);
    let many = lines(most);
    for size in [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 33, most] {
        let size = size.min(most);
        assert_eq!(judge(verifier, &many[..size]), vec![HOLDS; size], "{size} claims");
    }
}

/// Each way to spoil a claim is found, alone and amid good claims, which keep their findings.
pub fn every_fault_is_found_and_sinks_nobody(verifier: &dyn Verifier) {
    for (how, spoil, expected) in SPOILERS {
        let mut bad = random()[0].clone();
        spoil(&mut bad);
        assert_eq!(judge(verifier, std::slice::from_ref(&bad)), [expected], "{how}, alone");
        for position in [0, 2, 4] {
            let mut batch: Vec<_> = random()[1..5].to_vec();
            batch.insert(position, bad.clone());
            let mut findings = vec![HOLDS; 5];
            findings[position] = expected;
            assert_eq!(judge(verifier, &batch), findings, "{how}, at {position}");
        }
    }
}

/// True claims, every other one of a random blob: a line's proof is right at any challenge, so lines alone would not
/// miss theirs.
fn pool(size: usize) -> Vec<Owned> {
    let mut pool = lines(size);
    for (at, claim) in pool.iter_mut().enumerate().step_by(2) {
        *claim = random()[at / 2 % 6].clone();
    }
    pool
}

/// Some true claims with some faults, and what each must get.
fn doubtful(pool: &[Owned], faults_max: usize, seeded: &mut Seeded) -> (Vec<Owned>, Vec<Finding>) {
    let size = 1 + seeded.below(pool.len());
    let mut batch = pool[..size].to_vec();
    let mut expected = vec![HOLDS; size];
    for _ in 0..seeded.below(faults_max.min(size) + 1) {
        let (at, (_, spoil, finding)) = (seeded.below(size), SPOILERS[seeded.below(SPOILERS.len())]);
        if expected[at] == HOLDS {
            spoil(&mut batch[at]);
            expected[at] = finding;
        }
    }
    (batch, expected)
}

/// Whatever mixture of faults a batch has, each claim gets what it would get alone.
pub fn a_finding_does_not_depend_on_company(verifier: &dyn Verifier, rounds: u64, most: usize) {
    let pool = pool(most);
    for round in 0..rounds {
        let mut seeded = Seeded(round);
        let faults_max = [0, 1, 2, most][seeded.below(4)];
        let (batch, expected) = doubtful(&pool, faults_max, &mut seeded);
        assert_eq!(judge(verifier, &batch), expected, "round {round}");
    }
}

/// However claims are split into batches to open and pieces to sum, they hold together if each holds alone.
pub fn batches_and_pieces_change_nothing(verifier: &dyn Verifier, rounds: u64, most: usize) {
    let pool = pool(most);
    for round in 0..rounds {
        let mut seeded = Seeded(0x7069_6563 + round);
        let (owned, expected) = doubtful(&pool, 3, &mut seeded);
        let all = claims(&owned);
        let mut pieces: Vec<Vec<OpenedClaim>> = vec![Vec::new(); 1 + seeded.below(6)];
        let (mut from, mut hold) = (0, true);
        while from < all.len() {
            let to = all.len().min(from + 1 + seeded.below(9));
            let openings = verifier.open(&all[from..to], &mut |_, _| true);
            assert_eq!(openings.len(), to - from);
            for (expected, opening) in expected[from..to].iter().zip(openings) {
                match opening {
                    Opening::Settled(finding) => {
                        assert_eq!(finding, *expected, "round {round}");
                        hold &= finding.is_ok();
                    }
                    Opening::Open(opened) => {
                        let piece = seeded.below(pieces.len());
                        pieces[piece].push(opened);
                    }
                    Opening::Hashed => panic!("all are wanted"),
                }
            }
            from = to;
        }
        pieces.retain(|piece| !piece.is_empty());
        let sums: Vec<_> = pieces.iter().map(|piece| verifier.sum(piece)).collect();
        hold &= verifier.hold(&sums.iter().collect::<Vec<_>>());
        assert_eq!(hold, expected.iter().all(Result::is_ok), "round {round}");
    }
}

/// Each claim is hashed, and none is opened that nobody wants.
pub fn what_is_not_wanted_is_hashed_alone(verifier: &dyn Verifier) {
    let mut owned = random()[..4].to_vec();
    owned[2].blob.truncate(7);
    let mut digests = Vec::new();
    let openings = verifier.open(&claims(&owned), &mut |at, digest| {
        assert_eq!(at, digests.len());
        digests.push(digest);
        at % 2 == 1
    });
    let plain: Vec<_> = owned
        .iter()
        .map(|claim| blob_digest(&claim.blob, &claim.commitment))
        .collect();
    assert_eq!(digests, plain);
    let is_hashed: Vec<_> = openings
        .iter()
        .map(|opening| matches!(opening, Opening::Hashed))
        .collect();
    assert_eq!(is_hashed, [true, false, true, false]);
}

/// Claims that are each wrong in a way that cancels in an unweighted sum are still all found.
pub fn faults_that_cancel_each_other_are_found(verifier: &dyn Verifier) {
    let mut batch = random().to_vec();
    // Each now carries the other's proof: Σ π is unchanged.
    let first = batch[0].proof;
    batch[0].proof = batch[1].proof;
    batch[1].proof = first;
    // The same with commitments: Σ C is unchanged.
    let third = batch[3].commitment;
    batch[3].commitment = batch[4].commitment;
    batch[4].commitment = third;
    assert_eq!(judge(verifier, &batch), [WRONG, WRONG, HOLDS, WRONG, WRONG, HOLDS]);
    // The same wrong claim twice, once negated.
    let mut twice = vec![random()[0].clone(), random()[0].clone()];
    twice[0].proof.0 = crate::setup::TAU_G1;
    twice[1].proof.0 = crate::setup::TAU_G1;
    twice[1].proof.0[0] ^= 0x20;
    assert_eq!(judge(verifier, &twice), [WRONG, WRONG]);
}

/// The same claim several times in a batch, true or false.
pub fn duplicates_are_judged_like_any_other(verifier: &dyn Verifier) {
    let claim = random()[2].clone();
    let mut wrong = claim.clone();
    wrong.proof = random()[3].proof;
    let batch = [claim.clone(), wrong.clone(), claim.clone(), wrong, claim];
    assert_eq!(judge(verifier, &batch), [HOLDS, WRONG, HOLDS, WRONG, HOLDS]);
}

/// Infinity is a point like any other.
pub fn infinity_commits_to_zero_and_proves_constants(verifier: &dyn Verifier) {
    let zero = constant([0; 32]);
    assert_eq!(zero.commitment.0, INFINITY);
    let five = constant(std::array::from_fn(|index| 5 * u8::from(index == 31)));
    let largest = {
        let mut element = MODULUS;
        element[31] = 0;
        constant(element)
    };
    let mut wrong = five.clone();
    wrong.commitment.0 = INFINITY;
    let batch = [zero, five, largest, wrong, random()[0].clone()];
    assert_eq!(judge(verifier, &batch), [HOLDS, HOLDS, HOLDS, WRONG, HOLDS]);
    // Infinity has one encoding.
    for (byte, flip) in [(0, 0x20), (0, 0x01), (47, 1)] {
        let mut odd = constant([0; 32]);
        odd.proof.0[byte] ^= flip;
        assert_eq!(
            judge(verifier, &[odd]),
            [bad_proof(PointFlaw::Encoding)],
            "byte {byte} xor {flip}"
        );
    }
}

/// The findings of a permuted batch are the permuted findings.
pub fn order_changes_nothing(verifier: &dyn Verifier, rounds: u64, most: usize) {
    let pool = pool(most);
    for round in 0..rounds {
        let mut seeded = Seeded(0x6f72_6465 + round);
        let (batch, expected) = doubtful(&pool, most, &mut seeded);
        assert_eq!(judge(verifier, &batch), expected, "round {round}");
        let mut order: Vec<_> = (0..batch.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, seeded.below(last + 1));
        }
        let permuted: Vec<_> = order.iter().map(|at| batch[*at].clone()).collect();
        let expected: Vec<_> = order.iter().map(|at| expected[*at]).collect();
        assert_eq!(judge(verifier, &permuted), expected, "round {round}, order {order:?}");
    }
}
