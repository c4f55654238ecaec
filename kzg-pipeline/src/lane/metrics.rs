//! This file knows what a lane shows of itself.

use ultramarine_runtime::{Counter, Gauge, Histogram, Registry};
use ultramarine_types::verify::{Finding, Urgency};

use crate::foreman::Foreman;
use crate::former::Batch;
use crate::verifier::{LABELS, label_index};

/// The metrics that one lane feeds.
pub(super) struct Metrics {
    blobs: [Counter; LABELS.len()],
    batches: [Counter; 2],
    batch_blobs: Gauge,
    pub open_time: Histogram,
    pub sum_time: Histogram,
    pub settle_time: Histogram,
    pub inquire_time: Histogram,
    waiting: Gauge,
    unsettled: Gauge,
}

impl Metrics {
    pub fn new(registry: &Registry, lane: &'static str, verifier: &'static str) -> Self {
        let batches = |urgency| {
            let help = "Batches opened; blobs that are not unjudged divided by batches is the mean batch size.";
            registry.counter(
                "ultramarine_kzg_batches_total",
                help,
                &[("lane", lane), ("urgency", urgency)],
            )
        };
        let time = |name, help| registry.histogram(name, help, &[("lane", lane)]);
        Self {
            blobs: LABELS.map(|finding| {
                let labels = [("lane", lane), ("verifier", verifier), ("finding", finding)];
                registry.counter(
                    "ultramarine_kzg_blobs_total",
                    "Verdicts about blobs, by finding; unjudged blobs are given back as their sender is convicted.",
                    &labels,
                )
            }),
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
                "Time to settle: the last sums and a pairing, more if not all holds.",
            ),
            inquire_time: time(
                "ultramarine_kzg_inquire_seconds",
                "Time of a further turn of an inquiry into wrong claims.",
            ),
            waiting: registry.gauge(
                "ultramarine_kzg_waiting_blobs",
                "Blobs taken off the links and not yet in a batch.",
                &[],
            ),
            unsettled: registry.gauge(
                "ultramarine_kzg_unsettled_blobs",
                "Opened blobs that wait for the rest of their block, or are under inquiry.",
                &[],
            ),
        }
    }

    /// A batch is about to be opened.
    pub fn opening(&self, batch: &Batch) {
        self.batches[match batch.lot.urgency {
            Urgency::Current => 0,
            Urgency::Sync => 1,
        }]
        .inc();
        self.batch_blobs
            .set(i64::try_from(batch.tickets.len()).unwrap_or(i64::MAX));
    }

    /// A claim has its finding.
    pub fn judged(&self, finding: Finding) {
        self.blobs[label_index(finding)].inc();
    }

    pub fn watch<O, S, I>(&self, foreman: &Foreman<O, S, I>) {
        self.waiting.set(i64::try_from(foreman.waiting()).unwrap_or(i64::MAX));
        self.unsettled
            .set(i64::try_from(foreman.unsettled()).unwrap_or(i64::MAX));
    }
}
