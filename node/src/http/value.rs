//! This file knows how to show all that a decision rests on, so that anybody can compute it again.
//!
//! `docs/FORMATS.md` says how: roots from the lists, the value id from the metadata, and the bytes of each signature.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use ultramarine_types::storage::DecidedPayload;
use ultramarine_types::{ChainParams, CommitCertificate, Lists, ValueMetadata, sidecar};

use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query;

/// `GET /ultramarine/v1/value/{height}`: metadata, lists, signatures and certificate of a decided height, whatever
/// became of its blobs.
pub async fn value(State(state): State<HttpState>, Path(height): Path<String>) -> Result<Json<Value>, ApiError> {
    let height = query::height(&height)?;
    let params = state.chain.params.clone();
    let found = ApiError::off_core(move || {
        let source = state.source.as_ref();
        let absent = || ApiError::undecided(source, height);
        source.decided_payload(height).ok_or_else(absent)
    });
    Ok(Json(show(&params, &found.await?)))
}

fn show(params: &ChainParams, value: &DecidedPayload) -> Value {
    let DecidedPayload {
        decided,
        lists,
        payload: _,
    } = value;
    let (init, certificate) = (&decided.init, &decided.certificate);
    json!({
        "height": certificate.height,
        "value_id": certificate.value_id,
        "slot": sidecar::slot_at(init.metadata.header.timestamp, params.genesis_time),
        "genesis_hash": init.metadata.chain,
        "metadata": show_metadata(&init.metadata),
        "init_signature": init.signature,
        "header_signature": init.header_signature,
        "lists": show_lists(lists),
        "certificate": show_certificate(certificate),
    })
}

/// Every field that the value id binds, by the names of `docs/FORMATS.md`.
pub fn show_metadata(metadata: &ValueMetadata) -> Value {
    // Every field is named, so that a new one cannot be forgotten.
    let ValueMetadata {
        chain,
        height,
        origin_proposer,
        origin_proposer_index,
        origin_round,
        validator_set_hash,
        header,
        payload_bytes,
        blobs_count,
        roots,
    } = metadata;
    json!({
        "chain": chain,
        "height": height,
        "origin_proposer": origin_proposer,
        "origin_proposer_index": origin_proposer_index,
        "origin_round": origin_round,
        "validator_set_hash": validator_set_hash,
        "header": header,
        "payload_bytes": payload_bytes,
        "blobs_count": blobs_count,
        "roots": {
            "chunks": roots.chunks,
            "commitments": roots.commitments,
            "digests": roots.digests,
            "proofs": roots.proofs,
        },
    })
}

/// The four lists behind the roots.
pub fn show_lists(lists: &Lists) -> Value {
    json!({
        "payload_chunks": lists.chunks,
        "commitments": lists.commitments,
        "digests": lists.digests,
        "proofs": lists.proofs,
    })
}

fn show_certificate(certificate: &CommitCertificate) -> Value {
    let signatures = certificate.signatures.iter();
    let signatures: Vec<Value> = signatures
        .map(|entry| json!({ "address": entry.address, "signature": entry.signature }))
        .collect();
    json!({
        "height": certificate.height,
        "round": certificate.round,
        "value_id": certificate.value_id,
        "signatures": signatures,
    })
}
