//! Readers of blobs that are in use: what each asks of a Beacon node, in its order and its spelling, and what it must
//! find in the answers. Their orders were read from these sources:
//!
//! | reader | source |
//! |---|---|
//! | op-node | ethereum-optimism/optimism 0130a5e, `op-service/sources/l1_beacon_client.go` |
//! | op-node before Fulu | ethereum-optimism/optimism, the same file in v1.9: `blob_sidecars` with `indices` |
//! | kona | op-rs/kona 0aa3dce, `crates/providers/providers-alloy/src/beacon_client.rs` |
//! | nitro | OffchainLabs/nitro 0893f70, `util/headerreader/blob_client.go` |
//! | blob-archiver | base-org/blob-archiver 044d543, `archiver/service/archiver.go` |
//! | its client | attestantio/go-eth2-client 02c55c0, `http/service.go`, `http/http.go` |

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use alloy_rpc_types_beacon::events::{BlobSidecarEvent, FinalizedCheckpointEvent, HeadEvent};
use alloy_rpc_types_beacon::header::HeaderResponse;
use alloy_rpc_types_beacon::node::{PeerState, PeersResponse, SyncStatus};
use alloy_rpc_types_beacon::sidecar::GetBlobsResponse;
use serde_json::Value;

use crate::harness::sidecars::{proof_holds, versioned_hash_of, versioned_hash_of_blob};
use crate::harness::{self, Answer, Node};

const JSON: (&str, &str) = ("Accept", "application/json");
/// Go's HTTP client asks for compressed answers, and unpacks them unseen; so this is not sent here.
const SSZ_OR_JSON: (&str, &str) = ("Accept", "application/octet-stream;q=1,application/json;q=0.9");
/// SSZ bytes of a sidecar, and where its commitment begins in them (Deneb p2p specification).
const SIDECAR_BYTES: usize = 131_928;
const COMMITMENT_AT: usize = 8 + 131_072;

/// A block with blobs, as a rollup's node finds it on its execution client.
pub struct Block<'a> {
    pub node: &'a Node,
    pub timestamp: u64,
    /// Versioned hashes of its transactions, in their order.
    pub hashes: &'a [String],
}

/// All of them read this block.
pub fn all_read(block: &Block<'_>) {
    op_node(block);
    op_node_before_fulu(block);
    kona(block);
    nitro(block);
    blob_archiver(block);
    alloy_reads_peers_and_events(block.node);
}

fn ask(node: &Node, path: &str, headers: &[(&str, &str)]) -> Answer {
    harness::ask(&node.http, path, headers).expect("the node answers")
}

fn found(node: &Node, path: &str, headers: &[(&str, &str)]) -> Value {
    let answer = ask(node, path, headers);
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
    answer.json()
}

fn number(value: &Value) -> u64 {
    let number = value.as_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{value} is no number"))
}

/// Both ask for the genesis first, then for the length of a slot, and compute the slot.
fn slot(block: &Block<'_>, headers: &[(&str, &str)]) -> u64 {
    let genesis = found(block.node, "/eth/v1/beacon/genesis", headers);
    let spec = found(block.node, "/eth/v1/config/spec", headers);
    (block.timestamp - number(&genesis["data"]["genesis_time"])) / number(&spec["data"]["SECONDS_PER_SLOT"])
}

/// It repeats the parameter, wants as many blobs as it named, computes each commitment and puts them in its own order.
fn op_node(block: &Block<'_>) {
    let slot = slot(block, &[JSON]);
    // Another order than the block's.
    let wanted: Vec<&String> = block.hashes.iter().rev().collect();
    let query: Vec<String> = wanted.iter().map(|hash| format!("versioned_hashes={hash}")).collect();
    let answer = found(
        block.node,
        &format!("/eth/v1/beacon/blobs/{slot}?{}", query.join("&")),
        &[JSON],
    );
    let blobs = answer["data"].as_array().expect("a list");
    assert_eq!(blobs.len(), wanted.len());
    let mut left = wanted;
    for blob in blobs {
        let hash = versioned_hash_of_blob(blob);
        let at = left.iter().position(|wanted| **wanted == hash);
        left.remove(at.expect("one that was asked for"));
    }
    // 404 is "not found" to it, and sends it to its next source.
    let unknown = ask(
        block.node,
        &format!("/eth/v1/beacon/blobs/{}?{}", slot + 1_000_000, query[0]),
        &[JSON],
    );
    assert_eq!(unknown.status, 404);
}

/// It asked by index, repeated the parameter, and checked each proof.
fn op_node_before_fulu(block: &Block<'_>) {
    let version = found(block.node, "/eth/v1/node/version", &[JSON]);
    assert!(version["data"]["version"].is_string());
    let slot = slot(block, &[JSON]);
    let query: Vec<String> = (0..block.hashes.len())
        .map(|index| format!("indices={index}"))
        .collect();
    let path = format!("/eth/v1/beacon/blob_sidecars/{slot}?{}", query.join("&"));
    let answer = found(block.node, &path, &[JSON]);
    let sidecars = answer["data"].as_array().expect("a list");
    assert_eq!(sidecars.len(), block.hashes.len());
    for ((index, hash), sidecar) in block.hashes.iter().enumerate().zip(sidecars) {
        assert_eq!(sidecar["index"], index.to_string());
        assert_eq!(versioned_hash_of(&sidecar["kzg_commitment"]), *hash);
        proof_holds(sidecar);
    }
}

/// It joins the hashes by commas, which its client encodes, and reads the answer by alloy's types.
fn kona(block: &Block<'_>) {
    let node = block.node;
    let genesis = found(node, "/eth/v1/beacon/genesis", &[("Accept", "*/*")]);
    let spec = found(node, "/eth/v1/config/spec", &[("Accept", "*/*")]);
    let slot = (block.timestamp - number(&genesis["data"]["genesis_time"])) / number(&spec["data"]["SECONDS_PER_SLOT"]);
    let path = format!(
        "/eth/v1/beacon/blobs/{slot}?versioned_hashes={}",
        block.hashes.join("%2C")
    );
    let answer = ask(node, &path, &[("Accept", "*/*")]);
    assert_eq!(answer.status, 200);
    let read: GetBlobsResponse = serde_json::from_slice(&answer.body).expect("alloy reads it");
    assert!(read.finalized);
    let hashes: Vec<String> = answer.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(versioned_hash_of_blob)
        .collect();
    assert_eq!((read.data.len(), hashes.as_slice()), (hashes.len(), block.hashes));
}

/// It names no form and no blobs, reads `data` whatever the status, finds its own by commitment, and checks the proofs.
fn nitro(block: &Block<'_>) {
    let slot = slot(block, &[]);
    let answer = found(block.node, &format!("/eth/v1/beacon/blob_sidecars/{slot}"), &[]);
    let sidecars = answer["data"].as_array().expect("a list");
    for hash in block.hashes {
        let mut named = sidecars
            .iter()
            .filter(|sidecar| versioned_hash_of(&sidecar["kzg_commitment"]) == *hash);
        proof_holds(named.next().expect("it is there"));
        assert!(named.next().is_none(), "it refuses a blob that it finds twice");
    }
}

/// Its client asks whether the node is there, and prefers SSZ. It archives the head by its root, then goes from parent
/// to parent. Slots without a block are 404, and passed over when it archives a range again.
fn blob_archiver(block: &Block<'_>) {
    let node = block.node;
    let syncing = found(node, "/eth/v1/node/syncing", &[SSZ_OR_JSON]);
    let status: SyncStatus = serde_json::from_value(syncing["data"].clone()).expect("alloy reads it");
    assert!(!status.is_syncing);
    found(node, "/eth/v1/node/version", &[SSZ_OR_JSON]);
    let archive = |id: &str| {
        let header = found(node, &format!("/eth/v1/beacon/headers/{id}"), &[SSZ_OR_JSON]);
        let header: HeaderResponse = serde_json::from_value(header).expect("alloy reads it");
        let root = header.data.root.to_string();
        let answer = ask(node, &format!("/eth/v1/beacon/blob_sidecars/{root}"), &[SSZ_OR_JSON]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert!(matches!(
            answer.header("eth-consensus-version"),
            Some("deneb" | "electra")
        ));
        assert_eq!(answer.body.len() % SIDECAR_BYTES, 0);
        let commitments = answer.body.chunks(SIDECAR_BYTES).map(|sidecar| {
            let commitment = &sidecar[COMMITMENT_AT..COMMITMENT_AT + 48];
            versioned_hash_of(&Value::from(format!("0x{}", hex::encode(commitment))))
        });
        (header.data.header.message, commitments.collect::<Vec<_>>())
    };
    let (head, _) = archive("head");
    let (parent, _) = archive(&head.parent_root.to_string());
    assert!(parent.slot < head.slot);
    let at = slot(block, &[JSON]);
    let (ours, hashes) = archive(&at.to_string());
    assert_eq!((ours.slot, hashes.as_slice()), (at, block.hashes));
    let skipped = ask(
        node,
        &format!("/eth/v1/beacon/headers/{}", at + 1_000_000),
        &[SSZ_OR_JSON],
    );
    assert_eq!(skipped.status, 404);
}

/// alloy's types take what is told of peers, and the events of two heights as they are decided.
fn alloy_reads_peers_and_events(node: &Node) {
    let peers = ask(node, "/eth/v1/node/peers?state=connected", &[JSON]);
    let peers: PeersResponse = serde_json::from_slice(&peers.body).expect("alloy reads it");
    assert_eq!((peers.data.len(), peers.meta.count), (1, 1), "a network of two");
    assert_eq!(peers.data[0].state, PeerState::Connected);

    let authority = node.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    let topics = "head,finalized_checkpoint,blob_sidecar";
    write!(
        stream,
        "GET /eth/v1/events?topics={topics} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n"
    )
    .expect("sends");
    let (mut heads, mut blobs, mut name) = (Vec::<HeadEvent>::new(), Vec::<BlobSidecarEvent>::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.expect("it goes on");
        if let Some(topic) = line.strip_prefix("event: ") {
            name = topic.to_owned();
        }
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        match name.as_str() {
            "blob_sidecar" => blobs.push(serde_json::from_str(data).expect("alloy reads it")),
            "head" => heads.push(serde_json::from_str(data).expect("alloy reads it")),
            "finalized_checkpoint" => {
                let checkpoint: FinalizedCheckpointEvent = serde_json::from_str(data).expect("alloy reads it");
                let head = heads.last().expect("its head came before");
                assert_eq!((checkpoint.block, checkpoint.epoch), (head.block, head.slot));
                if heads.len() >= 2 && !blobs.is_empty() {
                    break;
                }
            }
            other => panic!("{other} was not asked for"),
        }
    }
    for head in &heads {
        let header = found(node, &format!("/eth/v1/beacon/headers/{}", head.slot), &[JSON]);
        assert_eq!(header["data"]["root"], head.block.to_string());
    }
    for blob in &blobs {
        let path = format!(
            "/eth/v1/beacon/blob_sidecars/{}?indices={}",
            blob.block_root, blob.index
        );
        let sidecars = found(node, &path, &[JSON]);
        let sidecar = &sidecars["data"][0];
        assert_eq!(sidecar["kzg_commitment"], blob.kzg_commitment.to_string());
        assert_eq!(
            versioned_hash_of(&sidecar["kzg_commitment"]),
            blob.versioned_hash.to_string()
        );
    }
}
