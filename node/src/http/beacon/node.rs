//! This file knows what clients of the Beacon API ask about the node itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ultramarine_types::sidecar::slot_at;

use crate::board::Snapshot;
use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query::{NoParameters, Query};

/// `GET /eth/v1/node/version`.
pub async fn version(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    let version = state.board.snapshot().identity.version;
    Json(json!({ "data": { "version": format!("ultramarine/{version}") } }))
}

/// `GET /eth/v1/node/syncing`. The distance is counted in heights, as nobody knows the slots of blocks to come; a
/// height takes a slot at least.
pub async fn syncing(State(state): State<HttpState>, _: NoParameters) -> Result<Json<Value>, ApiError> {
    let snapshot = state.board.snapshot();
    let (source, genesis_time) = (state.source.clone(), state.chain.params.genesis_time);
    let height = snapshot.height;
    let slot = ApiError::off_core(move || {
        let entry = source.entry(height);
        Ok(entry.map_or(0, |entry| slot_at(entry.timestamp, genesis_time)))
    })
    .await?;
    Ok(Json(json!({ "data": {
        "head_slot": slot.to_string(),
        "sync_distance": snapshot.lag().to_string(),
        "is_syncing": snapshot.is_behind(),
        "is_optimistic": snapshot.executed_height < height,
        "el_offline": !is_client_ready(&snapshot),
    }})))
}

fn is_client_ready(snapshot: &Snapshot) -> bool {
    snapshot.readiness.as_ref().is_some_and(|readiness| readiness.on) && snapshot.waiting.is_none()
}

/// `GET /eth/v1/node/health`: 200 in step with the chain; 206, or the status that `syncing_status` names, while the
/// node or its execution client is behind; 503 until the client has answered. `/health` says why.
pub async fn health(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    query.only(&["syncing_status"])?;
    let syncing = match query.number("syncing_status")? {
        None => StatusCode::PARTIAL_CONTENT,
        Some(number) => u16::try_from(number)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|code| code.as_u16() >= 200 && code.as_u16() < 600)
            .ok_or_else(|| ApiError::bad_request("syncing_status is an HTTP status from 200 to 599"))?,
    };
    let snapshot = state.board.snapshot();
    let status = if snapshot.readiness.is_none() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if snapshot.is_behind() || snapshot.executed_height < snapshot.height || !is_client_ready(&snapshot) {
        syncing
    } else {
        StatusCode::OK
    };
    Ok(status.into_response())
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
