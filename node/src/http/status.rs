//! This file knows what operators read: metrics, health and status.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use crate::board::Snapshot;
use crate::conditions::{ActiveCondition, Severity};
use crate::http::HttpState;
use crate::http::metrics::Told;
use crate::http::store::show_scrub;

/// `GET /metrics`: Prometheus text exposition.
pub async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    state.conditions.look();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        state.registry.render(),
    )
}

/// `GET /health`: 200 when the node can be relied on, else 503 with every reason. All that is wrong stands under
/// `conditions`, with what to do.
pub async fn health(State(state): State<HttpState>) -> (StatusCode, Told, Json<Value>) {
    let conditions = state.conditions.look();
    let critical = |condition: &&ActiveCondition| condition.severity == Severity::Critical;
    let reasons: Vec<&str> = conditions
        .iter()
        .filter(critical)
        .map(|condition| condition.what.as_str())
        .collect();
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = json!({ "ready": ready, "reasons": reasons, "conditions": conditions });
    (status, Told, Json(answer))
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
