use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::*;
use crate::field::Fr;
use crate::fixtures::Seeded;
use crate::group::Point;

const WRONG: u8 = 1;

/// A claim that is wrong if this is set.
pub(crate) fn claim(wrong: bool, sender: u8) -> OpenedClaim {
    let mut name = ([0; 32], [0; 48], [0; 48]);
    (name.0[0], name.0[1]) = (u8::from(wrong), sender);
    OpenedClaim {
        name,
        commitment: Point::default(),
        proof: Point::default(),
        z: Fr::ZERO,
        y: Fr::ZERO,
    }
}

fn is_wrong(claim: &OpenedClaim) -> bool {
    claim.name.0[0] == WRONG
}

fn sender(claim: &OpenedClaim) -> u8 {
    claim.name.0[1]
}

/// Number 0 is no peer, but our own execution client.
fn peer(sender: u8) -> Option<PeerId> {
    (sender > 0).then_some(PeerId([sender; 32]))
}

/// Claims in pieces of these sizes, by their positions over all pieces: whether it is wrong, and whose it is.
fn pieces(sizes: &[usize], of: impl Fn(usize) -> (bool, u8)) -> Vec<Summed> {
    let mut next = 0..;
    let made = |at| {
        let (wrong, sender) = of(at);
        claim(wrong, sender)
    };
    let mut piece = |size: &usize| Summed::without_sums(next.by_ref().take(*size).map(made).collect());
    sizes.iter().map(&mut piece).collect()
}

/// Knows the answers, and writes down what it is asked.
#[derive(Default)]
pub(crate) struct Knows {
    questions: Cell<usize>,
    sums: Cell<usize>,
    /// Senders of the claims of each question.
    asked_about: RefCell<Vec<BTreeSet<u8>>>,
}

impl Knows {
    fn answer<'a>(&self, claims: impl Iterator<Item = &'a OpenedClaim> + Clone) -> bool {
        self.questions.set(self.questions.get() + 1);
        self.asked_about.borrow_mut().push(claims.clone().map(sender).collect());
        !claims.clone().any(is_wrong)
    }

    pub(crate) fn steps(&self) -> usize {
        self.questions.get() + self.sums.get()
    }
}

impl Judge for Knows {
    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        assert!(claims.len() <= 32, "a parcel is small");
        self.sums.set(self.sums.get() + 1);
        Summed::without_sums(claims)
    }

    fn pieces_hold(&self, pieces: &[&Summed]) -> bool {
        self.answer(pieces.iter().flat_map(|piece| &piece.claims))
    }

    fn claims_hold(&self, claims: &[OpenedClaim]) -> bool {
        self.answer(claims.iter())
    }
}

/// What settling claims took.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Settled {
    questions: usize,
    sums: usize,
    /// By sender, the step with which all of its claims had their finding.
    done: BTreeMap<u8, usize>,
    /// By sender, the step with which its first wrong claim was named.
    named: BTreeMap<u8, usize>,
}

/// Settles these, `steps_max` steps at a time.
fn settle(pieces: &[Summed], steps_max: usize) -> Settled {
    let mut inquiry = Inquiry::of_senders(pieces.to_vec(), |piece, at| peer(sender(&pieces[piece].claims[at])));
    let mut findings: Vec<Vec<_>> = pieces.iter().map(|piece| vec![None; piece.len()]).collect();
    let mut left: BTreeMap<u8, usize> = BTreeMap::new();
    for claim in pieces.iter().flat_map(|piece| &piece.claims) {
        *left.entry(sender(claim)).or_default() += 1;
    }
    let senders: BTreeSet<u8> = left.keys().copied().collect();
    let (judge, mut settled) = (Knows::default(), Settled::default());
    while inquiry.claims_left() > 0 {
        let before = judge.steps();
        inquiry.ask(steps_max, &judge, &mut |told| {
            let step = judge.steps();
            for (at, claim) in told.positions().zip(told.claims) {
                assert_eq!(
                    claim.name, pieces[told.piece].claims[at].name,
                    "it is the claim of that position"
                );
                let earlier = findings[told.piece][at].replace(told.finding);
                assert_eq!(earlier, None, "each claim has one finding");
                let sender = sender(claim);
                let left = left.get_mut(&sender).expect("it sent one");
                *left -= 1;
                if *left == 0 {
                    settled.done.insert(sender, step);
                }
                if told.finding == Finding::Wrong {
                    settled.named.entry(sender).or_insert(step);
                }
            }
        });
        let turn = judge.steps() - before;
        assert!((1..=steps_max).contains(&turn), "{turn} steps of {steps_max}");
        let case = inquiry.case();
        let open = findings.iter().flatten().filter(|finding| finding.is_none()).count();
        assert_eq!((case.claims_count, inquiry.claims_left()), (open, open));
        // A sender without findings is at fault, or was not tested.
        let mut waiting = left.iter().filter(|(_, left)| **left > 0).map(|(sender, _)| sender);
        assert!(case.others_wait || waiting.all(|sender| case.at_fault.contains(&peer(*sender))));
        for sender in &case.at_fault {
            let of_sender = |claim: &&OpenedClaim| *sender == peer(self::sender(claim));
            let mut claims = pieces.iter().flat_map(|piece| &piece.claims).filter(of_sender);
            assert!(claims.any(is_wrong), "nobody is held to be at fault who is not");
        }
    }
    assert!(!inquiry.case().others_wait);
    let mut named: BTreeMap<u8, usize> = senders.iter().map(|sender| (*sender, 0)).collect();
    let mut unjudged = BTreeSet::new();
    for (claim, finding) in pieces.iter().flat_map(|piece| &piece.claims).zip(findings.concat()) {
        let expected = if is_wrong(claim) {
            Finding::Wrong
        } else {
            Finding::Holds
        };
        if finding == Some(Finding::Unjudged) {
            unjudged.insert(sender(claim));
        } else {
            assert_eq!(finding, Some(expected));
        }
        *named.get_mut(&sender(claim)).expect("it sent one") += usize::from(finding == Some(Finding::Wrong));
    }
    let convicted: BTreeSet<_> = inquiry.convicted().collect();
    for (sender, named) in named {
        let is_convicted = peer(sender).is_some_and(|peer| convicted.contains(&peer));
        assert_eq!(
            is_convicted,
            sender > 0 && named >= WRONG_CLAIMS_MAX,
            "{named} of {sender} are named"
        );
        assert!(
            named <= WRONG_CLAIMS_MAX || sender == 0,
            "{named} of {sender} are named"
        );
        assert!(
            is_convicted || !unjudged.contains(&sender),
            "what {sender} sent is judged"
        );
    }
    // After the first question, about all, each sender is tested once before any is tested again. The exception is the
    // last, if it is known to be at fault.
    let asked_about = judge.asked_about.take();
    let first = &asked_about[1.min(asked_about.len())..];
    let first = &first[..first.len().min(senders.len().saturating_sub(1))];
    assert!(first.iter().all(|asked| asked.len() == 1), "{first:?}");
    assert_eq!(
        first.iter().flatten().collect::<BTreeSet<_>>().len(),
        first.len(),
        "{first:?}"
    );
    settled.questions = judge.questions.get();
    settled.sums = judge.sums.get();
    settled
}

#[test]
fn every_set_of_wrong_claims_is_judged_whoever_sent_them_and_however_often_it_is_put_aside() {
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
        // Ourselves, one peer, two senders by turns, two one after the other, three of unequal shares, and each claim
        // another's.
        let divisions: [fn(usize) -> usize; 6] = [|_| 0, |_| 1, |at| at % 2, |at| at / 4, |at| at % 5 / 2, |at| at];
        for division in divisions {
            let senders = (0..claims).map(division).collect::<BTreeSet<_>>().len();
            for set in 0..1usize << claims {
                let pieces = pieces(sizes, |at| (set >> at & 1 == 1, division(at) as u8));
                let settled = settle(&pieces, usize::MAX);
                let questions_max = 2 * sizes.len() + 2 * claims + 2 * senders;
                assert!(settled.questions < questions_max, "{set:b} of {sizes:?}: {settled:?}");
                assert!(
                    settled.sums <= claims / 32 + senders,
                    "{set:b} of {sizes:?}: {settled:?}"
                );
                assert!(senders > 1 || settled.sums == 0, "a sender's own pieces have sums");
                let cheap = (settled.questions, settled.sums) == (1, 0);
                assert!(set != 0 || cheap, "one question if all hold");
                for steps_max in [1, 2, 5] {
                    assert_eq!(settle(&pieces, steps_max), settled, "{set:b} of {sizes:?}");
                }
            }
        }
    }
}

#[test]
fn one_wrong_claim_among_a_thousand_takes_two_questions_a_halving() {
    let mut seeded = Seeded(1024);
    for _ in 0..200 {
        let wrong = seeded.below(1024);
        let settled = settle(&pieces(&[16; 64], |at| (at == wrong, 0)), 16);
        assert!((11..=1 + 2 * 6 + 2 * 4).contains(&settled.questions), "{settled:?}");
        assert_eq!(settled.sums, 0);
    }
}

/// Pieces that a sender of wrong claims shares with an honest one, in whatever shares. Steps, 16 of them a turn.
#[test]
fn who_shares_every_piece_with_a_sender_of_wrong_claims_waits_for_few_steps() {
    const HONEST: u8 = 1;
    const LIAR: u8 = 2;
    // Claims of each piece of 16 that are the liar's, and how many of these are wrong; steps until the honest sender's
    // findings, until the liar's first wrong claim.
    for (shared, wrong, done, named) in [
        (1, 1, 35, 41),
        (8, 8, 18, 35),
        (8, 1, 18, 35),
        (15, 15, 4, 28),
        (15, 1, 4, 28),
    ] {
        let of = |at: usize| {
            let position = at % 16;
            (position < wrong, if position < shared { LIAR } else { HONEST })
        };
        let settled = settle(&pieces(&[16; 64], of), 16);
        let found = (settled.done[&HONEST], settled.named[&LIAR]);
        assert_eq!(found, (done, named), "{shared} of 16, {wrong} wrong");
    }
    // And however many take part: each of fifteen honest senders, and the liar, has a claim in each piece.
    let settled = settle(&pieces(&[16; 64], |at| (at % 16 == 9, (at % 16) as u8)), 16);
    assert!(
        settled
            .done
            .iter()
            .all(|(sender, done)| *sender == 9 || *done <= 1 + 16 * 3),
        "{settled:?}"
    );
}

#[test]
fn each_sender_at_fault_has_a_claim_named_before_others_of_it_are_looked_for() {
    // Sixteen liars with a claim in each piece, all wrong.
    let settled = settle(&pieces(&[16; 64], |at| (true, (at % 16) as u8)), 16);
    // A question and two sums for each of 64 claims, one halving by sums, five halvings of a parcel.
    assert!(
        settled.named.values().all(|step| *step <= 1 + 16 * (1 + 2 + 6)),
        "{settled:?}"
    );
}

#[test]
fn a_peer_is_convicted_by_few_questions_however_much_it_sent() {
    // What asking about all, and halving down to three claims of a thousand, may take.
    for (wrong_of_16, questions_max) in [(16, 40), (1, 60)] {
        let settled = settle(&pieces(&[16; 64], |at| (at % 16 < wrong_of_16, 1)), 16);
        assert!(settled.questions <= questions_max, "{settled:?}");
        // A sender that is no peer has no others to take its place.
        let settled = settle(&pieces(&[16; 64], |at| (at % 16 < wrong_of_16, 0)), 16);
        assert!(settled.questions > 100, "{settled:?}");
    }
}

#[test]
fn a_judge_who_asks_no_questions_tells_of_each_claim() {
    let pieces = pieces(&[3, 0, 4], |at| (at % 3 == 1, 0));
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
