//! A full node joins a chain that is long under way.

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::network::{Network, start};
use harness::{Node, succeed};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(150);
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

    let home = temporary.path().join("full");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    succeed([
        "init".to_owned(),
        "--home".to_owned(),
        path(&home),
        "--genesis".to_owned(),
        path(&witness.home.join("genesis.json")),
        "--embedded".to_owned(),
    ]);
    let ports = ultramarine_node::devnet::ports::free(1).expect("loopback has ports")[0];
    let flags = [
        format!("network.listen={}", ports.quic),
        format!("http.listen={}", ports.http),
        format!("engine.embedded_http={}", ports.engine_http),
        format!("engine.embedded_auth={}", ports.engine_auth),
    ];
    let flags: Vec<&str> = flags.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    let _full = start(&home, &flags);
    let full = Node {
        id: 4,
        home,
        pid: 0,
        http: format!("http://{}", ports.http),
        rpc: format!("http://{}", ports.engine_http),
        quic: ports.quic.to_string(),
    };
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
    let (status, answer) = node
        .get(&format!("/eth/v1/beacon/blob_sidecars/{height}"))
        .expect("answers");
    assert_eq!(status, 200, "node{} at height {height}: {answer}", node.id);
    format!("{:x}", Sha256::digest(answer["data"].to_string()))
}
