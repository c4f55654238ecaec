//! Four real nodes, two of which can never reach each other.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::mesh::Mesh;
use crate::harness::network::Network;
use crate::harness::{Node, Process, wait_for};

const PATIENCE: Duration = Duration::from_secs(25);
/// The two that have no link.
const CUT: (usize, usize) = (0, 1);
/// Another one, which ends before the two need each other.
const DOWN: usize = 2;
/// Heights that are looked at, and how many of them may need another round where the machine is busy.
const HEIGHTS: usize = 12;
const LATE_MAX: usize = 2;

struct Scene {
    mesh: Mesh,
    network: Network,
}

impl Scene {
    fn of<T: Send>(&self, id: usize, look: impl FnOnce(&Node) -> T + Send) -> T {
        self.mesh.machines[id].inside(|| look(&self.network.nodes[id]))
    }

    fn start(&self, id: usize) -> Process {
        // Each machine counts the same cores for itself.
        self.mesh.machines[id].inside(|| self.network.start(id, &["--set", "node.pin=false"]))
    }

    fn wait_for_height(&self, id: usize, height: u64) {
        self.of(id, |node| node.wait_for_height(height, PATIENCE));
    }

    fn number(&self, id: usize, field: &str) -> u64 {
        let status = self.of(id, Node::status).expect("the node answers");
        status[field].as_u64().expect("a number")
    }

    /// Whose precommits prove a height, by the node without a link to the killed one.
    fn signers(&self, height: u64) -> BTreeSet<String> {
        let path = format!("/ultramarine/v1/value/{height}");
        let (_, value) = self.of(CUT.1, |node| node.get(&path)).expect("the node answers");
        let signatures = value["certificate"]["signatures"].as_array().expect("a list");
        let signer = |entry: &Value| entry["address"].as_str().expect("an address").to_owned();
        signatures.iter().map(signer).collect()
    }

    fn address(&self, id: usize) -> String {
        let status = self.of(id, Node::status).expect("the node answers");
        status["address"].as_str().expect("a validator").to_owned()
    }

    /// What the last of these nodes decided, after a check that the others decided the same.
    fn agreed(&self, ids: &[usize]) -> Vec<Value> {
        let mut all: Vec<Vec<Value>> = ids.iter().map(|id| self.of(*id, Node::decided)).collect();
        let last = all.pop().expect("some nodes");
        for decided in all {
            let both = decided.len().min(last.len());
            assert_eq!(decided[..both], last[..both]);
        }
        last
    }

    /// Waits until all decided this height.
    fn all_reach(&self, height: u64) {
        (0..self.network.nodes.len()).for_each(|id| self.wait_for_height(id, height));
    }
}

/// How many of these heights were not decided in round 0.
fn late_of(decided: &[Value]) -> usize {
    decided.iter().filter(|decision| decision["round"] != 0).count()
}

#[test]
fn an_edge_that_is_missing_for_ever_keeps_blocks_in_round_0_and_silences_nobody() {
    let Some(mesh) = Mesh::without(4, &[CUT]) else {
        return;
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::of(&temporary.path().join("net"), mesh.plans(), 500);
    let scene = Scene { mesh, network };
    let began = Instant::now();
    let mut processes: Vec<Process> = (0..4).map(|id| scene.start(id)).collect();
    scene.all_reach(1);
    let _loads: Vec<_> = (0..4)
        .map(|id| {
            let machine = scene.mesh.machines[id].clone();
            scene.network.load_from([id], move || machine.enter())
        })
        .collect();
    scene.all_reach(3);
    let peers: Vec<u64> = (0..4).map(|id| scene.number(id, "peers")).collect();
    assert_eq!(peers, [2, 2, 3, 3], "the edge is missing, and all others are there");

    scene.all_reach(3 + HEIGHTS as u64);
    let addresses: Vec<String> = (0..4).map(|id| scene.address(id)).collect();
    let decided = scene.agreed(&[0, 1, 2, 3]);
    let late = late_of(&decided[3..3 + HEIGHTS]);
    assert!(
        late <= LATE_MAX,
        "{late} of {HEIGHTS} heights needed another round: {decided:?}"
    );
    let proposers: BTreeSet<&str> = decided
        .iter()
        .filter(|decision| decision["round"] == 0 && decision["blobs"].as_u64() > Some(0))
        .filter_map(|decision| decision["origin_proposer"].as_str())
        .collect();
    for id in [CUT.0, CUT.1] {
        let address = addresses[id].as_str();
        assert!(
            proposers.contains(address),
            "no block of node{id} was decided in round 0"
        );
    }

    // From here on each of the other three is needed, and the two that are cut hear each other through the third alone.
    processes[DOWN].kill();
    let from = scene.number(CUT.1, "height") + 2;
    scene.wait_for_height(CUT.1, from + HEIGHTS as u64);
    let decided = scene.agreed(&[CUT.0, CUT.1]);
    let late_of_three = late_of(&decided[from as usize..][..HEIGHTS]);
    // A quarter of the heights are the dead one's to propose.
    assert!(
        late_of_three <= HEIGHTS / 4 + LATE_MAX,
        "{late_of_three} of {HEIGHTS} heights needed another round: {decided:?}"
    );

    processes[CUT.0].kill();
    let gone = scene.number(CUT.1, "height");
    std::thread::sleep(Duration::from_secs(1));
    assert!(scene.number(CUT.1, "height") <= gone + 1, "two of four decide nothing");
    processes[CUT.0] = scene.start(CUT.0);
    wait_for("its answer", PATIENCE, || scene.of(CUT.0, Node::status));
    let answered = Instant::now();
    wait_for("a node that signs", PATIENCE, || {
        let status = scene.of(CUT.0, Node::status)?;
        (status["signing"]["on"] == true).then_some(())
    });
    let signing_ms = answered.elapsed().as_millis();
    // What it signs reaches the node without a link to it, and counts there.
    let since = gone + 2;
    scene.wait_for_height(CUT.1, since + 2);
    wait_for("its vote on the other side", PATIENCE, || {
        scene
            .network
            .has_voter_above(CUT.1, &addresses[CUT.0], since)
            .then_some(())
    });
    assert!(scene.signers(since + 1).contains(&addresses[CUT.0]));
    let took = began.elapsed();
    // Past libtest, which swallows what tests that pass say.
    let _ = writeln!(
        std::io::stdout(),
        "{late} of {HEIGHTS} heights late with four nodes, {late_of_three} with three; signing {signing_ms} ms after \
         the first answer; {} s in all",
        took.as_secs()
    );
    assert!(took < Duration::from_secs(60), "it took {} s", took.as_secs());
    drop(processes);
    scene.network.nobody_signed_twice();
}
