//! This file knows what operators read: metrics, health, status, histograms.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::Serialize;
use serde_json::{Value, json};

use crate::board::Snapshot;
use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::store::show_scrub;

/// The histogram whose `stage` label names a stage of a block.
pub const STAGE_HISTOGRAM: &str = "ultramarine_stage_seconds";

/// `GET /metrics`: Prometheus text exposition.
pub async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        state.registry.render(),
    )
}

/// `GET /health`: 200 when the node can be relied on, else 503 with every reason.
pub async fn health(State(state): State<HttpState>) -> (StatusCode, Json<Value>) {
    let mut reasons = state.board.snapshot().unready();
    reasons.extend(state.source.shortage());
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

/// The board, and what of the store belongs beside it.
#[derive(Serialize)]
pub struct NodeStatus {
    #[serde(flatten)]
    board: Snapshot,
    scrub: Option<Value>,
}

/// `GET /status`: the board, and how far the store's check of itself has come.
pub async fn status(State(state): State<HttpState>) -> Json<NodeStatus> {
    Json(NodeStatus {
        board: state.board.snapshot(),
        scrub: state.source.scrub_progress().as_ref().map(show_scrub),
    })
}

/// `GET /histograms`: `{"<stage>": "<base64 of an HdrHistogram V2 serialization, nanoseconds>"}`.
pub async fn histograms(State(state): State<HttpState>) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let mut stages: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for (name, labels, histogram) in state.registry.histograms() {
        let stage = labels
            .into_iter()
            .find_map(|(label, value)| (label == "stage").then_some(value));
        let Some(stage) = stage.filter(|_| name == STAGE_HISTOGRAM) else {
            continue;
        };
        match stages.get_mut(&stage) {
            None => {
                stages.insert(stage, histogram);
            }
            Some(merged) => merged
                .add(&histogram)
                .map_err(|error| ApiError::internal(error.to_string()))?,
        }
    }
    let encoded = stages
        .into_iter()
        .map(|(stage, histogram)| encode(&histogram).map(|text| (stage, text)));
    encoded.collect::<Result<_, _>>().map(Json)
}

fn encode(histogram: &Histogram<u64>) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .map_err(|error| ApiError::internal(format!("histogram cannot be encoded: {error}")))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}
