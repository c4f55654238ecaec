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
    state.board.peer_up();
    let (status, json) = ask(&state, "/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json["reasons"], serde_json::json!(["the disk has no room"]));
}
