//! Beside a network: a rollup's node, which finds blobs by the time of their block; a contract, which proves the header
//! that a block's blobs have; and a stranger, who computes all that was signed again.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use alloy_eips::eip4788::BEACON_ROOTS_ADDRESS;
use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_rpc_types_beacon::sidecar::BeaconBlobBundle;
use serde_json::{Value, json};

use crate::harness::network::{Network, on_loopback};
use crate::harness::{Devnet, Node, program, sidecars, wait_for};
use crate::readers;

const PATIENCE: Duration = Duration::from_secs(120);
/// Heights that are computed again.
const HEIGHTS: u64 = 8;

#[test]
fn a_rollup_finds_blobs_by_time_a_contract_proves_their_header_and_a_stranger_computes_all_again() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let devnet = Devnet::start(&temporary.path().join("net"), &["--validators", "2"]);
    let node = &devnet.nodes[0];
    let height = wait_for("two heights with blobs, one above the other", PATIENCE, || {
        let decided = node.decided();
        let full = |decision: &Value| decision["blobs"].as_u64() > Some(0);
        let pair = decided.windows(2).find(|pair| pair.iter().all(full));
        pair.and_then(|pair| pair[0]["height"].as_u64())
    });
    devnet.wait_for_height(HEIGHTS.max(height + 2), PATIENCE);

    let rollup = Rollup::begin(node);
    let roots = [height, height + 1].map(|height| rollup.derive(height));
    assert_eq!(
        roots[1].parent_root, roots[0].header_root,
        "each header names the one below"
    );
    for (above, checked) in (height + 1..).zip(&roots) {
        let timestamp = rollup.block(above)["timestamp"].as_str().map(number).expect("a time");
        assert_eq!(
            proven_root(node, timestamp),
            checked.header_root,
            "by the block of height {above}"
        );
    }
    no_slot_has_blobs_of_another(&rollup, height);
    let (timestamp, hashes) = rollup.named(height);
    readers::all_read(&readers::Block {
        node,
        timestamp,
        hashes: &hashes,
    });

    lodestar_reads(&rollup, height, &roots[0]);
    if let Some(said) = computed_again(node, HEIGHTS) {
        assert!(said.contains(rollup.identity.as_str().expect("hex")), "{said}");
    }
}

#[test]
fn a_stranger_computes_values_without_blobs_again() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(temporary.path(), 1, 200);
    let _node = network.start(0, &[]);
    network.nodes[0].wait_for_height(HEIGHTS, PATIENCE);
    if let Some(said) = computed_again(&network.nodes[0], HEIGHTS) {
        assert!(
            said.contains(&format!(", {HEIGHTS} without blobs, 0 pruned, 0 blobs")),
            "{said}"
        );
    }
}

/// What a pruned height keeps is all that was signed of it, and what binds its blobs.
#[test]
fn a_stranger_computes_pruned_values_again() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::with_blobs(&temporary.path().join("net"), on_loopback(1), 250, 24);
    network.change_genesis(|genesis| genesis.chain.blob_retention_heights_min = 2);
    let _process = network.start(0, &["--set", "retention.blobs_heights=2"]);
    let _load = network.load([0]);
    let node = &network.nodes[0];
    let pruned = wait_for("pruned height with blobs", PATIENCE, || {
        let decided = node.decided_if_it_answers()?;
        let full = decided.iter().find(|decision| decision["blobs"].as_u64() > Some(0))?;
        let height = full["height"].as_u64()?;
        let (status, _) = node.get(&format!("/eth/v1/beacon/blobs/{}", node.slot(height))).ok()?;
        (status == 404).then_some(height)
    });
    if let Some(said) = computed_again(node, pruned + 1) {
        assert!(!said.contains(", 0 pruned"), "{said}");
    }
}

/// Computes heights 1 to `last` again by `docs/formats/recompute.py`, and returns what it says; `None` without Python.
fn computed_again(node: &Node, last: u64) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats/recompute.py");
    let output = Command::new(program::python()?)
        .arg(script)
        .arg("check")
        .arg(&node.home)
        .args([node.http.as_str(), "1", &last.to_string()])
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.starts_with(&format!("{last} heights recomputed")), "{said}");
    Some(said)
}

/// What the Beacon clients of op-node and kona ask, in their order.
struct Rollup<'a> {
    node: &'a Node,
    genesis_time: u64,
    seconds_per_slot: u64,
    /// What the node calls the root of the genesis validators.
    identity: Value,
    /// The node's `genesis.json`.
    genesis: Value,
}

impl<'a> Rollup<'a> {
    fn begin(node: &'a Node) -> Self {
        let version = found(node, "/eth/v1/node/version");
        assert!(
            version["version"]
                .as_str()
                .is_some_and(|text| text.starts_with("ultramarine/"))
        );
        let spec = found(node, "/eth/v1/config/spec");
        let genesis = found(node, "/eth/v1/beacon/genesis");
        let file = std::fs::read(node.home.join("genesis.json")).expect("a home has a genesis");
        Self {
            node,
            genesis_time: decimal(&genesis["genesis_time"]),
            seconds_per_slot: decimal(&spec["SECONDS_PER_SLOT"]),
            identity: genesis["genesis_validators_root"].clone(),
            genesis: serde_json::from_slice(&file).expect("JSON"),
        }
    }

    /// A block of the execution client, with its transactions.
    fn block(&self, height: u64) -> Value {
        let block = self
            .node
            .call("eth_getBlockByNumber", &json!([format!("{height:#x}"), true]));
        block.expect("its client answers")
    }

    fn slot(&self, height: u64) -> u64 {
        let timestamp = self.block(height)["timestamp"].as_str().map(number).expect("a time");
        (timestamp - self.genesis_time) / self.seconds_per_slot
    }

    /// A block's time, and the blobs that its transactions name.
    fn named(&self, height: u64) -> (u64, Vec<String>) {
        let block = self.block(height);
        let transactions = block["transactions"].as_array().expect("a list");
        let named = transactions
            .iter()
            .filter_map(|transaction| transaction["blobVersionedHashes"].as_array());
        let hashes = named.flatten().map(|hash| hash.as_str().expect("hex").to_owned());
        let timestamp = block["timestamp"].as_str().map(number).expect("a time");
        (timestamp, hashes.collect())
    }

    /// Fetches the blobs that the transactions of a block name, in both ways, and trusts nothing but their hashes.
    fn derive(&self, height: u64) -> sidecars::Checked {
        let (_, hashes) = self.named(height);
        assert!(!hashes.is_empty(), "height {height} has blobs");
        let slot = self.slot(height);
        let blobs = found(
            self.node,
            &format!("/eth/v1/beacon/blobs/{slot}?versioned_hashes={}", hashes.join(",")),
        );
        let blobs = blobs.as_array().expect("a list").iter();
        let fetched: Vec<String> = blobs.map(sidecars::versioned_hash_of_blob).collect();
        assert_eq!(fetched, hashes, "height {height}, slot {slot}");

        let indices: Vec<String> = (0..hashes.len()).map(|index| index.to_string()).collect();
        let path = format!("/eth/v1/beacon/blob_sidecars/{slot}?indices={}", indices.join(","));
        let (status, answer) = self.node.get(&path).expect("answers");
        assert_eq!((status, &answer["version"]), (200, &"deneb".into()), "{answer}");
        alloy_reads(&answer, &hashes, slot);
        let checked = sidecars::verify(&answer, &self.identity, &self.genesis, slot);
        assert_eq!(checked.versioned_hashes, hashes);
        checked
    }
}

/// alloy's types of the Beacon API, which kona and op-reth read with, take the answer as it is.
fn alloy_reads(answer: &Value, hashes: &[String], slot: u64) {
    let bundle: BeaconBlobBundle = serde_json::from_str(&answer.to_string()).expect("sidecars");
    assert_eq!(bundle.len(), hashes.len());
    for ((index, hash), data) in (0..).zip(hashes).zip(&bundle.data) {
        assert_eq!((data.index, data.signed_block_header.message.slot), (index, slot));
        assert_eq!(data.signed_block_header.signature.len(), 96);
        assert_eq!(data.kzg_commitment_inclusion_proof.len(), 17);
        let named = kzg_to_versioned_hash(data.kzg_commitment.as_slice());
        assert_eq!(&named.to_string(), hash);
        assert_eq!(data.blob.len(), 131_072);
    }
}

/// Lodestar's client finds the same in the same slot, by types and an SSZ of its own.
fn lodestar_reads(rollup: &Rollup<'_>, height: u64, ours: &sidecars::Checked) {
    let Some(folder) = program::lodestar() else { return };
    let slot = rollup.slot(height);
    let mut node = Command::new("node")
        .args(["--input-type=module", "-", &rollup.node.http, &slot.to_string()])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Node.js runs");
    let script = include_str!("lodestar.mjs");
    let mut input = node.stdin.take().expect("it is piped");
    input.write_all(script.as_bytes()).expect("it reads its script");
    drop(input);
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let count = ours.versioned_hashes.len();
    assert_eq!(read["genesis_time"], rollup.genesis_time);
    assert_eq!(read["identity"], rollup.identity);
    assert_eq!(read["version"], "deneb");
    assert_eq!(read["wire_format"], "ssz");
    assert_eq!(read["json_is_the_same"], true);
    assert_eq!(
        (&read["header_root"], &read["header_slot"]),
        (&json!(ours.header_root), &json!(slot))
    );
    let by_root = json!([ours.header_root]);
    assert_eq!((&read["roots_in_slot"], &read["roots_by_parent"]), (&by_root, &by_root));
    assert_eq!(
        (&read["header_is_final"], &read["newest_slots"]),
        (&json!(true), &json!([true]))
    );
    lodestar_reads_of_the_node(rollup, &read);
    assert_eq!((&read["is_syncing"], &read["health"]), (&json!(false), &json!(200)));
    assert_eq!(read["peers"], json!(["connected"]));
    assert_eq!(read["event_is_a_header"], json!(true));
    assert_eq!(read["topics"], json!(["blob_sidecar", "finalized_checkpoint", "head"]));
    assert_eq!(read["versioned_hashes"], json!(ours.versioned_hashes));
    assert_eq!(read["slots"], json!(vec![slot; count]));
    assert_eq!(read["header_roots"], json!(vec![&ours.header_root; count]));
    assert_eq!(read["signature_bytes"], json!(vec![96; count]));
    assert_eq!(read["blob_bytes"], json!(vec![131_072; count]));
}

/// What the node says of its chain and of itself is the same by Lodestar's types.
fn lodestar_reads_of_the_node(rollup: &Rollup<'_>, read: &Value) {
    let chain = &rollup.genesis["chain"];
    let (_, status) = rollup.node.get("/status").expect("answers");
    assert_eq!(read["seconds_per_slot"], rollup.seconds_per_slot);
    assert_eq!(read["slot_ms"], 1_000 * rollup.seconds_per_slot);
    assert_eq!(read["chain_ids"], json!([status["chain_id"], status["chain_id"]]));
    assert_eq!(read["blobs_max"], chain["blobs_per_block_max"]);
    assert_eq!(read["keeps_slots"], chain["blob_retention_heights_min"]);
    assert_eq!(read["is_after_deneb"], true);
    let version = status["version"].as_str().expect("a text");
    assert_eq!(read["node_version"], format!("ultramarine/{version}"));
    assert_eq!((&read["peer_id"], &read["sequence"]), (&status["peer_id"], &json!(0)));
    assert_eq!(read["connected"], 1);
    assert_eq!((&read["head_is_later"], &read["distance"]), (&json!(true), &json!(0)));
    // A head that was decided just now may be optimistic for a moment.
    assert_eq!(
        (&read["client_is_away"], read["is_optimistic"].is_boolean()),
        (&json!(false), true)
    );
}

/// Slots without a block are not found, and one with a block is not another's.
fn no_slot_has_blobs_of_another(rollup: &Rollup<'_>, height: u64) {
    let slots: Vec<u64> = (1..=height + 1).map(|height| rollup.slot(height)).collect();
    assert!(slots.is_sorted_by(|one, next| one < next), "{slots:?}");
    let head = rollup.slot(rollup.node.height().expect("answers"));
    let empty = (1..=slots[slots.len() - 1])
        .find(|slot| !slots.contains(slot))
        .unwrap_or(head + 1_000);
    let (status, answer) = rollup
        .node
        .get(&format!("/eth/v1/beacon/blobs/{empty}"))
        .expect("answers");
    assert_eq!(status, 404, "slot {empty}: {answer}");
}

/// The root that EIP-4788's contract gives for the block of this time: its parent's.
fn proven_root(node: &Node, timestamp: u64) -> String {
    let call = json!([{ "to": BEACON_ROOTS_ADDRESS, "data": format!("0x{timestamp:064x}") }, "latest"]);
    let root = node.call("eth_call", &call).expect("its client answers");
    root.as_str()
        .unwrap_or_else(|| panic!("no root of {timestamp}: {root}"))
        .to_owned()
}

/// The `data` of an answer.
fn found(node: &Node, path: &str) -> Value {
    let (status, answer) = node.get(path).expect("answers");
    assert_eq!(status, 200, "{path}: {answer}");
    answer["data"].clone()
}

fn decimal(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// A quantity of an execution client.
fn number(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").expect("hex");
    u64::from_str_radix(digits, 16).expect("64 bits")
}
