//! One validator of four runs against EthereumJS, an execution client that shares no code with the embedded one.
//!
//! Wants Node.js and `@ethereumjs/client` 0.10.5 installed in the folder that `ULTRAMARINE_ETHEREUMJS_DIR` names. Without
//! them the test says that it was skipped, unless `ULTRAMARINE_REQUIRE_ETHEREUMJS` is 1.

mod harness;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::network::Network;
use harness::{Process, wait_for};

const PATIENCE: Duration = Duration::from_secs(240);
const HEIGHTS: u64 = 30;
/// Which of the four uses it.
const OURS: usize = 3;

fn client() -> Option<PathBuf> {
    let found = std::env::var_os("ULTRAMARINE_ETHEREUMJS_DIR")
        .map(|dir| PathBuf::from(dir).join("node_modules/.bin/ethereumjs"))
        .filter(|path| path.is_file());
    let required = std::env::var("ULTRAMARINE_REQUIRE_ETHEREUMJS").is_ok_and(|value| value == "1");
    assert!(
        found.is_some() || !required,
        "EthereumJS is required and was not found in ULTRAMARINE_ETHEREUMJS_DIR"
    );
    found
}

/// Gives our validator so much power that the others have no quorum without it: whoever executes more slowly would
/// otherwise find each height decided by the others' precommits, and decide at once without a vote of its own.
fn make_indispensable(network: &Network) {
    for node in &network.nodes {
        let path = node.home.join("genesis.json");
        let text = std::fs::read_to_string(&path).expect("it was laid out");
        let mut genesis: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        genesis["validators"][OURS]["power"] = 2.into();
        std::fs::write(&path, genesis.to_string()).expect("the folder is writable");
    }
}

#[test]
fn a_validator_on_ethereumjs_votes_and_proposes_like_the_others() {
    let Some(client) = client() else {
        println!("skipped: no EthereumJS; set ULTRAMARINE_ETHEREUMJS_DIR (see .ci/run)");
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
        node.wait_for_height(HEIGHTS + 2, PATIENCE);
    }

    let address = ours.status().expect("answers")["address"]
        .as_str()
        .expect("a validator")
        .to_owned();
    let signed = network.signed();
    let voted = (1..=HEIGHTS)
        .filter(|height| {
            signed.iter().any(|((signer, at, _, kind), values)| {
                *signer == address && at == height && kind == "prevote" && values.iter().any(|v| !v.starts_with("nil"))
            })
        })
        .count();
    assert!(
        voted >= 25,
        "it prevoted for the value in only {voted} of {HEIGHTS} heights"
    );
    let decided = network.nodes[0].decided();
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
    assert_eq!(theirs[..common], decided[..common]);
    network.nobody_signed_twice();
}
