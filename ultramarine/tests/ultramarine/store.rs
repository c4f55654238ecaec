//! What a node tells of its store while it runs, and what the commands tell of it afterwards.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::network::Network;
use crate::harness::{rot, run, succeed, wait_for};

/// Longest time for a handful of heights on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn stats(home: &Path) -> Value {
    let home = home.to_str().expect("UTF-8");
    let text = succeed(["store", "stats", "--home", home, "--json"]);
    serde_json::from_str(&text).expect("one JSON object")
}

fn check(home: &Path) -> Output {
    run(["store", "check", "--home", home.to_str().expect("UTF-8")])
}

/// Flips a bit of what the first segment's first record has behind its header.
fn flip(home: &Path) {
    rot::flip(&home.join("data/segments/values-0000000000000001.seg"), 4096 + 700);
}

#[test]
fn a_store_is_told_of_by_its_node_and_looked_through_once_that_has_stopped() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&dir.path().join("net"), 1, 1000);
    let node = &network.nodes[0];
    let mut process = network.start(0, &["--set", "store.scrub_mb_per_second=100"]);
    let _load = network.load([0]);
    wait_for("a block with blobs", PATIENCE, || {
        let decided = node.decided_if_it_answers()?;
        decided
            .iter()
            .any(|block| block["blobs"].as_u64() > Some(0))
            .then_some(())
    });
    let told = stats(&node.home);
    let names = |value: &Value| value.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names(&told), names(&json!({"heights": 0, "bytes": 0, "segments": 0})));
    let states = ["archived", "damaged", "decided", "never_held", "pruned", "undecided"];
    assert_eq!(names(&told["heights"]), Some(states.map(str::to_owned).to_vec()));
    let kinds = ["dead", "files", "free", "index", "live", "log"];
    assert_eq!(names(&told["bytes"]), Some(kinds.map(str::to_owned).to_vec()));
    assert!(told["bytes"]["live"].as_u64() > Some(131_072), "{told}");
    let (code, status) = node.get("/ultramarine/v1/blob_status/1").expect("it answers");
    assert_eq!((code, &status["state"]), (200, &json!("decided")), "{status}");
    assert!(status["since"].as_u64() > Some(1_577_836_800), "{status}");
    let busy = check(&node.home);
    assert_eq!(
        busy.status.code(),
        Some(2),
        "only a stopped node's can be checked: {busy:?}"
    );

    wait_for("end of a pass", PATIENCE, || {
        node.metric("ultramarine_store_scrub_passes_total")
            .filter(|passes| *passes >= 1.0)
    });
    flip(&node.home);
    wait_for("notice of what rotted", PATIENCE, || {
        let (_, status) = node.get("/ultramarine/v1/blob_status/1").ok()?;
        (status["state"] == "damaged").then_some(())
    });
    let height = node.height();
    wait_for("height more", PATIENCE, || (node.height() > height).then_some(()));
    let status = node.status().expect("it answers");
    assert_eq!(status["scrub"]["found"], 1, "{status}");
    assert!(status["scrub"]["last_pass"].is_u64(), "{status}");
    assert_eq!(node.metric("ultramarine_store_heights{state=\"damaged\"}"), Some(1.0));

    assert!(process.terminate(PATIENCE).success());
    let told = stats(&node.home);
    assert!(told["heights"]["decided"].as_u64() >= height, "{told}");
    assert!(told["segments"].as_u64() >= Some(1) && told["bytes"]["files"].as_u64() > told["bytes"]["live"].as_u64());
    let found = check(&node.home);
    let said = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(
        said.lines().count() == 1 && said.starts_with("height 1: its record in segment"),
        "{said}"
    );
    flip(&node.home);
    let found = check(&node.home);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let table = succeed(["store", "stats", "--home", node.home.to_str().expect("UTF-8")]);
    assert!(table.lines().any(|line| line.starts_with("never_held ")), "{table}");
}
