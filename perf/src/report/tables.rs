//! This file knows how to write the tables.

use std::fmt::Write;

use ultramarine_types::Stage;

use super::figures::{bytes, count, duration, escape, three_digits};
use super::{Run, meaning_of, title_of};
use crate::figures::Setting;
use crate::stages::{Stages, quantile_ns};
use crate::watch::Seen;

/// A row per stage.
pub fn percentiles(stages: &Stages) -> String {
    let mut rows = String::new();
    for (stage, histogram) in stages.iter() {
        let _ = write!(
            rows,
            "<tr><th scope=\"row\" title=\"{}\">{}</th>",
            meaning_of(stage),
            title_of(stage)
        );
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            let _ = write!(rows, "<td>{}</td>", duration(histogram.value_at_quantile(quantile)));
        }
        for quantile in [0.5, 0.99] {
            let share = stages.client(stage).map(|share| share.value_at_quantile(quantile));
            let _ = write!(rows, "<td>{}</td>", share.map_or_else(|| "–".to_owned(), duration));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A positive number of nanoseconds.
        let mean = histogram.mean().round() as u64;
        let _ = write!(
            rows,
            "<td>{}</td><td>{}</td><td>{}</td></tr>",
            duration(histogram.max()),
            duration(mean),
            count(histogram.len())
        );
    }
    table(
        &[
            "Stage",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "Client’s p50",
            "p99",
            "Max",
            "Mean",
            "Records",
        ],
        &rows,
    )
}

/// A row per node.
pub fn nodes(run: &Run) -> String {
    let mut rows = String::new();
    for (at, node) in run.outcome.nodes.iter().enumerate() {
        let unseen = Seen::default();
        let seen = run.seen.nodes.get(at).unwrap_or(&unseen);
        let commit =
            |quantile| quantile_ns(&seen.stages, Stage::Commit, quantile).map_or_else(|| "–".to_owned(), duration);
        let resources = &seen.resources;
        #[allow(clippy::cast_precision_loss)] // Counts of one run.
        let (cpu_per_blob, disk_per_byte) = if node.blobs > 0 {
            let blob_bytes = node.blobs as f64 * ultramarine_types::limits::BLOB_BYTES as f64;
            (
                format!(
                    "{}\u{202f}ms",
                    three_digits(resources.cpu_seconds * 1e3 / node.blobs as f64)
                ),
                format!("{:.2}", resources.written_bytes as f64 / blob_bytes),
            )
        } else {
            ("–".to_owned(), "–".to_owned())
        };
        let rings = seen
            .ring_operations
            .iter()
            .map(|(ring, operations)| format!("{} {}", escape(ring), count(*operations)));
        let head: String = node.head_text().chars().take(12).collect();
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td><code \
             title=\"{}\">{}</code></td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{cpu_per_blob}</td><td>{}</td><td>{}</td><td>{disk_per_byte}</td><td>{}</td></tr>",
            escape(&node.name()),
            count(node.height),
            escape(&node.head_text()),
            escape(&head),
            count(node.blobs),
            commit(0.5),
            commit(0.99),
            bytes(resources.memory_bytes_max),
            seen.client
                .map_or_else(|| "–".to_owned(), |client| bytes(client.memory_bytes_max)),
            rings.collect::<Vec<_>>().join(", "),
        );
    }
    table(
        &[
            "Node",
            "Height",
            "Head",
            "Blobs",
            "Commit p50",
            "p99",
            "CPU a blob",
            "Peak memory",
            "Its client’s",
            "Disk per blob byte",
            "Ring operations",
        ],
        &rows,
    )
}

/// What was run, and where.
pub fn parameters(run: &Run) -> String {
    let Setting {
        machine,
        version,
        io,
        command,
        finished_unix: _,
    } = &run.setting;
    let rows = [
        ("CPU", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("Memory", bytes(machine.memory_bytes)),
        ("Kernel", machine.kernel.clone()),
        ("Node", version.clone()),
        ("I/O asked for", io.clone()),
        ("Load", run.load.clone()),
        ("Duration", format!("{}\u{202f}s", three_digits(run.seconds))),
        ("Command", command.clone()),
    ];
    let mut list = String::from("<dl class=\"card wide\">");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let value = escape(value);
        let value = if *name == "Command" {
            format!("<code>{value}</code>")
        } else {
            value
        };
        let _ = write!(list, "<dt>{name}</dt><dd>{value}</dd>");
    }
    list.push_str("</dl>");
    list
}

pub fn table(heads: &[&str], rows: &str) -> String {
    let mut head = String::new();
    for name in heads {
        let _ = write!(head, "<th scope=\"col\">{name}</th>");
    }
    if rows.is_empty() {
        return "<p class=\"empty\">Nothing was recorded.</p>".to_owned();
    }
    format!("<div class=\"card wide scroll\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>")
}
