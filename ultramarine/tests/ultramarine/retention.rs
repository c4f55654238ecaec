//! A chain that keeps blobs for some heights, and what a late node finds of it.

use std::path::Path;
use std::time::Duration;

use crate::harness::Node;
use crate::harness::network::{Network, join, on_loopback};

const PATIENCE: Duration = Duration::from_secs(120);

/// A chain that is watched.
#[derive(Clone, Copy)]
struct Size {
    blobs_per_block: u32,
    retention: u64,
    /// A full node joins at the first, and is with the others at the last.
    heights: [u64; 3],
}

/// Watches a network that runs, and a full node that joins late.
fn watch(size: Size, validators: &[Node], dir: &Path) {
    let [first, middle, last] = size.heights;
    let witness = &validators[0];
    reach(validators, first);
    let setting = format!("retention.blobs_heights={}", size.retention);
    let (_process, late) = join(dir, witness, &[&setting]);
    let all: Vec<Node> = validators.iter().chain([&late]).cloned().collect();
    reach(validators, middle);
    reach(&all, last);
    let decided = late.decided();
    for node in validators {
        assert_eq!(
            node.decided()[..last as usize],
            decided[..last as usize],
            "node{}",
            node.id
        );
    }
    let blobs: u64 = decided.iter().filter_map(|decision| decision["blobs"].as_u64()).sum();
    let full = last * u64::from(size.blobs_per_block);
    assert!(
        blobs * 2 > full,
        "{blobs} of {full} blobs: too few to tell what is freed"
    );
    // It came when the blobs of the first heights were needed no more, and never had them.
    for (node, why) in [(witness, "are pruned"), (&late, "never held them")] {
        let oldest = oldest_blobs(node, 1, why);
        let served = |slot: u64| node.get(&format!("/eth/v1/beacon/blobs/{slot}")).expect("answers");
        let (status, answer) = served(node.slot(oldest));
        assert_eq!(status, 200, "node{} at height {oldest}: {answer}", node.id);
        let head = node.height().expect("answers");
        assert!(
            oldest + size.retention <= head + 1,
            "{oldest} is the oldest height at {head}"
        );
        // Heights are decided while we ask.
        let (status, _) = served(node.slot(head + 5 - size.retention));
        assert_eq!(status, 200, "what the chain's minimum covers is here");
    }
}

/// What the Beacon API says of a height without blobs: its refusal names the oldest height that has them, and its slot.
fn oldest_blobs(node: &Node, height: u64, why: &str) -> u64 {
    let slot = node.slot(height);
    let (status, answer) = node
        .get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"))
        .expect("answers");
    assert_eq!(status, 404, "node{} at height {height}: {answer}", node.id);
    let message = answer["message"].as_str().expect("a text");
    assert!(message.contains(why), "node{}: {message}", node.id);
    let number = |field: &str| -> u64 {
        let text = answer[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} is missing: {answer}"));
        text.parse().expect("a number")
    };
    let oldest = number("oldest_height");
    assert_eq!(number("oldest_slot"), node.slot(oldest), "node{}", node.id);
    oldest
}

/// Waits until every node has decided `height`.
fn reach(nodes: &[Node], height: u64) {
    for node in nodes {
        node.wait_for_height(height, PATIENCE);
    }
}

#[test]
fn a_late_node_catches_up_without_old_blobs_and_the_api_says_where_blobs_begin() {
    let size = Size {
        blobs_per_block: 48,
        retention: 10,
        heights: [24, 32, 40],
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::changed(&temporary.path().join("net"), on_loopback(4), 50, |plan| {
        plan.blobs_per_block = size.blobs_per_block;
        plan.retention = Some(size.retention);
    });
    let _validators = network.start_all();
    let _load = network.load(0..4);
    watch(size, &network.nodes, &temporary.path().join("late"));
}
