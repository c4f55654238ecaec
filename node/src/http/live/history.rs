//! This file knows what the counters were a while ago, so that rates can be told at once.
//!
//! Keeps: samples come in order of time, and at most [`SAMPLES_MAX`] of them are kept.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::Nanos;

/// Samples that are kept: ten minutes of them.
const SAMPLES_MAX: usize = 121;
/// Rates are over at least this long.
const RATE_SPAN: Nanos = Nanos::from_millis(10_000);
/// The growth of what is stored is over at least this long: blocks differ.
const GROWTH_SPAN_MIN: Nanos = Nanos::from_millis(60_000);

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct CounterSample {
    pub at: Nanos,
    pub height: u64,
    pub decided: u64,
    pub blobs: u64,
    pub bytes: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Bytes of records, those that nothing names included; `None`: there is no account.
    pub stored_bytes: Option<u64>,
    /// Of each tile, nanoseconds that it worked and that it waited for a CPU.
    pub tiles: BTreeMap<String, (u64, u64)>,
}

/// Samples of the last minutes.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<CounterSample>,
}

impl History {
    pub fn push(&mut self, sample: CounterSample) {
        if self.samples.back().is_some_and(|newest| newest.at >= sample.at) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The sample that rates up to `now` begin with: the newest that is old enough, or else the oldest.
    pub fn before(&self, now: Nanos) -> Option<&CounterSample> {
        let old_enough = |sample: &&CounterSample| now.since(sample.at) >= RATE_SPAN;
        let before = self.samples.iter().rev().find(old_enough);
        before
            .or(self.samples.front())
            .filter(|before| now.since(before.at) > Nanos::ZERO)
    }

    /// Bytes that were stored anew in a second, over all that is remembered.
    pub fn growth(&self, now: Nanos, stored_bytes: u64) -> Option<f64> {
        let oldest = self.samples.iter().find(|sample| sample.stored_bytes.is_some())?;
        let span = now.since(oldest.at);
        (span >= GROWTH_SPAN_MIN)
            .then(|| (stored_bytes as f64 - oldest.stored_bytes.unwrap_or_default() as f64) / seconds(span))
    }
}

/// How much a counter grew in a second.
pub fn rate(before: u64, now: u64, span: Nanos) -> f64 {
    if span == Nanos::ZERO {
        return 0.0;
    }
    now.saturating_sub(before) as f64 / seconds(span)
}

pub fn seconds(span: Nanos) -> f64 {
    span.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Nanos {
        Nanos::from_millis(second * 1_000)
    }

    fn sample(second: u64, stored: u64) -> CounterSample {
        CounterSample {
            at: at(second),
            decided: second,
            stored_bytes: Some(stored),
            ..CounterSample::default()
        }
    }

    #[test]
    fn rates_begin_ten_seconds_ago_or_with_the_first_sample() {
        let mut history = History::default();
        assert!(history.before(at(9)).is_none());
        for second in [0, 5, 10, 15] {
            history.push(sample(second, 0));
        }
        let before = |second| history.before(at(second)).map(|sample| sample.decided);
        assert_eq!(before(0), None, "no time has passed");
        assert_eq!(before(4), Some(0));
        assert_eq!(before(17), Some(5));
        assert_eq!(before(26), Some(15));
        assert!((rate(5, 29, at(12)) - 2.0).abs() < 1e-9);
        assert!(
            rate(7, 3, at(1)).abs() < 1e-9,
            "a counter that was begun anew has no rate"
        );
    }

    #[test]
    fn memory_is_bounded_and_time_never_runs_back() {
        let mut history = History::default();
        for second in 0..10_000 {
            history.push(sample(second, 0));
            history.push(sample(second / 2, 0));
        }
        assert_eq!(history.samples.len(), SAMPLES_MAX);
        assert!(history.samples.iter().is_sorted_by_key(|sample| sample.at));
    }

    #[test]
    fn growth_is_told_after_a_minute_and_may_be_below_zero() {
        let mut history = History::default();
        history.push(sample(0, 1_000));
        assert_eq!(history.growth(at(59), 9_000), None);
        assert_eq!(history.growth(at(100), 11_000), Some(100.0));
        assert_eq!(history.growth(at(100), 0), Some(-10.0));
    }
}
