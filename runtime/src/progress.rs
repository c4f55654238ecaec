//! This file knows how far a long work has come and how long it will take: one answer for bars, logs, metrics and
//! `/status`.
//!
//! ```text
//!   done, total ──observe──▶ Estimator ──estimate──▶ rate over the newest 30 s, time left
//!                  (now)                     (now)   or "unknown", where too little is known or nothing moves
//! ```
//!
//! Where nothing moves, no time counts down: after 10 s it is unknown.
//!
//! The total may grow while the work goes on, as that of a node that catches up with a chain. What counts is then how
//! fast the distance shrinks.
//!
//! Keeps: a bounded number of samples, whatever the work.

use std::collections::VecDeque;
use std::fmt;

use ultramarine_types::Nanos;

/// Rates are of so long.
const WINDOW: Nanos = Nanos::from_millis(30_000);
/// Samples are so far apart; what is observed in between replaces the newest.
const SAMPLE_EVERY: Nanos = Nanos::from_millis(500);
/// From less than this nobody can tell a rate.
const SPAN_MIN: Nanos = Nanos::from_millis(1_000);
/// The window, and its two ends.
const SAMPLES_MAX: usize = (WINDOW.0 / SAMPLE_EVERY.0) as usize + 2;
/// Where nothing was done for so long, nobody knows how long the rest takes.
const STILL_MAX: Nanos = Nanos::from_millis(10_000);
/// A time beyond this is no estimate.
const LEFT_MAX_S: f64 = 10.0 * 365.0 * 86_400.0;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Heights,
    Blobs,
    Bytes,
    /// Of an archive.
    Objects,
}

/// How far a work has come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    pub done: u64,
    /// `None`: nobody knows.
    pub total: Option<u64>,
    /// `None`: unknown.
    pub per_second: Option<f64>,
    /// `None`: unknown, or it does not come nearer.
    pub seconds_left: Option<u64>,
}

impl Estimate {
    /// In words, such as `812 of 2000 heights, 43.1/s, 28 s left`.
    pub fn words(&self, unit: Unit) -> EstimateWords {
        EstimateWords { estimate: *self, unit }
    }

    /// From 0 to 1; `None` without a total.
    pub fn share(&self) -> Option<f64> {
        let total = self.total?;
        Some(match total {
            0 => 1.0,
            total => (self.done as f64 / total as f64).min(1.0),
        })
    }
}

/// An estimate in words.
#[derive(Clone, Copy, Debug)]
pub struct EstimateWords {
    estimate: Estimate,
    unit: Unit,
}

impl fmt::Display for EstimateWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate {
            done,
            total,
            per_second,
            seconds_left,
        } = self.estimate;
        match (self.unit, total) {
            (Unit::Bytes, Some(total)) => write!(f, "{:.1} of {:.1} MB", megabytes(done), megabytes(total))?,
            (Unit::Bytes, None) => write!(f, "{:.1} MB", megabytes(done))?,
            (unit, Some(total)) => write!(f, "{done} of {total} {}", unit.name())?,
            (unit, None) => write!(f, "{done} {}", unit.name())?,
        }
        match (self.unit, per_second) {
            (_, None) => {}
            (Unit::Bytes, Some(rate)) => write!(f, ", {:.1} MB/s", rate / 1e6)?,
            (_, Some(rate)) => write!(f, ", {rate:.1}/s")?,
        }
        match seconds_left {
            Some(seconds) => write!(f, ", {} left", time_words(seconds)),
            None => write!(f, ", time left unknown"),
        }
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Heights => "heights",
            Self::Blobs => "blobs",
            Self::Bytes => "bytes",
            Self::Objects => "objects",
        }
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A time for people: the unit is the largest that is not coarse.
pub fn time_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Nanos,
    done: u64,
    total: Option<u64>,
}

/// Remembers how a work went on, and estimates the rest.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    samples: VecDeque<Sample>,
}

impl Estimator {
    /// The work is this far now.
    pub fn observe(&mut self, now: Nanos, done: u64, total: Option<u64>) {
        let sample = Sample { at: now, done, total };
        // The first sample stays as it is: what begins the work is its first observation.
        let is_soon = |before: &Sample| now.since(before.at) < SAMPLE_EVERY;
        let before_last = self.samples.len().checked_sub(2).and_then(|at| self.samples.get(at));
        if before_last.is_some_and(is_soon) {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|second| now.since(second.at) >= WINDOW) {
            self.samples.pop_front();
        }
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// What is known now; `None` before the first observation.
    pub fn estimate(&self, now: Nanos) -> Option<Estimate> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        // If nothing was observed since, nothing was done since.
        let span = now.since(first.at);
        let is_fresh = now.since(last.at) < WINDOW;
        let seconds = span.0 as f64 / 1e9;
        let rate = |from: u64, to: u64| (to as f64 - from as f64) / seconds;
        let per_second = (is_fresh && span >= SPAN_MIN && last.done > first.done).then(|| rate(first.done, last.done));
        let remaining = last.total.map(|total| total.saturating_sub(last.done));
        let moved = self.moved().filter(|moved| now.since(moved.at) <= STILL_MAX);
        let seconds_left = match (remaining, per_second, moved) {
            (Some(0), ..) => Some(0),
            (Some(remaining), Some(rate_done), Some(moved)) => {
                let growth = match (first.total, moved.total) {
                    // Up to the newest step: a goal that stands still as well makes no time pass faster.
                    (Some(before), Some(after)) => {
                        (after as f64 - before as f64) * 1e9 / moved.at.since(first.at).0 as f64
                    }
                    _ => 0.0,
                };
                let left = remaining as f64 / (rate_done - growth);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it lies between 0 and ten years"
                )]
                let whole = left.ceil() as u64;
                (left > 0.0 && left <= LEFT_MAX_S).then_some(whole)
            }
            _ => None,
        };
        Some(Estimate {
            done: last.done,
            total: last.total,
            per_second,
            seconds_left,
        })
    }

    /// The newest sample with which something was done.
    fn moved(&self) -> Option<&Sample> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1)).rev();
        pairs
            .map(|(before, after)| (before.done, after))
            .find_map(|(before, after)| (after.done > before).then_some(after))
    }
}

/// Says now and then how far a work has come.
pub struct Meter<Say> {
    estimator: Estimator,
    every: Nanos,
    said: Nanos,
    say: Say,
}

impl<Say: FnMut(&Estimate)> Meter<Say> {
    /// The work begins. `say` is told about it each time `every` has passed, and not before.
    pub fn new(now: Nanos, every: Nanos, say: Say) -> Self {
        Self {
            estimator: Estimator::default(),
            every,
            said: now,
            say,
        }
    }

    /// What is known now; `None` before the first observation.
    pub fn estimate(&self, now: Nanos) -> Option<Estimate> {
        self.estimator.estimate(now)
    }

    pub fn observe(&mut self, now: Nanos, done: u64, total: Option<u64>) {
        self.estimator.observe(now, done, total);
        if now.since(self.said) >= self.every
            && let Some(estimate) = self.estimator.estimate(now)
        {
            self.said = now;
            (self.say)(&estimate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Nanos {
        Nanos::from_millis(milliseconds)
    }

    #[test]
    fn a_steady_work_has_its_rate_and_its_time() {
        let mut estimator = Estimator::default();
        assert_eq!(estimator.estimate(at(0)), None);
        for tenth in 0..=100 {
            estimator.observe(at(100 * tenth), 2 * tenth, Some(1000));
        }
        let estimate = estimator.estimate(at(10_000)).expect("observed");
        assert_eq!(
            (estimate.done, estimate.total, estimate.seconds_left),
            (200, Some(1000), Some(40))
        );
        assert!(
            (estimate.per_second.expect("known") - 20.0).abs() < 0.01,
            "{estimate:?}"
        );
        assert_eq!(
            estimate.words(Unit::Heights).to_string(),
            "200 of 1000 heights, 20.0/s, 40 s left"
        );
    }

    #[test]
    fn what_is_not_known_is_called_so() {
        let mut estimator = Estimator::default();
        estimator.observe(at(0), 0, Some(10));
        estimator.observe(at(900), 5, Some(10));
        let soon = estimator.estimate(at(900)).expect("observed");
        assert_eq!((soon.per_second, soon.seconds_left), (None, None), "too soon to tell");
        assert_eq!(soon.words(Unit::Blobs).to_string(), "5 of 10 blobs, time left unknown");
        // It stands still: the rate falls, and is gone with the window.
        let later = estimator.estimate(at(10_000)).expect("observed");
        assert!((later.per_second.expect("known") - 0.5).abs() < 0.01);
        let much_later = estimator.estimate(at(40_000)).expect("observed");
        assert_eq!((much_later.per_second, much_later.seconds_left), (None, None));
        // No total, and a work that has nothing to do.
        let mut endless = Estimator::default();
        endless.observe(at(0), 0, None);
        endless.observe(at(2_000), 3_000_000, None);
        let estimate = endless.estimate(at(2_000)).expect("observed");
        assert_eq!(
            estimate.words(Unit::Bytes).to_string(),
            "3.0 MB, 1.5 MB/s, time left unknown"
        );
        let mut done = Estimator::default();
        done.observe(at(0), 7, Some(7));
        assert_eq!(done.estimate(at(0)).expect("observed").seconds_left, Some(0));
    }

    #[test]
    fn the_newest_half_minute_counts() {
        let mut estimator = Estimator::default();
        // A minute at 1/s, then a minute at 100/s.
        let mut done = 0;
        for second in 0..120 {
            estimator.observe(at(1000 * second), done, Some(100_000));
            done += if second < 60 { 1 } else { 100 };
            assert!(estimator.samples.len() <= SAMPLES_MAX);
        }
        let estimate = estimator.estimate(at(119_000)).expect("observed");
        assert!(
            (estimate.per_second.expect("known") - 100.0).abs() < 0.1,
            "{estimate:?}"
        );
    }

    #[test]
    fn a_goal_that_moves_away_is_told_by_how_fast_it_comes_nearer() {
        let run = |per_second: u64, growth: u64| {
            let mut estimator = Estimator::default();
            for second in 0..=10 {
                estimator.observe(at(1000 * second), per_second * second, Some(1000 + growth * second));
            }
            estimator.estimate(at(10_000)).expect("observed").seconds_left
        };
        assert_eq!(run(11, 1), Some(90), "900 heights at 10 a second");
        assert_eq!(run(1, 1), None, "it comes no nearer");
        assert_eq!(run(1, 2), None, "it moves away");
    }

    #[test]
    fn no_time_counts_down_while_nothing_moves() {
        // Steps of 64 heights, and a goal that moves on by one a second until second 60: both stand still from there.
        let mut estimator = Estimator::default();
        let (mut before, mut known_until) = (None, 0);
        for second in 0..=100_u64 {
            let decided = 400 + second.min(60);
            let done = 64 * (second.min(60) / 12);
            estimator.observe(at(1_000 * second), done, Some(decided));
            let left = estimator.estimate(at(1_000 * second)).expect("observed").seconds_left;
            if second > 60 {
                if let (Some(left), Some(before)) = (left, before) {
                    assert!(
                        left >= before,
                        "{left} s left after {before} s, {second} s after the start"
                    );
                }
                known_until = if left.is_some() { second } else { known_until };
            }
            before = left;
        }
        assert_eq!(known_until, 70, "what has not moved for 10 s is unknown");
    }

    #[test]
    fn a_meter_speaks_at_its_pace() {
        let mut said = Vec::new();
        let mut meter = Meter::new(at(0), at(5_000), |estimate: &Estimate| said.push(estimate.done));
        for second in 1..=12 {
            meter.observe(at(1000 * second), second, None);
        }
        assert_eq!(said, [5, 10]);
    }

    #[test]
    fn times_are_words() {
        let words = [0, 119, 120, 7_199, 7_200, 200_000].map(time_words);
        assert_eq!(words, ["0 s", "119 s", "2 min", "119 min", "2 h", "55 h"]);
    }
}
