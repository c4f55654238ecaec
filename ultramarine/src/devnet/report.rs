//! This file knows what a run came to: whether all nodes agree on every height, and the figures of the whole.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use ultramarine_node::board::DecisionSummary;
use ultramarine_types::{Hash, Height, Round, ValueId};

use crate::devnet::client::{NodeClient, merge};
use crate::devnet::layout::NodeHome;
use crate::devnet::load::Description;

/// Heights of disagreement that are named.
const NAMED_MAX: usize = 5;

/// The object `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct DevnetReport {
    /// Every node answered, and all decided the same value at every height that any of them decided.
    pub agreement: bool,
    /// Heights every node has decided.
    pub heights: u64,
    pub blobs: u64,
    /// Payload and blob bytes in them.
    pub bytes: u64,
    /// How many of them were decided in a round above 0.
    pub rounds_above_zero: u64,
    /// What was published, and whether it repeats.
    pub load: Description,
    pub nodes: Vec<NodeReport>,
    /// Stages of a block over all nodes, in milliseconds.
    pub latency_ms: BTreeMap<String, Latency>,
    /// Why `agreement` is false; left out when it is true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disagreement: Vec<String>,
}

/// One node of a [`DevnetReport`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeReport {
    pub id: usize,
    /// Newest height it has decided.
    pub height: u64,
    /// The execution block of that height.
    pub head: Hash,
    /// Blobs of all heights it has decided.
    pub blobs: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// Asks every node. One that is gone is named in the report, and nowhere else.
pub async fn gather(nodes: &[NodeHome], load: &Description, client: &NodeClient) -> DevnetReport {
    let mut decided = Vec::with_capacity(nodes.len());
    let mut stages = BTreeMap::new();
    let mut failures = Vec::new();
    for node in nodes {
        match client.decided(&node.http()).await {
            Ok(decisions) => decided.push(decisions),
            Err(error) => {
                failures.push(format!("node{}: {}", node.id, crate::program::causes(&error)));
                decided.push(Vec::new());
                continue;
            }
        }
        let merged = client
            .histograms(&node.http())
            .await
            .and_then(|more| merge(&mut stages, more));
        if let Err(error) = merged {
            tracing::warn!(node = node.id, %error, "histograms are missing from the report");
        }
    }
    summarize(&decided, load, failures, &stages)
}

fn summarize(
    decided: &[Vec<DecisionSummary>],
    load: &Description,
    failures: Vec<String>,
    stages: &BTreeMap<String, Histogram<u64>>,
) -> DevnetReport {
    let mut disagreement = failures;
    disagreement.extend(disagreements(decided));
    let common = decided
        .iter()
        .map(|node| node.last().map_or(0, |last| last.height.0))
        .min()
        .unwrap_or_default();
    let shared = || {
        decided
            .iter()
            .take(1)
            .flatten()
            .filter(|decision| decision.height.0 <= common)
    };
    let nodes = decided.iter().enumerate().map(|(id, node)| NodeReport {
        id,
        height: node.last().map_or(0, |last| last.height.0),
        head: node.last().map_or(Hash::ZERO, |last| last.block_hash),
        blobs: node.iter().map(|decision| u64::from(decision.blobs)).sum(),
    });
    DevnetReport {
        agreement: disagreement.is_empty(),
        heights: common,
        blobs: shared().map(|decision| u64::from(decision.blobs)).sum(),
        bytes: shared().map(|decision| decision.bytes).sum(),
        rounds_above_zero: shared().filter(|decision| decision.round > Round(0)).count() as u64,
        load: load.clone(),
        nodes: nodes.collect(),
        latency_ms: stages
            .iter()
            .filter(|(_, stage)| !stage.is_empty())
            .map(|(name, stage)| (name.clone(), latency(stage)))
            .collect(),
        disagreement,
    }
}

/// Heights at which two nodes differ, or that a node skipped.
fn disagreements(decided: &[Vec<DecisionSummary>]) -> Vec<String> {
    let mut first: BTreeMap<Height, (usize, ValueId)> = BTreeMap::new();
    let mut found = Vec::new();
    for (id, node) in decided.iter().enumerate() {
        for (position, decision) in node.iter().enumerate() {
            if decision.height.0 != position as u64 + 1 {
                found.push(format!("node{id} has no decision of height {}", position + 1));
                break;
            }
            let (other, value_id) = *first.entry(decision.height).or_insert((id, decision.value_id));
            if value_id != decision.value_id {
                found.push(format!(
                    "height {}: node{other} decided {value_id}, node{id} decided {}",
                    decision.height, decision.value_id
                ));
            }
        }
    }
    let more = found.len().saturating_sub(NAMED_MAX);
    found.truncate(NAMED_MAX);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn latency(stage: &Histogram<u64>) -> Latency {
    // Three decimals: microseconds.
    let ms = |ns: u64| (ns as f64 / 1e3).round() / 1e3;
    Latency {
        p50: ms(stage.value_at_quantile(0.5)),
        p90: ms(stage.value_at_quantile(0.9)),
        p99: ms(stage.value_at_quantile(0.99)),
        max: ms(stage.max()),
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::Address;

    use super::*;

    fn chain(heights: u64, odd_one: Option<u64>) -> Vec<DecisionSummary> {
        (1..=heights)
            .map(|height| DecisionSummary {
                height: Height(height),
                value_id: ValueId([if odd_one == Some(height) { 0xff } else { 1 }; 32]),
                round: Round(u32::from(height == 2)),
                blobs: 3,
                bytes: 1000,
                block_hash: Hash([height as u8; 32]),
                origin_proposer: Address::ZERO,
            })
            .collect()
    }

    fn load() -> Description {
        Description {
            repeats: false,
            seed: Some(7),
            files: None,
        }
    }

    fn report(decided: &[Vec<DecisionSummary>]) -> DevnetReport {
        summarize(decided, &load(), Vec::new(), &BTreeMap::new())
    }

    #[test]
    fn nodes_at_different_heights_of_one_chain_agree() {
        let report = report(&[chain(5, None), chain(7, None), chain(6, None)]);
        assert!(report.agreement, "{:?}", report.disagreement);
        assert_eq!(
            (report.heights, report.blobs, report.bytes, report.rounds_above_zero),
            (5, 15, 5000, 1)
        );
        assert_eq!(
            report.nodes[1],
            NodeReport {
                id: 1,
                height: 7,
                head: Hash([7; 32]),
                blobs: 21
            }
        );
    }

    #[test]
    fn one_different_value_at_one_height_is_a_disagreement() {
        let report = report(&[chain(5, None), chain(5, Some(4))]);
        assert!(!report.agreement);
        assert!(
            report.disagreement[0].starts_with("height 4: node0 decided 0x01"),
            "{:?}",
            report.disagreement
        );
    }

    #[test]
    fn values_above_the_common_height_are_compared_too() {
        assert!(!report(&[chain(2, None), chain(5, None), chain(5, Some(5))]).agreement);
    }

    #[test]
    fn a_hole_in_a_chain_is_a_disagreement() {
        let mut holed = chain(5, None);
        holed.remove(2);
        assert!(!report(&[chain(5, None), holed]).agreement);
    }

    #[test]
    fn a_node_that_does_not_answer_is_no_agreement() {
        let report = summarize(
            &[chain(3, None), Vec::new()],
            &load(),
            vec!["node1: gone".to_owned()],
            &BTreeMap::new(),
        );
        assert!(!report.agreement);
        assert_eq!(report.heights, 0);
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let mut stage = Histogram::<u64>::new(3).expect("three digits are allowed");
        for ms in 1..=100u64 {
            stage.record(ms * 1_000_000).expect("resizes by itself");
        }
        let stages = BTreeMap::from([("build".to_owned(), stage)]);
        let json =
            serde_json::to_value(summarize(&[chain(3, None)], &load(), Vec::new(), &stages)).expect("plain data");
        let object = json.as_object().expect("an object");
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let mut expected = [
            "agreement",
            "heights",
            "blobs",
            "bytes",
            "rounds_above_zero",
            "load",
            "nodes",
            "latency_ms",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
        let p50 = json["latency_ms"]["build"]["p50"].as_f64().expect("a number");
        assert!((49.9..50.2).contains(&p50), "{p50}");
        assert!(json["latency_ms"]["build"]["max"].as_f64().is_some());
        assert_eq!(json["nodes"][0]["id"], 0);
        assert_eq!(json["load"], serde_json::json!({ "repeats": false, "seed": 7 }));
    }
}
