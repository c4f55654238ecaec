//! This file knows the Beacon API's two ways to ask for a block's blobs (Deneb `blob_sidecars`, Fulu `blobs`).
//!
//! Two things differ from a Beacon node, because the chain does:
//! - A slot is one second long.
//! - The header's signature is the origin proposer's ed25519 signature over the domain-separated header root. It has 64
//!   bytes, then 32 zeros, as the standard's has 96.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use ultramarine_types::sidecar::{self, BodyTree};
use ultramarine_types::storage::Decided;
use ultramarine_types::{Assembly, ChainParams, Hash, Height};

use crate::board::Board;
use crate::http::HttpState;
use crate::http::block::BlockId;
use crate::http::body::json_list;
use crate::http::error::ApiError;
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
    let found = find(&state, block).await?;
    let optimistic = is_optimistic(&board, found.as_ref());
    let timestamp = found
        .as_ref()
        .map(|(decided, _)| decided.init.metadata.header.timestamp);
    let version = fork(&params, timestamp.unwrap_or(params.genesis_time));
    let opening = format!(r#"{{"version":"{version}","execution_optimistic":{optimistic},"finalized":true,"data":"#);
    let Some((decided, assembly)) = found else {
        return Ok(json_list(opening, std::iter::empty()));
    };
    let indices = select(assembly.blobs.len(), &wanted, |index| index as u64);
    let page = SidecarPage::new(&decided, &assembly, params.genesis_time);
    Ok(json_list(
        opening,
        indices
            .into_iter()
            .filter_map(move |index| page.sidecar(&assembly, index)),
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
    let found = find(&state, block).await?;
    let optimistic = is_optimistic(&board, found.as_ref());
    let opening = format!(r#"{{"execution_optimistic":{optimistic},"finalized":true,"data":"#);
    let Some((_, assembly)) = found else {
        return Ok(json_list(opening, std::iter::empty()));
    };
    let hashes: Vec<Hash> = assembly.lists.commitments.iter().map(versioned_hash).collect();
    let indices = select(assembly.blobs.len(), &wanted, |index| hashes[index]);
    Ok(json_list(
        opening,
        indices.into_iter().filter_map(move |index| {
            let blob = assembly.blobs.get(index)?;
            Some(format!("\"0x{}\"", hex::encode(blob)))
        }),
    ))
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
fn is_optimistic(board: &Board, found: Option<&(Decided, Assembly)>) -> bool {
    found.is_some_and(|(decided, _)| decided.certificate.height > board.snapshot().executed_height)
}

/// The block and its blobs; `None` for the genesis, which has none.
async fn find(state: &HttpState, block: BlockId) -> Result<Option<(Decided, Assembly)>, ApiError> {
    let height = block.height(state).await?;
    if height == Height::GENESIS {
        return Ok(None);
    }
    let source = Arc::clone(&state.source);
    let read = move || {
        source
            .decided_value(height)
            .map_err(|absent| ApiError::absent(height, absent))
    };
    let (decided, assembly) = ApiError::off_core(read).await?;
    let (held, promised) = (assembly.blobs.len(), decided.init.metadata.blobs_count as usize);
    if held == promised {
        return Ok(Some((decided, assembly)));
    }
    // An empty list would mean that the block has no blobs.
    tracing::error!(%height, held, promised, "the store serves a block without all of its blobs");
    Err(ApiError::internal(format!(
        "height {height} has {promised} blobs and {held} could be read"
    )))
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
    fn new(decided: &Decided, assembly: &Assembly, genesis_time: u64) -> Self {
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
            tree: BodyTree::of(&metadata.header.block_hash, &assembly.lists.commitments),
            signed_header: signed_header.to_string(),
        }
    }

    /// One sidecar as JSON; `None` only if there is no such blob.
    fn sidecar(&self, assembly: &Assembly, index: usize) -> Option<String> {
        let (blob, lists) = (assembly.blobs.get(index)?, &assembly.lists);
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
