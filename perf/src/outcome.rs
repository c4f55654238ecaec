//! This file knows the two documents a devnet writes: its nodes when ready, its result at the end.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
pub struct Nodes {
    /// One entry per node, in order.
    pub nodes: Vec<RunningNode>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RunningNode {
    /// Its name or number.
    pub id: serde_json::Value,
    pub pid: u32,
    /// Its execution client's process, if that has one of its own.
    #[serde(default)]
    pub client_pid: Option<u32>,
    /// The base of its HTTP service.
    pub http: String,
}

impl RunningNode {
    /// The name as text, whether it was written as a number or a string.
    pub fn name(&self) -> String {
        text_of(&self.id)
    }
}

/// The object that `devnet --json` prints at its end. Its percentiles are not read: the histograms behind them are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Outcome {
    /// Whether all nodes decided the same value at every height.
    pub agreement: bool,
    pub heights: u64,
    pub blobs: u64,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Heights that needed more than one round.
    pub rounds_above_zero: u64,
    #[serde(default)]
    pub load: Published,
    /// Every node at the end.
    pub nodes: Vec<NodeOutcome>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct Published {
    /// Whether blobs came again: what a node has verified before costs it nothing.
    pub repeats: bool,
    /// What made fresh blobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The files that were published round and round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

impl Published {
    /// One line for people.
    pub fn line(&self) -> String {
        match (&self.files, self.seed) {
            (Some(files), _) => format!("{files}, round and round: blobs repeat, and a node verifies each only once"),
            (None, Some(seed)) => format!("fresh blobs, none of which comes twice (seed {seed})"),
            (None, None) => "not told".to_owned(),
        }
    }
}

/// A node at the end.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeOutcome {
    /// Its name or number.
    pub id: serde_json::Value,
    pub height: u64,
    #[serde(default)]
    pub head: serde_json::Value,
    pub blobs: u64,
}

impl NodeOutcome {
    /// The name as text.
    pub fn name(&self) -> String {
        text_of(&self.id)
    }

    /// The head as text.
    pub fn head_text(&self) -> String {
        text_of(&self.head)
    }
}

impl Outcome {
    /// Finds the object in what the devnet printed: the last JSON object with an `agreement`.
    pub fn find(printed: &str) -> Option<Self> {
        let starts = printed
            .match_indices('{')
            .map(|(at, _)| at)
            .filter(|at| *at == 0 || printed.as_bytes().get(at - 1) == Some(&b'\n'));
        let mut found = None;
        for start in starts {
            // A reader that stops after one value: what follows the object is not its business.
            let mut values = serde_json::Deserializer::from_str(&printed[start..]).into_iter::<Self>();
            if let Some(Ok(outcome)) = values.next() {
                found = Some(outcome);
            }
        }
        found
    }
}

fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"agreement": true, "heights": 40, "blobs": 160, "bytes": 20971520, "rounds_above_zero": 1,
        "load": {"repeats": false, "seed": 9},
        "nodes": [{"id": 0, "height": 40, "head": "0xab", "blobs": 160},
            {"id": "node-1", "height": 41, "head": null, "blobs": 161}],
        "latency_ms": {"vote": {"p50": 1.5, "p90": 2.0, "p99": 3.0, "max": 4.0}}}"#;

    #[test]
    fn the_result_is_found_behind_other_lines() {
        let outcome = Outcome::find(&format!("{{not json\nready {{\n{OBJECT}\n")).expect("found");
        assert!(outcome.agreement);
        assert!(
            !outcome.load.repeats && outcome.load.line().contains("seed 9"),
            "{:?}",
            outcome.load
        );
        assert_eq!((outcome.heights, outcome.nodes.len()), (40, 2));
        assert_eq!(
            (outcome.nodes[0].name(), outcome.nodes[1].name()),
            ("0".to_owned(), "node-1".to_owned())
        );
        assert_eq!(
            (outcome.nodes[0].head_text(), outcome.nodes[1].head_text()),
            ("0xab".to_owned(), String::new())
        );
    }

    #[test]
    fn a_run_may_end_without_a_result() {
        assert!(Outcome::find("nothing moved for 60 s {").is_none());
    }
}
