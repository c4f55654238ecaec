//! This file knows what operators read: metrics, health and status.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use crate::board::Snapshot;
use crate::http::HttpState;
use crate::http::store::show_scrub;

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
