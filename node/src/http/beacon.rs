//! This file knows the Beacon API's two ways to ask for a block's blobs (Deneb `blob_sidecars`, Fulu `blobs`).
//!
//! Two things differ from a Beacon node, because the chain does:
//! - A slot is one second long.
//! - The header's signature is the origin proposer's ed25519 signature over the domain-separated header root. It has 64
//!   bytes, then 32 zeros, as the standard's has 96.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use ultramarine_types::sidecar::{self, BodyTree};
use ultramarine_types::storage::{Absent, Blobs, Decided};
use ultramarine_types::{ChainParams, Hash, Height, Lists, ValueKey};

use crate::board::Board;
use crate::http::HttpState;
use crate::http::block::BlockId;
use crate::http::body::json_list;
use crate::http::error::{ApiError, Oldest};
use crate::http::index::versioned_hash;
use crate::http::query::{self, Query};

/// Bytes of a BLS signature, which readers of the standard's SSZ expect.
const SIGNATURE_BYTES: usize = 96;

/// `GET /eth/v1/beacon/blob_sidecars/{block}?indices=0,1`: blobs with commitments, proofs and signed headers.
pub async fn sidecars(
    State(state): State<HttpState>,
    Path(block): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let block: BlockId = block.parse()?;
    let wanted: Vec<u64> = query.list("indices", "a number", query::number)?;
    let (board, params) = (state.board.clone(), state.chain.params.clone());
    let select = move |lists: &Lists| select(lists.commitments.len(), &wanted, |index| index as u64);
    let found = find(&state, block, select).await?;
    let optimistic = is_optimistic(&board, found.as_ref());
    let timestamp = found.as_ref().map(|found| found.decided.init.metadata.header.timestamp);
    let version = fork(&params, timestamp.unwrap_or(params.genesis_time));
    let opening = format!(r#"{{"version":"{version}","execution_optimistic":{optimistic},"finalized":true,"data":"#);
    let Some(found) = found else {
        return Ok(json_list(opening, std::iter::empty()));
    };
    let page = SidecarPage::new(&found.decided, &found.lists, params.genesis_time);
    let Found { lists, blobs, .. } = found;
    Ok(json_list(
        opening,
        blobs
            .into_iter()
            .filter_map(move |(index, blob)| page.sidecar(&lists, index, &blob)),
    ))
}

/// `GET /eth/v1/beacon/blobs/{block}?versioned_hashes=0x…`: blobs alone.
pub async fn blobs(
    State(state): State<HttpState>,
    Path(block): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let block: BlockId = block.parse()?;
    let wanted: Vec<Hash> = query.list("versioned_hashes", "0x and 64 hex digits", |text| text.parse().ok())?;
    let board = state.board.clone();
    let select = move |lists: &Lists| {
        let hashes: Vec<Hash> = lists.commitments.iter().map(versioned_hash).collect();
        select(hashes.len(), &wanted, |index| hashes[index])
    };
    let found = find(&state, block, select).await?;
    let optimistic = is_optimistic(&board, found.as_ref());
    let opening = format!(r#"{{"execution_optimistic":{optimistic},"finalized":true,"data":"#);
    let blobs = found.map_or_else(Vec::new, |found| found.blobs);
    let quoted = |(_, blob): (usize, Bytes)| format!("\"0x{}\"", hex::encode(blob));
    Ok(json_list(opening, blobs.into_iter().map(quoted)))
}

/// What the Beacon chain calls the fork whose rules a block of this time follows.
pub fn fork(params: &ChainParams, timestamp: u64) -> &'static str {
    if params.is_prague(timestamp) {
        "electra"
    } else {
        "deneb"
    }
}

/// Whether our execution client has not imported the block yet. The block is final all the same, as it is decided.
fn is_optimistic(board: &Board, found: Option<&Found>) -> bool {
    found.is_some_and(|found| found.decided.certificate.height > board.snapshot().executed_height)
}

/// A block and those of its blobs that were asked for.
struct Found {
    decided: Decided,
    lists: Arc<Lists>,
    /// Each with its position.
    blobs: Vec<(usize, Bytes)>,
}

/// The block and the blobs that `select` names; the others are not read. `None` for the genesis, which has none.
async fn find(
    state: &HttpState,
    block: BlockId,
    select: impl FnOnce(&Lists) -> Vec<usize> + Send + 'static,
) -> Result<Option<Found>, ApiError> {
    let height = block.height(state).await?;
    if height == Height::GENESIS {
        return Ok(None);
    }
    let state = state.clone();
    ApiError::off_core(move || read(&state, height, select).map(Some)).await
}

/// Those blobs of a decided block that `select` names.
fn read(state: &HttpState, height: Height, select: impl FnOnce(&Lists) -> Vec<usize>) -> Result<Found, ApiError> {
    let source = &state.source;
    let absent = |absent| {
        let error = ApiError::absent(height, absent);
        match absent {
            Absent::Pruned { .. } | Absent::NeverHeld => error.with_oldest(oldest(state)),
            Absent::Unknown | Absent::Damaged => error,
        }
    };
    let decided = source
        .decided(height)
        .ok_or_else(|| ApiError::undecided(source.as_ref(), height))?;
    match decided.blobs {
        Blobs::Held => {}
        Blobs::Pruned => {
            return Err(absent(Absent::Pruned {
                oldest: source.oldest_blobs(),
            }));
        }
        Blobs::NeverHeld => return Err(absent(Absent::NeverHeld)),
    }
    let lists = source
        .decided_payload(height)
        .ok_or_else(|| absent(Absent::Damaged))?
        .lists;
    let promised = decided.init.metadata.blobs_count as usize;
    let wanted = select(&lists);
    let blobs: Vec<(usize, Bytes)> = if wanted.len() == promised {
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
        return Ok(Found { decided, lists, blobs });
    }
    // An empty list would mean that the block has no blobs.
    let held = blobs.len();
    tracing::error!(%height, held, promised, "the store serves a block without all of its blobs");
    Err(ApiError::internal(format!(
        "height {height} has {promised} blobs and {held} could be read"
    )))
}

/// From where on the blobs of all heights are here.
fn oldest(state: &HttpState) -> Oldest {
    let height = state.source.oldest_blobs();
    let decided = state.source.decided(height);
    let genesis_time = state.chain.params.genesis_time;
    Oldest {
        height,
        slot: decided.map(|decided| sidecar::slot_at(decided.init.metadata.header.timestamp, genesis_time)),
    }
}

/// The positions of wanted items, in block order; all positions if no item is named.
fn select<T: PartialEq>(count: usize, wanted: &[T], item: impl Fn(usize) -> T) -> Vec<usize> {
    (0..count)
        .filter(|index| wanted.is_empty() || wanted.contains(&item(*index)))
        .collect()
}

/// What all sidecars of a block have in common.
struct SidecarPage {
    tree: BodyTree,
    signed_header: String,
}

impl SidecarPage {
    fn new(decided: &Decided, lists: &Lists, genesis_time: u64) -> Self {
        let metadata = &decided.init.metadata;
        let header = sidecar::header(metadata, genesis_time);
        let signed_header = json!({
            "message": {
                "slot": header.slot.to_string(),
                "proposer_index": header.proposer_index.to_string(),
                "parent_root": header.parent_root,
                "state_root": header.state_root,
                "body_root": header.body_root,
            },
            "signature": signature(&decided.init.header_signature),
        });
        Self {
            tree: BodyTree::of(&metadata.header.block_hash, &lists.commitments),
            signed_header: signed_header.to_string(),
        }
    }

    /// One sidecar as JSON; `None` only if there is no such blob.
    fn sidecar(&self, lists: &Lists, index: usize, blob: &[u8]) -> Option<String> {
        // A chain has one proof for each blob.
        let (commitment, proof) = (lists.commitments.get(index)?, lists.proofs.get(index)?);
        let inclusion = json!(self.tree.proof(index)?);
        Some(format!(
            concat!(
                r#"{{"index":"{}","blob":"0x{}","kzg_commitment":"{}","kzg_proof":"{}","#,
                r#""signed_block_header":{},"kzg_commitment_inclusion_proof":{}}}"#
            ),
            index,
            hex::encode(blob),
            commitment,
            proof,
            self.signed_header,
            inclusion,
        ))
    }
}

/// A signature in the length that the standard's readers expect: ours, then zeros.
fn signature(ours: &ultramarine_types::Signature) -> String {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes[..ours.0.len()].copy_from_slice(&ours.0);
    hex::encode_prefixed(bytes)
}
