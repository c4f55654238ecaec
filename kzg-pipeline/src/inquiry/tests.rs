use std::cell::Cell;

use super::*;
use crate::field::Fr;
use crate::fixtures::Seeded;
use crate::group::Point;

/// A claim that is wrong if its bit is set.
fn claim(wrong: bool) -> Opened {
    Opened {
        name: ([u8::from(wrong); 32], [0; 48], [0; 48]),
        commitment: Point::default(),
        proof: Point::default(),
        z: Fr::ZERO,
        y: Fr::ZERO,
    }
}

fn is_wrong(claim: &Opened) -> bool {
    claim.name.0[0] == 1
}

/// Claims with these bits, in pieces of these sizes.
fn pieces(sizes: &[usize], wrong: impl Fn(usize) -> bool) -> Vec<Summed> {
    let mut next = 0..;
    let mut piece = |size: &usize| Summed::without_sums(next.by_ref().take(*size).map(|at| claim(wrong(at))).collect());
    sizes.iter().map(&mut piece).collect()
}

/// Settles these, so many questions at a time; how many it took.
fn settle(pieces: &[Summed], questions_max: usize) -> usize {
    let mut inquiry = Inquiry::new(pieces.to_vec());
    let mut findings: Vec<Vec<_>> = pieces.iter().map(|piece| vec![None; piece.len()]).collect();
    let (asked, asked_about_a_claim) = (Cell::new(0), Cell::new(false));
    while inquiry.claims_left() > 0 {
        let before = asked.get();
        inquiry.ask(
            questions_max,
            |pieces| {
                asked.set(asked.get() + 1);
                !pieces.iter().flat_map(|piece| &piece.claims).any(is_wrong)
            },
            |claims| {
                asked.set(asked.get() + 1);
                asked_about_a_claim.set(true);
                !claims.iter().any(is_wrong)
            },
            &mut |told| {
                let of_a_good_piece = !pieces[told.piece].claims.iter().any(is_wrong);
                assert!(
                    !(of_a_good_piece && asked_about_a_claim.get()),
                    "a good piece waited for blame"
                );
                for at in told.positions() {
                    let earlier = findings[told.piece][at].replace(told.finding);
                    assert_eq!(earlier, None, "each claim is told of once");
                }
            },
        );
        let turn = asked.get() - before;
        assert!(
            (1..=questions_max).contains(&turn),
            "{turn} questions of {questions_max}"
        );
        let open = findings.iter().flatten().filter(|finding| finding.is_none()).count();
        assert_eq!(inquiry.claims_left(), open);
    }
    for (piece, findings) in pieces.iter().zip(findings) {
        for (claim, finding) in piece.claims.iter().zip(findings) {
            assert_eq!(finding == Some(Finding::Wrong), is_wrong(claim));
        }
    }
    asked.get()
}

#[test]
fn every_set_of_wrong_claims_is_named_however_often_it_is_put_aside() {
    for sizes in [
        &[1][..],
        &[2],
        &[3],
        &[9],
        &[1, 1],
        &[4, 5],
        &[3, 1, 5],
        &[2, 2, 2, 2, 2],
        &[1; 8],
        &[0, 3, 0, 4],
    ] {
        let claims: usize = sizes.iter().sum();
        for set in 0..1usize << claims {
            let pieces = pieces(sizes, |at| set >> at & 1 == 1);
            let questions = settle(&pieces, usize::MAX);
            assert!(
                questions < 2 * sizes.len() + 2 * claims,
                "{set:b} of {sizes:?}: {questions}"
            );
            assert!(set != 0 || questions == 1, "one question if all hold");
            for questions_max in [1, 2, 5] {
                assert_eq!(settle(&pieces, questions_max), questions, "{set:b} of {sizes:?}");
            }
        }
    }
}

#[test]
fn one_wrong_claim_among_a_thousand_takes_two_questions_a_halving() {
    let mut seeded = Seeded(1024);
    for _ in 0..200 {
        let wrong = seeded.below(1024);
        let questions = settle(&pieces(&[16; 64], |at| at == wrong), 16);
        assert!((11..=1 + 2 * 6 + 2 * 4).contains(&questions), "{questions}");
    }
}

#[test]
fn a_judge_who_asks_no_questions_tells_of_each_claim() {
    let pieces = pieces(&[3, 0, 4], |at| at % 3 == 1);
    let mut inquiry = Inquiry::new(pieces);
    let mut told_of = Vec::new();
    inquiry.settle(
        |claim| {
            if is_wrong(claim) {
                Finding::Wrong
            } else {
                Finding::Holds
            }
        },
        &mut |told| told_of.push((told.piece, told.positions(), told.finding)),
    );
    assert_eq!(inquiry.claims_left(), 0);
    let wrong: Vec<_> = told_of
        .iter()
        .filter(|(_, _, finding)| *finding == Finding::Wrong)
        .collect();
    assert_eq!(told_of.len(), 7);
    assert_eq!(wrong, [&(0, 1..2, Finding::Wrong), &(2, 1..2, Finding::Wrong)]);
    assert_eq!(Inquiry::new(Vec::new()).claims_left(), 0, "nothing to ask about");
}
