//! Nodes that come late: a full node to a chain that is long under way, a validator whose clock was wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::faketime::{self, SetClock};
use crate::harness::network::{Network, join, start_with};
use crate::harness::{Node, wait_for};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(150);
/// What a clock that was set wrong or right leads to comes within this.
const SOON: Duration = Duration::from_secs(60);
/// Heights before it joins.
const AHEAD: u64 = 100;

#[test]
fn a_full_node_that_joins_late_reaches_the_head_with_the_same_blobs() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 50);
    let _validators = network.start_all();
    let _load = network.load(0..4);
    let witness = &network.nodes[0];
    witness.wait_for_height(AHEAD, PATIENCE);

    let (_full, full) = join(&temporary.path().join("full"), witness, &[]);
    full.wait_for_height(witness.height().expect("answers") + 3, PATIENCE);

    let ours = full.decided();
    assert!(ours.len() as u64 > AHEAD);
    let blobs: Vec<BTreeMap<u64, String>> = network
        .nodes
        .iter()
        .map(|node| {
            node.wait_for_height(ours.len() as u64, PATIENCE);
            assert_eq!(ours[..], node.decided()[..ours.len()], "node{}", node.id);
            (1..=ours.len() as u64)
                .map(|height| (height, sidecars(node, height)))
                .collect()
        })
        .collect();
    for height in 1..=ours.len() as u64 {
        let ours = sidecars(&full, height);
        for (node, theirs) in network.nodes.iter().zip(&blobs) {
            assert!(
                theirs[&height] == ours,
                "sidecars of height {height} differ from node{}'s",
                node.id
            );
        }
    }
    let blobs: u64 = ours.iter().filter_map(|decision| decision["blobs"].as_u64()).sum();
    assert!(blobs > 100, "only {blobs} blobs in {} heights", ours.len());
}

/// A digest of every blob of a height and what proves it, in order.
fn sidecars(node: &Node, height: u64) -> String {
    let slot = node.slot(height);
    let (status, answer) = node
        .get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"))
        .expect("answers");
    assert_eq!(status, 200, "node{} at height {height}: {answer}", node.id);
    format!("{:x}", Sha256::digest(answer["data"].to_string()))
}

/// Four validators, one of which has a clock of its own.
#[test]
fn a_node_whose_clock_is_wrong_says_so_and_comes_back_when_it_is_right() {
    let Some(library) = faketime::library() else {
        return;
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 1_000);
    let clock = SetClock::new(temporary.path().join("clock"));
    clock.set("-400d");
    let (wrong, right) = (&network.nodes[3], &network.nodes[0]);
    let _others: Vec<_> = (0..3).map(|id| network.start(id, &[])).collect();
    let _victim = start_with(&wrong.home, &[], &faketime::environment(&library, clock.file()));

    // By more than a year: nobody takes it in, for its attestation has expired when it is signed.
    right.wait_for_height(5, PATIENCE);
    let peers = |node: &Node| node.status().and_then(|status| status["peers"].as_u64());
    wait_for("answer of the wrong node", SOON, || peers(wrong));
    assert_eq!(peers(wrong), Some(0));
    clock.set("+0");
    wait_for("three peers without a restart", SOON, || {
        peers(wrong).filter(|peers| *peers == 3)
    });
    let reasons = |node: &Node| -> Vec<String> {
        let Ok((_, health)) = node.get("/health") else {
            return vec!["no answer".to_owned()];
        };
        serde_json::from_value(health["reasons"].clone()).expect("a list")
    };
    wait_for("readiness", SOON, || reasons(wrong).is_empty().then_some(()));

    for (offset, side) in [("-60", "behind"), ("+60", "ahead of")] {
        clock.set(offset);
        let seconds: f64 = offset.parse().expect("a number");
        let says =
            |reason: &String| reason.contains("our clock is") && reason.contains(&format!(" s {side} the validators'"));
        wait_for("reason for a wrong clock", SOON, || {
            reasons(wrong).iter().any(says).then_some(())
        });
        let shown = wrong.metric("ultramarine_clock_offset_seconds").expect("a metric");
        assert!((shown - seconds).abs() < 3.0, "{shown} s are shown of {offset} s");
        // Nobody else blames itself, and the others say whose clock it is.
        for node in &network.nodes[..3] {
            let about_clocks = reasons(node).into_iter().find(|reason| reason.contains("clock"));
            assert_eq!(about_clocks, None);
            wait_for("the peer's clock in metrics", SOON, || {
                (node.metric("ultramarine_clock_off_validators") == Some(1.0)).then_some(())
            });
        }
    }
    clock.set("+0");
    wait_for("readiness", SOON, || reasons(wrong).is_empty().then_some(()));
}
