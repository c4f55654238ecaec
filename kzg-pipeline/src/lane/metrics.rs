//! This file knows what a lane shows of itself.

use ultramarine_runtime::{Counter, Gauge, Histogram, Registry};
use ultramarine_types::verify::{Urgency, ValueOutcome};

use crate::foreman::Foreman;
use crate::former::Batch;

/// The metrics that one lane feeds.
pub(super) struct Metrics {
    right: Counter,
    wrong: Counter,
    holds: Counter,
    fails: Counter,
    withheld: Counter,
    batches: [Counter; 2],
    batch_blobs: Gauge,
    pub open_time: Histogram,
    pub sum_time: Histogram,
    pub settle_time: Histogram,
    pub confirm_time: Histogram,
    waiting: Gauge,
    unsettled: Gauge,
}

/// Registers every series that a lane writes.
pub fn register_metrics(registry: &Registry) {
    let _registered = Metrics::new(registry, "kzg-0", "fast");
}

impl Metrics {
    pub fn new(registry: &Registry, lane: &'static str, verifier: &'static str) -> Self {
        let batches = |urgency| {
            let help = "Batches opened; blobs divided by batches is the mean batch size.";
            registry.counter(
                "ultramarine_kzg_batches_total",
                help,
                &[("lane", lane), ("urgency", urgency)],
            )
        };
        let time = |name, help| registry.coarse_histogram(name, help, &[("lane", lane)]);
        let blobs = |digest| {
            registry.counter(
                "ultramarine_kzg_blobs_total",
                "Blobs hashed, by whether their digest is right. Wrong bytes cost their sender.",
                &[("lane", lane), ("verifier", verifier), ("digest", digest)],
            )
        };
        let values = |outcome| {
            registry.counter(
                "ultramarine_kzg_values_total",
                "Verdicts about values. What is withheld is an alarm: memory that lies, or a library's error.",
                &[("lane", lane), ("verifier", verifier), ("outcome", outcome)],
            )
        };
        Self {
            right: blobs("right"),
            wrong: blobs("wrong"),
            holds: values("holds"),
            fails: values("fails"),
            withheld: values("withheld"),
            batches: [batches("current"), batches("sync")],
            batch_blobs: registry.gauge(
                "ultramarine_kzg_batch_blobs",
                "Blobs of the newest batch.",
                &[("lane", lane)],
            ),
            open_time: time(
                "ultramarine_kzg_open_seconds",
                "Time to open a batch: hash, evaluate, points.",
            ),
            sum_time: time(
                "ultramarine_kzg_sum_seconds",
                "Time to take the sums of claims that filled a piece.",
            ),
            settle_time: time(
                "ultramarine_kzg_settle_seconds",
                "Time to settle values: the last sums and a pairing, more if not all hold.",
            ),
            confirm_time: time(
                "ultramarine_kzg_confirm_seconds",
                "Time of a turn in which a value that fails is looked at once more.",
            ),
            waiting: registry.gauge(
                "ultramarine_kzg_waiting_blobs",
                "Blobs taken off the links and not yet in a batch.",
                &[],
            ),
            unsettled: registry.gauge(
                "ultramarine_kzg_unsettled_blobs",
                "Opened blobs that wait for the verdict about their value.",
                &[],
            ),
        }
    }

    /// A batch is about to be opened.
    pub fn opening(&self, batch: &Batch) {
        self.batches[match batch.urgency {
            Urgency::Current => 0,
            Urgency::Sync => 1,
        }]
        .inc();
        self.batch_blobs
            .set(i64::try_from(batch.tickets.len()).unwrap_or(i64::MAX));
    }

    pub fn hashed(&self, is_right: bool) {
        if is_right { &self.right } else { &self.wrong }.inc();
    }

    pub fn settled(&self, outcome: &ValueOutcome) {
        match outcome {
            ValueOutcome::Holds => &self.holds,
            ValueOutcome::Fails { .. } => &self.fails,
            ValueOutcome::Withheld { .. } => &self.withheld,
        }
        .inc();
    }

    pub fn watch<O, S>(&self, foreman: &Foreman<O, S>) {
        self.waiting.set(i64::try_from(foreman.waiting()).unwrap_or(i64::MAX));
        self.unsettled
            .set(i64::try_from(foreman.unsettled()).unwrap_or(i64::MAX));
    }
}
