//! This file knows which metrics the server shows of its answers.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::{IntoResponseParts, Response, ResponseParts};
use ultramarine_runtime::{Counter, Histogram, Registry};
use ultramarine_types::Nanos;

use crate::http::seats::Leave;

/// Stands on an answer whose status is what was asked for, such as a 503 that says how this node is.
#[derive(Clone, Copy, Debug)]
pub struct Told;

impl IntoResponseParts for Told {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

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
                "Requests answered: ok, refused for the caller's sake (4xx), or failed for ours (5xx). A health \
                 check's 503 is ok: it says what was asked.",
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

    pub fn answered(&self, response: &Response, took: Duration) {
        let is_told = response.extensions().get::<Told>().is_some();
        let class = match response.status() {
            _ if is_told => &self.succeeded,
            status if status.is_server_error() => &self.failed,
            status if status.is_client_error() => &self.refused,
            _ => &self.succeeded,
        };
        class.inc();
        self.time.record(Nanos::from(took));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_health_check_that_says_no_is_answered_and_no_failure() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        for response in [
            (StatusCode::SERVICE_UNAVAILABLE, Told, "not ready").into_response(),
            StatusCode::SERVICE_UNAVAILABLE.into_response(),
            StatusCode::NOT_FOUND.into_response(),
            StatusCode::OK.into_response(),
        ] {
            metrics.answered(&response, Duration::ZERO);
        }
        let shown = registry.render();
        for (answer, count) in [("ok", 2), ("refused", 1), ("failed", 1)] {
            let line = format!("ultramarine_http_requests_total{{answer=\"{answer}\"}} {count}\n");
            assert!(shown.contains(&line), "{line} is not in {shown}");
        }
    }
}
