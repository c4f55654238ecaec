//! A network laid out by the library and run node by node.
//!
//! Some tests need a chain of their own making: another pace, execution clients outside the nodes, messages on record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use ultramarine::devnet::ports;
use ultramarine::embedded;
use ultramarine::publish::{Content, PublisherOptions, publish};
use ultramarine_node::genesis::GenesisFile;
use ultramarine_node::genesis::execution::dev_account;
use ultramarine_node::home::network::{Addresses, CHAIN_ID, NodePlan, Plan, lay_out, node_directory};
use ultramarine_runtime::Clock;
use ultramarine_types::host::Host;

use super::turn::Turn;
use super::{Node, Process, succeed, ultramarine};

/// File in each home with every consensus message received.
const MESSAGES: &str = "messages.jsonl";

/// What a signer signed at one step.
type Step = (String, u64, u64, String);

/// Homes and their addresses; nothing runs by itself.
#[derive(Debug)]
pub struct Network {
    pub nodes: Vec<Node>,
    pub addresses: Vec<Addresses>,
    blobs_per_block: u32,
    _turn: Turn,
}

impl Network {
    /// Lays out `validators` homes for a chain with this block interval.
    pub fn lay_out(dir: &Path, validators: usize, block_interval_ms: u64) -> Self {
        Self::of(dir, on_loopback(validators), block_interval_ms)
    }

    /// Lays out the homes of these nodes.
    pub fn of(dir: &Path, nodes: Vec<NodePlan>, block_interval_ms: u64) -> Self {
        Self::changed(dir, nodes, block_interval_ms, |_| ())
    }

    /// The same for a chain whose blocks carry so many blobs.
    pub fn with_blobs(dir: &Path, nodes: Vec<NodePlan>, block_interval_ms: u64, blobs_per_block: u32) -> Self {
        Self::changed(dir, nodes, block_interval_ms, |plan| {
            plan.blobs_per_block = blobs_per_block
        })
    }

    /// The same for a chain that differs as `change` says.
    pub fn changed(dir: &Path, nodes: Vec<NodePlan>, block_interval_ms: u64, change: impl FnOnce(&mut Plan)) -> Self {
        let turn = Turn::alone();
        let addresses: Vec<Addresses> = nodes.iter().map(|node| node.addresses).collect();
        let mut plan = Plan {
            chain_id: CHAIN_ID,
            blobs_per_block: 6,
            block_interval_ms,
            genesis_time: Clock::unix_ns() / 1_000_000_000,
            prague_time: None,
            retention: None,
            nodes,
            embedded: Some(embedded::required().expect("the tests run with the embedded client")),
        };
        change(&mut plan);
        lay_out(dir, &plan).expect("the folder is empty");
        let nodes = addresses
            .iter()
            .enumerate()
            .map(|(id, addresses)| node(dir, id, addresses))
            .collect();
        Self {
            nodes,
            addresses,
            blobs_per_block: plan.blobs_per_block,
            _turn: turn,
        }
    }

    /// Changes the genesis of every node. Nothing may run yet, and no directory may have a chain.
    pub fn change_genesis(&self, change: impl Fn(&mut GenesisFile)) {
        for node in &self.nodes {
            let path = node.home.join("genesis.json");
            let text = std::fs::read_to_string(&path).expect("a home has a genesis");
            let mut genesis = serde_json::from_str(&text).expect("JSON");
            change(&mut genesis);
            let text = serde_json::to_string_pretty(&genesis).expect("plain data");
            std::fs::write(&path, text).expect("the folder is writable");
        }
    }

    /// Starts a node with these further flags; it records the messages it receives.
    pub fn start(&self, id: usize, flags: &[&str]) -> Process {
        start(&self.nodes[id].home, flags)
    }

    pub fn start_all(&self) -> Vec<Process> {
        (0..self.nodes.len()).map(|id| self.start(id, &[])).collect()
    }

    /// The execution client of a node as a process of its own, on the addresses its embedded one would have.
    pub fn external_client(&self, id: usize) -> Process {
        let (addresses, home) = (&self.addresses[id], &self.nodes[id].home);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.with_extension("el.log"))
            .expect("the folder is writable");
        let mut command = ultramarine(["dev-el", "--genesis"]);
        command
            .arg(home.join("execution-genesis.json"))
            .arg("--jwt-secret")
            .arg(home.join("jwt.hex"))
            .args(["--http-port", &addresses.engine_http.port().to_string()])
            .args(["--auth-port", &addresses.engine_auth.port().to_string()])
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        Process(command.spawn().expect("the binary runs"))
    }

    /// Feeds the clients of these nodes with blobs until the answer is dropped.
    pub fn load(&self, ids: impl IntoIterator<Item = usize>) -> Load {
        self.load_from(ids, || ())
    }

    /// The same by threads that do this first.
    pub fn load_from(&self, ids: impl IntoIterator<Item = usize>, on_start: impl Fn() + Send + Sync + 'static) -> Load {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.enable_all().on_thread_start(on_start).build().expect("threads");
        let cancel = CancellationToken::new();
        for id in ids {
            let options = PublisherOptions {
                rpc: self.nodes[id].rpc.clone(),
                signer: dev_account(id),
                content: Content::Fresh {
                    seed: 1,
                    publisher: id as u64,
                },
                blobs_per_block: self.blobs_per_block,
                validators: self.nodes.len() as u32,
            };
            runtime.spawn(publish(options, cancel.clone()));
        }
        Load {
            cancel,
            _runtime: runtime,
        }
    }

    /// Everything every validator signed, as all nodes together received it: step to the values signed.
    pub fn signed(&self) -> BTreeMap<Step, BTreeSet<String>> {
        let mut signed: BTreeMap<Step, BTreeSet<String>> = BTreeMap::new();
        for (step, what) in self.nodes.iter().flat_map(received) {
            signed.entry(step).or_default().insert(what);
        }
        signed
    }

    /// Whether a node received a prevote of this validator above this height, from whomever.
    pub fn has_voter_above(&self, id: usize, voter: &str, height: u64) -> bool {
        received(&self.nodes[id])
            .iter()
            .any(|((signer, at, _, kind), _)| signer == voter && *at > height && kind == "prevote")
    }

    /// Whose prevote for a value above this height was received by anybody.
    pub fn voters_above(&self, height: u64) -> BTreeSet<String> {
        let signed = self.signed();
        let votes = signed
            .iter()
            .filter(|((_, at, _, kind), _)| *at > height && kind == "prevote")
            .filter(|(_, values)| values.iter().any(|value| !value.starts_with("nil")));
        votes.map(|((signer, ..), _)| signer.clone()).collect()
    }

    /// Panics if any validator signed two different things for one step, over all lives.
    pub fn nobody_signed_twice(&self) {
        let signed = self.signed();
        for kind in ["init", "proposal", "prevote", "precommit"] {
            let steps = signed.keys().filter(|(.., found)| found == kind).count();
            assert!(steps > 10, "hardly any {kind} was recorded: {steps}");
        }
        for (step, values) in &signed {
            assert_eq!(values.len(), 1, "{step:?} was signed for {values:?}");
        }
    }
}

/// What a node received over all its lives, by step.
fn received(node: &Node) -> Vec<(Step, String)> {
    let text = std::fs::read_to_string(node.home.join(MESSAGES)).unwrap_or_default();
    // A line that a kill cut short is no message that anybody acted on.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let steps = lines.map(|line| {
        let text = |field: &str| line[field].as_str().unwrap_or("nil").to_owned();
        let number = |field: &str| line[field].as_u64().expect("a number");
        let step = (text("signer"), number("height"), number("round"), text("kind"));
        (step, format!("{} {}", text("value_id"), line["valid_round"]))
    });
    steps.collect()
}

/// Makes the home of a full node that joins the chain of `witness`, and starts it with these further settings.
pub fn join(home: &Path, witness: &Node, settings: &[&str]) -> (Process, Node) {
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    succeed([
        "init".to_owned(),
        "--home".to_owned(),
        path(home),
        "--genesis".to_owned(),
        path(&witness.home.join("genesis.json")),
        "--embedded".to_owned(),
    ]);
    let addresses = ports::free(1).expect("loopback has ports")[0];
    let listen = [
        format!("network.listen={}", addresses.quic),
        format!("http.listen={}", addresses.http),
        format!("engine.embedded_http={}", addresses.engine_http),
        format!("engine.embedded_auth={}", addresses.engine_auth),
    ];
    let all = listen.iter().map(String::as_str).chain(settings.iter().copied());
    let flags: Vec<&str> = all.flat_map(|setting| ["--set", setting]).collect();
    let process = start(home, &flags);
    let node = Node {
        id: 4,
        home: home.to_owned(),
        pid: process.0.id(),
        http: format!("http://{}", addresses.http),
        rpc: format!("http://{}", addresses.engine_http),
    };
    (process, node)
}

/// What the log of a node that was started here says of charges to a peer.
pub fn charges(node: &Node, peer: &str) -> Vec<String> {
    let lines = std::fs::read_to_string(node.home.with_extension("log")).unwrap_or_default();
    let charges = lines
        .lines()
        .filter(|line| line.contains(" charged") && line.contains(peer));
    charges.map(str::to_owned).collect()
}

/// So many nodes on free ports of this machine.
pub fn on_loopback(count: usize) -> Vec<NodePlan> {
    let nodes = ports::free(count).expect("loopback has ports");
    let nodes = nodes.into_iter().map(|addresses| NodePlan {
        host: Host::Address(addresses.quic.ip()),
        addresses,
    });
    nodes.collect()
}

/// Starts the node of a home; it records the messages it receives.
pub fn start(home: &Path, flags: &[&str]) -> Process {
    start_with(home, flags, &[])
}

/// The same with these variables in its environment.
pub fn start_with(home: &Path, flags: &[&str], environment: &[(&str, &Path)]) -> Process {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.with_extension("log"))
        .expect("the folder is writable");
    let mut command = ultramarine(["start", "--home"]);
    command
        .arg(home)
        .arg("--set")
        .arg(format!("log.messages_file={MESSAGES}"))
        .args(flags)
        .envs(environment.iter().copied())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log);
    Process(command.spawn().expect("the binary runs"))
}

fn node(dir: &Path, id: usize, addresses: &Addresses) -> Node {
    Node {
        id,
        home: node_directory(dir, id),
        pid: 0,
        http: format!("http://{}", addresses.http),
        rpc: format!("http://{}", addresses.engine_http),
    }
}

#[derive(Debug)]
pub struct Load {
    cancel: CancellationToken,
    _runtime: Runtime,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
