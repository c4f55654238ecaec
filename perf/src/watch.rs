//! This file knows how to look at running nodes once a second and to remember the last that was seen of each.

use std::path::Path;
use std::time::Instant;

use serde::Deserialize;

use crate::heat::Heat;
use crate::http;
use crate::outcome::Nodes;
use crate::resources::Resources;
use crate::sample::Sample;
use crate::stages::Stages;

/// What was last seen of a node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub name: String,
    pub stages: Stages,
    pub resources: Resources,
    /// Its execution client's process, if that has one of its own.
    pub client: Option<Resources>,
    /// The first moment at which it told of a blob, or the first at all, and the last.
    pub samples: Option<(Sample, Sample)>,
    /// Operations per ring, by the ring's name.
    pub ring_operations: Vec<(String, u64)>,
}

/// The first node at one moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WatchedMoment {
    /// Seconds since the nodes were ready.
    pub at_seconds: f64,
    pub height: u64,
    /// Blobs decided so far.
    pub blobs: u64,
}

/// All that was seen of a run.
#[derive(Clone, Debug, Default)]
pub struct Seenings {
    /// Every node, in order.
    pub nodes: Vec<Seen>,
    /// The first node over time.
    pub timeline: Vec<WatchedMoment>,
    /// All nodes over time, stage by stage.
    pub heat: Heat,
}

impl Seenings {
    /// The stages of all nodes together.
    pub fn stages(&self) -> Stages {
        let mut all = Stages::default();
        self.nodes.iter().for_each(|node| all.merge(&node.stages));
        all
    }

    /// Blobs a second between the first moment at which there were any and the last: clients take none while they
    /// start.
    pub fn blobs_per_second(&self) -> Option<f64> {
        let first = self.timeline.iter().find(|moment| moment.blobs > 0)?;
        // All blobs came before the first look that saw any: nobody knows how fast.
        let last = self.timeline.last().filter(|last| last.blobs > first.blobs)?;
        let seconds = last.at_seconds - first.at_seconds;
        #[allow(clippy::cast_precision_loss)] // A run decides far fewer than 2^53 blobs.
        (seconds > 0.0).then(|| (last.blobs - first.blobs) as f64 / seconds)
    }
}

/// Looks at the nodes of a devnet.
#[derive(Debug)]
pub struct DevnetWatch {
    nodes: Option<(Nodes, Instant)>,
    seen: Seenings,
}

/// The part of `/status` that the timeline needs.
#[derive(Deserialize)]
struct Status {
    height: u64,
    #[serde(default)]
    blobs_total: u64,
}

impl DevnetWatch {
    pub fn new() -> Self {
        Self {
            nodes: None,
            seen: Seenings::default(),
        }
    }

    /// Looks once. A node that does not answer keeps what was last seen of it.
    pub fn look(&mut self, devnet_json: &Path) {
        if self.nodes.is_none() {
            // Written when all nodes are ready; until then there is nothing to look at.
            let nodes = std::fs::read_to_string(devnet_json)
                .ok()
                .and_then(|text| serde_json::from_str::<Nodes>(&text).ok());
            self.nodes = nodes.map(|nodes| (nodes, Instant::now()));
        }
        let Some((nodes, ready)) = &self.nodes else { return };
        self.seen.nodes.resize_with(nodes.nodes.len(), Seen::default);
        for (node, seen) in nodes.nodes.iter().zip(&mut self.seen.nodes) {
            seen.name = node.name();
            let (process, client) = (Resources::read(node.pid), node.client_pid.and_then(Resources::read));
            seen.resources = process.unwrap_or(seen.resources);
            seen.client = client.or(seen.client);
            if let Ok(stages) = http::get(&node.http, "/histograms").and_then(|text| Stages::read(&text)) {
                seen.stages = stages;
            }
            if let Ok(metrics) = http::get(&node.http, "/metrics") {
                seen.ring_operations = ring_operations(&metrics);
                // Both processes at one moment, or it is no moment to count from or to.
                let whole = process.filter(|_| client.is_some() == node.client_pid.is_some());
                if let Some(sample) = whole.and_then(|process| Sample::read(&metrics, process, client)) {
                    let first = seen
                        .samples
                        .take()
                        .map(|(first, _)| first)
                        .filter(|first| first.blobs > 0);
                    seen.samples = Some((first.unwrap_or_else(|| sample.clone()), sample));
                }
            }
        }
        let at_seconds = ready.elapsed().as_secs_f64();
        self.seen.heat.look(at_seconds, &self.seen.stages());
        let status = nodes
            .nodes
            .first()
            .and_then(|node| http::get(&node.http, "/status").ok());
        if let Some(status) = status.and_then(|text| serde_json::from_str::<Status>(&text).ok()) {
            self.seen.timeline.push(WatchedMoment {
                at_seconds,
                height: status.height,
                blobs: status.blobs_total,
            });
        }
    }

    /// Decided height of the first node when last seen, for a progress line.
    pub fn height(&self) -> Option<u64> {
        self.seen.timeline.last().map(|moment| moment.height)
    }

    /// All that was seen.
    pub fn finish(self) -> Seenings {
        self.seen
    }
}

/// Reads `ultramarine_ring_operations_total{ring="…"}` from Prometheus text.
fn ring_operations(metrics: &str) -> Vec<(String, u64)> {
    metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("ultramarine_ring_operations_total{ring=\"")?;
            let (ring, rest) = rest.split_once('"')?;
            Some((ring.to_owned(), rest.rsplit(' ').next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::serve;
    use crate::stages::tests::{document, histogram};
    use ultramarine_types::Stage;

    #[test]
    fn a_look_reads_every_node_and_keeps_the_last_seen() {
        let documents = [
            ("/histograms".to_owned(), document(&[("vote", histogram([4_000_000]))])),
            (
                "/metrics".to_owned(),
                "# TYPE x counter\nultramarine_ring_operations_total{ring=\"store\"} \
                 42\nultramarine_consensus_blobs_total 30\n"
                    .to_owned(),
            ),
            (
                "/status".to_owned(),
                "{\"height\": 9, \"blobs_total\": 30, \"more\": []}".to_owned(),
            ),
        ];
        let alive = serve(documents.into());
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("devnet.json");
        let mut watch = DevnetWatch::new();
        watch.look(&path);
        assert_eq!(watch.height(), None, "nothing is there yet");
        let pid = std::process::id();
        let json = format!(
            "{{\"nodes\": [{{\"id\": 0, \"pid\": {pid}, \"http\": \"{alive}\", \"home\": \"x\"}}, {{\"id\": 1, \
             \"pid\": {pid}, \"http\": \"http://127.0.0.1:1\"}}]}}"
        );
        std::fs::write(&path, json).expect("written");
        watch.look(&path);
        watch.look(&path);
        assert_eq!(watch.height(), Some(9));
        let seen = watch.finish();
        assert_eq!(seen.nodes.len(), 2);
        assert_eq!(seen.timeline.len(), 2);
        let votes = |part: &crate::heat::While| part.stages.len();
        assert_eq!(seen.heat.whiles.iter().map(votes).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(seen.nodes[0].ring_operations, [("store".to_owned(), 42)]);
        let (first, last) = seen.nodes[0].samples.as_ref().expect("it told twice");
        assert_eq!((first.blobs, last.blobs, last.client), (30, 30, None));
        assert!(seen.nodes[1].stages.get(Stage::Vote).is_none() && seen.nodes[1].resources.memory_bytes_max > 0);
        assert_eq!(
            seen.stages().get(Stage::Vote).map(hdrhistogram::Histogram::len),
            Some(1),
            "looks replace, nodes add"
        );
    }

    #[test]
    fn the_rate_is_taken_between_the_first_and_last_moment() {
        let moment = |at_seconds, blobs| WatchedMoment {
            at_seconds,
            height: 1,
            blobs,
        };
        let seen = Seenings {
            timeline: vec![moment(0.0, 0), moment(1.0, 10), moment(2.0, 15), moment(11.0, 60)],
            ..Seenings::default()
        };
        assert_eq!(seen.blobs_per_second(), Some(5.0));
        assert_eq!(Seenings::default().blobs_per_second(), None);
        let at_once = Seenings {
            timeline: vec![moment(0.0, 0), moment(1.0, 12), moment(2.0, 12)],
            ..Seenings::default()
        };
        assert_eq!(at_once.blobs_per_second(), None, "nobody saw how fast");
    }
}
