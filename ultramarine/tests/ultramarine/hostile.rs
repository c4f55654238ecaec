//! Three hostile full nodes beside four real validators under load.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;
use ultramarine_net::bounds::UNJUDGED_BYTES_MAX;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::Home;

use crate::harness::network::{Network, charges, on_loopback};
use crate::harness::rogue::runtime;
use crate::harness::stranger::Stranger;
use crate::harness::{EMBEDDED_CLIENT_KB, Node};

const PATIENCE: Duration = Duration::from_secs(120);
const VALIDATORS: usize = 4;
const BLOBS: u32 = 24;
/// Heights of each half.
const HEIGHTS: u64 = 20;
/// Two of them live at one address.
const FROM: [[u8; 4]; 3] = [[127, 3, 0, 1], [127, 3, 0, 1], [127, 3, 0, 2]];
const LOOK: Duration = Duration::from_millis(100);

/// All that the nodes measured of commits since they began.
fn commits(nodes: &[Node]) -> Histogram<u64> {
    let of = |node: &Node| {
        let (_, answer) = node.get("/histograms").expect("the node answers");
        let text = answer["commit"].as_str().expect("it has committed");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        Deserializer::new()
            .deserialize::<u64, _>(&mut bytes.as_slice())
            .expect("a histogram")
    };
    let mut all = of(&nodes[0]);
    for node in &nodes[1..] {
        all.add(of(node)).expect("of one kind");
    }
    all
}

/// The p99 of what was added, in milliseconds.
fn p99_ms(before: &Histogram<u64>, after: &Histogram<u64>) -> f64 {
    let mut added = after.clone();
    added.subtract(before).expect("counts only rise");
    added.value_at_quantile(0.99) as f64 / 1e6
}

fn tip(nodes: &[Node]) -> u64 {
    let heights = nodes.iter().filter_map(Node::height);
    heights.min().expect("the nodes answer")
}

/// Charges of each kind, over all nodes.
fn faults(nodes: &[Node]) -> BTreeMap<&'static str, f64> {
    let kinds = [
        "protocol",
        "signature",
        "part",
        "proof",
        "certificate",
        "package",
        "rule",
        "execution",
        "withheld",
        "flood",
    ];
    let of = |kind: &str| {
        let series = format!("ultramarine_net_faults_total{{fault=\"{kind}\"}}");
        nodes.iter().filter_map(|node| node.metric(&series)).sum::<f64>()
    };
    kinds
        .into_iter()
        .map(|kind| (kind, of(kind)))
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

#[test]
fn three_hostile_full_nodes_stop_no_chain_fill_no_memory_and_cost_nobody_honest() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::with_blobs(&temporary.path().join("net"), on_loopback(VALIDATORS), 500, BLOBS);
    let processes = network.start_all();
    let nodes: Vec<Node> = network
        .nodes
        .iter()
        .zip(&processes)
        .map(|(node, process)| Node {
            pid: process.0.id(),
            ..node.clone()
        })
        .collect();
    let wait = |height: u64| nodes.iter().for_each(|node| node.wait_for_height(height, PATIENCE));
    wait(1);
    let _load = network.load(0..VALIDATORS);
    wait(5);
    let began = commits(&nodes);
    wait(5 + HEIGHTS);
    let quiet = commits(&nodes);

    let home = Home::open(&nodes[0].home).expect("a home");
    let genesis = Genesis::load(&home).expect("a genesis");
    let limits = genesis.chain.params.limits();
    let addresses: Vec<_> = network.addresses.iter().map(|addresses| addresses.quic).collect();
    let runtime = runtime();
    let strangers: Vec<Stranger> = FROM
        .iter()
        .enumerate()
        .map(|(number, from)| {
            Stranger::new(
                &runtime,
                &addresses,
                &genesis,
                (number, IpAddr::from(*from)),
                number == 2,
            )
        })
        .collect();
    let (attacked_at, first) = (Instant::now(), tip(&nodes));
    let last = first + HEIGHTS;
    let mut most = BTreeMap::<&str, f64>::new();
    while tip(&nodes) < last {
        assert!(
            attacked_at.elapsed() < PATIENCE,
            "from height {first} on, {} were decided",
            tip(&nodes) - first
        );
        for node in &nodes {
            assert!(node.stays_small(EMBEDDED_CLIENT_KB), "node{} runs", node.id);
            for (series, bound) in [
                ("ultramarine_net_assembly_bytes", limits.assembly_bytes()),
                ("ultramarine_net_unjudged_bytes", UNJUDGED_BYTES_MAX),
                (
                    "ultramarine_net_buffer_bytes",
                    limits.assembly_bytes() + UNJUDGED_BYTES_MAX,
                ),
            ] {
                let bytes = node.metric(series).expect("the node answers");
                assert!(
                    bytes <= bound as f64,
                    "node{} has {bytes} of {series}, and at most {bound}",
                    node.id
                );
                let known = most.entry(series).or_default();
                *known = known.max(bytes);
            }
        }
        std::thread::sleep(LOOK);
    }
    let beset = commits(&nodes);
    let names: Vec<String> = nodes
        .iter()
        .map(|node| {
            node.status().expect("answers")["peer_id"]
                .as_str()
                .expect("text")
                .to_owned()
        })
        .collect();
    for node in &nodes {
        for name in &names {
            assert_eq!(
                charges(node, name),
                [""; 0],
                "node{} charged a node of the chain",
                node.id
            );
        }
        let status = node.status().expect("answers");
        assert_eq!(status["signing"]["on"], true, "{status}");
        assert_eq!(
            node.metric("ultramarine_net_peers_items{class=\"validator\"}"),
            Some(VALIDATORS as f64 - 1.0)
        );
    }
    let charged = faults(&nodes);
    // All that they do was really done.
    let deeds: Vec<BTreeMap<&str, u64>> = strangers
        .iter()
        .map(|stranger| {
            let deeds = &stranger.deeds;
            let count = [
                ("statuses", &deeds.statuses),
                ("package bytes", &deeds.package_bytes),
                ("late refusals", &deeds.late_refusals),
                ("parts unserved", &deeds.parts_unserved),
                ("garbage", &deeds.garbage_blobs),
                ("connections", &deeds.keys),
            ];
            count.map(|(name, count)| (name, count.load(Ordering::Relaxed))).into()
        })
        .collect();
    let peaks: Vec<Value> = nodes.iter().map(|node| Value::from(node.peak_kb())).collect();
    let late: Vec<Value> = nodes
        .iter()
        .map(|node| node.status().expect("answers")["rounds_above_zero"].clone())
        .collect();
    // Past libtest, which swallows what tests that pass say.
    let (quiet_ms, beset_ms) = (p99_ms(&began, &quiet), p99_ms(&quiet, &beset));
    let _ = writeln!(
        std::io::stdout(),
        "commit p99 quiet {quiet_ms:.0} ms; with three hostile full nodes {beset_ms:.0} ms; ratio {:.2}; peaks \
         {peaks:?} kB; {most:?}; late rounds {late:?}; charges {charged:?}; deeds {deeds:?}; {HEIGHTS} heights in {} s",
        beset_ms / quiet_ms,
        attacked_at.elapsed().as_secs(),
    );
    for (number, deeds) in deeds.iter().enumerate() {
        assert!(
            deeds["statuses"] > 1_000 && deeds["package bytes"] > 10_000_000,
            "stranger {number}: {deeds:?}"
        );
    }
    // Somebody was taken in, and waited for an answer.
    assert!(deeds.iter().any(|deeds| deeds["late refusals"] > 0), "{deeds:?}");
    assert!(deeds[2]["garbage"] > 100 && deeds[2]["connections"] > 8, "{deeds:?}");
}
