//! This file knows how a distribution is shown to those who watch: a few quantiles, and buckets for a heatmap.

use hdrhistogram::Histogram;
use ultramarine_runtime::Registry;
use ultramarine_types::Stage;

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
pub fn stages(registry: &Registry) -> LiveLatency {
    let bounds = bounds_ms();
    let mut stages = distributions(registry, STAGE_HISTOGRAM, "stage", &bounds);
    let order = |name: &str| Stage::ALL.iter().position(|stage| stage.name() == name);
    stages.sort_by_key(|distribution| order(&distribution.stage));
    LiveLatency {
        bounds_ms: bounds,
        stages,
    }
}

/// How long the execution client took to answer, by method.
pub fn calls(registry: &Registry) -> Vec<LiveDistribution> {
    let mut calls = distributions(registry, CALL_HISTOGRAM, "method", &[]);
    calls.retain(|call| call.count > 0);
    calls
}

fn distributions(registry: &Registry, name: &str, label: &str, bounds: &[f64]) -> Vec<LiveDistribution> {
    let histograms = registry.histograms_of(name).into_iter();
    histograms
        .filter_map(|(labels, histogram)| {
            let (_, value) = labels.into_iter().find(|(key, _)| key == label)?;
            Some(distribution(value, &histogram, bounds))
        })
        .collect()
}

fn distribution(stage: String, histogram: &Histogram<u64>, bounds: &[f64]) -> LiveDistribution {
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
    let quantile = |quantile| rounded(histogram.value_at_quantile(quantile) as f64 / NS_PER_MS);
    LiveDistribution {
        stage,
        count: histogram.len(),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        counts,
    }
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
        let shown = distribution("vote".to_owned(), &histogram, &bounds);
        assert_eq!((shown.count, shown.counts.iter().sum::<u64>()), (5, 5));
        let filled: Vec<usize> = (0..shown.counts.len()).filter(|at| shown.counts[*at] > 0).collect();
        let upper: Vec<Option<&f64>> = filled.iter().map(|at| bounds.get(*at)).collect();
        assert_eq!(upper, [Some(&0.1), Some(&0.126), Some(&50.1), Some(&10_000.0), None]);
        assert!((shown.p50_ms - 44.0).abs() < 0.1, "{shown:?}");
    }
}
