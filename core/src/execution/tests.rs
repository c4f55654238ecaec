use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::execution::{EngineCall, PayloadStatus};
use ultramarine_types::{Hash, Height, Init, Nanos, fixtures};

use super::{Execution, Want};
use crate::rules::tests::metadata_at;
use crate::values::Body;

const GENESIS: Hash = Hash([1; 32]);
const T: Nanos = Nanos(5);

fn hash(height: u64) -> Hash {
    if height == 0 {
        GENESIS
    } else {
        Hash([height as u8 + 100; 32])
    }
}

fn init(height: u64) -> Arc<Init> {
    let mut metadata = metadata_at(height);
    metadata.header.block_hash = hash(height);
    Arc::new(fixtures::unsigned(metadata))
}

fn body() -> Body {
    Body {
        lists: Arc::default(),
        payload: Bytes::new(),
    }
}

fn valid(height: u64) -> PayloadStatus {
    PayloadStatus::Valid {
        latest: Some(hash(height)),
    }
}

fn away() -> PayloadStatus {
    PayloadStatus::Unavailable {
        reason: "connection refused".to_owned(),
    }
}

/// What was asked for, in short.
fn asked(wants: &[Want]) -> Vec<String> {
    wants
        .iter()
        .filter_map(|want| match want {
            Want::Call(EngineCall::Forkchoice { height, .. }) => Some(format!("forkchoice {height}")),
            Want::Call(EngineCall::Import { height, .. }) => Some(format!("import {height}")),
            Want::Call(EngineCall::Newest) => Some("newest".to_owned()),
            Want::Call(other) => Some(format!("{other:?}")),
            Want::Load(height) => Some(format!("load {height}")),
            Want::Invalid(_) => Some("invalid".to_owned()),
            Want::Readiness { .. } | Want::Executed(_) | Want::Imported(_) => None,
        })
        .collect()
}

/// A client that confirmed head `head`.
fn ready_at(head: u64) -> Execution {
    let mut execution = Execution::new(GENESIS);
    let mut wants = Vec::new();
    execution.begin(Height(head), hash(head), &mut wants);
    execution.forkchoice(T, hash(head), &valid(head), &mut wants);
    assert!(execution.is_ready());
    execution
}

#[test]
fn what_is_said_of_a_ready_client_is_true_at_every_height() {
    let mut execution = Execution::new(GENESIS);
    let mut wants = Vec::new();
    execution.begin(Height(62), hash(62), &mut wants);
    execution.forkchoice(T, hash(62), &valid(62), &mut wants);
    let said = wants.iter().find_map(|want| match want {
        Want::Readiness { ready: true, why } => Some(why.clone()),
        _ => None,
    });
    let said = said.expect("it is ready");
    assert!(!said.contains(|letter: char| letter.is_ascii_digit()), "{said}");
}

#[test]
fn the_client_is_ready_only_on_valid_with_our_very_head() {
    let other = PayloadStatus::Valid {
        latest: Some(Hash([9; 32])),
    };
    let nameless = PayloadStatus::Valid { latest: None };
    let invalid = PayloadStatus::Invalid {
        latest: None,
        reason: "x".to_owned(),
    };
    for status in [
        PayloadStatus::Syncing,
        PayloadStatus::Accepted,
        other,
        nameless,
        invalid,
        away(),
    ] {
        let mut execution = Execution::new(GENESIS);
        let mut wants = Vec::new();
        execution.begin(Height(3), hash(3), &mut wants);
        assert_eq!(asked(&wants), ["forkchoice 3"]);
        execution.forkchoice(T, hash(3), &status, &mut wants);
        assert!(!execution.is_ready(), "{status:?}");
    }
    assert!(ready_at(3).is_ready());
}

#[test]
fn another_hash_opens_nothing_however_often_and_wherever_it_is_answered() {
    for latest in [None, Some(Hash([9; 32])), Some(hash(2))] {
        let other = PayloadStatus::Valid { latest };
        let mut execution = Execution::new(GENESIS);
        let mut wants = Vec::new();
        execution.begin(Height(3), hash(3), &mut wants);
        // It lags, claims to be at our head, and is asked about that very block.
        execution.forkchoice(T, hash(3), &PayloadStatus::Syncing, &mut wants);
        execution.newest(T, Some(3), &mut wants);
        execution.forkchoice(T, hash(3), &other, &mut wants);
        assert!(!execution.is_ready(), "{other:?} in the search");
        let due = execution.deadline().unwrap();
        execution.wake(due, &mut wants);
        execution.forkchoice(due, hash(3), &other, &mut wants);
        assert!(!execution.is_ready(), "{other:?} to the next probe");
        execution.wake(due + super::RETRY, &mut wants);
        execution.forkchoice(due, hash(3), &valid(3), &mut wants);
        assert!(execution.is_ready());
    }
}

#[test]
fn one_payloads_trouble_closes_nothing_while_the_head_is_confirmed() {
    let mut execution = ready_at(3);
    for answer in [valid(3), away(), valid(2), PayloadStatus::Syncing] {
        let mut wants = Vec::new();
        execution.doubt("an error for one payload".to_owned(), &mut wants);
        assert!(execution.is_ready());
        assert_eq!(asked(&wants), ["forkchoice 3"], "the client is asked about the head");
        execution.forkchoice(T, hash(3), &answer, &mut wants);
        execution.check();
        let is_ours = matches!(answer, PayloadStatus::Valid { latest } if latest == Some(hash(3)));
        assert_eq!(execution.is_ready(), is_ours, "{answer:?}");
        execution = ready_at(3);
    }
}

#[test]
fn an_answer_about_another_head_is_not_ours() {
    let mut execution = Execution::new(GENESIS);
    let mut wants = Vec::new();
    execution.begin(Height(3), hash(3), &mut wants);
    execution.forkchoice(T, hash(2), &valid(2), &mut wants);
    assert!(!execution.is_ready());
}

#[test]
fn after_a_decision_the_client_is_not_ready_until_its_import() {
    let mut execution = ready_at(3);
    let mut wants = Vec::new();
    execution.decided(Height(4), init(4), Some(body()), &mut wants);
    assert!(!execution.is_ready());
    assert_eq!(asked(&wants), ["import 4"]);
    execution.imported(T, Height(4), &valid(4), &valid(4), &mut wants);
    assert!(execution.is_ready());
}

#[test]
fn with_a_stale_head_after_the_import_the_client_is_not_ready() {
    let mut execution = ready_at(3);
    let mut wants = Vec::new();
    execution.decided(Height(4), init(4), Some(body()), &mut wants);
    execution.imported(T, Height(4), &valid(4), &valid(3), &mut wants);
    assert!(!execution.is_ready());
}

#[test]
fn every_turn_begins_with_forkchoice_on_the_head() {
    let mut execution = ready_at(3);
    let mut wants = Vec::new();
    execution.decided(Height(4), init(4), Some(body()), &mut wants);
    execution.imported(
        T,
        Height(4),
        &PayloadStatus::Syncing,
        &PayloadStatus::Syncing,
        &mut wants,
    );
    for _ in 0..3 {
        let due = execution.deadline().unwrap();
        wants.clear();
        execution.wake(due, &mut wants);
        assert_eq!(
            asked(&wants),
            ["forkchoice 4"],
            "a client that lags needs the target first"
        );
        execution.forkchoice(due, hash(4), &PayloadStatus::Syncing, &mut wants);
        execution.newest(due, None, &mut wants);
        assert_eq!(execution.deadline(), Some(due + super::RETRY));
    }
}

#[test]
fn a_client_that_lost_everything_is_replayed_from_genesis() {
    let mut execution = ready_at(3);
    let mut wants = Vec::new();
    execution.doubt("the client is syncing".to_owned(), &mut wants);
    execution.forkchoice(T, hash(3), &PayloadStatus::Syncing, &mut wants);
    execution.newest(T, Some(0), &mut wants);
    execution.forkchoice(T, GENESIS, &valid(0), &mut wants);
    for height in 1..=3 {
        execution.loaded(T, Height(height), Some((init(height), body())), &mut wants);
        execution.imported(T, Height(height), &valid(height), &valid(height), &mut wants);
    }
    assert_eq!(
        asked(&wants),
        [
            "forkchoice 3",
            "newest",
            "forkchoice 0",
            "load 1",
            "import 1",
            "load 2",
            "import 2",
            "load 3",
            "import 3"
        ]
    );
    assert!(execution.is_ready());
}

#[test]
fn the_newest_number_is_only_a_hint() {
    let mut execution = ready_at(9);
    let mut wants = Vec::new();
    execution.doubt("?".to_owned(), &mut wants);
    execution.forkchoice(T, hash(9), &PayloadStatus::Syncing, &mut wants);
    wants.clear();
    // It claims 7 and knows nothing of our block 7: back by one, then by two, then by four.
    execution.newest(T, Some(7), &mut wants);
    for height in [7, 6, 4] {
        execution.loaded(T, Height(height), Some((init(height), body())), &mut wants);
        execution.forkchoice(T, hash(height), &PayloadStatus::Syncing, &mut wants);
    }
    execution.forkchoice(T, GENESIS, &valid(0), &mut wants);
    assert_eq!(
        asked(&wants),
        [
            "load 7",
            "forkchoice 7",
            "load 6",
            "forkchoice 6",
            "load 4",
            "forkchoice 4",
            "forkchoice 0",
            "load 1"
        ]
    );
}

#[test]
fn decisions_during_a_replay_are_imported_after_it() {
    let mut execution = Execution::new(GENESIS);
    let mut wants = Vec::new();
    execution.begin(Height(1), hash(1), &mut wants);
    execution.forkchoice(T, hash(1), &PayloadStatus::Syncing, &mut wants);
    execution.newest(T, Some(0), &mut wants);
    execution.decided(Height(2), init(2), Some(body()), &mut wants);
    execution.forkchoice(T, GENESIS, &valid(0), &mut wants);
    execution.loaded(T, Height(1), Some((init(1), body())), &mut wants);
    execution.imported(T, Height(1), &valid(1), &valid(1), &mut wants);
    assert!(!execution.is_ready());
    execution.imported(T, Height(2), &valid(2), &valid(2), &mut wants);
    assert!(execution.is_ready());
}

#[test]
fn an_invalid_decided_block_is_reported() {
    let invalid = || PayloadStatus::Invalid {
        latest: None,
        reason: "bad state root".to_owned(),
    };
    for (payload, forkchoice) in [(invalid(), valid(4)), (valid(4), invalid())] {
        let mut execution = ready_at(3);
        let mut wants = Vec::new();
        execution.decided(Height(4), init(4), Some(body()), &mut wants);
        execution.imported(T, Height(4), &payload, &forkchoice, &mut wants);
        assert!(asked(&wants).contains(&"invalid".to_owned()));
        assert!(!execution.is_ready());
    }
}

#[test]
fn a_client_that_is_not_ready_says_why_once() {
    let mut execution = ready_at(3);
    let mut wants = Vec::new();
    execution.doubt("connection refused".to_owned(), &mut wants);
    execution.forkchoice(T, hash(3), &away(), &mut wants);
    for turn in 1..5 {
        let now = T + Nanos(super::RETRY.0 * turn);
        execution.wake(now, &mut wants);
        execution.forkchoice(now, hash(3), &away(), &mut wants);
    }
    let unready = wants
        .iter()
        .filter(|want| matches!(want, Want::Readiness { ready: false, .. }))
        .count();
    assert_eq!(unready, 1);
    assert_eq!(execution.why, "connection refused");
}

#[test]
fn a_block_that_cannot_be_read_is_the_reason_in_every_turn() {
    let mut execution = Execution::new(GENESIS);
    let mut wants = Vec::new();
    execution.begin(Height(3), hash(3), &mut wants);
    for turn in 0..5 {
        let now = T + Nanos(super::RETRY.0 * turn);
        execution.wake(now, &mut wants);
        execution.forkchoice(now, hash(3), &PayloadStatus::Syncing, &mut wants);
        execution.newest(now, Some(1), &mut wants);
        execution.loaded(now, Height(1), Some((init(1), body())), &mut wants);
        execution.forkchoice(now, hash(1), &valid(1), &mut wants);
        execution.loaded(now, Height(2), None, &mut wants);
    }
    let told: Vec<&String> = wants
        .iter()
        .filter_map(|want| match want {
            Want::Readiness { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "the first turn's step and its end: {told:?}");
    for part in ["block 2", "damaged", "fetched from the peers"] {
        assert!(told[1].contains(part), "{part} is not in {told:?}");
    }
}
