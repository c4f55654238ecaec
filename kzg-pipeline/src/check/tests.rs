use std::cell::RefCell;

use ultramarine_types::PeerId;
use ultramarine_types::verify::{Finding, WRONG_CLAIMS_MAX};

use super::*;
use crate::fast::Fast;
use crate::fixtures::{Seeded, claims, constant, lines};
use crate::group::PointPath;
use crate::inquiry::Inquiry;
use crate::memo::Memo;
use crate::opening::Opening;
use crate::setup::GENERATOR_G1;
use crate::verifier::Verifier;

const HOLDS: Finding = Finding::Holds;
const WRONG: Finding = Finding::Wrong;

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
    let openings = Fast::new(Memo::new(0)).open(&claims(owned));
    let open = |opening| match opening {
        Opening::Open(opened) => opened,
        Opening::Settled(finding) => panic!("settled: {finding:?}"),
    };
    openings.into_iter().map(open).collect()
}

/// The findings of each piece.
fn settle(check: &Check, pieces: &[Summed]) -> Vec<Vec<Finding>> {
    settle_by(check, Inquiry::new(pieces.to_vec()), pieces, usize::MAX)
}

/// The same, a few steps at a time.
fn settle_by(check: &Check, mut inquiry: Inquiry, pieces: &[Summed], steps_max: usize) -> Vec<Vec<Finding>> {
    let mut findings: Vec<Vec<_>> = pieces.iter().map(|piece| vec![None; piece.len()]).collect();
    while inquiry.claims_left() > 0 {
        let before = COUNTS.with_borrow(|counts| counts.pairings);
        inquiry.ask(steps_max, check, &mut |told| {
            for at in told.positions() {
                let earlier = findings[told.piece][at].replace(told.finding);
                assert_eq!(earlier, None, "each claim has one finding");
            }
        });
        let asked = COUNTS.with_borrow(|counts| counts.pairings) - before;
        assert!(asked <= steps_max, "{asked} questions");
    }
    let found = |piece: Vec<Option<_>>| piece.into_iter().map(|finding| finding.expect("a finding")).collect();
    findings.into_iter().map(found).collect()
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
                .map(|piece| check.sum(piece.iter().map(|claim| (*claim).clone()).collect()))
                .collect();
            let expected: Vec<Vec<_>> = split
                .iter()
                .map(|piece| {
                    piece
                        .iter()
                        .map(|claim| if claim.proof.is_infinity() { WRONG } else { HOLDS })
                        .collect()
                })
                .collect();
            assert_eq!(settle(&check, &pieces), expected);
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
    let once = check.sum(vec![claims[0].clone()]).right.to_point();
    let again = check.sum(vec![claims[0].clone()]).right.to_point();
    assert_ne!(once.0, again.0, "the same piece summed twice has other sums");
}

#[test]
fn one_pairing_settles_any_number_of_pieces_that_hold() {
    let check = Check::new(PointPath::best());
    let good = opened(&lines(21));
    for size in [1, 4, 21] {
        let pieces: Vec<_> = good.chunks(size).map(|piece| check.sum(piece.to_vec())).collect();
        let mut outcome = Vec::new();
        let counts = counted(|| outcome = settle(&check, &pieces));
        assert_eq!(outcome.concat(), vec![HOLDS; 21]);
        let one = Counts {
            pairings: 1,
            ..Counts::default()
        };
        assert_eq!(counts, one);
    }
    assert_eq!(counted(|| drop(settle(&check, &[]))), Counts::default());
}

#[test]
fn every_wrong_claim_is_named_at_a_bounded_price() {
    let check = Check::new(PointPath::best());
    let good = opened(&lines(128));
    let mut bad = good.clone();
    for at in 0..bad.len() {
        bad[at].proof = good[(at + 1) % good.len()].proof;
    }
    for round in 0..24u64 {
        let mut seeded = Seeded(round);
        let wrong: std::collections::BTreeSet<_> = (0..round % 6).map(|_| seeded.below(128)).collect();
        let claims: Vec<_> = (0..128)
            .map(|at| if wrong.contains(&at) { &bad[at] } else { &good[at] }.clone())
            .collect();
        let pieces: Vec<_> = claims.chunks(8).map(|piece| check.sum(piece.to_vec())).collect();
        let mut outcome = Vec::new();
        let counts = counted(|| outcome = settle(&check, &pieces));
        let findings: Vec<Vec<_>> = outcome;
        let named: std::collections::BTreeSet<_> = findings
            .concat()
            .iter()
            .enumerate()
            .filter_map(|(at, finding)| (*finding == WRONG).then_some(at))
            .collect();
        assert_eq!(named, wrong, "round {round}");
        // Seven halvings lead from the whole to a claim, each with two questions at most: four among 16 pieces, without
        // a sum, and three inside one of 8.
        assert!(counts.pairings <= 1 + 14 * wrong.len(), "round {round}: {counts:?}");
        assert!(counts.sums <= 6 * wrong.len(), "round {round}: {counts:?}");
        // Put aside after every few questions it comes to the same.
        let steps_max = 1 + seeded.below(5);
        let again = counted(|| {
            let inquiry = Inquiry::new(pieces.clone());
            assert_eq!(settle_by(&check, inquiry, &pieces, steps_max), findings);
        });
        assert_eq!(again, counts, "round {round}");
        // Whatever their senders, each claim is found to be what it is alone, or is not tested.
        let senders = 2 + seeded.below(3) as u8;
        let division: Vec<_> = (0..128)
            .map(|_| Some(PeerId([seeded.below(senders.into()) as u8; 32])))
            .collect();
        let inquiry = Inquiry::of_senders(pieces.clone(), |piece, at| division[8 * piece + at]);
        let of_senders = settle_by(&check, inquiry, &pieces, steps_max).concat();
        let is_convicted = |sender| {
            let named = |(of, finding): &(_, _)| (*of, *finding) == (&sender, &WRONG);
            division.iter().zip(&of_senders).filter(named).count() >= WRONG_CLAIMS_MAX
        };
        for ((sender, finding), alone) in division.iter().zip(&of_senders).zip(findings.concat()) {
            let is_given_back = *finding == Finding::Unjudged && is_convicted(*sender);
            assert!(is_given_back || *finding == alone, "round {round}: {of_senders:?}");
        }
    }
}

/// The most that an account can be made to cost: `2k + 2n` questions, and none is long.
#[test]
fn blame_of_the_largest_account_is_cut_into_short_turns() {
    let check = Check::new(PointPath::best());
    let good = opened(&lines(32));
    let wrong: Vec<_> = (0..2048)
        .map(|at| OpenedClaim {
            proof: good[(at + 1) % 32].proof,
            ..good[at % 32].clone()
        })
        .collect();
    let pieces: Vec<_> = wrong.chunks(16).map(|piece| check.sum(piece.to_vec())).collect();
    let mut inquiry = Inquiry::new(pieces);
    let (mut turns, mut told_of) = (0, 0);
    let whole = counted(|| {
        while inquiry.claims_left() > 0 {
            let before = COUNTS.with_borrow(|counts| *counts);
            inquiry.ask(16, &check, &mut |told| {
                assert_eq!(told.finding, WRONG);
                told_of += told.claims.len();
            });
            let after = COUNTS.with_borrow(|counts| *counts);
            assert!(after.pairings - before.pairings <= 16, "a turn is short");
            assert!(after.claims_summed - before.claims_summed <= 16 * 8, "so are its sums");
            turns += 1;
        }
    });
    assert_eq!(told_of, 2048);
    assert!(whole.pairings < 2 * 128 + 2 * 2048, "{whole:?}");
    assert!(turns >= whole.pairings / 16, "{turns} turns");
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
