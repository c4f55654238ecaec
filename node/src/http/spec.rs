//! This file knows what consumers of the Beacon API ask about a chain before they ask for blobs.
//!
//! A rollup's node computes the slot of a block from `genesis_time` and `SECONDS_PER_SLOT`. The rest of the answer is
//! what readers of blobs look at as well. We have no epochs: one of them is one slot here, so that a fork's epoch is
//! exact.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::sidecar::{INCLUSION_PROOF_DEPTH, SECONDS_PER_SLOT, slot_at};

use crate::http::HttpState;
use crate::http::query::NoParameters;

/// Versions of forks stand in signatures of the Beacon chain; ours have none.
const FORK_VERSION: &str = "0x00000000";
/// The epoch of a fork that never comes.
const FAR_FUTURE_EPOCH: u64 = u64::MAX;
/// Bytes of a field element.
const FIELD_ELEMENT_BYTES: usize = 32;
/// The length limit of the list of commitments in a body.
const MAX_BLOB_COMMITMENTS_PER_BLOCK: u32 = 4096;

/// `GET /eth/v1/config/spec`: the parameters by their names in the consensus specification; each value is a text.
pub async fn spec(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    let params = &state.chain.params;
    let prague_epoch = params
        .prague_time
        .map_or(FAR_FUTURE_EPOCH, |time| slot_at(time, params.genesis_time));
    let blobs = params.blobs_per_block_max.to_string();
    let chain_id = params.chain_id.to_string();
    Json(json!({ "data": {
        "CONFIG_NAME": "ultramarine",
        "SECONDS_PER_SLOT": SECONDS_PER_SLOT.to_string(),
        "SLOT_DURATION_MS": (1000 * SECONDS_PER_SLOT).to_string(),
        "SLOTS_PER_EPOCH": "1",
        "GENESIS_FORK_VERSION": FORK_VERSION,
        "DENEB_FORK_EPOCH": "0",
        "ELECTRA_FORK_EPOCH": prague_epoch.to_string(),
        "MAX_BLOBS_PER_BLOCK": blobs,
        "MAX_BLOBS_PER_BLOCK_ELECTRA": blobs,
        "MAX_BLOB_COMMITMENTS_PER_BLOCK": MAX_BLOB_COMMITMENTS_PER_BLOCK.to_string(),
        "FIELD_ELEMENTS_PER_BLOB": (BLOB_BYTES / FIELD_ELEMENT_BYTES).to_string(),
        "KZG_COMMITMENT_INCLUSION_PROOF_DEPTH": INCLUSION_PROOF_DEPTH.to_string(),
        // A height takes a slot at least, so its blobs are kept for as many slots at least.
        "MIN_EPOCHS_FOR_BLOB_SIDECARS_REQUESTS": params.blob_retention_heights_min.to_string(),
        "DEPOSIT_CHAIN_ID": chain_id,
        "DEPOSIT_NETWORK_ID": chain_id,
    }}))
}

/// `GET /eth/v1/beacon/genesis`: when slot 0 begins, and the chain's identity.
pub async fn genesis(State(state): State<HttpState>, _: NoParameters) -> Json<Value> {
    Json(json!({ "data": {
        "genesis_time": state.chain.params.genesis_time.to_string(),
        "genesis_validators_root": state.chain.identity,
        "genesis_fork_version": FORK_VERSION,
    }}))
}
