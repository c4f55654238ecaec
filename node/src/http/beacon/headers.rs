//! This file knows the headers under which blocks' blobs are served, by the Beacon API's names.
//!
//! They are kept as long as the chain, also of blocks whose blobs are pruned. The genesis has none.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ultramarine_types::{Hash, Height};

use crate::http::HttpState;
use crate::http::beacon::form::EntityTag;
use crate::http::beacon::is_optimistic;
use crate::http::beacon::sidecar::SignedHeader;
use crate::http::block::BlockId;
use crate::http::error::ApiError;
use crate::http::query::{NoParameters, Query, quoted};

/// `GET /eth/v1/beacon/headers/{block}`.
pub async fn header(
    State(state): State<HttpState>,
    Path(block): Path<String>,
    _: NoParameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let block: BlockId = block.parse()?;
    let height = block.height(&state).await?;
    let found = read(&state, height).await?;
    let tag = EntityTag::of(&[&"header", &found["data"]["root"], &found["execution_optimistic"]]);
    let tagged = [(ETAG, tag.header())];
    Ok(match tag.is_known(&headers) {
        true => (StatusCode::NOT_MODIFIED, tagged).into_response(),
        false => (tagged, Json(found)).into_response(),
    })
}

/// `GET /eth/v1/beacon/headers?slot=S&parent_root=R`: the newest block's header, or the one that the query names.
pub async fn headers(State(state): State<HttpState>, query: Query) -> Result<Json<Value>, ApiError> {
    query.only(&["slot", "parent_root"])?;
    let slot = query.number("slot")?;
    let parent_root = query.text("parent_root")?;
    let read_root = |root: &str| {
        root.parse().map_err(|_| {
            let root = quoted(root);
            ApiError::bad_request(format!("parent_root is `{root}`, which is not 0x and 64 hex digits"))
        })
    };
    let parent_root: Option<Hash> = parent_root.map(read_root).transpose()?;
    let height = match (slot, parent_root) {
        (Some(slot), _) => BlockId::Slot(slot).height(&state).await?,
        // The first block has no parent with a header.
        (None, Some(Hash::ZERO)) => Height(1),
        (None, Some(root)) => BlockId::Root(root).height(&state).await?.next(),
        (None, None) => state.source.head(),
    };
    let mut found = read(&state, height).await?;
    if slot.is_some()
        && parent_root.is_some_and(|root| found["data"]["header"]["message"]["parent_root"] != json!(root))
    {
        return Err(ApiError::not_found("the block of that slot has another parent"));
    }
    found["data"] = json!([found["data"].take()]);
    Ok(Json(found))
}

async fn read(state: &HttpState, height: Height) -> Result<Value, ApiError> {
    if height == Height::GENESIS {
        return Err(ApiError::not_found(
            "the genesis has no header: its child's parent_root is zero",
        ));
    }
    let optimistic = is_optimistic(state, height);
    let state = state.clone();
    ApiError::off_core(move || {
        let decided = state.source.decided(height);
        let decided = decided.ok_or_else(|| ApiError::undecided(state.source.as_ref(), height))?;
        let signed = SignedHeader::of(&decided.init, state.chain.params.genesis_time);
        Ok(json!({
            "execution_optimistic": optimistic,
            "finalized": true,
            "data": { "root": signed.header.root(), "canonical": true, "header": signed.json() },
        }))
    })
    .await
}
