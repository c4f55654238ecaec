//! This file knows what a node had done and used at one moment, so that two moments give what a blob costs.

use std::collections::BTreeMap;

use crate::resources::Resources;

/// A node at one moment, counted from its start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sample {
    /// Blobs it has decided.
    pub blobs: u64,
    /// CPU time of each tile's thread, in nanoseconds.
    pub tiles_ns: BTreeMap<String, u64>,
    /// Bytes of datagrams it sent to other nodes.
    pub sent_bytes: u64,
    /// Bytes of datagrams it received.
    pub received_bytes: u64,
    pub node: Resources,
    /// Its execution client's process, if that has one of its own.
    pub client: Option<Resources>,
}

impl Sample {
    /// From what a node shows in `/metrics`; `None` if it does not show its blobs.
    pub fn read(metrics: &str, node: Resources, client: Option<Resources>) -> Option<Self> {
        let direction = |direction: &str| {
            let series = format!("ultramarine_net_bytes_total{{direction=\"{direction}\"}}");
            value(metrics, &series).unwrap_or(0)
        };
        Some(Self {
            blobs: value(metrics, "ultramarine_consensus_blobs_total")?,
            tiles_ns: tiles(metrics),
            sent_bytes: direction("out"),
            received_bytes: direction("in"),
            node,
            client,
        })
    }
}

/// The value of a series that is named in full.
fn value(metrics: &str, series: &str) -> Option<u64> {
    let number = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(number)
}

fn tiles(metrics: &str) -> BTreeMap<String, u64> {
    let tile = |line: &str| {
        let rest = line.strip_prefix("ultramarine_tile_cpu_seconds_total{tile=\"")?;
        let (tile, rest) = rest.split_once("\"} ")?;
        let seconds: f64 = rest.parse().ok()?;
        Some((tile.to_owned(), (seconds * 1e9).round() as u64))
    };
    metrics.lines().filter_map(tile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_s_own_series_are_read_and_no_others() {
        let metrics = "# HELP ultramarine_consensus_blobs_total 1\nultramarine_consensus_blobs_total_of_others 2\n\
                       ultramarine_consensus_blobs_total{of=\"others\"} 3\nultramarine_consensus_blobs_total 30\n\
                       ultramarine_tile_busy_seconds_total{tile=\"store\"} 4.5\n\
                       ultramarine_tile_cpu_seconds_total{tile=\"net\"} 0.000000005\n\
                       ultramarine_tile_cpu_seconds_total{tile=\"kzg-0\"} 7.25\n\
                       ultramarine_net_bytes_total{direction=\"out\"} 11\n\
                       ultramarine_net_bytes_total{direction=\"in\"} 13\n";
        let sample = Sample::read(metrics, Resources::default(), None).expect("it shows its blobs");
        assert_eq!((sample.blobs, sample.sent_bytes, sample.received_bytes), (30, 11, 13));
        assert_eq!(
            sample.tiles_ns,
            [("kzg-0".to_owned(), 7_250_000_000), ("net".to_owned(), 5)].into()
        );
        assert_eq!(Sample::read("", Resources::default(), None), None);
    }
}
