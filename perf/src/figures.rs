//! This file knows the figures of a run that are kept: what a blob costs, as an object and as rows of a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use ultramarine_types::Stage;
use ultramarine_types::limits::BLOB_BYTES;

use crate::machine::MachineFacts;
use crate::outcome::{Outcome, Published};
use crate::sample::Sample;
use crate::watch::Seenings;

/// Every figure of one run. What is "a blob" is a blob decided by a node between the first and the last look at it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Not told by what wrote figures before it was kept.
    #[serde(default)]
    pub setting: RunSetting,
    pub blobs_per_block_max: u32,
    pub heights: u64,
    pub blobs: u64,
    /// Heights that needed more than one round.
    pub rounds_above_zero: u64,
    pub load: Published,
    /// Blobs in the mean block.
    pub blobs_per_block: f64,
    /// While deciding; `None` if all were decided between two looks.
    #[serde(default)]
    pub blobs_per_second: Option<f64>,
    /// Every stage that was recorded.
    pub stages_ms: BTreeMap<String, Quantiles>,
    /// How long calls to the client were open in each stage that waits for it.
    #[serde(default)]
    pub client_ms: BTreeMap<String, Quantiles>,
    /// CPU time of a node's tiles, in microseconds a blob.
    pub tiles_us_per_blob: BTreeMap<String, Option<f64>>,
    /// CPU time of a node's other threads: reads for HTTP and whatever a tile hands on.
    pub others_us_per_blob: Option<f64>,
    /// CPU time of the whole node: the client's is not in it if that has a process of its own.
    pub node_us_per_blob: Option<f64>,
    /// CPU time of the execution client beside a node.
    pub client_us_per_blob: Option<f64>,
    /// Peak memory of the largest node.
    pub node_memory_bytes: u64,
    /// The same, its client's included.
    pub node_and_client_memory_bytes: Option<u64>,
    /// Bytes to disk a byte of blob, as the kernel counts what goes to block devices.
    pub disk_bytes_per_blob_byte: Option<f64>,
    /// Bytes to other nodes a byte of blob, everything included.
    pub sent_bytes_per_blob_byte: Option<f64>,
    /// Bytes from other nodes a byte of blob.
    pub received_bytes_per_blob_byte: Option<f64>,
}

/// With what a run was made, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSetting {
    /// The node's.
    pub version: String,
    pub command: String,
    /// Which I/O was asked for.
    pub io: String,
    pub machine: MachineFacts,
    /// When it ended, in seconds since 1970.
    pub finished_unix: u64,
}

/// A stage, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Figures {
    /// Of what was seen.
    #[allow(clippy::cast_precision_loss)] // Counts of one run.
    pub fn of(blobs_per_block_max: u32, outcome: &Outcome, seen: &Seenings) -> Self {
        let stages = seen.stages();
        let spent = Spent::of(seen);
        // Nothing was decided: then nothing is known of what a blob costs.
        let blobs = (spent.blobs > 0).then_some(spent.blobs as f64);
        let per_byte = |bytes: u64| Some(bytes as f64 / (blobs? * BLOB_BYTES as f64));
        let us_per_blob = |ns: f64| Some(ns / 1e3 / blobs?);
        let tiles_ns: u64 = spent.tiles_ns.values().sum();
        Self {
            setting: RunSetting::default(),
            blobs_per_block_max,
            heights: outcome.heights,
            blobs: outcome.blobs,
            rounds_above_zero: outcome.rounds_above_zero,
            load: outcome.load.clone(),
            blobs_per_block: outcome.blobs as f64 / outcome.heights.max(1) as f64,
            blobs_per_second: seen.blobs_per_second(),
            stages_ms: quantiles(|stage| stages.get(stage)),
            client_ms: quantiles(|stage| stages.client(stage)),
            tiles_us_per_blob: spent
                .tiles_ns
                .iter()
                .map(|(tile, ns)| (tile.clone(), us_per_blob(*ns as f64)))
                .collect(),
            others_us_per_blob: us_per_blob((spent.node_ns - tiles_ns as f64).max(0.0)),
            node_us_per_blob: us_per_blob(spent.node_ns),
            client_us_per_blob: spent.client_ns.and_then(us_per_blob),
            node_memory_bytes: seen
                .nodes
                .iter()
                .map(|node| node.resources.memory_bytes_max)
                .max()
                .unwrap_or_default(),
            node_and_client_memory_bytes: seen
                .nodes
                .iter()
                .filter_map(|node| Some(node.resources.memory_bytes_max + node.client?.memory_bytes_max))
                .max(),
            disk_bytes_per_blob_byte: per_byte(spent.written_bytes),
            sent_bytes_per_blob_byte: per_byte(spent.sent_bytes),
            received_bytes_per_blob_byte: per_byte(spent.received_bytes),
        }
    }
}

/// Of each stage that has a distribution.
#[allow(clippy::cast_precision_loss)] // Three digits are shown.
fn quantiles<'a>(of: impl Fn(Stage) -> Option<&'a Histogram<u64>>) -> BTreeMap<String, Quantiles> {
    let found = Stage::ALL.into_iter().filter_map(|stage| {
        let histogram = of(stage)?;
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let quantiles = Quantiles {
            p50: ms(0.5),
            p99: ms(0.99),
        };
        Some((stage.name().to_owned(), quantiles))
    });
    found.collect()
}

/// What all nodes did and used between the first and the last look.
#[derive(Default)]
struct Spent {
    blobs: u64,
    tiles_ns: BTreeMap<String, u64>,
    node_ns: f64,
    client_ns: Option<f64>,
    written_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Spent {
    fn of(seen: &Seenings) -> Self {
        let mut spent = Self::default();
        for (first, last) in seen.nodes.iter().filter_map(|node| node.samples.as_ref()) {
            spent.add(first, last);
        }
        spent
    }

    fn add(&mut self, first: &Sample, last: &Sample) {
        self.blobs += last.blobs.saturating_sub(first.blobs);
        for (tile, ns) in &last.tiles_ns {
            let before = first.tiles_ns.get(tile).copied().unwrap_or_default();
            *self.tiles_ns.entry(tile.clone()).or_default() += ns.saturating_sub(before);
        }
        self.node_ns += (last.node.cpu_seconds - first.node.cpu_seconds) * 1e9;
        if let (Some(first), Some(last)) = (first.client, last.client) {
            *self.client_ns.get_or_insert(0.0) += (last.cpu_seconds - first.cpu_seconds) * 1e9;
        }
        self.written_bytes += last.node.written_bytes.saturating_sub(first.node.written_bytes);
        self.sent_bytes += last.sent_bytes.saturating_sub(first.sent_bytes);
        self.received_bytes += last.received_bytes.saturating_sub(first.received_bytes);
    }
}

/// A column: its name, and its number in a run.
pub type Column = (String, Number);
/// A number of a run, if it is known.
type Number = Box<dyn Fn(&Figures) -> Option<f64>>;

/// Tables in Markdown, with a row for each run and one of medians.
pub fn tables(runs: &[Figures]) -> String {
    groups(runs)
        .iter()
        .map(|(title, columns)| format!("{title}\n\n{}", table(runs, columns)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The figures that any of these runs may have, in groups with a title.
pub fn groups(runs: &[Figures]) -> [(&'static str, Vec<Column>); 4] {
    let column = |name: &str, number: Number| (name.to_owned(), number);
    let mut rate: Vec<Column> = vec![
        column("blobs a second", Box::new(|run| run.blobs_per_second)),
        column("blobs a block", Box::new(|run| Some(run.blobs_per_block))),
        #[allow(clippy::cast_precision_loss)] // A handful.
        column("late rounds", Box::new(|run| Some(run.rounds_above_zero as f64))),
    ];
    for stage in Stage::ALL {
        let of = move |run: &Figures| run.stages_ms.get(stage.name()).copied();
        rate.push(column(
            &format!("{} p50", stage.name()),
            Box::new(move |run| Some(of(run)?.p50)),
        ));
        rate.push(column(
            &format!("{} p99", stage.name()),
            Box::new(move |run| Some(of(run)?.p99)),
        ));
    }
    let mut client: Vec<Column> = Vec::new();
    for stage in Stage::ALL {
        let of = move |run: &Figures| run.client_ms.get(stage.name()).copied();
        if runs.iter().any(|run| of(run).is_some()) {
            client.push(column(
                &format!("of {} p50", stage.name()),
                Box::new(move |run| Some(of(run)?.p50)),
            ));
            client.push(column(
                &format!("of {} p99", stage.name()),
                Box::new(move |run| Some(of(run)?.p99)),
            ));
        }
    }
    let mut cpu: Vec<Column> = vec![column("node", Box::new(|run| run.node_us_per_blob))];
    let tiles: std::collections::BTreeSet<String> = runs
        .iter()
        .flat_map(|run| run.tiles_us_per_blob.keys().cloned())
        .collect();
    for tile in tiles {
        cpu.push(column(
            &tile.clone(),
            Box::new(move |run| run.tiles_us_per_blob.get(&tile).copied().flatten()),
        ));
    }
    cpu.push(column("other threads", Box::new(|run| run.others_us_per_blob)));
    cpu.push(column("client", Box::new(|run| run.client_us_per_blob)));
    #[allow(clippy::cast_precision_loss)] // Three digits are shown.
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let space: Vec<Column> = vec![
        column(
            "memory of a node, MB",
            Box::new(move |run| Some(megabytes(run.node_memory_bytes))),
        ),
        column(
            "with its client, MB",
            Box::new(move |run| run.node_and_client_memory_bytes.map(megabytes)),
        ),
        column("disk a blob byte", Box::new(|run| run.disk_bytes_per_blob_byte)),
        column("sent a blob byte", Box::new(|run| run.sent_bytes_per_blob_byte)),
        column("received a blob byte", Box::new(|run| run.received_bytes_per_blob_byte)),
    ];
    [
        ("Rate, and stages in milliseconds:", rate),
        (
            "The client’s share of those stages that wait for it, in milliseconds:",
            client,
        ),
        ("CPU of a node in microseconds a blob, by tile:", cpu),
        ("Memory at its peak, and bytes for each byte of a blob:", space),
    ]
}

/// Of sorted numbers; the upper one of the two in the middle.
pub fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

fn table(runs: &[Figures], columns: &[Column]) -> String {
    let mut text = String::from("| blobs a block at most | run |");
    for (name, _) in columns {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|---|");
    columns.iter().for_each(|_| text.push_str("---|"));
    text.push('\n');
    for (index, run) in runs.iter().enumerate() {
        row(
            &mut text,
            run.blobs_per_block_max,
            &format!("{}", index + 1),
            columns,
            |number| number(run),
        );
    }
    if let (Some(first), 2..) = (runs.first(), runs.len()) {
        row(&mut text, first.blobs_per_block_max, "median", columns, |number| {
            let mut all: Vec<f64> = runs.iter().filter_map(number).collect();
            all.sort_by(f64::total_cmp);
            median(&all)
        });
    }
    text
}

fn row(
    text: &mut String,
    blobs: u32,
    name: &str,
    columns: &[Column],
    number: impl Fn(&dyn Fn(&Figures) -> Option<f64>) -> Option<f64>,
) {
    let _ = write!(text, "| {blobs} | {name} |");
    for (_, of) in columns {
        match number(of.as_ref()) {
            Some(number) => {
                let _ = write!(text, " {} |", short(number));
            }
            None => text.push_str(" – |"),
        }
    }
    text.push('\n');
}

/// Three digits that matter.
pub fn short(number: f64) -> String {
    let decimals = match number {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    if number.fract() == 0.0 && number < 100.0 {
        return format!("{number:.0}");
    }
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Resources;
    use crate::stages::Stages;
    use crate::stages::tests::{document, histogram};
    use crate::watch::{Seen, WatchedMoment};

    fn sample(blobs: u64, cpu_ms: u64, client_ms: u64) -> Sample {
        let used = |ms: u64, bytes| Resources {
            cpu_seconds: ms as f64 / 1e3,
            memory_bytes_max: bytes,
            written_bytes: blobs * BLOB_BYTES as u64,
        };
        Sample {
            blobs,
            tiles_ns: [
                ("net".to_owned(), cpu_ms * 500_000),
                ("kzg-0".to_owned(), cpu_ms * 250_000),
            ]
            .into(),
            sent_bytes: 3 * blobs * BLOB_BYTES as u64,
            received_bytes: 2 * blobs * BLOB_BYTES as u64,
            node: used(cpu_ms, 100_000_000),
            client: Some(used(client_ms, 50_000_000)),
        }
    }

    fn seen(nodes: u64) -> Seenings {
        let document = document(&[("vote", histogram([4_000_000, 4_000_000, 9_000_000]))]);
        let stages = Stages::read(&document).expect("a document of a node");
        let node = |at: u64| Seen {
            stages: stages.clone(),
            resources: Resources {
                // The last but one is the largest.
                memory_bytes_max: 100_000_000 + 1_000_000 * if at == 2 { 4 } else { at },
                ..sample(0, 0, 0).node
            },
            client: sample(0, 0, 0).client,
            samples: Some((sample(10, 1000, 500), sample(110, 1100, 900))),
            ..Seen::default()
        };
        let moment = |at_seconds, blobs| WatchedMoment {
            at_seconds,
            height: 1,
            blobs,
        };
        Seenings {
            nodes: (0..nodes).map(node).collect(),
            timeline: vec![moment(0.0, 10), moment(10.0, 110)],
            ..Seenings::default()
        }
    }

    #[test]
    fn a_blob_costs_what_was_used_between_the_first_and_the_last_look() {
        let outcome = Outcome {
            heights: 20,
            blobs: 110,
            ..Outcome::default()
        };
        let figures = Figures::of(6, &outcome, &seen(4));
        assert_eq!((figures.blobs_per_second, figures.blobs_per_block), (Some(10.0), 5.5));
        let near = |left: f64, right: f64| assert!((left - right).abs() < 1e-6, "{left} is not {right}");
        let cost = |number: Option<f64>, right: f64| near(number.expect("blobs were decided"), right);
        cost(figures.node_us_per_blob, 1000.0);
        cost(figures.tiles_us_per_blob["net"], 500.0);
        cost(figures.tiles_us_per_blob["kzg-0"], 250.0);
        cost(figures.others_us_per_blob, 250.0);
        cost(figures.client_us_per_blob, 4000.0);
        cost(figures.disk_bytes_per_blob_byte, 1.0);
        cost(figures.sent_bytes_per_blob_byte, 3.0);
        cost(figures.received_bytes_per_blob_byte, 2.0);
        assert_eq!(figures.node_memory_bytes, 104_000_000, "of the largest");
        assert_eq!(figures.node_and_client_memory_bytes, Some(154_000_000));
        let vote = figures.stages_ms["vote"];
        near(vote.p50.round(), 4.0);
        near(vote.p99.round(), 9.0);
        let text = tables(&[figures]);
        assert!(
            text.contains(&format!(" {} | {} |", short(vote.p50), short(vote.p99))),
            "{text}"
        );
    }

    #[test]
    fn a_run_without_blobs_says_nothing_of_what_one_costs() {
        let mut seen = seen(2);
        for node in &mut seen.nodes {
            node.samples = Some((sample(0, 1000, 500), sample(0, 1100, 900)));
        }
        let figures = Figures::of(6, &Outcome::default(), &seen);
        let text = tables(&[figures.clone(), figures.clone(), figures.clone()]);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let json = serde_json::to_value(&figures).expect("plain data");
        assert!(
            json["node_us_per_blob"].is_null() && json["node_memory_bytes"].is_u64(),
            "{json}"
        );
    }

    #[test]
    fn a_run_whose_blobs_all_came_between_two_looks_has_no_rate() {
        let mut seen = seen(2);
        seen.timeline.iter_mut().for_each(|moment| moment.blobs = 12);
        let figures = Figures::of(6, &Outcome::default(), &seen);
        assert_eq!(figures.blobs_per_second, None);
        let text = tables(std::slice::from_ref(&figures));
        assert!(text.contains("| 6 | 1 | – |"), "{text}");
        let read = |json: &str| serde_json::from_str::<Figures>(json).expect("figures").blobs_per_second;
        let json = serde_json::to_string(&figures).expect("plain data");
        assert_eq!(read(&json), None);
        let before = json.replace("\"blobs_per_second\":null", "\"blobs_per_second\":4.5");
        assert_eq!(read(&before), Some(4.5), "as it was written before");
    }

    #[test]
    fn each_run_has_its_row_and_all_have_medians() {
        let run = |rate: f64| Figures {
            blobs_per_block_max: 24,
            blobs_per_second: Some(rate),
            ..Figures::of(24, &Outcome::default(), &seen(1))
        };
        let text = tables(&[run(30.0), run(10.0), run(20.5)]);
        for line in [
            "| 24 | 1 | 30 |",
            "| 24 | 2 | 10 |",
            "| 24 | 3 | 20.5 |",
            "| 24 | median | 20.5 |",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(
            text.contains("| node | kzg-0 | net | other threads | client |"),
            "{text}"
        );
        assert!(!tables(&[run(1.0)]).contains("median"));
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let rows = table.lines().filter(|line| line.starts_with('|'));
            let widths: std::collections::BTreeSet<usize> = rows.map(|row| row.matches('|').count()).collect();
            assert_eq!(widths.len(), 1, "{table}");
        }
    }
}
