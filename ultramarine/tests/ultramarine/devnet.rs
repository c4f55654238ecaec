//! Whole networks of real processes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use ultramarine_node::genesis::execution::dev_account;

use crate::harness::cells::with_cells;
use crate::harness::network::Network;
use crate::harness::{Devnet, EMBEDDED_CLIENT_KB, Node, devnet_json, fail, is_running, sidecars, succeed, wait_for};
use ultramarine::publish::rpc::Rpc;
use ultramarine::publish::transaction::{Terms, sign};
use ultramarine::publish::{Prover, encode};

/// Longest time for a handful of heights on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn four_validators_agree_on_blocks_with_blobs() {
    let report = devnet_json(&["--until-height", "10"]);
    assert_eq!(report["agreement"], true, "{report}");
    assert!(report["heights"].as_u64() >= Some(10), "{report}");
    assert!(report["blobs"].as_u64() >= Some(6), "{report}");
    let nodes = report["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 4);
    assert!(
        nodes
            .iter()
            .all(|node| node["height"].as_u64() >= Some(10) && node["head"].is_string()),
        "{report}"
    );
    for stage in ["build", "stream", "verify", "persist", "execute", "vote", "import"] {
        assert!(
            report["latency_ms"][stage]["p99"].is_number(),
            "no latency of stage {stage}: {report}"
        );
    }
}

#[test]
fn a_file_put_through_one_node_comes_back_from_another_and_nothing_outlives_the_network() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let mut devnet = Devnet::start(&temporary.path().join("net"), &[]);
    wait_for("a block with a blob", PATIENCE, || {
        let has_blobs = |decision: &Value| decision["blobs"].as_u64() > Some(0);
        devnet.nodes[0].decided().iter().any(has_blobs).then_some(())
    });
    // Beside the load's: no block of this node must wait for it for long, nor those of the others at all.
    let from_cells = send_with_cells(&devnet.nodes[0].rpc);
    let file = temporary.path().join("file");
    let content: Vec<u8> = (0..1_000_000u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(1_000_000)
        .collect();
    std::fs::write(&file, &content).expect("the folder is writable");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let lines = succeed([
        "blob".to_owned(),
        "put".to_owned(),
        path(&file),
        "--rpc".to_owned(),
        devnet.nodes[0].rpc.clone(),
    ]);
    let number = |text: &str| text.parse().expect("a number");
    let published: Vec<(String, u64, u64)> = lines
        .lines()
        .filter_map(|line| <[&str; 3]>::try_from(line.split(' ').collect::<Vec<_>>()).ok())
        .map(|[hash, height, slot]| (hash.to_owned(), number(height), number(slot)))
        .collect();
    assert!(published.len() >= 8, "a blob carries at most 127 kB: {lines}");

    let other = &devnet.nodes[3];
    let newest = published
        .iter()
        .map(|(_, height, _)| *height)
        .max()
        .expect("some blobs");
    other.wait_for_height(newest, PATIENCE);
    let out = temporary.path().join("out");
    let mut get = vec![
        "blob".to_owned(),
        "get".to_owned(),
        "--node".to_owned(),
        other.http.clone(),
        "--out".to_owned(),
        path(&out),
    ];
    let wrong = published.iter().map(|(hash, ..)| format!("{hash}@1"));
    let error = fail(get.iter().cloned().chain(wrong));
    assert!(error.contains("asked for of height 1"), "{error}");
    // Half by name alone, as a node finds recent ones, and half by name and height, as it finds all.
    get.extend(
        published
            .iter()
            .enumerate()
            .map(|(index, (hash, height, _))| match index % 2 {
                0 => hash.clone(),
                _ => format!("{hash}@{height}"),
            }),
    );
    succeed(get);
    assert!(
        std::fs::read(&out).expect("written") == content,
        "the file came back changed"
    );

    for hash in from_cells {
        wait_for("blob that came with cell proofs", PATIENCE, || {
            let (status, _) = other.get(&format!("/ultramarine/v1/blobs/{hash}")).ok()?;
            (status == 200).then_some(())
        });
    }
    sidecars_verify_with_code_that_is_not_ours(other, &published);
    for node in &devnet.nodes {
        assert!(
            verified(node, "fast") > Some(0.0),
            "node{} verifies by default with our own",
            node.id
        );
    }

    devnet.process.interrupt();
    assert!(
        devnet.process.ended(Duration::from_secs(15)).success(),
        "stopping on request is no failure"
    );
    let log = std::fs::read_to_string(temporary.path().join("net.devnet.log")).expect("it has a log");
    assert!(!log.contains("did not end when asked"), "{log}");
    for node in &devnet.nodes {
        assert!(!is_running(node.pid), "node{} outlived its network", node.id);
    }
}

/// Sends a transaction of two blobs with cell proofs alone; their names.
fn send_with_cells(rpc: &str) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let rpc = Rpc::new(rpc).expect("a URL");
        let contents = ["one", "two"]
            .map(|text| encode::encode(text.as_bytes()).expect("small"))
            .concat();
        let proven = Prover::new(2).prove(&contents).await.expect("proven");
        // A spare account behind those of the validators.
        let signer = dev_account(7);
        let terms = Terms {
            chain_id: rpc.chain_id().await.expect("a chain id"),
            nonce: rpc.nonce(signer.address()).await.expect("a nonce"),
            fees: rpc.fees().await.expect("fees"),
        };
        let transaction = with_cells(&sign(&signer, &terms, &proven).expect("signed"));
        rpc.send(&transaction.raw).await.expect("the pool takes it");
        transaction.versioned_hashes.iter().map(ToString::to_string).collect()
    })
}

/// Values whose proofs this verifier found to hold on a node.
fn verified(node: &Node, verifier: &str) -> Option<f64> {
    node.metric(&format!(
        "ultramarine_kzg_values_total{{lane=\"kzg-0\",verifier=\"{verifier}\",outcome=\"holds\"}}"
    ))
}

#[test]
fn the_reference_verifies_where_it_is_configured() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(temporary.path(), 2, 200);
    let _nodes: Vec<_> = (0..2)
        .map(|id| network.start(id, &["--set", "node.verifier=c-kzg"]))
        .collect();
    let _load = network.load(0..2);
    for node in &network.nodes {
        wait_for("value that c-kzg verified", PATIENCE, || {
            (verified(node, "c-kzg") > Some(0.0)).then_some(())
        });
        assert_eq!(verified(node, "fast"), None, "one verifier judges on a node");
    }
}

/// The sidecars of every published blob, and that each header names the one below.
fn sidecars_verify_with_code_that_is_not_ours(node: &Node, published: &[(String, u64, u64)]) {
    let genesis = std::fs::read(node.home.join("genesis.json")).expect("a home has a genesis");
    let genesis = serde_json::from_slice(&genesis).expect("JSON");
    let chain = node.status().expect("answers")["genesis_hash"].clone();
    let mut below: Option<(u64, String)> = None;
    let blocks: BTreeSet<(u64, u64)> = published.iter().map(|(_, height, slot)| (*height, *slot)).collect();
    for (height, slot) in blocks {
        assert_eq!(
            node.slot(height),
            slot,
            "the slot that `blob put` told of height {height}"
        );
        let (_, answer) = node
            .get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"))
            .expect("answers");
        let checked = sidecars::verify(&answer, &chain, &genesis, slot);
        for (hash, ..) in published.iter().filter(|(_, at, _)| *at == height) {
            assert!(
                checked.versioned_hashes.contains(hash),
                "{hash} is not at height {height}"
            );
        }
        if let Some((_, root)) = below.take_if(|(at, _)| *at + 1 == height) {
            assert_eq!(checked.parent_root, root, "height {height} names another header below");
        }
        below = Some((height, checked.header_root));
    }
}

#[test]
fn nodes_end_with_a_network_that_is_killed() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let mut devnet = Devnet::start(&temporary.path().join("net"), &["--validators", "2"]);
    devnet.process.kill();
    wait_for("end of all nodes", Duration::from_secs(5), || {
        devnet.nodes.iter().all(|node| !is_running(node.pid)).then_some(())
    });
}

#[test]
fn a_network_that_stands_still_ends_with_the_reason_and_its_report() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let flags = ["--validators", "2", "--until-height", "1000", "--json"];
    let mut devnet = Devnet::start(&temporary.path().join("net"), &flags);
    devnet.wait_for_height(1, PATIENCE);
    devnet.nodes[1].kill();
    let status = devnet.process.ended(PATIENCE);
    let log = std::fs::read_to_string(temporary.path().join("net.devnet.log")).expect("it has a log");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("nothing moved for 60 s: node0 at height"), "{log}");
    let report = log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let report = report.unwrap_or_else(|| panic!("no object in {log}"));
    assert_eq!(
        report["agreement"], false,
        "a node that does not answer agrees to nothing"
    );
    assert_eq!(report["nodes"].as_array().map(Vec::len), Some(2), "{report}");
}

#[test]
fn a_kept_network_goes_on_where_it_stopped() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("net");
    let mut first = Devnet::start(&dir, &["--validators", "2"]);
    first.wait_for_height(3, PATIENCE);
    assert!(first.nodes.iter().all(|node| node.stays_small(EMBEDDED_CLIENT_KB)));
    let before = first.nodes[0].decided();
    assert!(first.process.terminate(Duration::from_secs(15)).success());
    drop(first);
    for node in ["node0.log", "node1.log"] {
        let log = std::fs::read_to_string(dir.join(node)).expect("it is kept");
        // A machine that is busy with other tests may hold up a tile or a client.
        let slow = [
            "has taken no turn",
            "has not answered",
            "in this process ran",
            "no connection for",
            "has not been decided for",
        ];
        let warned = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        let warned: Vec<&str> = warned
            .filter(|line| !slow.iter().any(|part| line.contains(part)))
            .collect();
        assert_eq!(warned, [""; 0], "a normal life warns of nothing");
        let decided = log.lines().filter(|line| line.contains(" decided ")).count();
        assert_eq!(log.matches("malachite").count(), 0, "{log}");
        assert!(decided >= 3, "one line a height: {log}");
    }
    let again = Devnet::start(&dir, &[]);
    assert_eq!(again.nodes.len(), 2);
    again.wait_for_height(before.len() as u64 + 2, PATIENCE);
    let after = again.nodes[0].decided();
    assert_eq!(after[..before.len()], before, "no decided height is lost or changed");
}

#[test]
fn a_killed_validator_catches_up_when_it_is_started_again() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let devnet = Devnet::start(&temporary.path().join("net"), &[]);
    devnet.wait_for_height(2, PATIENCE);
    let (victim, witness) = (&devnet.nodes[2], &devnet.nodes[0]);
    victim.kill();
    let height = witness.height().expect("answers");
    witness.wait_for_height(height + 3, PATIENCE);
    let _restarted = victim.restart();
    let target = witness.height().expect("answers") + 2;
    victim.wait_for_height(target, PATIENCE);
    let (theirs, ours) = (witness.decided(), victim.decided());
    let common = theirs.len().min(ours.len());
    assert_eq!(ours[..common], theirs[..common]);
    let signing = || victim.status().is_some_and(|status| status["signing"]["on"] == true);
    wait_for("signatures of its own", PATIENCE, || signing().then_some(()));
    // A block of its own proves that the others take its signatures.
    let address = victim.status().expect("answers")["address"].clone();
    let caught_up = victim.height().expect("answers");
    wait_for("a block of its own", PATIENCE, || {
        let is_its =
            |decision: &Value| decision["height"].as_u64() > Some(caught_up) && decision["origin_proposer"] == address;
        witness.decided().iter().any(is_its).then_some(())
    });
}
