use super::*;
use crate::fixtures::lines;

/// The kinds of findings.
const LABELS: [&str; 5] = [
    "holds",
    "wrong",
    "malformed blob",
    "malformed commitment",
    "malformed proof",
];

fn label_index(finding: Finding) -> usize {
    match finding {
        Ok(()) => 0,
        Err(Refutation::Wrong) => 1,
        Err(Refutation::Malformed(Malformed::Blob(_))) => 2,
        Err(Refutation::Malformed(Malformed::Commitment(_))) => 3,
        Err(Refutation::Malformed(Malformed::Proof(_))) => 4,
    }
}

/// The same for as long as one likes, with other seeds each time:
/// `ULTRAMARINE_FUZZ_SECONDS=600 cargo test --release -p ultramarine-kzg-pipeline fuzz_for -- --ignored --nocapture`.
#[test]
#[ignore = "takes as long as it is told"]
fn fuzz_for_some_seconds() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("ULTRAMARINE_FUZZ_SECONDS").unwrap_or(10);
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is set");
    let seed = number("ULTRAMARINE_FUZZ_SEED").unwrap_or(since_1970.as_nanos() as u64);
    println!("ULTRAMARINE_FUZZ_SEED={seed}");
    let (began, mut seeded, mut batches, mut found) = (std::time::Instant::now(), Seeded(seed), 0, [0; LABELS.len()]);
    while began.elapsed().as_secs() < seconds {
        let length = seeded.below(160);
        let bytes: Vec<u8> = (0..length).map(|_| seeded.next() as u8).collect();
        for finding in compare(&bytes, 6) {
            found[label_index(finding)] += 1;
        }
        batches += 1;
    }
    println!(
        "{batches} batches by {} sets of paths; claims: {:?}",
        every_path().len(),
        LABELS.iter().zip(found).collect::<Vec<_>>()
    );
}

/// The seeds are those of a fuzzer that never mutates: breadth without depth. The fuzz target goes deeper.
#[test]
fn every_path_agrees_with_c_kzg_on_bytes_of_any_kind() {
    for seed in 0..60 {
        let mut seeded = Seeded(0x6675_7a7a + seed);
        let length = seeded.below(60);
        let bytes: Vec<u8> = (0..length).map(|_| seeded.next() as u8).collect();
        compare(&bytes, 8);
    }
}

/// A wrong claim is named amid so many claims that all sums are by buckets. So is one whose points add nothing to a
/// sum.
#[test]
fn a_claim_amid_hundreds_is_judged_as_alone() {
    assert!(company(127).is_empty() && (10..150).contains(&company(140).len()) && company(204).len() > 150);
    // Nothing changed; a bit of the blob; the proof infinity; the opposite proof; a malformed proof.
    for change in [&[0][..], &[1, 0, 3, 9, 200, 1], &[1, 8], &[1, 14], &[1, 10]] {
        for step in [140, 204, 255] {
            let claim: Vec<_> = [1].iter().chain(change).copied().collect();
            compare(&[&[0x00, step], claim.as_slice()].concat(), 1);
        }
    }
}

#[test]
fn every_kind_of_change_is_met_alone_and_gives_every_finding() {
    let mut found = Vec::new();
    for kind in 0..KINDS {
        for variant in 0..6u8 {
            // One claim of each base's kind with one change; the rest of the bytes are its particulars.
            let bytes = [0x21, 0, variant * 3, 1, kind, variant, variant, variant * 41];
            compare(&bytes, 1);
            let mut cursor = Cursor(&bytes[2..]);
            found.push(oracle(&doubtful(&mut cursor, &[])));
        }
    }
    let labels: Vec<_> = found.iter().map(|finding| LABELS[label_index(*finding)]).collect();
    for expected in LABELS {
        assert!(labels.contains(&expected), "{expected} never came up");
    }
    for flaw in [PointFlaw::Encoding, PointFlaw::Curve, PointFlaw::Subgroup] {
        let malformed =
            [Malformed::Commitment(flaw), Malformed::Proof(flaw)].map(|what| Err(Refutation::Malformed(what)));
        assert!(
            malformed.iter().any(|finding| found.contains(finding)),
            "{flaw:?} never came up"
        );
    }
}

/// Batches of true claims with any number of malformed ones and a few wrong ones among them. Many wrong ones
/// cost two pairings each, and small batches have plenty.
#[test]
fn batches_from_none_to_six_hundred_agree_with_c_kzg() {
    let good: Vec<_> = lines(24).into_iter().chain(bases().to_vec()).collect();
    let mut seeded = Seeded(600);
    let (mut wrong, mut malformed) = (Vec::new(), Vec::new());
    while wrong.len() < 30 || malformed.len() < 30 {
        let bytes: Vec<u8> = (0..40).map(|_| seeded.next() as u8).collect();
        let claim = doubtful(&mut Cursor(&bytes), &good);
        match oracle(&claim) {
            Ok(()) => {}
            Err(Refutation::Wrong) => wrong.push(claim),
            Err(Refutation::Malformed(_)) => malformed.push(claim),
        }
    }
    let sizes = (0..=40).chain([
        47, 63, 64, 65, 85, 100, 127, 128, 129, 200, 255, 256, 257, 400, 512, 599, 600,
    ]);
    for (round, size) in sizes.enumerate() {
        let mut batch: Vec<_> = (0..size).map(|_| good[seeded.below(good.len())].clone()).collect();
        for _ in 0..seeded.below(5).min(size) {
            batch[seeded.below(size)] = wrong[seeded.below(wrong.len())].clone();
            batch[seeded.below(size)] = malformed[seeded.below(malformed.len())].clone();
        }
        let expected: Vec<_> = batch.iter().map(oracle).collect();
        let paths = every_path();
        let pieces = Pieces {
            opened: 16,
            summed: 16 + seeded.below(2),
            company: &[],
        };
        judge(&paths[round % paths.len()], &batch, &expected, pieces);
    }
}

/// Claims of every finding, each opened once by each verifier, and what `c-kzg` says of each alone.
struct Pool {
    claims: Vec<Owned>,
    expected: Vec<Finding>,
    /// Their places, by what is found.
    good: Vec<usize>,
    /// Those of the good that add to every sum: their proof is not infinity.
    finite: Vec<usize>,
    wrong: Vec<usize>,
    malformed: Vec<usize>,
}

impl Pool {
    fn new() -> Self {
        let mut claims: Vec<_> = lines(24).into_iter().chain(bases().to_vec()).collect();
        // Wrong by opposite amounts: under equal weights they cancel.
        for sign in [0, 0x20] {
            let mut lone = constant([0; 32]);
            lone.commitment.0 = setup::GENERATOR_G1;
            lone.commitment.0[0] ^= sign;
            claims.push(lone);
        }
        let (good, mut seeded) = (claims.clone(), Seeded(0x0600));
        for _ in 0..80 {
            let bytes: Vec<u8> = (0..40).map(|_| seeded.next() as u8).collect();
            claims.push(doubtful(&mut Cursor(&bytes), &good));
        }
        let expected: Vec<_> = claims.iter().map(oracle).collect();
        let places = |wanted: fn(Finding) -> bool| -> Vec<usize> {
            let found = expected.iter().enumerate();
            found
                .filter(|(_, finding)| wanted(**finding))
                .map(|(at, _)| at)
                .collect()
        };
        let good = places(|finding| finding.is_ok());
        let is_finite = |at: &usize| claims[*at].proof.0 != INFINITY && claims[*at].commitment.0 != INFINITY;
        Self {
            finite: good.iter().copied().filter(is_finite).collect(),
            good,
            wrong: places(|finding| finding == Err(Refutation::Wrong)),
            malformed: places(|finding| matches!(finding, Err(Refutation::Malformed(_)))),
            claims,
            expected,
        }
    }

    /// Places of a batch of `size`: true claims, up to two wrong ones and any number of malformed ones among them.
    fn batch(&self, size: usize, seeded: &mut Seeded) -> Vec<usize> {
        let pick = |from: &[usize], seeded: &mut Seeded| from[seeded.below(from.len())];
        let mut batch: Vec<_> = (0..size).map(|_| pick(&self.good, seeded)).collect();
        for _ in 0..size / 4 * seeded.below(2) {
            batch[seeded.below(size)] = pick(&self.malformed, seeded);
        }
        for _ in 0..[0, 0, 1, 2][seeded.below(4)].min(size) {
            batch[seeded.below(size)] = pick(&self.wrong, seeded);
        }
        batch
    }

    fn expected(&self, batch: &[usize]) -> Vec<Finding> {
        batch.iter().map(|at| self.expected[*at]).collect()
    }
}

/// What `c-kzg`'s batch call says of a batch: whether all hold, or nothing if one is malformed.
fn batch_oracle(batch: &[&Owned]) -> Option<bool> {
    let blobs: Option<Vec<_>> = batch.iter().map(|claim| Blob::from_bytes(&claim.blob).ok()).collect();
    let points =
        |side: fn(&Owned) -> [u8; 48]| -> Vec<_> { batch.iter().map(|claim| Bytes48::from(side(claim))).collect() };
    c_kzg::ethereum_kzg_settings(0)
        .verify_blob_kzg_proof_batch(
            &blobs?,
            &points(|claim| claim.commitment.0),
            &points(|claim| claim.proof.0),
        )
        .ok()
}

/// Settles claims that are open already, in pieces of these sizes: whether all of them hold, and each malformed one is
/// named.
fn settle(verifier: &Fast, openings: &[Opening], batch: &[usize], mut piece_claims: impl FnMut() -> usize) -> bool {
    let (mut hold, mut open) = (true, Vec::new());
    for at in batch {
        match &openings[*at] {
            Opening::Open(claim) => open.push(claim.clone()),
            _ => hold = false,
        }
    }
    let mut sums = Vec::new();
    while !open.is_empty() {
        let piece: Vec<_> = open.drain(..piece_claims().min(open.len())).collect();
        sums.push(verifier.sum(&piece));
    }
    verifier.hold(&sums.iter().collect::<Vec<_>>()) && hold
}

/// Not a sample of sizes: each of them, by every way to sum and in pieces of a lane's size. Each verifier opens each
/// claim once, as the size of a batch changes nothing there but the claims that share a vector.
#[test]
fn every_size_from_none_to_six_hundred_agrees_with_c_kzg() {
    let pool = Pool::new();
    assert!(pool.good.len() > 30 && pool.wrong.len() > 15 && pool.malformed.len() > 15);
    // Lanes sum in one way and all others by blst.
    let (first, last) = (PointPath::best(), PointPath::Blst);
    let ways = if first.name() == last.name() {
        vec![last]
    } else {
        vec![first, last]
    };
    let by: Vec<_> = ways
        .into_iter()
        .map(|points| {
            let verifier = Fast::new().by(HashPath::best(), EvaluationPath::best(), points);
            let openings = verifier.open(&claims(&pool.claims), &mut |_, _| true);
            for (opening, expected) in openings.iter().zip(&pool.expected) {
                let finding = if let Opening::Settled(finding) = opening {
                    Some(finding)
                } else {
                    None
                };
                let malformed = matches!(expected, Err(Refutation::Malformed(_))).then_some(expected);
                assert_eq!(finding, malformed, "{}", verifier.path());
            }
            (verifier, openings)
        })
        .collect();
    let mut seeded = Seeded(601);
    for size in 0..=600 {
        let batch = pool.batch(size, &mut seeded);
        let expected = pool.expected(&batch);
        // Sums of exactly the terms that the size asks for: no claim is malformed, and none is left out.
        let finite: Vec<_> = (0..size)
            .map(|_| pool.finite[seeded.below(pool.finite.len())])
            .collect();
        for (verifier, openings) in &by {
            assert!(
                settle(verifier, openings, &finite, || size),
                "{size} true claims by {}",
                verifier.path()
            );
        }
        let (verifier, openings) = &by[0];
        let mut sizes = Seeded(size as u64);
        let hold = expected.iter().all(Result::is_ok);
        let pieces = settle(verifier, openings, &batch, || 1 + sizes.below(31));
        assert_eq!(pieces, hold, "{size} claims in pieces");
        if size % 3 == 0 {
            let (verifier, openings) = &by[size % by.len()];
            let whole = settle(verifier, openings, &batch, || size);
            assert_eq!(whole, hold, "{size} claims by {}", verifier.path());
        }
        if size % 150 < 2 {
            let owned: Vec<_> = batch.iter().map(|at| &pool.claims[*at]).collect();
            let malformed = expected
                .iter()
                .any(|finding| matches!(finding, Err(Refutation::Malformed(_))));
            assert_eq!(
                batch_oracle(&owned),
                (!malformed).then_some(hold),
                "{size} claims, c-kzg's own batch"
            );
        }
    }
}
