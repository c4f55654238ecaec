//! A full node joins a chain that is long under way.

mod harness;

use std::time::Duration;

use harness::network::{Network, start};
use harness::{Node, succeed};

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

    let (theirs, ours) = (witness.decided(), full.decided());
    let common = theirs.len().min(ours.len());
    assert!(common as u64 > AHEAD);
    assert_eq!(ours[..common], theirs[..common]);
    let mut blobs = 0;
    for decision in &ours[..common] {
        let path = format!("/eth/v1/beacon/blob_sidecars/{}", decision["height"]);
        let (theirs, ours) = (witness.get(&path).expect("answers"), full.get(&path).expect("answers"));
        let (codes, height) = ((theirs.0, ours.0), &decision["height"]);
        assert!(theirs == ours, "sidecars of height {height} differ; answered {codes:?}");
        blobs += ours.1["data"].as_array().map_or(0, Vec::len);
    }
    assert!(blobs > 100, "only {blobs} blobs in {common} heights");
}
