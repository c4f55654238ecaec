//! This file knows how to tell what the store holds: of one height, and in all.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use ultramarine_types::storage::{BlobStatus, ScrubProgress, StoreAccount};

use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query;

/// `GET /ultramarine/v1/blob_status/{height}`: what became of a height's blobs.
pub async fn blob_status(State(state): State<HttpState>, Path(height): Path<String>) -> Result<Json<Value>, ApiError> {
    let height = query::height(&height)?;
    let found = ApiError::off_core(move || {
        let unknown = || ApiError::not_found(format!("nothing of height {height} is stored here"));
        state.source.blob_status(height).ok_or_else(unknown)
    });
    Ok(Json(show_status(&found.await?)))
}

/// `GET /ultramarine/v1/store`: heights by state, bytes by kind.
pub async fn store(State(state): State<HttpState>) -> Result<Json<Value>, ApiError> {
    let account = ApiError::off_core(move || {
        let none = || ApiError::unavailable("this node's store keeps no account");
        state.source.account().ok_or_else(none)
    });
    Ok(Json(show_account(&account.await?)))
}

fn show_status(status: &BlobStatus) -> Value {
    let BlobStatus {
        height,
        state,
        since,
        blobs_count,
        bytes,
    } = *status;
    json!({ "height": height, "state": state.name(), "since": since, "blobs": blobs_count, "bytes": bytes })
}

/// An account as `ultramarine store stats --json` prints it.
pub fn show_account(account: &StoreAccount) -> Value {
    let heights: Map<String, Value> = account
        .states
        .iter()
        .map(|(state, tally)| (state.name().to_owned(), json!(tally.heights)))
        .collect();
    let files = &account.files;
    json!({
        "heights": heights,
        "bytes": {
            "live": account.states.live_bytes(),
            "dead": account.dead_bytes,
            "files": files.values + files.payloads,
            "free": files.free,
            "index": files.index,
            "log": files.log,
        },
        "segments": account.segments,
    })
}

/// Progress of the background check, as `/status` has it.
pub fn show_scrub(progress: &ScrubProgress) -> Value {
    let ScrubProgress {
        height,
        bytes,
        passes,
        last_pass,
        found,
    } = *progress;
    json!({ "height": height, "bytes": bytes, "passes": passes, "last_pass": last_pass, "found": found })
}
