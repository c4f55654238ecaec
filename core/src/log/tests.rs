use proptest::prelude::*;
use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::{Address, Height, PolkaCertificate, Proposal, Round, Signature, ValueId, Vote, VoteKind};

use super::{LogRecord, LogRecordError, TimeoutStep};

fn vote() -> LogRecord {
    LogRecord::Vote(Vote {
        kind: VoteKind::Precommit,
        height: Height(0x0102_0304_0506_0708),
        round: Round(0x0a0b_0c0d),
        value_id: Some(ValueId([0x22; 32])),
        voter: Address([0x33; 20]),
        signature: Signature([0x44; 64]),
    })
}

/// The log outlives the process: these bytes change only in a commit that says why.
#[test]
fn golden_bytes_of_each_record() {
    let hex = |record: &LogRecord| {
        record
            .encode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let rep = |byte: &str, count: usize| byte.repeat(count);
    let tail = format!("{}{}", rep("33", 20), rep("44", 64));
    assert_eq!(
        hex(&vote()),
        format!("020102{}{}01{}{tail}", "0807060504030201", "0d0c0b0a", rep("22", 32))
    );
    let proposal = LogRecord::Proposal(Proposal {
        height: Height(1),
        round: Round(2),
        value_id: ValueId([0x22; 32]),
        valid_round: Some(Round(1)),
        proposer: Address([0x33; 20]),
        signature: Signature([0x44; 64]),
    });
    assert_eq!(
        hex(&proposal),
        format!("0202010000000000000002000000{}0101000000{tail}", rep("22", 32))
    );
    let timeout = LogRecord::Timeout {
        step: TimeoutStep::Prevote,
        round: Round(3),
    };
    assert_eq!(hex(&timeout), "02030203000000");
    let told = LogRecord::Value {
        height: Height(1),
        round: Round(0),
        valid_round: None,
        proposer: Address([0x33; 20]),
        value_id: ValueId([0x22; 32]),
        valid: true,
        synced: false,
    };
    assert_eq!(
        hex(&told),
        format!("020401000000000000000000000000{}{}0100", rep("33", 20), rep("22", 32))
    );
    let polka = LogRecord::Polka(PolkaCertificate {
        height: Height(1),
        round: Round(0),
        value_id: ValueId([0x22; 32]),
        signatures: vec![CertificateSignature {
            address: Address([0x33; 20]),
            signature: Signature([0x44; 64]),
        }],
    });
    assert_eq!(
        hex(&polka),
        format!("0205010000000000000000000000{}01000000{tail}", rep("22", 32))
    );
    let chosen = LogRecord::Chosen {
        height: Height(1),
        round: Round(0),
        value_id: ValueId([0x22; 32]),
    };
    assert_eq!(hex(&chosen), format!("0206010000000000000000000000{}", rep("22", 32)));
    let repeated = LogRecord::Repeated {
        height: Height(1),
        round: Round(2),
        value_id: ValueId([0x22; 32]),
    };
    assert_eq!(hex(&repeated), format!("0207010000000000000002000000{}", rep("22", 32)));
}

#[test]
fn another_version_is_named() {
    let mut bytes = vote().encode().to_vec();
    for other in [1, 3] {
        bytes[0] = other;
        assert_eq!(LogRecord::decode(&bytes), Err(LogRecordError::Version(other)));
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let bytes = vote().encode();
    for end in 0..bytes.len() {
        assert_eq!(LogRecord::decode(&bytes[..end]), Err(LogRecordError::Short), "at {end}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(LogRecord::decode(&longer), Err(LogRecordError::Long(1)));
}

#[test]
fn a_vouched_value_is_not_replayed() {
    let value = |synced| LogRecord::Value {
        height: Height(1),
        round: Round(0),
        valid_round: None,
        proposer: Address([1; 20]),
        value_id: ValueId([2; 32]),
        valid: true,
        synced,
    };
    assert!(value(false).to_input().is_some());
    assert!(
        value(true).to_input().is_none(),
        "I13: without its certificate it would be voted for unexecuted"
    );
}

fn any_id() -> impl Strategy<Value = ValueId> {
    any::<[u8; 32]>().prop_map(ValueId)
}

fn any_signature() -> impl Strategy<Value = Signature> {
    any::<u8>().prop_map(|byte| Signature([byte; 64]))
}

fn any_address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address)
}

fn any_record() -> impl Strategy<Value = LogRecord> {
    let kind = prop_oneof![Just(VoteKind::Prevote), Just(VoteKind::Precommit)];
    let step = prop_oneof![
        Just(TimeoutStep::Propose),
        Just(TimeoutStep::Prevote),
        Just(TimeoutStep::Precommit)
    ];
    let height_and_round = || (any::<u64>().prop_map(Height), any::<u32>().prop_map(Round));
    let valid_round = || proptest::option::of(any::<u32>().prop_map(Round));
    prop_oneof![
        (
            kind,
            height_and_round(),
            proptest::option::of(any_id()),
            any_address(),
            any_signature()
        )
            .prop_map(
                |(kind, (height, round), value_id, voter, signature)| LogRecord::Vote(Vote {
                    kind,
                    height,
                    round,
                    value_id,
                    voter,
                    signature
                })
            ),
        (
            height_and_round(),
            any_id(),
            valid_round(),
            any_address(),
            any_signature()
        )
            .prop_map(
                |((height, round), value_id, valid_round, proposer, signature)| LogRecord::Proposal(Proposal {
                    height,
                    round,
                    value_id,
                    valid_round,
                    proposer,
                    signature
                })
            ),
        (step, any::<u32>()).prop_map(|(step, round)| LogRecord::Timeout {
            step,
            round: Round(round)
        }),
        (
            height_and_round(),
            valid_round(),
            any_address(),
            any_id(),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(
                |((height, round), valid_round, proposer, value_id, valid, synced)| LogRecord::Value {
                    height,
                    round,
                    valid_round,
                    proposer,
                    value_id,
                    valid,
                    synced
                }
            ),
        (
            height_and_round(),
            any_id(),
            proptest::collection::vec((any_address(), any_signature()), 0..5)
        )
            .prop_map(
                |((height, round), value_id, signatures)| LogRecord::Polka(PolkaCertificate {
                    height,
                    round,
                    value_id,
                    signatures: signatures
                        .into_iter()
                        .map(|(address, signature)| CertificateSignature { address, signature })
                        .collect(),
                })
            ),
        (height_and_round(), any_id()).prop_map(|((height, round), value_id)| LogRecord::Chosen {
            height,
            round,
            value_id
        }),
        (height_and_round(), any_id()).prop_map(|((height, round), value_id)| LogRecord::Repeated {
            height,
            round,
            value_id
        }),
    ]
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(record in any_record()) {
        prop_assert_eq!(LogRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn what_malachite_gets_back_is_what_it_logged(record in any_record()) {
        if let Some(input) = record.to_input() {
            prop_assert_eq!(LogRecord::of_input(&input), Some(record));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = LogRecord::decode(&bytes);
        let mut versioned = vec![1];
        versioned.extend(bytes);
        let _ = LogRecord::decode(&versioned);
    }
}
