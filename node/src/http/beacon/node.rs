//! This file knows what clients of the Beacon API ask about the node itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ultramarine_runtime::Clock;
use ultramarine_types::sidecar::slot_at;

use crate::board::Snapshot;
use crate::conditions::{ActiveCondition, Severity};
use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::metrics::Told;
use crate::http::query::{NoParameters, Query};

/// `GET /eth/v1/node/version`.
pub async fn version(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    let version = state.board.snapshot().identity.version;
    Json(json!({ "data": { "version": format!("ultramarine/{version}") } }))
}

/// Conditions under which nobody here knows how far the chain is.
const OUT_OF_TOUCH: [&str; 3] = ["no-peers", "stalled", "tile-hung"];

/// `GET /eth/v1/node/syncing`. The distance is counted in heights, as nobody knows the slots of blocks to come; a
/// height takes a slot at least. Where nobody can say how far the chain is, it is counted by the clock, in slots, as
/// Beacon nodes do. A slot without a block says nothing: only a height that takes too long does.
pub async fn syncing(State(state): State<HttpState>, _: NoParameters) -> Result<Json<Value>, ApiError> {
    let conditions = state.conditions.look();
    let snapshot = state.board.snapshot();
    let (source, genesis_time) = (state.source.clone(), state.chain.params.genesis_time);
    let height = snapshot.height;
    let slot = ApiError::off_core(move || {
        let entry = source.entry(height);
        Ok(entry.map_or(0, |entry| slot_at(entry.timestamp, genesis_time)))
    })
    .await?;
    let now_slot = slot_at(Clock::unix_ns() / 1_000_000_000, genesis_time);
    let distance = distance(&snapshot, &conditions, now_slot.saturating_sub(slot));
    Ok(Json(json!({ "data": {
        "head_slot": slot.to_string(),
        "sync_distance": distance.unwrap_or(snapshot.lag()).to_string(),
        "is_syncing": distance.is_some(),
        "is_optimistic": snapshot.is_optimistic(height),
        "el_offline": !is_client_ready(&snapshot),
    }})))
}

/// How far away the chain's head is; `None`: this node has it. `by_clock` is how many slots its head is old.
fn distance(snapshot: &Snapshot, conditions: &[ActiveCondition], by_clock: u64) -> Option<u64> {
    let is_lost = conditions
        .iter()
        .any(|condition| OUT_OF_TOUCH.contains(&condition.id.as_str()));
    let lost = (is_lost && by_clock > 0).then_some(by_clock);
    let behind = snapshot.is_behind().then(|| snapshot.lag());
    lost.max(behind)
}

fn is_client_ready(snapshot: &Snapshot) -> bool {
    snapshot.readiness.as_ref().is_some_and(|readiness| readiness.on) && snapshot.waiting.is_none()
}

/// `GET /eth/v1/node/health`: 200 in step with the chain; 206, or the status that `syncing_status` names, while the
/// node or its execution client is behind; 503 while another critical condition lasts. `/health` says why.
pub async fn health(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    query.only(&["syncing_status"])?;
    let syncing = match query.number("syncing_status")? {
        None => StatusCode::PARTIAL_CONTENT,
        Some(number) => u16::try_from(number)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|code| code.as_u16() >= 200 && code.as_u16() < 600)
            .ok_or_else(|| {
                ApiError::bad_request(format!(
                    "syncing_status is `{number}`, which is not an HTTP status from 200 to 599"
                ))
            })?,
    };
    let status = match judged(&state.board.snapshot(), &state.conditions.look()) {
        Health::Unfit => StatusCode::SERVICE_UNAVAILABLE,
        Health::CatchingUp => syncing,
        Health::InStep => StatusCode::OK,
    };
    Ok((status, Told, ()).into_response())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    InStep,
    /// It follows, and gets there by itself.
    CatchingUp,
    /// Nobody should rely on it.
    Unfit,
}

fn judged(snapshot: &Snapshot, conditions: &[ActiveCondition]) -> Health {
    let is_catching_up = snapshot.is_behind() || snapshot.is_optimistic(snapshot.height);
    // A client that is fed is not ready before it has all, and a validator that is behind does not sign.
    let excused = |id: &str| match id {
        "behind" => true,
        "client-not-ready" => is_catching_up,
        "not-signing" => snapshot.is_behind(),
        _ => false,
    };
    let is_unfit = conditions
        .iter()
        .any(|condition| condition.severity == Severity::Critical && !excused(&condition.id));
    if is_unfit {
        Health::Unfit
    } else if is_catching_up || !is_client_ready(snapshot) {
        Health::CatchingUp
    } else {
        Health::InStep
    }
}

/// `GET /eth/v1/node/identity`. Our peers are found by their configuration and speak QUIC with keys of ed25519, so
/// there is no node record (ENR).
pub async fn identity(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    let peer_id = state.board.snapshot().identity.peer_id;
    Json(json!({ "data": {
        "peer_id": peer_id,
        "enr": "",
        "p2p_addresses": [],
        "discovery_addresses": [],
        "metadata": { "seq_number": "0", "attnets": "0x0000000000000000", "syncnets": "0x00" },
    }}))
}

/// `GET /eth/v1/node/peer_count`.
pub async fn peer_count(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    let connected = state.board.snapshot().peers;
    Json(json!({ "data": {
        "disconnected": "0",
        "connecting": "0",
        "connected": connected.to_string(),
        "disconnecting": "0",
    }}))
}

#[cfg(test)]
mod tests;
