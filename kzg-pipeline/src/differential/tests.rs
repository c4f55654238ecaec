use super::*;
use crate::fixtures::lines;

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

#[test]
fn every_kind_of_change_is_met_alone_and_gives_every_finding() {
    let mut found = Vec::new();
    for kind in 0..KINDS {
        for variant in 0..6u8 {
            // One claim of each base's kind with one change; the rest of the bytes are its particulars.
            let bytes = [0x21, variant * 3, 1, kind, variant, variant, variant * 41];
            compare(&bytes, 1);
            let mut cursor = Cursor(&bytes[1..]);
            found.push(oracle(&doubtful(&mut cursor, &[])));
        }
    }
    let malformed = [Malformed::Blob, Malformed::Commitment, Malformed::Proof].map(Finding::Malformed);
    for finding in [Finding::Holds, Finding::Wrong].into_iter().chain(malformed) {
        assert!(found.contains(&finding), "{finding:?} never came up");
    }
}

/// Batches of true claims with any number of malformed ones and a few wrong ones among them. Blame for many wrong ones costs two
/// pairings each, and small batches have plenty.
#[test]
fn batches_from_none_to_six_hundred_agree_with_c_kzg() {
    let good: Vec<_> = lines(24).into_iter().chain(bases().to_vec()).collect();
    let mut seeded = Seeded(600);
    let (mut wrong, mut malformed) = (Vec::new(), Vec::new());
    while wrong.len() < 30 || malformed.len() < 30 {
        let bytes: Vec<u8> = (0..40).map(|_| seeded.next() as u8).collect();
        let claim = doubtful(&mut Cursor(&bytes), &good);
        match oracle(&claim) {
            Finding::Holds => {}
            Finding::Wrong => wrong.push(claim),
            Finding::Malformed(_) => malformed.push(claim),
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
        judge(&paths[round % paths.len()], &batch, &expected, 15, 15 + seeded.below(2));
    }
}
