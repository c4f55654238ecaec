//! This file knows the Beacon API's two ways to ask for a block's blobs (Deneb `blob_sidecars`, Fulu `blobs`).
//!
//! Two things differ from a Beacon node, because the chain does:
//! - A slot is one second long.
//! - The header's signature is the origin proposer's ed25519 signature over the domain-separated header root. It has 64
//!   bytes, then 32 zeros, as the standard's has 96.
//!
//! As SSZ, a blob leaves from the store's own memory: nobody copies it on its way to the socket.

pub mod events;
mod form;
pub mod headers;
pub mod node;
pub mod peers;
mod sidecar;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::sidecar::slot_at;
use ultramarine_types::storage::{Absent, Blobs, Decided};
use ultramarine_types::{ChainParams, Hash, Height, Lists, ValueKey};

use crate::http::HttpState;
use crate::http::beacon::form::{EntityTag, Form};
use crate::http::beacon::sidecar::{SIDECAR_BYTES, SidecarPage};
use crate::http::block::BlockId;
use crate::http::body::{json_list, pieces};
use crate::http::error::{ApiError, Oldest};
use crate::http::index::versioned_hash;
use crate::http::query::{self, Query};

/// The header that names the fork of an answer's block.
pub const CONSENSUS_VERSION: HeaderName = HeaderName::from_static("eth-consensus-version");
/// Whether our execution client has yet to call the block `VALID`: SSZ has no field for it. Lodestar reads this name.
pub const EXECUTION_OPTIMISTIC: HeaderName = HeaderName::from_static("eth-execution-optimistic");
/// That the block is final, by the name that Lodestar reads.
pub const CONSENSUS_FINALIZED: HeaderName = HeaderName::from_static("eth-consensus-finalized");

/// `GET /eth/v1/beacon/blob_sidecars/{block}?indices=0,1`: blobs with commitments, proofs and signed headers.
pub async fn sidecars(
    State(state): State<HttpState>,
    Path(block): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let genesis_time = state.chain.params.genesis_time;
    let found = match find(&state, "sidecars", &block, &query, &headers).await? {
        Finding::Blobs(found) => found,
        Finding::Known(answer) => return Ok(answer),
    };
    let Found {
        answer,
        decided,
        lists,
        blobs,
    } = found;
    let count = blobs.len() as u64;
    let page = decided.map(|decided| SidecarPage::new(&decided.init, &lists, genesis_time));
    // The genesis has neither a page nor blobs.
    let items = blobs.into_iter().zip(std::iter::repeat(page.map(Arc::new)));
    let body = match answer.form {
        Form::Ssz => {
            let items = items.filter_map(move |((index, blob), page)| page?.ssz(&lists, index, blob));
            pieces(count * SIDECAR_BYTES as u64, items.flatten())
        }
        Form::Json => {
            let opening = format!(r#"{{"version":"{}",{}"data":"#, answer.fork, answer.finality());
            json_list(
                opening,
                items.filter_map(move |((index, blob), page)| page?.json(&lists, index, &blob)),
            )
        }
    };
    Ok(answer.with(body))
}

/// `GET /eth/v1/beacon/blobs/{block}?versioned_hashes=0x…`: blobs alone.
pub async fn blobs(
    State(state): State<HttpState>,
    Path(block): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Found { answer, blobs, .. } = match find(&state, "blobs", &block, &query, &headers).await? {
        Finding::Blobs(found) => found,
        Finding::Known(answer) => return Ok(answer),
    };
    let body = match answer.form {
        Form::Ssz => pieces(
            (blobs.len() * BLOB_BYTES) as u64,
            blobs.into_iter().map(|(_, blob)| blob),
        ),
        Form::Json => {
            let quoted = |(_, blob): PlacedBlob| format!("\"0x{}\"", hex::encode(blob));
            let opening = format!(r#"{{{}"data":"#, answer.finality());
            json_list(opening, blobs.into_iter().map(quoted))
        }
    };
    Ok(answer.with(body))
}

/// What the Beacon chain calls the fork whose rules a block of this time follows.
pub fn fork(params: &ChainParams, timestamp: u64) -> &'static str {
    if params.is_prague(timestamp) {
        "electra"
    } else {
        "deneb"
    }
}

/// Whether our execution client has yet to call the block `VALID`. The block is final all the same, as it is decided.
pub fn is_optimistic(state: &HttpState, height: Height) -> bool {
    state.board.snapshot().is_optimistic(height)
}

/// Which of a block's blobs are wanted. What names none wants all.
#[derive(Debug)]
struct Wanted {
    indices: Vec<u64>,
    versioned_hashes: Vec<Hash>,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self, ApiError> {
        query.only_lists(&["indices", "versioned_hashes"])?;
        Ok(Self {
            indices: query.list("indices", "a number", query::number)?,
            versioned_hashes: query.list("versioned_hashes", "0x and 64 hex digits", |text| text.parse().ok())?,
        })
    }

    /// Their positions, in block order.
    fn positions(&self, lists: &Lists) -> Vec<usize> {
        let by_index = |index| self.indices.is_empty() || self.indices.contains(&(index as u64));
        let hashes = &self.versioned_hashes;
        let by_hash = |commitment| hashes.is_empty() || hashes.contains(&versioned_hash(commitment));
        let all = lists.commitments.iter().enumerate();
        let wanted = all.filter(|(index, commitment)| by_index(*index) && by_hash(commitment));
        wanted.map(|(index, _)| index).collect()
    }
}

/// What an answer says about itself.
struct Answer {
    form: Form,
    fork: &'static str,
    optimistic: bool,
    tag: EntityTag,
}

impl Answer {
    /// The fields before the data of a JSON answer, with a comma behind each.
    fn finality(&self) -> String {
        format!(r#""execution_optimistic":{},"finalized":true,"#, self.optimistic)
    }

    fn with(&self, body: Body) -> Response {
        let headers = [
            (CONTENT_TYPE, self.form.media_type()),
            (VARY, "accept"),
            (CONSENSUS_VERSION, self.fork),
            (CONSENSUS_FINALIZED, "true"),
            (EXECUTION_OPTIMISTIC, if self.optimistic { "true" } else { "false" }),
        ];
        (headers, [(ETAG, self.tag.header())], body).into_response()
    }
}

/// A blob behind its position in the block.
type PlacedBlob = (usize, Bytes);

/// A block and those of its blobs that were asked for. The genesis has neither.
struct Found {
    answer: Answer,
    decided: Option<Decided>,
    lists: Arc<Lists>,
    blobs: Vec<PlacedBlob>,
}

enum Finding {
    Blobs(Found),
    /// The caller has the answer already.
    Known(Response),
}

/// The block and the blobs that a request names; the others are not read.
async fn find(
    state: &HttpState,
    what: &'static str,
    block: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Finding, ApiError> {
    let block: BlockId = block.parse()?;
    let wanted = Wanted::read(query)?;
    let form = Form::wanted(headers)?;
    let height = block.height(state).await?;
    let optimistic = is_optimistic(state, height);
    let params = state.chain.params.clone();
    if height == Height::GENESIS {
        let answer = Answer {
            form,
            fork: fork(&params, params.genesis_time),
            optimistic,
            tag: EntityTag::of(&[&what, &form, &height]),
        };
        return Ok(Finding::Blobs(Found {
            answer,
            decided: None,
            lists: Arc::default(),
            blobs: Vec::new(),
        }));
    }
    let (state, headers) = (state.clone(), headers.clone());
    ApiError::off_core(move || {
        let decided = held(&state, height)?;
        let answer = Answer {
            form,
            fork: fork(&params, decided.init.metadata.header.timestamp),
            optimistic,
            tag: EntityTag::of(&[&what, &form, &decided.certificate.value_id, &wanted, &optimistic]),
        };
        if answer.tag.is_known(&headers) {
            let known = (StatusCode::NOT_MODIFIED, answer.with(Body::empty()));
            return Ok(Finding::Known(known.into_response()));
        }
        let (lists, blobs) = read(&state, &decided, &wanted)?;
        Ok(Finding::Blobs(Found {
            answer,
            decided: Some(decided),
            lists,
            blobs,
        }))
    })
    .await
}

/// A decided block whose blobs are here.
fn held(state: &HttpState, height: Height) -> Result<Decided, ApiError> {
    let decided = state.source.decided(height);
    let decided = decided.ok_or_else(|| ApiError::undecided(state.source.as_ref(), height))?;
    match decided.blobs {
        Blobs::Held => Ok(decided),
        Blobs::Pruned => {
            let oldest = state.source.oldest_blobs();
            Err(absent(state, height, Absent::Pruned { oldest }))
        }
        Blobs::NeverHeld => Err(absent(state, height, Absent::NeverHeld)),
    }
}

/// Those blobs of a decided block that are wanted, and its lists.
fn read(state: &HttpState, decided: &Decided, wanted: &Wanted) -> Result<(Arc<Lists>, Vec<PlacedBlob>), ApiError> {
    let source = &state.source;
    let height = decided.certificate.height;
    let absent = |why| absent(state, height, why);
    let lists = source
        .decided_payload(height)
        .ok_or_else(|| absent(Absent::Damaged))?
        .lists;
    let promised = decided.init.metadata.blobs_count as usize;
    let wanted = wanted.positions(&lists);
    let blobs: Vec<PlacedBlob> = if wanted.len() == promised {
        let (_, assembly) = source.decided_value(height).map_err(absent)?;
        (0..).zip(assembly.blobs).collect()
    } else {
        let key = ValueKey {
            height,
            id: decided.certificate.value_id,
        };
        let read = wanted.iter().map(|index| Ok((*index, source.blob(&key, *index)?)));
        read.collect::<Result<_, Absent>>().map_err(absent)?
    };
    if blobs.len() == wanted.len() {
        return Ok((lists, blobs));
    }
    // An empty list would mean that the block has no blobs.
    let held = blobs.len();
    tracing::error!(%height, held, promised, "the store serves a block without all of its blobs");
    Err(ApiError::internal(format!(
        "height {height} has {promised} blobs and {held} could be read"
    )))
}

/// Why a height's blobs cannot be served, and from where on those of all heights are here.
fn absent(state: &HttpState, height: Height, absent: Absent) -> ApiError {
    let is_pruned = matches!(absent, Absent::Pruned { .. });
    let error = match is_pruned && state.source.is_archived(height) {
        true => ApiError::archived(height),
        false => ApiError::absent(height, absent),
    };
    match absent {
        Absent::Pruned { .. } | Absent::NeverHeld => error.with_oldest(oldest(state)),
        Absent::Unknown | Absent::Damaged => error,
    }
}

/// From where on the blobs of all heights are here.
fn oldest(state: &HttpState) -> Oldest {
    let height = state.source.oldest_blobs();
    let entry = state.source.entry(height);
    let genesis_time = state.chain.params.genesis_time;
    Oldest {
        height,
        slot: entry.map(|entry| slot_at(entry.timestamp, genesis_time)),
    }
}
