//! This file knows how far the opening of a data directory has come: for the log, the metric and `/status`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use ultramarine_runtime::progress::{Estimate, Meter, Unit};
use ultramarine_runtime::{Clock, Registry};
use ultramarine_types::Nanos;

/// How often the log says it.
const SAY_EVERY: Nanos = Nanos::from_millis(5_000);

/// What `/status` says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct OpeningStatus {
    /// Read so far.
    pub bytes: u64,
    pub all_bytes: u64,
    /// `None`: unknown.
    pub seconds_left: Option<u64>,
}

type Say = Box<dyn FnMut(&Estimate) + Send>;
type Now = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// A data directory that is being opened.
#[derive(Clone)]
pub struct DirectoryOpening {
    now: Now,
    /// `None`: it is open.
    meter: Arc<Mutex<Option<Meter<Say>>>>,
}

impl DirectoryOpening {
    /// It begins now.
    pub fn begin(clock: Clock) -> Self {
        Self::begin_with(
            Arc::new(move || clock.now()),
            Box::new(|estimate| tracing::info!("{}", in_words(estimate))),
        )
    }

    fn begin_with(now: Now, say: Say) -> Self {
        let meter = Meter::new(now(), SAY_EVERY, say);
        Self {
            now,
            meter: Arc::new(Mutex::new(Some(meter))),
        }
    }

    /// So much of it is read.
    pub fn observe(&self, bytes: u64, all_bytes: u64) {
        if let Some(meter) = self.meter().as_mut() {
            meter.observe((self.now)(), bytes, Some(all_bytes));
        }
    }

    /// It is open.
    pub fn end(&self) {
        *self.meter() = None;
    }

    /// How far it is; `None` once it is open, and before anything is read.
    pub fn status(&self) -> Option<OpeningStatus> {
        let estimate = self.estimate()?;
        Some(OpeningStatus {
            bytes: estimate.done,
            all_bytes: estimate.total.unwrap_or(estimate.done),
            seconds_left: estimate.seconds_left,
        })
    }

    /// How far it is, for people.
    pub fn words(&self) -> String {
        match self.estimate() {
            Some(estimate) => in_words(&estimate),
            None => "opening the data directory".to_owned(),
        }
    }

    fn estimate(&self) -> Option<Estimate> {
        self.meter().as_ref()?.estimate((self.now)())
    }

    fn meter(&self) -> MutexGuard<'_, Option<Meter<Say>>> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_words(estimate: &Estimate) -> String {
    format!("opening the data directory: {}", estimate.words(Unit::Bytes))
}

/// Shows how long it will take, as `left` says at each scrape.
pub fn show(registry: &Registry, left: impl Fn() -> Option<f64> + Send + 'static) {
    registry.probe_gauge(
        "ultramarine_store_opening_left_seconds",
        "How long the opening of the data directory will take; absent once it is open, and while that is unknown.",
        &[],
        left,
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn an_opening_says_how_far_it_is_to_the_log_to_status_and_to_the_metric() {
        let time_ms = Arc::new(AtomicU64::new(1_000));
        let clock = Arc::clone(&time_ms);
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        let opening = DirectoryOpening::begin_with(
            Arc::new(move || Nanos::from_millis(clock.load(Ordering::Relaxed))),
            Box::new(move |estimate| log.lock().expect("no panic").push(in_words(estimate))),
        );
        let registry = Registry::new();
        let shown = opening.clone();
        show(&registry, move || {
            shown.status()?.seconds_left.map(|seconds| seconds as f64)
        });
        let metric = || {
            let text = registry.render();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("ultramarine_store_opening_left_seconds "));
            line.map(str::to_owned)
        };
        assert_eq!((opening.status(), metric()), (None, None), "nothing is read yet");

        // Two megabytes a second.
        for second in 0..=5 {
            time_ms.store(1_000 + second * 1_000, Ordering::Relaxed);
            opening.observe(second * 2_000_000, 30_000_000);
            assert_eq!(
                said.lock().expect("no panic").len(),
                usize::from(second == 5),
                "after {second} s"
            );
        }
        let words = "opening the data directory: 10.0 of 30.0 MB, 2.0 MB/s, 10 s left";
        assert_eq!(*said.lock().expect("no panic"), [words]);
        assert_eq!(opening.words(), words);
        let status = OpeningStatus {
            bytes: 10_000_000,
            all_bytes: 30_000_000,
            seconds_left: Some(10),
        };
        assert_eq!((opening.status(), metric().as_deref()), (Some(status), Some("10")));

        opening.end();
        opening.observe(12_000_000, 30_000_000);
        assert_eq!((opening.status(), metric()), (None, None), "it is open");
        assert_eq!(opening.words(), "opening the data directory");
    }
}
