use ultramarine_types::{Height, Round, ValueId};

use super::{Conflict, Guard, Signed, SignedKind};

fn value(byte: u8) -> Signed {
    Signed {
        value_id: Some(ValueId([byte; 32])),
        valid_round: None,
    }
}

const NIL: Signed = Signed {
    value_id: None,
    valid_round: None,
};

#[test]
fn the_same_may_be_signed_again() {
    let mut guard = Guard::new();
    assert_eq!(guard.ask(Height(3), Round(0), SignedKind::Prevote, value(1)), Ok(()));
    assert_eq!(guard.ask(Height(3), Round(0), SignedKind::Prevote, value(1)), Ok(()));
}

#[test]
fn a_contradiction_is_refused_for_every_kind() {
    for kind in [
        SignedKind::Prevote,
        SignedKind::Precommit,
        SignedKind::Proposal,
        SignedKind::Init,
    ] {
        let mut guard = Guard::new();
        guard.ask(Height(3), Round(1), kind, value(1)).unwrap();
        assert!(matches!(
            guard.ask(Height(3), Round(1), kind, value(2)),
            Err(Conflict::Contradiction { .. })
        ));
        assert!(
            guard.ask(Height(3), Round(1), kind, NIL).is_err(),
            "nil contradicts a value"
        );
        assert_eq!(
            guard.get(Height(3), Round(1), kind),
            Some(&value(1)),
            "what was signed first stays on record"
        );
    }
}

#[test]
fn rounds_heights_and_kinds_do_not_contradict_each_other() {
    let mut guard = Guard::new();
    guard.ask(Height(3), Round(0), SignedKind::Prevote, value(1)).unwrap();
    guard.ask(Height(3), Round(0), SignedKind::Precommit, value(2)).unwrap();
    guard.ask(Height(3), Round(1), SignedKind::Prevote, value(2)).unwrap();
    guard.ask(Height(4), Round(0), SignedKind::Prevote, NIL).unwrap();
}

#[test]
fn a_proposal_with_another_valid_round_is_another_proposal() {
    let mut guard = Guard::new();
    guard.ask(Height(3), Round(2), SignedKind::Proposal, value(1)).unwrap();
    let again = Signed {
        valid_round: Some(Round(0)),
        ..value(1)
    };
    assert!(guard.ask(Height(3), Round(2), SignedKind::Proposal, again).is_err());
}

#[test]
fn nothing_at_or_below_the_watermark_is_signed() {
    let mut guard = Guard::new();
    guard.raise(Height(7));
    assert!(matches!(
        guard.ask(Height(7), Round(9), SignedKind::Prevote, NIL),
        Err(Conflict::BelowWatermark {
            watermark: Height(7),
            ..
        })
    ));
    guard.ask(Height(8), Round(0), SignedKind::Prevote, NIL).unwrap();
    guard.raise(Height(2));
    assert_eq!(guard.watermark(), Height(7), "it never falls");
}

#[test]
fn the_watermark_outlives_the_records() {
    let mut guard = Guard::new();
    guard.ask(Height(8), Round(0), SignedKind::Prevote, value(1)).unwrap();
    guard.commit(Height(8));
    assert_eq!(guard.get(Height(8), Round(0), SignedKind::Prevote), None);
    assert!(guard.ask(Height(8), Round(0), SignedKind::Prevote, value(1)).is_err());
}

#[test]
fn a_log_that_contradicts_itself_is_noticed() {
    let mut guard = Guard::new();
    guard
        .learn(Height(1), Round(0), SignedKind::Precommit, value(1))
        .unwrap();
    assert!(guard.learn(Height(1), Round(0), SignedKind::Precommit, NIL).is_err());
}
