//! This file knows how to tell what was decided at every height, and at which height a blob is.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::Decided;
use ultramarine_types::{Hash, Height};

use crate::board::DecisionSummary;
use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::index::BlobIndex;
use crate::http::query::{self, Query};

/// Heights one answer may list.
pub const HEIGHTS_PER_PAGE_MAX: u64 = 1000;

/// Heights that a query names by `?from=A&to=B`, both inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First height; 1 if absent.
    pub from: u64,
    /// Last height; the head if absent.
    pub to: Option<u64>,
}

impl Range {
    /// Reads it from a query that has nothing else.
    pub fn read(query: &Query) -> Result<Self, ApiError> {
        query.only(&["from", "to"])?;
        let (from, to) = (query.number("from")?, query.number("to")?);
        in_order(from, to)?;
        Ok(Self {
            from: from.unwrap_or(1),
            to,
        })
    }
}

/// Refuses a range that ends before it begins: an empty answer would read as if nothing were decided there.
pub fn in_order(from: Option<u64>, to: Option<u64>) -> Result<(), ApiError> {
    match from.zip(to) {
        Some((from, to)) if to < from => Err(ApiError::bad_request(format!(
            "the range ends at {to} and begins at {from}, behind its end"
        ))),
        _ => Ok(()),
    }
}

/// `GET /ultramarine/v1/decided`: one entry for every height in the range that is decided here, in order.
pub async fn decided(State(state): State<HttpState>, query: Query) -> Result<Json<Vec<DecisionSummary>>, ApiError> {
    let range = Range::read(&query)?;
    let from = range.from.max(1);
    let head = state.source.head().0;
    let to = match range.to {
        Some(to) => to.min(head),
        None => head.min(from.saturating_add(HEIGHTS_PER_PAGE_MAX - 1)),
    };
    if to >= from && to - from >= HEIGHTS_PER_PAGE_MAX {
        return Err(ApiError::bad_request(format!(
            "{from} to {to} are {} heights, and one answer has at most {HEIGHTS_PER_PAGE_MAX}: ask for fewer",
            to - from + 1
        )));
    }
    let decisions = ApiError::off_core(move || {
        (from..=to)
            .map(|height| {
                let height = Height(height);
                let decided = state.source.decided(height);
                let decided = decided.ok_or_else(|| ApiError::undecided(state.source.as_ref(), height))?;
                Ok(summary(&decided))
            })
            .collect()
    });
    Ok(Json(decisions.await?))
}

fn summary(decided: &Decided) -> DecisionSummary {
    let metadata = &decided.init.metadata;
    let blobs = metadata.blobs_count;
    DecisionSummary {
        height: decided.certificate.height,
        value_id: decided.certificate.value_id,
        round: decided.certificate.round,
        blobs,
        bytes: u64::from(metadata.payload_bytes) + u64::from(blobs) * BLOB_BYTES as u64,
        block_hash: metadata.header.block_hash,
        origin_proposer: metadata.origin_proposer,
    }
}

/// `GET /ultramarine/v1/blobs/{versioned hash}`: `{"height": n, "slot": s, "index": i}`.
pub async fn locate_blob(
    State(state): State<HttpState>,
    Path(versioned_hash): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hash: Hash = versioned_hash
        .parse()
        .map_err(|_| query::no(&versioned_hash, "versioned hash", "0x and 64 hex digits"))?;
    let found = state.find_recent(|index| index.blob(&hash)).await?;
    let position = found.ok_or_else(|| unknown(&hash, &state.index()))?;
    Ok(Json(
        json!({ "height": position.height, "slot": position.slot, "index": position.index }),
    ))
}

fn unknown(hash: &Hash, index: &BlobIndex) -> ApiError {
    let (oldest, newest) = index.span();
    ApiError::not_found(format!(
        "no block from height {oldest} to {newest} has a blob {hash}; an older one is found by its slot or height: \
         /eth/v1/beacon/blobs/SLOT?versioned_hashes={hash}, or `blob get` with {hash}@HEIGHT"
    ))
}
