use std::cell::RefCell;

use bytes::Bytes;
use ultramarine_types::Hash;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::verify::Refutation as Why;

use super::*;
use crate::ckzg;
use crate::fixtures::{self, Owned, lines};

fn jobs(owned: &[Owned]) -> Vec<VerifyJob> {
    let job = |(index, claim): (usize, &Owned)| VerifyJob {
        blob: Bytes::from(claim.blob.clone()),
        commitment: claim.commitment,
        proof: claim.proof,
        digest: Some(blob_digest(&claim.blob, &claim.commitment)),
        ..fixtures::job(1, 1, index as u16, owned.len() as u16)
    };
    owned.iter().enumerate().map(job).collect()
}

/// The outcome, and how many turns it took.
fn outcome<E: std::fmt::Display>(
    jobs: Vec<VerifyJob>,
    questions_max: usize,
    ask: impl Fn(&Claim<'_>) -> Result<Finding, E>,
) -> (ValueOutcome, usize) {
    let (mut doubt, mut turns) = (Doubt::new(jobs), 0);
    loop {
        turns += 1;
        match doubt.go_on(questions_max, &ask) {
            ControlFlow::Continue(left) => doubt = left,
            ControlFlow::Break(outcome) => return (outcome, turns),
        }
    }
}

#[test]
fn the_first_blob_that_fails_is_named_with_the_reason() {
    for (how, spoil, finding) in crate::suite::SPOILERS {
        let mut owned = lines(4);
        spoil(&mut owned[2]);
        owned[3].proof = owned[0].proof;
        let (outcome, _) = outcome(jobs(&owned), 8, ckzg::ask);
        let why = finding.expect_err("spoiled");
        let proof = owned[2].proof;
        assert_eq!(outcome, ValueOutcome::Fails { index: 2, why, proof }, "{how}");
    }
}

#[test]
fn a_blob_that_changed_while_it_was_kept_withholds_the_verdict_whatever_else_fails() {
    let mut owned = lines(3);
    owned[0].proof = owned[1].proof;
    let mut jobs = jobs(&owned);
    let mut changed = owned[2].blob.clone();
    changed[70_000] ^= 4;
    jobs[2].blob = Bytes::from(changed);
    let (outcome, _) = outcome(jobs, 8, ckzg::ask);
    assert!(
        matches!(outcome, ValueOutcome::Withheld { why } if why.contains("changed")),
        "{outcome:?}"
    );
}

#[test]
fn a_blob_whose_digest_is_not_known_withholds_the_verdict() {
    let mut jobs = jobs(&lines(1));
    jobs[0].digest = None;
    assert!(matches!(outcome(jobs, 8, ckzg::ask).0, ValueOutcome::Withheld { .. }));
}

#[test]
fn a_value_of_which_no_blob_fails_is_withheld() {
    let (outcome, _) = outcome(jobs(&lines(3)), 8, ckzg::ask);
    assert!(
        matches!(outcome, ValueOutcome::Withheld { why } if why.contains("none")),
        "{outcome:?}"
    );
}

#[test]
fn an_error_of_the_library_itself_says_nothing_about_the_value() {
    let (outcome, _) = outcome(jobs(&lines(3)), 8, |_| Err("no memory"));
    assert!(
        matches!(outcome, ValueOutcome::Withheld { why } if why.contains("library")),
        "{outcome:?}"
    );
}

#[test]
fn a_large_value_is_asked_in_order_and_in_short_turns() {
    let asked = RefCell::new(Vec::<Hash>::new());
    let jobs: Vec<_> = jobs(&lines(5)).into_iter().cycle().take(40).zip(0..).collect();
    let jobs: Vec<_> = jobs
        .into_iter()
        .map(|(job, index)| VerifyJob { index, ..job })
        .collect();
    let wanted: Vec<_> = jobs.iter().filter_map(|job| job.digest).take(38).collect();
    let proof = jobs[37].proof;
    let per_turn = RefCell::new(0);
    let mut doubt = Doubt::new(jobs);
    let found = loop {
        *per_turn.borrow_mut() = 0;
        let turn = doubt.go_on(3, |claim| {
            asked.borrow_mut().push(blob_digest(claim.blob, claim.commitment));
            *per_turn.borrow_mut() += 1;
            Ok::<_, &str>(if asked.borrow().len() == 38 {
                Err(Why::Wrong)
            } else {
                Ok(())
            })
        });
        assert!(*per_turn.borrow() <= 3);
        match turn {
            ControlFlow::Continue(left) => doubt = left,
            ControlFlow::Break(outcome) => break outcome,
        }
    };
    let why = Why::Wrong;
    assert_eq!(found, ValueOutcome::Fails { index: 37, why, proof });
    assert_eq!(*asked.borrow(), wanted);
}
