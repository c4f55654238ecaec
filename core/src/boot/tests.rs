use bytes::Bytes;
use ultramarine_types::storage::{LogCondition, LogEpoch, RecoveredLog};
use ultramarine_types::{Address, Height, Proposal, Round, Signature, ValueId, Vote, VoteKind};

use super::{FirstHeight, plan, teach, wanted};
use crate::guard::{Guard, Signed, SignedKind};
use crate::log::LogRecord;
use crate::stop::{ImpossibleState, ReplayFault, Stop};

const OURS: Address = Address([1; 20]);

fn vote(voter: Address, value: Option<u8>) -> LogRecord {
    LogRecord::Vote(Vote {
        kind: VoteKind::Prevote,
        height: Height(6),
        round: Round(0),
        value_id: value.map(|byte| ValueId([byte; 32])),
        voter,
        signature: Signature::ZERO,
    })
}

fn log(height: u64, condition: LogCondition, records: &[LogRecord]) -> RecoveredLog {
    RecoveredLog {
        epoch: LogEpoch {
            height: Height(height),
            generation: 9,
        },
        condition,
        records: records.iter().map(LogRecord::encode).collect(),
    }
}

#[test]
fn every_directory_has_its_plan() {
    let records = [vote(OURS, None)];
    let whole = |height| log(height, LogCondition::Whole, &records);
    assert_eq!(plan(Height(0), None, Height(0)), Ok(FirstHeight::Listen));
    assert_eq!(plan(Height(5), None, Height(0)), Ok(FirstHeight::Listen));
    assert_eq!(
        plan(Height(6), Some(&whole(6)), Height(0)),
        Ok(FirstHeight::Listen),
        "a log of a decided height is ignored"
    );
    assert_eq!(
        plan(Height(5), Some(&log(6, LogCondition::Whole, &[])), Height(0)),
        Ok(FirstHeight::Listen)
    );
    assert_eq!(
        plan(Height(5), Some(&whole(6)), Height(0)),
        Ok(FirstHeight::Replay(records.to_vec()))
    );
    for damaged in [LogCondition::Corrupt, LogCondition::Missing] {
        assert!(matches!(
            plan(Height(5), Some(&log(6, damaged, &[])), Height(0)),
            Ok(FirstHeight::Silent(_))
        ));
    }
    assert!(
        matches!(
            plan(Height(5), Some(&whole(7)), Height(0)),
            Err(Stop::State(ImpossibleState::HeadLost { .. }))
        ),
        "the head was lost"
    );
}

#[test]
fn a_record_of_another_version_stops_the_node() {
    let mut log = log(6, LogCondition::Whole, &[]);
    log.records.push(Bytes::from_static(&[9, 9, 9]));
    assert!(matches!(
        plan(Height(5), Some(&log), Height(0)),
        Err(Stop::Replay(ReplayFault::Undecodable { .. }))
    ));
}

#[test]
fn a_record_of_another_height_stops_the_node() {
    let records = [
        LogRecord::Timeout {
            step: crate::log::TimeoutStep::Propose,
            round: Round(0),
        },
        vote(OURS, None),
    ];
    let log = log(5, LogCondition::Whole, &records);
    assert_eq!(
        plan(Height(4), Some(&log), Height(0)),
        Err(Stop::Replay(ReplayFault::OtherHeight {
            index: 1,
            height: Height(5),
            found: Height(6),
        }))
    );
}

#[test]
fn the_guard_learns_what_we_signed_and_nothing_else() {
    let mut guard = Guard::new();
    let proposal = LogRecord::Proposal(Proposal {
        height: Height(6),
        round: Round(1),
        value_id: ValueId([2; 32]),
        valid_round: Some(Round(0)),
        proposer: OURS,
        signature: Signature::ZERO,
    });
    let chosen = LogRecord::Chosen {
        height: Height(6),
        round: Round(0),
        value_id: ValueId([3; 32]),
    };
    teach(
        &mut guard,
        &OURS,
        &[vote(OURS, Some(1)), vote(Address([2; 20]), None), proposal, chosen],
    )
    .unwrap();
    let get = |round, kind| guard.get(Height(6), Round(round), kind).copied();
    assert_eq!(
        get(0, SignedKind::Prevote),
        Some(Signed {
            value_id: Some(ValueId([1; 32])),
            valid_round: None
        })
    );
    assert_eq!(
        get(1, SignedKind::Proposal),
        Some(Signed {
            value_id: Some(ValueId([2; 32])),
            valid_round: Some(Round(0))
        })
    );
    assert_eq!(
        get(0, SignedKind::Init),
        Some(Signed {
            value_id: Some(ValueId([3; 32])),
            valid_round: None
        })
    );
    assert_eq!(get(0, SignedKind::Precommit), None);
    assert!(
        teach(&mut guard, &OURS, &[vote(OURS, None)]).is_err(),
        "a log that contradicts itself"
    );
}

#[test]
fn replay_waits_for_the_values_the_log_calls_valid() {
    let value = |byte: u8, valid, synced| LogRecord::Value {
        height: Height(6),
        round: Round(0),
        valid_round: None,
        proposer: OURS,
        value_id: ValueId([byte; 32]),
        valid,
        synced,
    };
    let records = [
        value(1, true, false),
        value(2, false, false),
        value(3, true, true),
        value(1, true, false),
    ];
    assert_eq!(wanted(&records).into_iter().collect::<Vec<_>>(), [ValueId([1; 32])]);
}
