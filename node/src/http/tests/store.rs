//! Claims about what a node tells of its store.

use ultramarine_types::storage::{BlobState, FileBytes, ScrubProgress, StoreAccount};

use super::*;

/// The account of the store in memory: made up, each number another.
pub(super) fn account() -> StoreAccount {
    let mut account = StoreAccount {
        files: FileBytes {
            values: 1,
            payloads: 2,
            free: 4,
            index: 8,
            log: 16,
            reserve: 32,
        },
        dead_bytes: 64,
        leased_bytes: 128,
        segments: 256,
        ..StoreAccount::default()
    };
    for (heights, state) in (1..).zip(BlobState::ALL) {
        let tally = account.states.of_mut(state);
        (tally.heights, tally.bytes) = (heights, 1000 * heights);
    }
    account
}

pub(super) const SCRUB: ScrubProgress = ScrubProgress {
    height: 3,
    bytes: 4096,
    passes: 2,
    last_pass: Some(1_800_000_000),
    found: 1,
};

#[tokio::test]
async fn the_state_of_a_heights_blobs_is_told() {
    let state = state(9);
    for (height, name, blobs) in [(1, "decided", 1), (2, "pruned", 2), (3, "decided", 3)] {
        let (status, json) = ask(&state, &format!("/ultramarine/v1/blob_status/{height}")).await;
        assert_eq!(status, StatusCode::OK);
        let expected = serde_json::json!({
            "height": Height(height), "state": name, "since": null, "blobs": blobs, "bytes": 0
        });
        assert_eq!(json, expected);
    }
    for (height, expected) in [("0", 404), ("10", 404), ("head", 400), ("-1", 400)] {
        let (status, json) = ask(&state, &format!("/ultramarine/v1/blob_status/{height}")).await;
        assert_eq!(status.as_u16(), expected, "{height}: {json}");
    }
}

#[tokio::test]
async fn the_account_has_exactly_these_fields() {
    let (status, json) = ask(&state(1), "/ultramarine/v1/store").await;
    assert_eq!(status, StatusCode::OK);
    let expected = serde_json::json!({
        "heights": {
            "undecided": 1, "decided": 2, "archived": 3, "pruned": 4, "never_held": 5, "damaged": 6
        },
        "bytes": { "live": 21_000, "dead": 64, "files": 3, "free": 4, "index": 8, "log": 16 },
        "segments": 256,
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn blobs_that_the_archive_has_are_told_as_archived() {
    for (through, word, other) in [(PRUNED, "archived", "pruned"), (PRUNED - 1, "pruned", "archived")] {
        let mut memory = Memory::chain(5);
        memory.archived_through = Height(through);
        let state = state_of(memory);
        for api in ["blob_sidecars", "blobs"] {
            let (status, json) = ask(&state, &format!("/eth/v1/beacon/{api}/{}", slot(PRUNED))).await;
            let said = json["message"].as_str().expect("a text");
            assert_eq!(status, StatusCode::NOT_FOUND);
            assert!(said.contains(word) && !said.contains(other), "{said}");
            assert_eq!(json["oldest_height"], (PRUNED + 1).to_string());
        }
    }
}

#[tokio::test]
async fn the_status_tells_how_far_the_scrub_has_come() {
    let (_, json) = ask(&state(1), "/status").await;
    let expected = serde_json::json!({
        "height": 3, "bytes": 4096, "passes": 2, "last_pass": 1_800_000_000, "found": 1
    });
    assert_eq!(json["scrub"], expected);
    assert_eq!(json["name"], "test", "the board stands beside it: {json}");
}

#[tokio::test]
async fn health_tells_of_a_full_disk() {
    let state = state_of(Memory {
        shortage: Some("the disk has no room".to_owned()),
        ..Memory::chain(1)
    });
    state.board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    state.board.peer_up(&ultramarine_types::PeerId::ZERO);
    let (status, json) = ask(&state, "/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json["reasons"], serde_json::json!(["the disk has no room"]));
}

/// The line of `/metrics` for a condition.
async fn shown(state: &HttpState, id: &str) -> String {
    let (_, text) = ask_text(state, "/metrics").await;
    let name = format!("ultramarine_condition{{condition=\"{id}\",");
    let line = text.lines().find(|line| line.starts_with(&name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[tokio::test]
async fn every_condition_is_a_metric_and_what_is_wrong_says_what_to_do() {
    let state = state(1);
    for entry in &crate::conditions::CATALOGUE {
        shown(&state, entry.id).await;
    }
    assert_eq!(
        shown(&state, "no-peers").await,
        "ultramarine_condition{condition=\"no-peers\",severity=\"critical\"} 1"
    );
    let (_, json) = ask(&state, "/health").await;
    let conditions = json["conditions"].as_array().expect("a list");
    let no_peers = conditions.iter().find(|one| one["id"] == "no-peers").expect("no peer");
    assert_eq!(
        (&no_peers["severity"], &no_peers["what"]),
        (&"critical".into(), &"no peer is connected".into())
    );
    assert!(
        no_peers["action"]
            .as_str()
            .is_some_and(|action| action.contains("firewall")),
        "{json}"
    );
    assert!(
        no_peers["since_unix_s"]
            .as_u64()
            .is_some_and(|since| since > 1_700_000_000),
        "{json}"
    );

    state.board.peer_up(&ultramarine_types::PeerId::ZERO);
    assert!(shown(&state, "no-peers").await.ends_with(" 0"), "it is over at once");
    state.board.show_surroundings(true, Vec::new());
    state.board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    let (status, json) = ask(&state, "/health").await;
    assert_eq!(
        (status, &json["ready"]),
        (StatusCode::OK, &true.into()),
        "a warning: {json}"
    );
    assert_eq!(json["reasons"], serde_json::json!([]));
    let conditions = json["conditions"].as_array().expect("a list").iter();
    let mut ids: Vec<_> = conditions.map(|one| one["id"].as_str().expect("text")).collect();
    ids.sort_unstable();
    // The blocks of this memory fill their chain's gas limit.
    assert_eq!(ids, ["blocks-crowded", "io-fallback"]);
}
