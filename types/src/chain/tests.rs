use super::*;

fn validator(seed: u8, power: u64) -> Validator {
    Validator {
        public_key: PublicKey([seed; 32]),
        power,
    }
}

fn params() -> ChainParams {
    ChainParams {
        chain_id: 1337,
        execution_genesis_hash: Hash([7; 32]),
        blobs_per_block_max: 6,
        block_interval_ms: 1000,
        blob_retention_heights_min: 4096,
        gas_limit_min: 5_000,
        gas_limit_max: 60_000_000,
        prague_time: Some(100),
    }
}

#[test]
fn a_quorum_is_more_than_two_thirds_and_honest_more_than_one() {
    let set = ValidatorSet::new((1..=4).map(|seed| validator(seed, 1)).collect()).expect("a legal set");
    assert!(set.is_quorum(3) && !set.is_quorum(2));
    assert!(set.is_honest(2) && !set.is_honest(1));
    let three = ValidatorSet::new((1..=3).map(|seed| validator(seed, 1)).collect()).expect("a legal set");
    assert!(!three.is_quorum(2), "two of three is exactly two thirds, not more");
}

#[test]
fn the_largest_total_power_does_not_overflow_a_quorum() {
    let set = ValidatorSet::new(vec![validator(1, limits::TOTAL_POWER_MAX)]).expect("a legal set");
    assert!(set.is_quorum(limits::TOTAL_POWER_MAX));
    let error = ValidatorSet::new(vec![validator(1, limits::TOTAL_POWER_MAX), validator(2, 1)]);
    assert_eq!(error, Err(ValidatorSetError::PowerOverflow));
}

#[test]
fn a_set_is_refused_when_empty_powerless_or_repeated() {
    assert_eq!(ValidatorSet::new(vec![]), Err(ValidatorSetError::Empty));
    let powerless = validator(1, 0);
    assert_eq!(
        ValidatorSet::new(vec![powerless.clone()]),
        Err(ValidatorSetError::NoPower(powerless.address()))
    );
    let twice = validator(1, 1);
    assert_eq!(
        ValidatorSet::new(vec![twice.clone(), twice.clone()]),
        Err(ValidatorSetError::Duplicate(twice.address()))
    );
}

#[test]
fn the_hash_does_not_depend_on_the_order_in_the_file_but_on_every_power() {
    let forward = ValidatorSet::new(vec![validator(1, 1), validator(2, 2)]).expect("a legal set");
    let backward = ValidatorSet::new(vec![validator(2, 2), validator(1, 1)]).expect("a legal set");
    let other = ValidatorSet::new(vec![validator(1, 2), validator(2, 2)]).expect("a legal set");
    assert_eq!(forward.hash(), backward.hash());
    assert_ne!(forward.hash(), other.hash());
}

#[test]
fn proposers_take_turns_by_height_and_by_round() {
    let set = ValidatorSet::new((1..=4).map(|seed| validator(seed, 1)).collect()).expect("a legal set");
    let first = *set.proposer(Height(1), Round(0));
    assert_eq!(Some((&first, set.get(&first).expect("a member"))), set.at(0));
    assert_eq!(set.proposer(Height(1), Round(1)), set.proposer(Height(2), Round(0)));
    assert_eq!(set.proposer(Height(5), Round(0)), &first);
    assert_eq!(set.index_of(&first), Some(0));
    assert_eq!(set.index_of(&Address::ZERO), None);
}

#[test]
fn parameters_outside_their_bounds_are_refused_with_the_bound() {
    assert_eq!(params().check(), Ok(()));
    let blobs = ChainParams {
        blobs_per_block_max: 5,
        ..params()
    };
    assert!(
        blobs
            .check()
            .expect_err("below the minimum")
            .to_string()
            .contains("from 6 to 1024")
    );
    let interval = ChainParams {
        block_interval_ms: 0,
        ..params()
    };
    assert_eq!(interval.check(), Err(ChainParamsError::Interval { found: 0 }));
    let gas = ChainParams {
        gas_limit_min: 2,
        gas_limit_max: 1,
        ..params()
    };
    assert_eq!(gas.check(), Err(ChainParamsError::Gas { min: 2, max: 1 }));
}

#[test]
fn prague_begins_at_its_time() {
    assert!(!params().is_prague(99));
    assert!(params().is_prague(100));
    assert!(
        !ChainParams {
            prague_time: None,
            ..params()
        }
        .is_prague(u64::MAX)
    );
}
