//! This file knows how to write series as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram as Hdr;

use super::{Family, Inner, Kind, Labels, Series};
use crate::link::LinkReading;

/// Upper bounds, in nanoseconds, of a histogram's buckets where a glance is enough: 10 µs to 10 s in 1-2-5 steps.
pub(super) const COARSE_NS: [u64; 19] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The powers of ten's 25th roots, in hundredths: each at most 10 % above the one before, with three digits.
const STEPS: [u64; 25] = [
    100, 110, 120, 132, 145, 159, 174, 191, 209, 229, 251, 275, 302, 331, 363, 398, 437, 479, 525, 575, 631, 692, 759,
    832, 912,
];
/// The coarse bounds below 100 µs, five decades of steps, and 10, 20 and 50 s.
const FINE_BOUNDS: usize = 3 + 5 * STEPS.len() + 3;

/// Upper bounds, in nanoseconds, of a latency's buckets: at most 10 % apart from 100 µs to 10 s, so that a quantile
/// read from them is off by less than a tenth.
pub(super) const FINE_NS: [u64; FINE_BOUNDS] = fine_bounds();

const fn fine_bounds() -> [u64; FINE_BOUNDS] {
    let mut bounds = [0; FINE_BOUNDS];
    let (mut at, mut unit) = (0, 1_000);
    while at < 3 {
        bounds[at] = COARSE_NS[at];
        at += 1;
    }
    while at < FINE_BOUNDS - 3 {
        bounds[at] = STEPS[(at - 3) % STEPS.len()] * unit;
        at += 1;
        if (at - 3) % STEPS.len() == 0 {
            unit *= 10;
        }
    }
    bounds[at] = 10_000_000_000;
    bounds[at + 1] = 20_000_000_000;
    bounds[at + 2] = 50_000_000_000;
    bounds
}

/// What is shown of every link.
pub(super) struct LinkFamily {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    read: fn(&LinkReading) -> u64,
}

pub(super) const LINK_LABEL: &str = "link";

pub(super) const LINK_FAMILIES: [LinkFamily; 3] = [
    LinkFamily {
        name: "ultramarine_link_depth_items",
        help: "Items waiting in the link.",
        kind: Kind::Gauge,
        read: |link| link.len as u64,
    },
    LinkFamily {
        name: "ultramarine_link_capacity_items",
        help: "Most items the link holds.",
        kind: Kind::Gauge,
        read: |link| link.depth as u64,
    },
    LinkFamily {
        name: "ultramarine_link_refused_total",
        help: "Items that found the link full, each counted once.",
        kind: Kind::Counter,
        read: |link| link.refused,
    },
];

pub(super) fn render(inner: &mut Inner) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for (name, family) in &inner.families {
        write_family(&mut text, name, family);
    }
    write_links(&mut text, inner);
    text
}

/// Whether `name` is what the text format allows, by its own grammar.
pub(super) fn is_metric_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_' || first == ':')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == '_' || other == ':')
}

fn write_family(text: &mut String, name: &str, family: &Family) {
    write_head(text, name, family.help, family.kind);
    for (labels, series) in &family.series {
        match series {
            Series::Counter(counter) => write_sample(text, name, labels, None, counter.get()),
            Series::Seconds(counter) => write_sample(text, name, labels, None, seconds(counter.get().into())),
            Series::Gauge(gauge) => write_sample(text, name, labels, None, gauge.get()),
            Series::Probe(read) => {
                if let Some(value) = read() {
                    write_sample(text, name, labels, None, value);
                }
            }
            Series::Histogram(shards) => write_histogram(text, name, labels, shards.bounds_ns, &shards.merged()),
        }
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &Labels, bounds_ns: &[u64], histogram: &Hdr<u64>) {
    let buckets = format!("{name}_bucket");
    let mut recorded = histogram.iter_recorded().peekable();
    let (mut below, mut sum_ns) = (0u64, 0u128);
    for &bound in bounds_ns {
        while let Some(step) = recorded.next_if(|step| step.value_iterated_to() <= bound) {
            below += step.count_at_value();
            sum_ns +=
                u128::from(histogram.median_equivalent(step.value_iterated_to())) * u128::from(step.count_at_value());
        }
        write_sample(text, &buckets, labels, Some(("le", &seconds(bound.into()))), below);
    }
    for step in recorded {
        sum_ns += u128::from(histogram.median_equivalent(step.value_iterated_to())) * u128::from(step.count_at_value());
    }
    write_sample(text, &buckets, labels, Some(("le", "+Inf")), histogram.len());
    write_sample(text, &format!("{name}_sum"), labels, None, seconds(sum_ns));
    write_sample(text, &format!("{name}_count"), labels, None, histogram.len());
}

/// Writes nanoseconds as seconds without a binary fraction's rounding: `0.00001`, never `0.000010000000000000001`.
fn seconds(ns: u128) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The links that live. Those that share a name (one per lane) are their sum: a series may appear only once.
pub(super) fn read_links(inner: &mut Inner) -> BTreeMap<&'static str, LinkReading> {
    inner.links.retain(|link| link.read().is_some());
    let mut links: BTreeMap<&'static str, LinkReading> = BTreeMap::new();
    for reading in inner.links.iter().filter_map(crate::link::LinkGauge::read) {
        links
            .entry(reading.name)
            .and_modify(|sum| {
                sum.len += reading.len;
                sum.depth += reading.depth;
                sum.refused += reading.refused;
            })
            .or_insert(reading);
    }
    links
}

fn write_links(text: &mut String, inner: &mut Inner) {
    let links = read_links(inner);
    if links.is_empty() {
        return;
    }
    for family in &LINK_FAMILIES {
        write_head(text, family.name, family.help, family.kind);
        for link in links.values() {
            let label = vec![(LINK_LABEL.to_owned(), link.name.to_owned())];
            write_sample(text, family.name, &label, None, (family.read)(link));
        }
    }
}

fn write_head(text: &mut String, name: &str, help: &str, kind: Kind) {
    let kind = kind.name();
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn write_sample(
    text: &mut String,
    name: &str,
    labels: &Labels,
    extra: Option<(&str, &str)>,
    value: impl std::fmt::Display,
) {
    text.push_str(name);
    let labels = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .chain(extra);
    let mut separator = '{';
    for (key, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{separator}{key}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}
