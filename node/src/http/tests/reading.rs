//! What is read for an answer, and what is said where it cannot be read.

use super::*;

#[tokio::test]
async fn a_blob_that_is_asked_for_by_its_index_or_hash_is_read_alone() {
    let memory = Memory::chain(7);
    let hash = versioned_hash(&memory.commitments(7)[1]);
    let memory = Arc::new(memory);
    let state = HttpState {
        source: memory.clone(),
        ..state(7)
    };
    for (url, count) in [
        ("/eth/v1/beacon/blob_sidecars/21?indices=2", 1),
        (&format!("/eth/v1/beacon/blobs/21?versioned_hashes={hash}"), 1),
        ("/eth/v1/beacon/blob_sidecars/21?indices=0,1,2", 0),
        ("/eth/v1/beacon/blob_sidecars/21?indices=9", 0),
    ] {
        let (status, _) = ask(&state, url).await;
        assert_eq!(status, StatusCode::OK, "{url}");
        assert_eq!(memory.blobs_read.swap(0, Ordering::Relaxed), count, "{url}");
    }
    let (status, _) = ask(&state, "/eth/v1/beacon/blob_sidecars/6?indices=9").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is pruned, whatever is asked of it");
}

#[tokio::test]
async fn a_damaged_height_is_there_and_cannot_be_served() {
    let mut memory = Memory::chain(7);
    memory.blocks.remove(&5);
    memory.damaged.push(Height(5));
    let state = state_of(memory);
    for url in [
        "/eth/v1/beacon/blob_sidecars/15",
        "/eth/v1/beacon/blobs/15",
        "/ultramarine/v1/value/5",
        "/ultramarine/v1/decided?from=4&to=6",
    ] {
        let (status, json) = ask(&state, url).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{url}: {json}");
        assert!(
            json["message"]
                .as_str()
                .is_some_and(|text| text.contains("height 5 is damaged")),
            "{url}"
        );
    }
    let (status, _) = ask(&state, "/eth/v1/beacon/blob_sidecars/18").await;
    assert_eq!(status, StatusCode::OK, "its neighbour is whole");
}
