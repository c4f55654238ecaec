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

/// A data directory that is being opened.
#[derive(Clone)]
pub struct DirectoryOpening {
    clock: Clock,
    /// `None`: it is open.
    meter: Arc<Mutex<Option<Meter<Say>>>>,
}

impl DirectoryOpening {
    /// It begins now.
    pub fn begin(clock: Clock) -> Self {
        let say: Say =
            Box::new(|estimate| tracing::info!("opening the data directory: {}", estimate.words(Unit::Bytes)));
        Self {
            clock,
            meter: Arc::new(Mutex::new(Some(Meter::new(clock.now(), SAY_EVERY, say)))),
        }
    }

    /// So much of it is read.
    pub fn observe(&self, bytes: u64, all_bytes: u64) {
        if let Some(meter) = self.meter().as_mut() {
            meter.observe(self.clock.now(), bytes, Some(all_bytes));
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
            Some(estimate) => format!("opening the data directory: {}", estimate.words(Unit::Bytes)),
            None => "opening the data directory".to_owned(),
        }
    }

    fn estimate(&self) -> Option<Estimate> {
        self.meter().as_ref()?.estimate(self.clock.now())
    }

    fn meter(&self) -> MutexGuard<'_, Option<Meter<Say>>> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
