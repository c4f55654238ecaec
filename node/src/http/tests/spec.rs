//! Claims about what consumers of the Beacon API ask before they ask for blobs, and about where blobs are.

use super::*;

#[tokio::test]
async fn what_is_asked_before_blobs_are_is_answered_in_the_beacon_chains_words() {
    let state = state(1);
    let (status, json) = ask(&state, "/eth/v1/config/spec").await;
    assert_eq!(status, StatusCode::OK);
    let spec = json["data"].as_object().expect("an object");
    assert!(spec.values().all(Value::is_string), "{json}");
    for (name, value) in [
        ("SECONDS_PER_SLOT", "1"),
        ("MAX_BLOBS_PER_BLOCK", "9"),
        ("DENEB_FORK_EPOCH", "0"),
        ("ELECTRA_FORK_EPOCH", "22"),
        ("FIELD_ELEMENTS_PER_BLOB", "4096"),
        ("KZG_COMMITMENT_INCLUSION_PROOF_DEPTH", "17"),
    ] {
        assert_eq!(spec[name], value, "{name}");
    }
    let (status, json) = ask(&state, "/eth/v1/beacon/genesis").await;
    assert_eq!(status, StatusCode::OK);
    let expected = serde_json::json!({
        "genesis_time": "1000",
        "genesis_validators_root": fixtures::CHAIN,
        "genesis_fork_version": "0x00000000",
    });
    assert_eq!(json["data"], expected);
    let (_, json) = ask(&state, "/eth/v1/node/version").await;
    assert_eq!(json["data"]["version"], "ultramarine/0");
}

#[tokio::test]
async fn sidecars_name_the_fork_of_their_block() {
    let state = state(9);
    for (height, fork) in [(7, "deneb"), (9, "electra")] {
        let (_, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/{}", slot(height))).await;
        assert_eq!(json["version"], fork, "height {height}");
    }
    let (_, json) = ask(&state, "/eth/v1/beacon/blob_sidecars/genesis").await;
    assert_eq!(json["version"], "deneb");
}
