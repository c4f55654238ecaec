//! Claims about what a genesis must be.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use ultramarine_types::chain::address_of;

use super::*;
use crate::genesis::execution::{GenesisOptions, execution_genesis};

pub const GENESIS_TIME: u64 = 1_700_000_000;

pub fn execution() -> Value {
    execution_genesis(&GenesisOptions {
        chain_id: 7,
        blobs_per_block: 6,
        gas_limit: 36_000_000,
        genesis_time: GENESIS_TIME,
        prague_time: None,
        accounts: 1,
    })
}

/// The chain on this execution genesis.
pub fn chain(execution: &Value) -> ChainParams {
    ChainParams {
        chain_id: 7,
        execution_genesis_hash: genesis_hash(execution).expect("a genesis"),
        blobs_per_block_max: 6,
        block_interval_ms: 1000,
        blob_retention_heights_min: 100,
        gas_limit_min: 1,
        gas_limit_max: 100_000_000,
        genesis_time: GENESIS_TIME,
        prague_time: None,
    }
}

fn consensus() -> Value {
    let chain = chain(&execution());
    let validators = vec![Validator {
        public_key: PublicKey(SigningKey::from_bytes(&[3; 32]).verifying_key().to_bytes()),
        power: 1,
    }];
    json!(GenesisFile {
        chain,
        validators,
        salt: Hash([9; 32]),
        upgrades: Vec::new(),
        peers: vec!["10.0.0.1:26650".to_owned()]
    })
}

fn check(consensus: &Value, execution: &Value) -> Result<Genesis, GenesisErrors> {
    let texts = (
        serde_json::to_string_pretty(consensus),
        serde_json::to_string(execution),
    );
    let (Ok(consensus), Ok(execution)) = texts else {
        panic!("JSON values have a text")
    };
    Genesis::check(
        "genesis.json".as_ref(),
        &consensus,
        "execution-genesis.json".as_ref(),
        &execution,
    )
}

#[test]
fn a_whole_genesis_is_accepted() {
    let genesis = check(&consensus(), &execution()).expect("valid");
    assert_eq!(genesis.genesis_block.hash, genesis.chain.params.execution_genesis_hash);
    assert_eq!(genesis.genesis_block.number, 0);
    assert_eq!(genesis.peers.len(), 1);
}

#[test]
fn every_parameter_the_salt_and_the_validators_change_the_identity_and_peers_do_not() {
    let original = check(&consensus(), &execution()).expect("valid").chain.identity;
    for (field, value) in [
        ("blobs_per_block_max", json!(7)),
        ("block_interval_ms", json!(1001)),
        ("blob_retention_heights_min", json!(101)),
        ("gas_limit_min", json!(2)),
        ("gas_limit_max", json!(99_000_000)),
        ("prague_time", json!(1_800_000_000)),
        ("genesis_time", json!(1_700_000_001)),
        ("chain_id", json!(8)),
        ("execution_genesis_hash", json!(null)),
    ] {
        let (mut changed, mut execution) = (consensus(), execution());
        // The other file follows.
        match field {
            "blobs_per_block_max" => execution["config"]["blobSchedule"]["cancun"]["max"] = value.clone(),
            "prague_time" => execution["config"]["pragueTime"] = value.clone(),
            "chain_id" => execution["config"]["chainId"] = value.clone(),
            "execution_genesis_hash" => execution["gasLimit"] = json!("0x2255101"),
            "genesis_time" => execution["timestamp"] = value.clone(),
            _ => {}
        }
        changed["chain"][field] = value;
        if ["execution_genesis_hash", "genesis_time"].contains(&field) {
            changed["chain"]["execution_genesis_hash"] = json!(genesis_hash(&execution).expect("a genesis"));
        }
        assert_ne!(
            check(&changed, &execution).expect("valid").chain.identity,
            original,
            "{field}"
        );
    }
    let mut changed = consensus();
    changed["validators"][0]["power"] = json!(2);
    assert_ne!(check(&changed, &execution()).expect("valid").chain.identity, original);
    let mut changed = consensus();
    changed["salt"] = json!(Hash([10; 32]));
    assert_ne!(check(&changed, &execution()).expect("valid").chain.identity, original);
    let mut changed = consensus();
    changed["peers"] = json!([]);
    assert_eq!(check(&changed, &execution()).expect("valid").chain.identity, original);
}

#[test]
fn an_execution_genesis_of_another_chain_is_refused_with_both_hashes() {
    let mut other = execution();
    other["gasLimit"] = json!("0x1");
    let error = check(&consensus(), &other).expect_err("another chain").to_string();
    assert!(error.contains("is not the execution genesis of this chain"), "{error}");
    let mut other = execution();
    other["config"]["chainId"] = json!(8);
    let error = check(&consensus(), &other).expect_err("another chain").to_string();
    assert!(
        error.contains("chain_id is 7, config.chainId is 8")
            && error.contains("genesis.json and execution-genesis.json"),
        "{error}"
    );
}

#[test]
fn a_misspelt_field_names_its_line() {
    let text = serde_json::to_string_pretty(&consensus())
        .expect("JSON")
        .replace("block_interval_ms", "block_interval");
    let execution = execution().to_string();
    let error =
        Genesis::check("genesis.json".as_ref(), &text, "e.json".as_ref(), &execution).expect_err("unknown field");
    let error = error.to_string();
    assert!(
        error.contains("unknown field `block_interval`") && error.contains("line"),
        "{error}"
    );
}

#[test]
fn a_genesis_of_an_older_version_is_refused_in_one_line() {
    for (salt, genesis_time, lacks) in [
        (false, false, "it has no salt and no chain.genesis_time."),
        (false, true, "it has no salt."),
        (true, false, "it has no chain.genesis_time."),
    ] {
        let mut old = consensus();
        if !salt {
            old.as_object_mut().expect("an object").remove("salt");
        }
        if !genesis_time {
            old["chain"].as_object_mut().expect("an object").remove("genesis_time");
        }
        // Of whatever else is wrong with it, nothing is said.
        old["validators"] = json!([]);
        let text = check(&old, &execution()).expect_err("old").to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            "genesis.json was made by an older version",
            lacks,
            "`ultramarine testnet`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let mut wrong = consensus();
    wrong["salt"] = json!("0x12");
    let text = check(&wrong, &execution()).expect_err("short").to_string();
    assert!(
        text.contains("line"),
        "one that is there and wrong is another mistake: {text}"
    );
}

#[test]
fn an_upgrade_is_refused_by_its_name() {
    let mut later = consensus();
    later["upgrades"] = json!([{ "height": 700, "what": "columns" }, { "height": 900, "what": "rows" }]);
    let text = check(&later, &execution()).expect_err("not known").to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("upgrade `columns` at height 700") && lines[0].contains("update"),
        "{text}"
    );
    assert!(lines[1].contains("`rows`"), "{text}");
    later["upgrades"] = json!([{ "height": 700, "what": "columns", "why": "" }]);
    assert!(check(&later, &execution()).is_err(), "a field that nobody reads");
    let mut none = consensus();
    none["upgrades"] = json!([]);
    let [none, absent] = [none, consensus()].map(|file| check(&file, &execution()).expect("valid"));
    assert_eq!(none.upgrades_hash, absent.upgrades_hash);
}

#[test]
fn another_schedule_of_forks_is_the_same_chain_and_shows() {
    let mut other = execution();
    other["config"]["blobSchedule"]["cancun"]["target"] = json!(2);
    let [one, other] = [execution(), other].map(|execution| check(&consensus(), &execution).expect("valid"));
    assert_eq!(one.chain.identity, other.chain.identity);
    assert_ne!(one.fork_schedule_hash, other.fork_schedule_hash);
}

#[test]
fn parameters_validators_and_peers_are_checked_all_at_once() {
    let mut wrong = consensus();
    wrong["chain"]["block_interval_ms"] = json!(1);
    wrong["validators"] = json!([]);
    wrong["peers"] = json!(["nowhere", "a:1", "http://b:1"]);
    let GenesisErrors(errors) = check(&wrong, &execution()).expect_err("four mistakes");
    assert!(
        matches!(
            errors.as_slice(),
            [
                GenesisError::Params { .. },
                GenesisError::Validators { .. },
                GenesisError::Peer { .. },
                GenesisError::Peer { .. }
            ]
        ),
        "{errors:?}"
    );
    let text = GenesisErrors(errors).to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("`nowhere` has no port"), "{text}");
}

#[test]
fn a_key_that_no_secret_makes_is_refused_with_its_validator() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    // Two is no number of a point.
    for (bytes, flaw) in [
        (neutral, "small order"),
        ([2; 32], "no point"),
        ([0xff; 32], "canonical"),
    ] {
        let key = PublicKey(bytes);
        let mut wrong = consensus();
        let good = wrong["validators"][0].clone();
        wrong["validators"] = json!([
            good,
            Validator {
                public_key: key,
                power: 1
            }
        ]);
        let error = check(&wrong, &execution()).expect_err("a flawed key").to_string();
        let validator = address_of(&key).to_string();
        assert!(error.contains(&validator) && error.contains(flaw), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_peer_that_is_listed_twice_is_one() {
    let mut twice = consensus();
    twice["peers"] = json!(["a:1", "A:1 ", "b:1"]);
    assert_eq!(check(&twice, &execution()).expect("valid").peers.len(), 2);
}

/// The file a change is made in, where, and to what.
type Change<'a> = (&'static str, &'a str, Value);

/// What is said when these are changed: keys are separated by dots, null removes.
fn complaint(prague_time: Option<u64>, changes: &[Change<'_>]) -> Option<String> {
    let mut execution = execution_genesis(&GenesisOptions {
        chain_id: 7,
        blobs_per_block: 6,
        gas_limit: 36_000_000,
        genesis_time: GENESIS_TIME,
        prague_time,
        accounts: 1,
    });
    let mut consensus = consensus();
    consensus["chain"]["prague_time"] = json!(prague_time);
    for (file, path, value) in changes {
        let whole = if *file == "chain" {
            &mut consensus["chain"]
        } else {
            &mut execution
        };
        let pointer = format!("/{}", path.replace('.', "/"));
        match whole.pointer_mut(&pointer) {
            Some(found) => *found = value.clone(),
            None => {
                let (parent, key) = pointer.rsplit_once('/').expect("it begins with one");
                whole.pointer_mut(parent).expect(parent)[key] = value.clone();
            }
        }
    }
    // Of the changes below, only those to `alloc` and of forks that hold at once are bound by the hash.
    if let Ok(hash) = genesis_hash(&execution) {
        consensus["chain"]["execution_genesis_hash"] = json!(hash);
    }
    check(&consensus, &execution).err().map(|error| error.to_string())
}

#[test]
fn what_both_files_say_is_the_same() {
    const T: u64 = 1_800_000_000;
    let both = "genesis.json and execution-genesis.json disagree: ";
    assert_eq!(complaint(None, &[]), None);
    assert_eq!(complaint(Some(T), &[]), None);
    assert_eq!(complaint(Some(0), &[]), None);
    let agree: [(Option<u64>, &[Change]); 6] = [
        // Written in other ways, or what clients take by themselves.
        (Some(16), &[("execution", "config.pragueTime", json!("0x10"))]),
        (None, &[("execution", "config.blobSchedule", json!(null))]),
        (None, &[("execution", "config.blobSchedule.prague.max", json!(12))]),
        (Some(0), &[("execution", "config.blobSchedule.cancun.max", json!(12))]),
        (
            None,
            &[
                ("chain", "gas_limit_min", json!(36_000_000)),
                ("chain", "gas_limit_max", json!(36_000_000)),
            ],
        ),
        (None, &[("execution", "config.osakaTime", json!(null))]),
    ];
    for (prague, changes) in agree {
        assert_eq!(complaint(prague, changes), None, "{changes:?}");
    }
    let disagree: [(Option<u64>, Change, [&str; 2]); 12] = [
        (
            None,
            ("chain", "genesis_time", json!(GENESIS_TIME + 1)),
            ["genesis_time is 1700000001", "timestamp is 1700000000"],
        ),
        (
            None,
            ("execution", "config.chainId", json!(8)),
            ["chain_id is 7", "config.chainId is 8"],
        ),
        (
            Some(T),
            ("execution", "config.pragueTime", json!(T + 3600)),
            ["prague_time is 1800000000", "config.pragueTime is 1800003600"],
        ),
        (
            Some(T),
            ("execution", "config.pragueTime", json!(null)),
            ["prague_time is 1800000000", "config.pragueTime is not set"],
        ),
        (
            None,
            ("execution", "config.pragueTime", json!(T)),
            ["prague_time is not set", "config.pragueTime is 1800000000"],
        ),
        (
            None,
            ("execution", "config.blobSchedule.cancun.max", json!(12)),
            ["blobs_per_block_max is 6", "config.blobSchedule.cancun.max is 12"],
        ),
        (
            Some(T),
            ("execution", "config.blobSchedule.cancun.max", json!(12)),
            ["blobs_per_block_max is 6", "config.blobSchedule.cancun.max is 12"],
        ),
        (
            Some(T),
            ("execution", "config.blobSchedule.prague.max", json!(9)),
            ["blobs_per_block_max is 6", "config.blobSchedule.prague.max is 9"],
        ),
        (
            Some(T),
            ("execution", "config.blobSchedule.prague", json!(null)),
            [
                "blobs_per_block_max is 6",
                "config.blobSchedule.prague.max is 9 (not set",
            ],
        ),
        (
            None,
            ("chain", "blobs_per_block_max", json!(12)),
            ["blobs_per_block_max is 12", "config.blobSchedule.cancun.max is 6"],
        ),
        (
            None,
            ("chain", "gas_limit_max", json!(35_999_999)),
            ["gas_limit_max is 35999999", "gasLimit is 36000000"],
        ),
        (
            None,
            ("chain", "gas_limit_min", json!(36_000_001)),
            ["gas_limit_min is 36000001", "gasLimit is 36000000"],
        ),
    ];
    for (prague, change, parts) in disagree {
        let text = complaint(prague, std::slice::from_ref(&change)).unwrap_or_else(|| panic!("{change:?} is accepted"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(both), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let text = complaint(
        Some(T),
        &[
            ("execution", "config.pragueTime", json!(T + 1)),
            ("execution", "config.blobSchedule.cancun.max", json!(7)),
            ("chain", "gas_limit_max", json!(6_000_000)),
        ],
    );
    assert_eq!(text.expect("three").lines().count(), 3, "all are told at once");
    let text = complaint(None, &[("chain", "gas_limit_max", json!(0))]).expect("no limit is between them");
    assert_eq!(
        text.lines().count(),
        1,
        "bounds that fit nothing are told alone: {text}"
    );
}

#[test]
fn an_execution_genesis_has_the_rules_that_the_node_relies_on() {
    const T: u64 = 1_800_000_000;
    let withdrawals = "alloc.0x00000961ef480eb55e80d19ad83579a64c007002";
    let consolidations = "alloc.0x0000bbddc7ce488642fb579f8b00f3a590007251";
    let faults: [(Option<u64>, Change, &str); 17] = [
        (
            None,
            ("execution", "config.osakaTime", json!(T)),
            "config.osakaTime is 1800000000; expected no such entry",
        ),
        (
            None,
            ("execution", "config.bpo1Time", json!(0)),
            "config.bpo1Time is 0; expected no such entry",
        ),
        (
            None,
            ("execution", "config.cancunTime", json!(null)),
            "config.cancunTime is null",
        ),
        (
            None,
            ("execution", "config.cancunTime", json!(GENESIS_TIME + 1)),
            "config.cancunTime is 1700000001",
        ),
        (
            None,
            ("execution", "config.shanghaiTime", json!(null)),
            "config.shanghaiTime is null",
        ),
        (
            None,
            ("execution", "config.shanghaiTime", json!(GENESIS_TIME + 1)),
            "config.shanghaiTime is 1700000001",
        ),
        (
            None,
            ("execution", "config.londonBlock", json!(5)),
            "config.londonBlock is 5; expected 0",
        ),
        (
            None,
            ("execution", "config.homesteadBlock", json!(null)),
            "config.homesteadBlock is null; expected 0",
        ),
        (
            None,
            ("execution", "config.terminalTotalDifficulty", json!(null)),
            "terminalTotalDifficulty is null",
        ),
        (
            None,
            ("execution", "config.terminalTotalDifficulty", json!(7)),
            "terminalTotalDifficulty is 7",
        ),
        (
            None,
            ("execution", "config.blobSchedule.cancun.target", json!(7)),
            "target is 7; expected at most its max, 6",
        ),
        (
            None,
            ("execution", "config.blobSchedule.cancun.max", json!("many")),
            "config.blobSchedule.cancun.max is \"many\"",
        ),
        (
            None,
            (
                "execution",
                "config.blobSchedule.cancun.baseFeeUpdateFraction",
                json!(0),
            ),
            "is 0; expected a number",
        ),
        (None, ("execution", "timestamp", json!("soon")), "timestamp is \"soon\""),
        (
            Some(T),
            ("execution", "config.depositContractAddress", json!(null)),
            "config.depositContractAddress is null",
        ),
        (
            Some(T),
            ("execution", withdrawals, json!({ "balance": "0x0" })),
            "withdrawal requests (EIP-7002)",
        ),
        (
            Some(T),
            ("execution", consolidations, json!({ "balance": "0x0" })),
            "consolidation requests (EIP-7251)",
        ),
    ];
    for (prague, change, part) in faults {
        let text = complaint(prague, std::slice::from_ref(&change)).unwrap_or_else(|| panic!("{change:?} is accepted"));
        assert!(
            text.starts_with("execution-genesis.json: ") && text.contains(part),
            "{change:?}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "each is told once: {text}");
    }
    // Every fork by number that a new chain begins with.
    let execution = execution();
    let config = execution["config"].as_object().expect("an object");
    // Of the merge's own, only the total difficulty is a rule.
    let forks = config
        .keys()
        .filter(|field| field.ends_with("Block") && *field != "mergeNetsplitBlock");
    let forks: Vec<&String> = forks.collect();
    assert_eq!(forks.len(), 10, "{forks:?}");
    for field in forks {
        let path = format!("config.{field}");
        let text = complaint(None, &[("execution", &path, json!(5))]).unwrap_or_else(|| panic!("{field} is accepted"));
        assert!(text.contains(&format!("{path} is 5; expected 0")), "{text}");
    }
}

#[test]
fn what_is_doubtful_about_a_chain_is_named_and_nothing_else() {
    let warnings = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut consensus, mut execution) = (consensus(), execution());
        change(&mut consensus, &mut execution);
        consensus["chain"]["execution_genesis_hash"] = json!(genesis_hash(&execution).expect("a genesis"));
        check(&consensus, &execution).expect("it runs").warnings(1_800_000_000)
    };
    assert!(warnings(&|_, _| {}).is_empty());
    let begin_at = |consensus: &mut Value, execution: &mut Value, time: Value| {
        consensus["chain"]["genesis_time"] = json!(1_800_000_000);
        execution["timestamp"] = time;
    };
    assert!(warnings(&|consensus, execution| begin_at(consensus, execution, json!("0x6b49d200"))).is_empty());
    let text = warnings(&|consensus, _| consensus["chain"]["block_interval_ms"] = json!(999)).concat();
    assert!(
        text.contains("block_interval_ms is 999") && text.contains("whole seconds"),
        "{text}"
    );
    let text = warnings(&|consensus, execution| {
        consensus["chain"]["genesis_time"] = json!(1_800_000_009);
        execution["timestamp"] = json!("0x6b49d209");
    });
    let text = text.concat();
    assert!(
        text.contains("timestamp is 1800000009, 9 s after this machine's clock"),
        "{text}"
    );
    let text = warnings(&|consensus, execution| {
        consensus["chain"]["prague_time"] = json!(1_800_000_000_000u64);
        execution["config"]["pragueTime"] = json!(1_800_000_000_000u64);
    });
    assert!(text.concat().contains("not milliseconds"), "{text:?}");
}
