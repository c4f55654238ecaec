//! Claims about requests that are refused: with which status, and in which words.

use super::*;

/// Items that a list may have.
const BLOBS_MAX: usize = ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize;
/// Words that are behind a parameter that is not known.
const TAKES_NONE: &str = "this URL takes none";

/// What stands in the message: the item that is wrong, and what is right instead.
#[tokio::test]
async fn each_refusal_says_what_is_wrong_with_which_item() {
    let state = state(7);
    let block_id = "give head, finalized, justified, genesis, a slot number, or 0x and 64 hex digits";
    let hash = "give 0x and 64 hex digits";
    let height = "is no height: give a number from 0 to 18446744073709551615";
    let of_blobs = "there are indices, versioned_hashes";
    let many = |count: usize, item: &str| vec![item; count].join(",");
    let too_many = [
        format!("/eth/v1/beacon/blob_sidecars/21?indices={}", many(BLOBS_MAX + 1, "1")),
        format!("/eth/v1/beacon/blobs/21?{}", "indices=1&".repeat(2 * BLOBS_MAX + 1)),
        format!("/eth/v1/node/peers?state={}", many(BLOBS_MAX + 1, "connected")),
        format!("/eth/v1/events?topics={}", many(BLOBS_MAX + 1, "head")),
    ];
    let [too_many_indices, too_many_parameters, too_many_states, too_many_topics] = &too_many;
    let table: &[(&str, u16, &[&str])] = &[
        // Blobs: the block.
        (
            "/eth/v1/beacon/blob_sidecars/24",
            404,
            &["no block of slot 24 is decided here"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/7",
            404,
            &["no block of slot 7 is decided here"],
        ),
        ("/eth/v1/beacon/blobs/20", 404, &["no block of slot 20 is decided here"]),
        (
            "/eth/v1/beacon/blobs/18446744073709551615",
            404,
            &["no block of slot 18446744073709551615"],
        ),
        (
            "/eth/v1/beacon/blobs/6",
            404,
            &[
                "blobs of height 2 are pruned",
                "the oldest height with blobs here is 3, in slot 9",
            ],
        ),
        (
            "/eth/v1/beacon/blobs/99999999999999999999",
            400,
            &["`99999999999999999999` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/tail",
            400,
            &["`tail` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/+5",
            400,
            &["`+5` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/-1",
            400,
            &["`-1` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/HEAD",
            400,
            &["`HEAD` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/0x12",
            400,
            &["`0x12` is no block id", block_id],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/%ff",
            400,
            &["path", "percent-encoded UTF-8"],
        ),
        // Blobs: which of them.
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=one",
            400,
            &["indices lists `one`, which is not a number"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=0,1,x2",
            400,
            &["indices lists `x2`, which is not a number"],
        ),
        (
            "/eth/v1/beacon/blobs/21?indices[]=0&indices[]=-2",
            400,
            &["indices lists `-2`, which is not a number"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=",
            400,
            &["indices is empty: give a number, or leave it out"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=1,,2",
            400,
            &["indices lists ``, which is not a number"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=99999999999999999999",
            400,
            &["lists `99999999999999999999`, which is not"],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?indices=%zz",
            400,
            &["`%zz` in the query is not percent-encoded UTF-8"],
        ),
        (
            "/eth/v1/beacon/blobs/21?versioned_hashes=",
            400,
            &["versioned_hashes is empty: give 0x and 64 hex digits"],
        ),
        (
            "/eth/v1/beacon/blobs/21?versioned_hashes=0x1",
            400,
            &["versioned_hashes lists `0x1`, which is not 0x and 64 hex digits"],
        ),
        (
            "/eth/v1/beacon/blobs/21?index=0",
            400,
            &["no parameter `index` is known here", of_blobs],
        ),
        (
            "/eth/v1/beacon/blob_sidecars/21?Indices=0",
            400,
            &["no parameter `Indices` is known here", of_blobs],
        ),
        (
            "/eth/v1/beacon/blobs/21?indices=0&a%20b=1",
            400,
            &["no parameter `a b` is known here", of_blobs],
        ),
        (too_many_indices, 400, &["indices lists more than 1024 items"]),
        (too_many_parameters, 400, &["the query has more than 2048 parameters"]),
        // Headers.
        ("/eth/v1/beacon/headers/tail", 400, &["`tail` is no block id", block_id]),
        ("/eth/v1/beacon/headers/genesis", 404, &["the genesis has no header"]),
        (
            "/eth/v1/beacon/headers/21?slot=21",
            400,
            &["no parameter `slot` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/beacon/headers?slot=x",
            400,
            &["slot is `x`, which is not a number from 0 to 18446744073709551615"],
        ),
        (
            "/eth/v1/beacon/headers?slot=",
            400,
            &["slot is ``, which is not a number"],
        ),
        ("/eth/v1/beacon/headers?slot=1&slot=2", 400, &["slot is given twice"]),
        (
            "/eth/v1/beacon/headers?parent_root=0x1",
            400,
            &["parent_root is `0x1`, which is not 0x and 64 hex digits"],
        ),
        (
            "/eth/v1/beacon/headers?root=x",
            400,
            &["no parameter `root` is known here", "there are slot, parent_root"],
        ),
        // The node.
        (
            "/eth/v1/beacon/genesis?a=1",
            400,
            &["no parameter `a` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/config/spec?b",
            400,
            &["no parameter `b` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/node/version?c=1",
            400,
            &["no parameter `c` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/node/syncing?d=1",
            400,
            &["no parameter `d` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/node/identity?e=1",
            400,
            &["no parameter `e` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/node/peer_count?f=1",
            400,
            &["no parameter `f` is known here", TAKES_NONE],
        ),
        (
            "/eth/v1/node/health?syncing=1",
            400,
            &["no parameter `syncing` is known here", "there are syncing_status"],
        ),
        (
            "/eth/v1/node/health?syncing_status=99",
            400,
            &["syncing_status is `99`, which is not an HTTP status from 200 to 599"],
        ),
        (
            "/eth/v1/node/health?syncing_status=600",
            400,
            &["syncing_status is `600`, which is not an HTTP status"],
        ),
        (
            "/eth/v1/node/health?syncing_status=70000",
            400,
            &["syncing_status is `70000`, which is not an HTTP status"],
        ),
        (
            "/eth/v1/node/health?syncing_status=ok",
            400,
            &["syncing_status is `ok`, which is not a number"],
        ),
        (
            "/eth/v1/node/peers?state=",
            400,
            &["state is empty: give one of disconnected, connecting"],
        ),
        (
            "/eth/v1/node/peers?state=connected,up",
            400,
            &["state lists `up`, which is not one of disconnected, connecting"],
        ),
        (
            "/eth/v1/node/peers?direction=left",
            400,
            &["direction lists `left`, which is not one of inbound, outbound"],
        ),
        (
            "/eth/v1/node/peers?peer=1",
            400,
            &["no parameter `peer` is known here", "there are state, direction"],
        ),
        ("/eth/v1/node/peers/x", 400, &["`x` is no peer id", hash]),
        ("/eth/v1/node/peers/0x12", 400, &["`0x12` is no peer id", hash]),
        (too_many_states, 400, &["state lists more than 1024 items"]),
        // Events.
        (
            "/eth/v1/events",
            400,
            &["topics is missing; name some of blob_sidecar, head, finalized_checkpoint"],
        ),
        (
            "/eth/v1/events?topics=",
            400,
            &["topics is missing; name some of blob_sidecar"],
        ),
        (
            "/eth/v1/events?topics=head,block",
            400,
            &["no topic `block` is told here; there are blob_sidecar, head"],
        ),
        (
            "/eth/v1/events?topic=head",
            400,
            &["no parameter `topic` is known here", "there are topics"],
        ),
        (too_many_topics, 400, &["topics lists more than 1024 items"]),
        // URLs of ours.
        ("/ultramarine/v1/blobs/xyz", 400, &["`xyz` is no versioned hash", hash]),
        (
            "/ultramarine/v1/decided?from=x",
            400,
            &["from is `x`, which is not a number"],
        ),
        (
            "/ultramarine/v1/decided?form=1",
            400,
            &["no parameter `form` is known here", "there are from, to"],
        ),
        ("/ultramarine/v1/decided?from=1&from=2", 400, &["from is given twice"]),
        (
            "/ultramarine/v1/decided?from=5&to=1",
            400,
            &["the range ends at 1 and begins at 5"],
        ),
        (
            "/ultramarine/v1/decided?to=99999999999999999999",
            400,
            &["to is `99999999999999999999`, which is not a number"],
        ),
        (
            "/ultramarine/v1/evidence?from=5&to=4",
            400,
            &["the range ends at 4 and begins at 5"],
        ),
        (
            "/ultramarine/v1/evidence?from=%31&to=-1",
            400,
            &["to is `-1`, which is not a number"],
        ),
        (
            "/ultramarine/v1/evidence?skip=x",
            400,
            &["skip is `x`, which is not a number"],
        ),
        (
            "/ultramarine/v1/evidence/x/0x0101010101010101010101010101010101010101",
            400,
            &["`x`", height],
        ),
        (
            "/ultramarine/v1/evidence/7/0x01",
            400,
            &["`0x01` is no validator: give 0x and 40 hex digits"],
        ),
        (
            "/ultramarine/v1/evidence/7/0x0101010101010101010101010101010101010101",
            404,
            &["no false value of 0x0101", "at height 7"],
        ),
        ("/ultramarine/v1/value/0", 404, &["height 0 is not decided here"]),
        ("/ultramarine/v1/value/8", 404, &["height 8 is not decided here"]),
        ("/ultramarine/v1/value/0x1", 400, &["`0x1`", height]),
        (
            "/ultramarine/v1/value/18446744073709551616",
            400,
            &["`18446744073709551616`", height],
        ),
        ("/ultramarine/v1/blob_status/one", 400, &["`one`", height]),
        ("/nothing/here", 404, &["no such URL; see README.md"]),
    ];
    for (url, expected, words) in table {
        let begin: String = url.chars().take(80).collect();
        let (status, json) = ask(&state, url).await;
        assert_eq!(status.as_u16(), *expected, "{begin}: {json}");
        assert_eq!(json["code"], *expected, "{begin}");
        let message = json["message"].as_str().expect("a text");
        for word in *words {
            assert!(message.contains(word), "{begin}: no {word:?} in {message:?}");
        }
        assert!(message.len() < 500, "{begin}: {} bytes", message.len());
    }
    let unknown = Hash([0xee; 32]);
    assert_eq!(
        ask(&state, &format!("/eth/v1/beacon/blobs/{unknown}")).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, json) = ask(&state, &format!("/ultramarine/v1/blobs/{unknown}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let message = json["message"].as_str().expect("a text");
    for part in [
        "from height 1 to 7",
        "/eth/v1/beacon/blobs/SLOT",
        &format!("{unknown}@HEIGHT"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_page_of_decisions_that_is_too_long_is_refused_by_its_length() {
    let state = state_of(Memory::bare(1_200));
    let (status, json) = ask(&state, "/ultramarine/v1/decided?from=101&to=1101").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = json["message"].as_str().expect("a text");
    assert!(
        message.contains("101 to 1101 are 1001 heights") && message.contains("at most 1000"),
        "{message}"
    );
}
