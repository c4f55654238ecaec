//! One validator of four runs against EthereumJS, an execution client that shares no code with the embedded one.
//!
//! Wants EthereumJS, see `harness/program.rs`.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::network::Network;
use crate::harness::{Process, program, wait_for};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(240);
const HEIGHTS: usize = 30;
/// Which of the four uses it.
const OURS: usize = 3;

/// Gives our validator so much power that the others have no quorum without it.
///
/// So each height waits for what its client says of the block. A validator that executes more slowly than the others
/// would otherwise find the height decided by their precommits, and decide without a vote of its own.
fn make_indispensable(network: &Network) {
    for node in &network.nodes {
        let path = node.home.join("genesis.json");
        let text = std::fs::read_to_string(&path).expect("it was laid out");
        let mut genesis: Value = serde_json::from_str(&text).expect("JSON");
        genesis["validators"][OURS]["power"] = 2.into();
        std::fs::write(&path, genesis.to_string()).expect("the folder is writable");
    }
}

#[test]
fn a_validator_on_ethereumjs_votes_and_proposes_like_the_others() {
    let Some(client) = program::ethereumjs() else {
        return;
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 1000);
    make_indispensable(&network);
    let (ours, addresses) = (&network.nodes[OURS], &network.addresses[OURS]);
    let log = std::fs::File::create(ours.home.with_extension("ethereumjs.log")).expect("the folder is writable");
    // It leaves files of its own where it is started.
    let mut command = Command::new(&client);
    command
        .current_dir(temporary.path())
        .arg("--gethGenesis")
        .arg(ours.home.join("execution-genesis.json"))
        .arg("--dataDir")
        .arg(temporary.path().join("ethereumjs"))
        .arg("--jwtSecret")
        .arg(ours.home.join("jwt.hex"))
        .args(["--rpcAddr", "127.0.0.1", "--rpcEngineAddr", "127.0.0.1"])
        .args(["--rpc", "--rpcPort", &addresses.engine_http.port().to_string()])
        .args([
            "--rpcEngine",
            "--rpcEnginePort",
            &addresses.engine_auth.port().to_string(),
        ])
        .args([
            "--isSingleNode",
            "--sync",
            "none",
            "--discDns=false",
            "--discV4=false",
            "--logFile=false",
        ])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log);
    let _client = Process(command.spawn().expect("EthereumJS runs"));
    wait_for("the Engine API of EthereumJS", Duration::from_secs(60), || {
        std::net::TcpStream::connect(addresses.engine_auth).ok()
    });

    let engine = format!("http://{}", addresses.engine_auth);
    let mut processes: Vec<Process> = (0..4)
        .filter(|id| *id != OURS)
        .map(|id| network.start(id, &[]))
        .collect();
    processes.push(network.start(OURS, &["--engine", &engine]));
    let _load = network.load(0..4);
    for node in &network.nodes {
        node.wait_for_height(HEIGHTS as u64 + 2, PATIENCE);
    }

    let address = ours.status().expect("answers")["address"]
        .as_str()
        .expect("a validator")
        .to_owned();
    let decided = network.nodes[0].decided();
    let signed = network.signed();
    // In round 0: in time.
    let prevoted = |decision: &&Value| {
        let height = decision["height"].as_u64().expect("a number");
        let value = decision["value_id"].as_str().expect("a value id");
        let step = (address.clone(), height, 0, "prevote".to_owned());
        let voted = signed.get(&step);
        decision["round"] == 0 && voted.is_some_and(|voted| voted.iter().any(|voted| voted.starts_with(value)))
    };
    let voted = decided.iter().take(HEIGHTS).filter(prevoted).count();
    assert!(
        voted >= 25,
        "it prevoted in time for the decided value in only {voted} of {HEIGHTS} heights: {decided:?}"
    );
    let proposed = decided
        .iter()
        .filter(|decision| decision["origin_proposer"] == address.as_str() && decision["blobs"].as_u64() > Some(0))
        .count();
    assert!(
        proposed >= 2,
        "only {proposed} decided blob blocks are its own: {decided:?}"
    );
    let theirs = ours.decided();
    let common = theirs.len().min(decided.len());
    assert!(common >= HEIGHTS);
    assert_eq!(theirs[..common], decided[..common]);
    // Its client has executed the same blocks: both know the last of these heights by the hash that was decided.
    let last = &decided[HEIGHTS - 1];
    for node in [ours, &network.nodes[0]] {
        wait_for("the block in the client", PATIENCE, || {
            (node.block_hash(HEIGHTS as u64)? == last["block_hash"]).then_some(())
        });
    }
    network.nobody_signed_twice();
}
