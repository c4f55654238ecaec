//! Processes are killed at the worst moments; the chain goes on, nothing decided is lost, nobody signs twice.

use std::time::Duration;

use crate::harness::network::Network;
use crate::harness::{Node, Process, wait_for};
use crate::see::a_closed_gate_is_told;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ultramarine_runtime::Clock;

const PATIENCE: Duration = Duration::from_secs(90);
const LIVES: u64 = 10;

/// What all nodes have decided, after checking that they agree; at least `floor` heights each.
fn agreed(nodes: &[Node], floor: usize) -> Vec<Value> {
    let all: Vec<Vec<Value>> = nodes.iter().map(Node::decided).collect();
    let longest = all
        .iter()
        .max_by_key(|decided| decided.len())
        .expect("some nodes")
        .clone();
    for (node, decided) in nodes.iter().zip(&all) {
        assert!(
            decided.len() >= floor,
            "node{} lost decided heights: {} of {floor}",
            node.id,
            decided.len()
        );
        assert_eq!(
            decided[..],
            longest[..decided.len()],
            "node{} decided otherwise",
            node.id
        );
    }
    longest
}

/// Blobs in these blocks.
fn blobs(decided: &[Value]) -> u64 {
    decided.iter().filter_map(|decision| decision["blobs"].as_u64()).sum()
}

/// Every blob of every decided block, by what the node serves; a digest of each answer.
fn blobs_are_served(node: &Node, decided: &[Value]) -> Vec<[u8; 32]> {
    let mut digests = Vec::new();
    for decision in decided {
        let number = |field: &str| decision[field].as_u64().expect("a number");
        let (height, blobs) = (number("height"), number("blobs"));
        let slot = node.slot(height);
        let (status, answer) = node
            .get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"))
            .expect("answers");
        assert_eq!(status, 200, "height {height} of node{}: {answer}", node.id);
        assert_eq!(
            answer["data"].as_array().map(|list| list.len() as u64),
            Some(blobs),
            "height {height}"
        );
        digests.push(Sha256::digest(answer["data"].to_string()).into());
    }
    digests
}

#[test]
fn a_network_killed_ten_times_loses_nothing_and_signs_nothing_twice() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 250);
    let mut before: Vec<Value> = Vec::new();
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |now| now.as_nanos() as u64);
    println!("moments follow from {seed}");
    let mut dice = seed | 1;
    for life in 0..LIVES {
        let mut processes = network.start_all();
        // At least two new heights and new blobs, then a moment nobody can foresee.
        for node in &network.nodes {
            node.wait_for_height(before.len() as u64 + 2, PATIENCE);
        }
        let _load = network.load(0..4);
        wait_for("new blobs", PATIENCE, || {
            (blobs(&network.nodes[0].decided()) > blobs(&before)).then_some(())
        });
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((dice >> 33) % 1500));
        let after = agreed(&network.nodes, before.len());
        assert_eq!(after[..before.len()], before, "life {life} changed what was decided");
        before = after;
        // All at one moment, as where the power fails.
        processes.iter().for_each(Process::kill_unwaited);
        processes.iter_mut().for_each(Process::kill);
    }
    let _processes = network.start_all();
    let mut served: Option<Vec<[u8; 32]>> = None;
    for node in &network.nodes {
        node.wait_for_height(before.len() as u64 + 2, PATIENCE);
        let decided = node.decided();
        assert_eq!(decided[..before.len()], before);
        let digests = blobs_are_served(node, &before);
        let first = served.get_or_insert_with(|| digests.clone());
        assert!(*first == digests, "node{} serves other bytes", node.id);
    }
    assert!(blobs(&before) >= LIVES, "every life has decided blobs");
    everybody_votes(&network, before.len() as u64 + 1);
    network.nobody_signed_twice();
}

/// Waits until each validator's prevote for a value above this height was received by somebody.
fn everybody_votes(network: &Network, height: u64) {
    wait_for("votes of every validator", PATIENCE, || {
        (network.voters_above(height).len() == network.nodes.len()).then_some(())
    });
}

#[test]
fn a_node_and_its_client_each_recover_from_the_others_death() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 250);
    let _others: Vec<Process> = (0..3).map(|id| network.start(id, &[])).collect();
    let mut client = network.external_client(3);
    let engine = format!("http://{}", network.addresses[3].engine_auth);
    let mut node = network.start(3, &["--engine", &engine]);
    let _load = network.load(0..3);
    let ours = &network.nodes[3];
    let witness = &network.nodes[0];
    let caught_up = |what: &str| {
        let target = wait_for("a witness", PATIENCE, || witness.height()) + 3;
        ours.wait_for_height(target, PATIENCE);
        wait_for(what, PATIENCE, || {
            let status = ours.status()?;
            (status["gate"]["on"] == true && status["executed_height"].as_u64() >= Some(target)).then_some(())
        });
        everybody_votes(&network, target);
    };
    caught_up("the first import");

    let closed_after = Clock::unix_ns() / 1_000_000_000;
    client.kill();
    wait_for("a client that is not ready", PATIENCE, || {
        (ours.status()?["gate"]["on"] == false).then_some(())
    });
    a_closed_gate_is_told(ours, closed_after, temporary.path());
    let height = witness.height().expect("answers");
    witness.wait_for_height(height + 2, PATIENCE);
    // It lost all its blocks: the node replays them.
    let _client = network.external_client(3);
    caught_up("the import after the client's death");
    let log = std::fs::read_to_string(ours.home.with_extension("log")).expect("it has a log");
    assert!(
        log.contains("feeding the execution client: "),
        "it says how far it is: {log}"
    );

    node.kill();
    let height = witness.height().expect("answers");
    witness.wait_for_height(height + 3, PATIENCE);
    let again = network.start(3, &["--engine", &engine]);
    caught_up("the import after the node's death");
    // Its client is outside, so this is all its own.
    let pid = again.0.id();
    assert!(Node { pid, ..ours.clone() }.stays_small(0));
    agreed(&network.nodes, height as usize);
    network.nobody_signed_twice();
}
