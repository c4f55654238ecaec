use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::exposition::{COARSE_NS, FINE_NS};
use super::*;

#[test]
fn nanoseconds_are_counted_and_seconds_shown() {
    let registry = Registry::new();
    let busy = registry.seconds_counter("ultramarine_test_busy_seconds_total", "A text.", &[("tile", "a")]);
    busy.add(1_500_000_000);
    registry
        .seconds_counter("ultramarine_test_busy_seconds_total", "A text.", &[("tile", "a")])
        .add(1);
    registry.probe_seconds_counter("ultramarine_test_cpu_seconds_total", "A text.", &[], || {
        Some(Nanos(7_000_000_009))
    });
    let text = registry.render();
    assert!(text.contains("_busy_seconds_total{tile=\"a\"} 1.500000001\n"), "{text}");
    assert!(text.contains("_cpu_seconds_total 7.000000009\n"), "{text}");
    assert!(
        text.contains("# TYPE ultramarine_test_cpu_seconds_total counter\n"),
        "{text}"
    );
    let read = registry.values("ultramarine_test_busy_seconds_total");
    assert!((read[0].1 - 1.500_000_001).abs() < 1e-12, "{read:?}");
    parse(&text);
}

/// A sample of the text format.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Reads the text format by its own grammar, and refuses what it forbids: a family told twice, a type given
/// twice, a series given twice.
fn parse(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut types: HashMap<String, String> = HashMap::new();
    let mut helps = HashSet::new();
    let mut seen = HashSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').expect("help has a text");
            assert!(helps.insert(name.to_owned()), "HELP of {name} appears twice");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type has a kind");
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "TYPE of {name} appears twice"
            );
        } else {
            let sample = parse_sample(line);
            let base = match types.get(&current).map(String::as_str) {
                Some("histogram") => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| sample.name.strip_suffix(suffix))
                    .expect("a histogram's samples have its suffixes"),
                Some(_) => sample.name.as_str(),
                None => panic!("{line} has no TYPE before it"),
            };
            assert_eq!(base, current, "samples stand under their own head");
            assert!(
                seen.insert(format!("{}{:?}", sample.name, sample.labels)),
                "{line} appears twice"
            );
            samples.push(sample);
        }
    }
    samples
}

fn parse_sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').expect("a sample has a value");
    let value = value.parse().expect("the value is a number");
    let Some((name, labels)) = head.split_once('{') else {
        return Sample {
            name: head.to_owned(),
            labels: BTreeMap::new(),
            value,
        };
    };
    let mut rest = labels.strip_suffix('}').expect("labels are closed");
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once("=\"").expect("a label has a quoted value");
        let mut text = String::new();
        let mut characters = tail.char_indices();
        let end = loop {
            match characters.next().expect("the quote is closed") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("an escape has a second character").1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, other) => text.push(other),
            }
        };
        labels.insert(key.to_owned(), text);
        rest = tail[end + 1..].trim_start_matches(',');
    }
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

fn value_of(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: BTreeMap<_, _> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == wanted)
        .map(|sample| sample.value)
}

#[test]
fn the_text_reads_back_as_what_was_counted() {
    let registry = Registry::new();
    registry
        .counter("ultramarine_test_events_total", "Events.", &[("kind", "a")])
        .add(3);
    registry
        .counter("ultramarine_test_events_total", "Events.", &[("kind", "b")])
        .inc();
    registry.gauge("ultramarine_test_height", "A height.", &[]).set(-7);
    registry.probe_gauge("ultramarine_test_probe_ratio", "A probe.", &[], || Some(0.5));
    registry.probe_gauge("ultramarine_test_gone_ratio", "Nothing to read.", &[], || None);
    let samples = parse(&registry.render());
    assert_eq!(
        value_of(&samples, "ultramarine_test_events_total", &[("kind", "a")]),
        Some(3.0)
    );
    assert_eq!(
        value_of(&samples, "ultramarine_test_events_total", &[("kind", "b")]),
        Some(1.0)
    );
    assert_eq!(value_of(&samples, "ultramarine_test_height", &[]), Some(-7.0));
    assert_eq!(value_of(&samples, "ultramarine_test_probe_ratio", &[]), Some(0.5));
    assert_eq!(value_of(&samples, "ultramarine_test_gone_ratio", &[]), None);
}

#[test]
fn label_values_and_help_are_escaped() {
    let registry = Registry::new();
    let nasty = "quote \" backslash \\ newline \n brace } comma , end";
    registry
        .counter(
            "ultramarine_test_nasty_total",
            "Help with \\ and\na newline.",
            &[("reason", nasty), ("z", "1")],
        )
        .inc();
    let text = registry.render();
    assert!(text.contains("# HELP ultramarine_test_nasty_total Help with \\\\ and\\na newline.\n"));
    assert_eq!(
        value_of(
            &parse(&text),
            "ultramarine_test_nasty_total",
            &[("reason", nasty), ("z", "1")]
        ),
        Some(1.0)
    );
}

#[test]
fn the_same_series_is_shared() {
    let registry = Registry::new();
    let first = registry.counter("ultramarine_test_total", "", &[("a", "1")]);
    registry.counter("ultramarine_test_total", "", &[("a", "1")]).add(2);
    assert_eq!(first.get(), 2);
}

#[test]
#[should_panic(expected = "is registered as Counter and as Gauge")]
fn a_name_is_one_kind() {
    let registry = Registry::new();
    registry.counter("ultramarine_test_total", "", &[]).inc();
    registry.gauge("ultramarine_test_total", "", &[]).set(1);
}

#[test]
fn a_histograms_buckets_grow_to_its_count() {
    let registry = Registry::new();
    let stage = [("stage", "vote")];
    let histogram = registry.coarse_histogram("ultramarine_stage_seconds", "Stages.", &stage);
    // One in each bucket, well inside it, and one above all of them.
    for bound in COARSE_NS {
        histogram.record(Nanos(bound * 9 / 10));
    }
    histogram.record(Nanos(20_000_000_000));
    let samples = parse(&registry.render());
    let mut before = 0.0;
    for (at, bound) in COARSE_NS.iter().enumerate() {
        let le = samples
            .iter()
            .filter(|sample| sample.name == "ultramarine_stage_seconds_bucket")
            .find(|sample| {
                sample.labels["le"]
                    .parse::<f64>()
                    .is_ok_and(|le| (le - *bound as f64 / 1e9).abs() < 1e-12)
            })
            .expect("every bound has its bucket");
        assert_eq!(le.labels["stage"], "vote");
        assert!(le.value >= before);
        assert_eq!(le.value, at as f64 + 1.0, "bucket {bound}");
        before = le.value;
    }
    let inf = value_of(
        &samples,
        "ultramarine_stage_seconds_bucket",
        &[("stage", "vote"), ("le", "+Inf")],
    );
    assert_eq!(inf, Some(20.0));
    assert_eq!(
        value_of(&samples, "ultramarine_stage_seconds_count", &stage),
        Some(20.0)
    );
    let sum = value_of(&samples, "ultramarine_stage_seconds_sum", &stage).expect("a sum");
    let exact = COARSE_NS.iter().map(|bound| bound * 9 / 10).sum::<u64>() as f64 / 1e9 + 20.0;
    assert!((sum - exact).abs() / exact < 0.001, "{sum} is within 0.1 % of {exact}");
}

#[test]
fn a_latencys_buckets_are_at_most_a_tenth_apart() {
    assert!(FINE_NS.is_sorted());
    for pair in FINE_NS.windows(2) {
        let step = pair[1] as f64 / pair[0] as f64;
        let is_looked_at = pair[0] >= 100_000 && pair[1] <= 10_000_000_000;
        assert!(step <= if is_looked_at { 1.1 } else { 2.5 }, "{pair:?}");
    }
    assert!(FINE_NS.contains(&100_000) && FINE_NS.contains(&10_000_000_000));
}

/// The quantile as Prometheus' `histogram_quantile` computes it: linear within the bucket.
fn quantile_of(samples: &[Sample], quantile: f64) -> (f64, f64, f64) {
    let buckets = samples
        .iter()
        .filter(|sample| sample.name == "ultramarine_test_seconds_bucket");
    let count = value_of(samples, "ultramarine_test_seconds_count", &[]).expect("a count");
    let rank = quantile * count;
    let (mut below, mut lower) = (0.0, 0.0);
    for bucket in buckets {
        let upper = bucket.labels["le"].parse::<f64>().expect("a number");
        if bucket.value >= rank {
            let within = (rank - below) / (bucket.value - below);
            return (lower, lower + (upper - lower) * within, upper);
        }
        (below, lower) = (bucket.value, upper);
    }
    panic!("the last bucket holds all");
}

proptest! {
    /// Whatever was recorded, both readers of it agree: the text's quantile lies in the bucket of the histogram's.
    #[test]
    fn a_quantile_of_the_text_is_within_one_bucket_of_the_histograms(
        groups in prop::collection::vec((100_000u64..9_000_000_000, 1usize..200, 1.0f64..3.0), 1..6),
        quantile in prop::sample::select(vec![0.01, 0.1, 0.5, 0.9, 0.99, 0.999]),
    ) {
        let registry = Registry::new();
        let histogram = registry.histogram("ultramarine_test_seconds", "", &[]);
        for (center, count, spread) in groups {
            for nth in 0..count {
                let share = nth as f64 / count as f64;
                let ns = (center as f64 * spread.powf(share)).min(9.9e9);
                histogram.record(Nanos(ns as u64));
            }
        }
        let (_, _, exact) = registry.histograms().remove(0);
        // The quantile's place is a fraction of a sample: its neighbours by rank bound what either may answer.
        let rank = quantile * exact.len() as f64;
        let at = |rank: f64| exact.value_at_quantile((rank / exact.len() as f64).clamp(0.0, 1.0)) as f64 / 1e9;
        let (lowest, highest) = (at(rank.floor()), at(rank.ceil()));
        let samples = parse(&registry.render());
        let (_, told, _) = quantile_of(&samples, quantile);
        prop_assert!(told >= lowest / 1.101 && told <= highest * 1.101, "{told} for {lowest} to {highest}");
    }
}

#[test]
fn buckets_are_written_without_rounding_noise() {
    let registry = Registry::new();
    let histogram = registry.histogram("ultramarine_test_seconds", "", &[]);
    assert!(histogram.is_empty());
    let text = registry.render();
    assert!(text.contains("{le=\"0.00001\"} 0\n"), "{text}");
    assert!(text.contains("{le=\"10\"} 0\n"), "{text}");
}

#[test]
fn shards_of_a_histogram_are_merged_and_outlive_their_writers() {
    let registry = Registry::new();
    for round in 0..5u64 {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let histogram = registry.histogram("ultramarine_test_seconds", "", &[("lane", "all")]);
                std::thread::spawn(move || histogram.record(Nanos((round * 3 + writer + 1) * 1_000_000)))
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().expect("a writer does not panic"));
    }
    let all = registry.histograms();
    let (name, labels, merged) = &all[0];
    assert_eq!(all.len(), 1);
    assert_eq!(name, "ultramarine_test_seconds");
    assert_eq!(labels, &[("lane".to_owned(), "all".to_owned())]);
    assert_eq!(merged.len(), 15);
    assert!(merged.max() >= 15_000_000 && merged.max() < 15_100_000);
    // Shards without a writer were folded into the past when the next one came.
    let inner = registry.inner();
    match &inner.families["ultramarine_test_seconds"].series.values().next() {
        Some(Series::Histogram(shards)) => assert!(shards.live.len() <= 3),
        _ => panic!("it is a histogram"),
    }
}

#[test]
fn a_duration_beyond_a_minute_counts_as_a_minute() {
    let registry = Registry::new();
    let histogram = registry.histogram("ultramarine_test_seconds", "", &[]);
    histogram.record(Nanos::NEVER);
    histogram.record(Nanos::ZERO);
    assert_eq!(histogram.len(), 2);
}

#[test]
fn links_show_their_items_until_they_are_gone() {
    let registry = Registry::new();
    let (sender, receiver) = crate::link::link::<u8>("verdicts", 2).expect("a link");
    let (twin, twin_receiver) = crate::link::link::<u8>("verdicts", 3).expect("a link");
    registry.watch_link(&receiver);
    registry.watch_link(&twin_receiver);
    sender.try_send(1).expect("room");
    sender.try_send(2).expect("room");
    assert_eq!(sender.try_send(3), Err(3));
    twin.try_send(1).expect("room");
    let link = [("link", "verdicts")];
    let samples = parse(&registry.render());
    assert_eq!(value_of(&samples, "ultramarine_link_depth_items", &link), Some(3.0));
    assert_eq!(value_of(&samples, "ultramarine_link_capacity_items", &link), Some(5.0));
    assert_eq!(value_of(&samples, "ultramarine_link_refused_total", &link), Some(1.0));
    drop((sender, receiver, twin, twin_receiver));
    assert!(!registry.render().contains("ultramarine_link"));
}
