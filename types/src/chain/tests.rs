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
        genesis_time: 50,
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

#[test]
fn the_identity_never_changes_and_binds_every_parameter_validator_and_the_salt() {
    fn identity(params: ChainParams, power: u64, salt: u8) -> String {
        let set = ValidatorSet::new(vec![validator(1, 1), validator(2, power)]).expect("a legal set");
        hex::encode(Chain::new(params, &set, &Hash([salt; 32])).identity.0)
    }
    // Printed by `docs/formats/recompute.py golden`.
    let ours = "1d938912b6ebcd9e1f4260464df4534191bad27065e4c1c91b8a96aab51594f1";
    assert_eq!(identity(params(), 2, 9), ours);
    let cancun = ChainParams {
        prague_time: None,
        ..params()
    };
    assert_eq!(
        identity(cancun, 2, 9),
        "66116564fdaa2dcfad9ebc1beeacc330b78ad373641548c69c8e2d3f710aeb0d"
    );
    assert_ne!(identity(params(), 3, 9), ours, "the validators");
    assert_ne!(identity(params(), 2, 8), ours, "the salt");
    type Change = fn(&mut ChainParams);
    let changes: [Change; 9] = [
        |chain| chain.chain_id += 1,
        |chain| chain.execution_genesis_hash = Hash::ZERO,
        |chain| chain.blobs_per_block_max += 1,
        |chain| chain.block_interval_ms += 1,
        |chain| chain.blob_retention_heights_min += 1,
        |chain| chain.gas_limit_min += 1,
        |chain| chain.gas_limit_max += 1,
        |chain| chain.genesis_time += 1,
        |chain| chain.prague_time = Some(101),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut changed = params();
        change(&mut changed);
        assert_ne!(identity(changed, 2, 9), ours, "parameter {at}");
    }
}
