//! This file knows which metrics the server shows of its answers.

use std::time::Duration;

use axum::http::StatusCode;
use ultramarine_runtime::{Counter, Histogram, Registry};
use ultramarine_types::Nanos;

use crate::http::seats::Leave;

/// Registers every series of the server.
pub fn register_metrics(registry: &Registry) {
    let _registered = Metrics::new(registry);
}

/// The server's series. Labels are classes of answers, never a caller's words.
pub(super) struct Metrics {
    succeeded: Counter,
    refused: Counter,
    failed: Counter,
    late: Counter,
    displaced: Counter,
    crowded: Counter,
    time: Histogram,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let answers = |answer| {
            registry.counter(
                "ultramarine_http_requests_total",
                "Requests answered: ok, refused for the caller's sake (4xx), or failed for ours (5xx).",
                &[("answer", answer)],
            )
        };
        let closed = |why| {
            registry.counter(
                "ultramarine_http_connections_closed_total",
                "Connections ended by us: late (the caller took too long), displaced (a new caller took the seat), or \
                 crowded (one address had its share).",
                &[("why", why)],
            )
        };
        Self {
            late: closed("late"),
            displaced: closed("displaced"),
            crowded: closed("crowded"),
            succeeded: answers("ok"),
            refused: answers("refused"),
            failed: answers("failed"),
            time: registry.histogram(
                "ultramarine_http_answer_seconds",
                "From a request's head to the beginning of its answer.",
                &[],
            ),
        }
    }

    pub fn sent_away(&self, leave: Leave) {
        if leave.wanted {
            self.displaced.inc();
        } else {
            self.late.inc();
        }
    }

    pub fn crowded(&self) {
        self.crowded.inc();
    }

    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = match status {
            status if status.is_server_error() => &self.failed,
            status if status.is_client_error() => &self.refused,
            _ => &self.succeeded,
        };
        class.inc();
        self.time.record(Nanos::from(took));
    }
}
