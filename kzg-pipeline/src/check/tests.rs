use std::cell::RefCell;

use super::*;
use crate::fast::Fast;
use crate::fixtures::{Seeded, claims, constant, lines};
use crate::group::PointPath;
use crate::opening::Opening;
use crate::setup::GENERATOR_G1;
use crate::verifier::Verifier;

/// What a thread's checks have cost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub sums: usize,
    /// Claims in all of these sums.
    pub claims_summed: usize,
    pub pairings: usize,
}

thread_local! {
    pub static COUNTS: RefCell<Counts> = RefCell::default();
}

fn counted(work: impl FnOnce()) -> Counts {
    COUNTS.take();
    work();
    COUNTS.take()
}

fn opened(owned: &[crate::fixtures::Owned]) -> Vec<OpenedClaim> {
    let openings = Fast::new().open(&claims(owned), &mut |_, _| true);
    let open = |opening| match opening {
        Opening::Open(opened) => opened,
        other => panic!("not open: {other:?}"),
    };
    openings.into_iter().map(open).collect()
}

/// Commits to zero as `G` or as `−G`, proof infinity: δ = 1 or −1, so the two cancel wherever they have the same
/// weight.
fn opposites() -> [OpenedClaim; 2] {
    let mut plus = constant([0; 32]);
    plus.commitment.0 = GENERATOR_G1;
    let mut minus = plus.clone();
    minus.commitment.0[0] ^= 0x20;
    opened(&[plus, minus]).try_into().expect("two")
}

#[test]
fn claims_that_cancel_under_equal_weights_are_wrong_in_whatever_pieces() {
    let check = Check::new(PointPath::best());
    let [plus, minus] = opposites();
    let good = opened(&lines(3));
    // What they are made for: with equal weights the equation holds for both together.
    let mut left = PointTerms::default();
    left.push(&plus.commitment, 7);
    left.push(&minus.commitment, 7);
    assert!(check.equal(&left.sum(), &Sum::default()), "they cancel");

    let splits: [&[&[&OpenedClaim]]; 6] = [
        &[&[&plus, &minus]],
        // Alone in its piece each; the pieces' sums are added.
        &[&[&plus], &[&minus]],
        // The same position in two pieces: caught out if weights are those of the position.
        &[&[&good[0], &plus, &good[1]], &[&good[0], &minus, &good[1]]],
        &[&[&plus, &good[0]], &[&good[1]], &[&minus, &good[2]]],
        &[&[&plus, &plus, &minus, &minus]],
        &[&[&plus], &[&plus], &[&minus], &[&minus]],
    ];
    for _ in 0..8 {
        for split in splits {
            let pieces: Vec<_> = split
                .iter()
                .map(|piece| check.sum(&piece.iter().map(|claim| (*claim).clone()).collect::<Vec<_>>()))
                .collect();
            assert!(
                !check.hold(&pieces.iter().collect::<Vec<_>>()),
                "together they are false"
            );
            for (sums, claims) in pieces.iter().zip(split) {
                let holds = claims.iter().all(|claim| !claim.proof.is_infinity());
                assert_eq!(check.hold(&[sums]), holds, "and so is each piece with one of them");
            }
        }
    }
}

#[test]
fn weights_are_fresh_distinct_and_wide() {
    let check = Check::new(PointPath::best());
    let [claim, _] = opposites();
    let point = Point::generator();
    let claims = vec![OpenedClaim { proof: point, ..claim }; 64];
    let mut seen = std::collections::HashSet::new();
    let mut bits_set = [0u32; 128];
    let mut draw = |claims: &[OpenedClaim]| {
        let weights = check.terms(claims).1.scalars();
        assert_eq!(weights.len(), claims.len(), "one for each claim, equal ones too");
        for weight in weights {
            assert!(seen.insert(weight), "a weight came twice");
            for (bit, count) in bits_set.iter_mut().enumerate() {
                *count += (weight >> bit & 1) as u32;
            }
        }
    };
    // 256 weights in pieces of every size, single claims among them.
    for pieces in [64, 32, 16, 4, 2, 1] {
        claims[..43].chunks(pieces).for_each(&mut draw);
    }
    let drawn = 6 * 43;
    // Draws of a fair bit stay within half ± nine deviations but for a chance of 2⁻⁶⁰.
    let allowed = drawn / 2 - 72..=drawn / 2 + 72;
    assert!(
        bits_set.iter().all(|count| allowed.contains(count)),
        "a bit is stuck: {bits_set:?}"
    );
    let once = check.sum(&claims[..1]).right.to_point();
    let again = check.sum(&claims[..1]).right.to_point();
    assert_ne!(once.0, again.0, "the same piece summed twice has other sums");
}

#[test]
fn one_pairing_settles_any_number_of_pieces_that_hold() {
    let check = Check::new(PointPath::best());
    let good = opened(&lines(21));
    for size in [1, 4, 21] {
        let pieces: Vec<_> = good.chunks(size).map(|piece| check.sum(piece)).collect();
        let counts = counted(|| assert!(check.hold(&pieces.iter().collect::<Vec<_>>())));
        let one = Counts {
            pairings: 1,
            ..Counts::default()
        };
        assert_eq!(counts, one);
    }
    assert_eq!(counted(|| assert!(check.hold(&[]))), Counts::default());
}

#[test]
fn splitting_a_scalar_gives_it_back() {
    let lambda = Fr::from_u128(LAMBDA);
    assert_eq!(
        lambda.mul(&lambda).add(&lambda).add(&Fr::ONE),
        Fr::ZERO,
        "λ² + λ + 1 = 0"
    );
    let mut seeded = Seeded(21);
    let mut scalars = vec![
        Fr::ZERO,
        Fr::ONE,
        Fr::ONE.negate(),
        lambda,
        lambda.negate(),
        lambda.add(&Fr::ONE.negate()),
    ];
    scalars.extend((0..200).map(|_| Fr::from_hash(&seeded.element())));
    for k in scalars {
        let (low, high) = split(&k);
        assert!(low < LAMBDA);
        assert_eq!(Fr::from_u128(low).add(&Fr::from_u128(high).mul(&lambda)), k);
    }
}
