//! This file knows how a distribution is shown to those who watch: quantiles of the last minutes, and buckets for a
//! heatmap.
//!
//! ```text
//!   start ─ ─ ─ ─ mark ──────── mark ──── now        a mark every 5 minutes, two are kept:
//!                   └─ quantiles are of this ─┘      quantiles are of the last 5 to 10 minutes, or of all before that
//! ```

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;
use ultramarine_runtime::Registry;
use ultramarine_types::{Nanos, Stage};

use super::{LiveDistribution, LiveLatency};
use crate::http::histograms::STAGE_HISTOGRAM;

/// Buckets in a decade.
const STEPS: [f64; 10] = [1.0, 1.26, 1.58, 2.0, 2.51, 3.16, 3.98, 5.01, 6.31, 7.94];
/// Where the first decade begins, in milliseconds.
const FIRST_MS: f64 = 0.1;
/// From 0.1 ms to 10 s.
const DECADES: usize = 5;
const NS_PER_MS: f64 = 1e6;
/// What the execution client's answers took.
const CALL_HISTOGRAM: &str = "ultramarine_engine_call_seconds";

/// Marks are so far apart.
const MARK_EVERY: Nanos = Nanos::from_millis(300_000);
/// Marks that are kept: quantiles begin with the older.
const MARKS: usize = 2;

/// How often each duration was recorded.
type Counts = Vec<(u64, u64)>;

/// What the histograms had counted some minutes ago.
#[derive(Clone, Debug, Default)]
pub struct LatencyMarks(VecDeque<Mark>);

#[derive(Clone, Debug)]
struct Mark {
    at: Nanos,
    /// By name and value of the label.
    counts: BTreeMap<(&'static str, String), Counts>,
}

impl LatencyMarks {
    /// Notes what the histograms have counted, if it is time for that.
    pub fn look(&mut self, registry: &Registry, now: Nanos) {
        if self.0.back().is_some_and(|newest| now.since(newest.at) < MARK_EVERY) {
            return;
        }
        let mut counts = BTreeMap::new();
        for (name, label) in [(STAGE_HISTOGRAM, "stage"), (CALL_HISTOGRAM, "method")] {
            for (value, histogram) in by_label(registry, name, label) {
                counts.insert((name, value), counts_of(&histogram));
            }
        }
        if self.0.len() == MARKS {
            self.0.pop_front();
        }
        self.0.push_back(Mark { at: now, counts });
    }

    fn before(&self, name: &'static str, value: &str) -> &[(u64, u64)] {
        let counts = self
            .0
            .front()
            .and_then(|mark| mark.counts.get(&(name, value.to_owned())));
        counts.map(Vec::as_slice).unwrap_or_default()
    }
}

fn counts_of(histogram: &Histogram<u64>) -> Counts {
    let steps = histogram.iter_recorded();
    steps
        .map(|step| (step.value_iterated_to(), step.count_at_value()))
        .collect()
}

/// The buckets' upper bounds, in milliseconds; one more bucket lies above.
pub fn bounds_ms() -> Vec<f64> {
    let decades = (0..DECADES).scan(FIRST_MS, |unit, _| {
        let this = *unit;
        *unit *= 10.0;
        Some(this)
    });
    let mut bounds: Vec<f64> = decades
        .flat_map(|unit| STEPS.map(|step| rounded(step * unit)))
        .collect();
    bounds.push(10_000.0);
    bounds
}

/// Every stage's distribution, in the order in which a block passes them.
pub fn stages(registry: &Registry, marks: &LatencyMarks) -> LiveLatency {
    let bounds = bounds_ms();
    let mut stages = distributions(registry, marks, (STAGE_HISTOGRAM, "stage"), &bounds);
    let order = |name: &str| Stage::ALL.iter().position(|stage| stage.name() == name);
    stages.sort_by_key(|distribution| order(&distribution.stage));
    LiveLatency {
        bounds_ms: bounds,
        stages,
    }
}

/// How long the execution client took to answer, by method.
pub fn calls(registry: &Registry, marks: &LatencyMarks) -> Vec<LiveDistribution> {
    let mut calls = distributions(registry, marks, (CALL_HISTOGRAM, "method"), &[]);
    calls.retain(|call| call.count > 0);
    calls
}

fn distributions(
    registry: &Registry,
    marks: &LatencyMarks,
    (name, label): (&'static str, &str),
    bounds: &[f64],
) -> Vec<LiveDistribution> {
    let histograms = by_label(registry, name, label);
    histograms
        .map(|(value, histogram)| {
            let before = marks.before(name, &value);
            distribution(value, &histogram, before, bounds)
        })
        .collect()
}

/// A name's histograms, by the value of one label.
fn by_label(registry: &Registry, name: &str, label: &str) -> impl Iterator<Item = (String, Histogram<u64>)> {
    let histograms = registry.histograms_of(name).into_iter();
    histograms.filter_map(move |(labels, histogram)| {
        let (_, value) = labels.into_iter().find(|(key, _)| key == label)?;
        Some((value, histogram))
    })
}

/// `before`: what of it was counted before the last minutes.
fn distribution(stage: String, histogram: &Histogram<u64>, before: &[(u64, u64)], bounds: &[f64]) -> LiveDistribution {
    let mut counts = vec![0; if bounds.is_empty() { 0 } else { bounds.len() + 1 }];
    if !counts.is_empty() {
        for step in histogram.iter_recorded() {
            let ms = step.value_iterated_to() as f64 / NS_PER_MS;
            let bucket = bounds.partition_point(|bound| *bound < ms);
            if let Some(count) = counts.get_mut(bucket) {
                *count += step.count_at_value();
            }
        }
    }
    let before: BTreeMap<u64, u64> = before.iter().copied().collect();
    let mut recent = counts_of(histogram);
    for (value, count) in &mut recent {
        *count = count.saturating_sub(before.get(&*value).copied().unwrap_or_default());
    }
    let recent_count: u64 = recent.iter().map(|(_, count)| count).sum();
    let quantile =
        |of_100: u64| rounded(quantile_ns(&recent, (recent_count * of_100).div_ceil(100)) as f64 / NS_PER_MS);
    LiveDistribution {
        stage,
        count: histogram.len(),
        recent_count,
        p50_ms: quantile(50),
        p99_ms: quantile(99),
        counts,
    }
}

/// The value of the `nth`, in the order of size; zero if there is none.
fn quantile_ns(counts: &[(u64, u64)], nth: u64) -> u64 {
    let mut passed = 0;
    let found = counts.iter().find(|(_, count)| {
        passed += count;
        passed >= nth && *count > 0
    });
    found.map_or(0, |(value, _)| *value)
}

/// Three digits after the point are enough for people, and half as long.
pub fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_the_bucket_whose_bounds_enclose_it() {
        let bounds = bounds_ms();
        assert!(bounds.is_sorted() && bounds.len() == 51, "{bounds:?}");
        let mut histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("legal bounds");
        for ms in [0.05, 0.11, 44.0, 9_000.0, 30_000.0] {
            histogram.record((ms * NS_PER_MS) as u64).expect("in bounds");
        }
        let shown = distribution("vote".to_owned(), &histogram, &[], &bounds);
        assert_eq!((shown.count, shown.counts.iter().sum::<u64>()), (5, 5));
        let filled: Vec<usize> = (0..shown.counts.len()).filter(|at| shown.counts[*at] > 0).collect();
        let upper: Vec<Option<&f64>> = filled.iter().map(|at| bounds.get(*at)).collect();
        assert_eq!(upper, [Some(&0.1), Some(&0.126), Some(&50.1), Some(&10_000.0), None]);
        assert!((shown.p50_ms - 44.0).abs() < 0.1, "{shown:?}");
    }

    #[test]
    fn quantiles_are_of_the_last_minutes_and_counts_since_the_start() {
        let (registry, mut marks) = (Registry::new(), LatencyMarks::default());
        let calls = registry.histogram(CALL_HISTOGRAM, "", &[("method", "engine_newPayloadV4")]);
        let at = |minute: u64| Nanos::from_millis(minute * 60_000);
        let record = |ms: u64, times: u32| (0..times).for_each(|_| calls.record(Nanos::from_millis(ms)));
        let shown = |marks: &LatencyMarks| {
            let shown = super::calls(&registry, marks).remove(0);
            (
                shown.count,
                shown.recent_count,
                shown.p50_ms.round(),
                shown.p99_ms.round(),
            )
        };
        record(1_000, 90);
        record(3_000, 10);
        assert_eq!(shown(&marks), (100, 100, 1_000.0, 3_001.0), "since the start");
        marks.look(&registry, at(1));
        record(4, 98);
        record(40, 2);
        for minute in 2..=6 {
            marks.look(&registry, at(minute));
            assert_eq!(shown(&marks), (200, 100, 4.0, 40.0), "in minute {minute}");
        }
        marks.look(&registry, at(10));
        assert_eq!(shown(&marks), (200, 100, 4.0, 40.0));
        // The mark of minute 6 is the older one from minute 11 on, and nothing came since.
        marks.look(&registry, at(11));
        assert_eq!(shown(&marks), (200, 0, 0.0, 0.0));
        assert_eq!(marks.0.len(), MARKS);
    }
}
