//! Claims about what a genesis must be.

use serde_json::{Value, json};
use ultramarine_types::PublicKey;

use super::*;
use crate::engine::genesis::{GenesisOptions, execution_genesis};

fn execution() -> Value {
    execution_genesis(&GenesisOptions {
        chain_id: 7,
        blobs_per_block: 6,
        gas_limit: 36_000_000,
        prague_time: None,
        accounts: 1,
    })
}

fn consensus() -> Value {
    let chain = ChainParams {
        chain_id: 7,
        execution_genesis_hash: genesis_hash(&execution()).expect("a genesis"),
        blobs_per_block_max: 6,
        block_interval_ms: 1000,
        blob_retention_heights_min: 100,
        gas_limit_min: 1,
        gas_limit_max: 100_000_000,
        prague_time: None,
    };
    let validators = vec![Validator {
        public_key: PublicKey([3; 32]),
        power: 1,
    }];
    json!(GenesisFile {
        chain,
        validators,
        peers: vec!["10.0.0.1:26650".to_owned()]
    })
}

fn check(consensus: &Value, execution: &Value) -> Result<Genesis, GenesisError> {
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
    assert_eq!(genesis.genesis_block.hash, genesis.params.execution_genesis_hash);
    assert_eq!(genesis.genesis_block.number, 0);
    assert_eq!(genesis.peers.len(), 1);
}

#[test]
fn every_parameter_and_the_validators_change_the_hash_and_peers_do_not() {
    let original = check(&consensus(), &execution()).expect("valid").hash;
    for (field, value) in [
        ("blobs_per_block_max", json!(7)),
        ("block_interval_ms", json!(1001)),
        ("blob_retention_heights_min", json!(101)),
        ("gas_limit_min", json!(2)),
        ("gas_limit_max", json!(99)),
        ("prague_time", json!(5)),
    ] {
        let mut changed = consensus();
        changed["chain"][field] = value;
        assert_ne!(check(&changed, &execution()).expect("valid").hash, original, "{field}");
    }
    let mut changed = consensus();
    changed["validators"][0]["power"] = json!(2);
    assert_ne!(check(&changed, &execution()).expect("valid").hash, original);
    let mut changed = consensus();
    changed["peers"] = json!([]);
    assert_eq!(check(&changed, &execution()).expect("valid").hash, original);
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
    assert!(error.contains("chain id 8") && error.contains("has 7"), "{error}");
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
fn parameters_validators_and_peers_are_checked() {
    let mut wrong = consensus();
    wrong["chain"]["blobs_per_block_max"] = json!(1);
    assert!(matches!(check(&wrong, &execution()), Err(GenesisError::Params { .. })));
    let mut wrong = consensus();
    wrong["validators"] = json!([]);
    assert!(matches!(
        check(&wrong, &execution()),
        Err(GenesisError::Validators { .. })
    ));
    let mut wrong = consensus();
    wrong["peers"] = json!(["nowhere"]);
    assert!(matches!(check(&wrong, &execution()), Err(GenesisError::Peer { .. })));
}
