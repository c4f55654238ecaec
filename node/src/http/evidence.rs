//! This file knows how to show evidence of double signing so that anybody can check it.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use ultramarine_types::{Evidence, Height, Proposal, Vote, VoteKind, sign};

use crate::http::HttpState;
use crate::http::decided::Range;
use crate::http::error::ApiError;
use crate::http::query::Query;

/// Pieces one answer may list.
const PIECES_PER_PAGE_MAX: usize = 1000;

/// `GET /ultramarine/v1/evidence?from=A&to=B`: every kept pair of contradicting messages, in order of height.
///
/// Each message comes with the bytes that were signed. So anybody can verify its signature with the validator's ed25519
/// key alone.
pub async fn evidence(State(state): State<HttpState>, query: Query) -> Result<Json<Vec<Value>>, ApiError> {
    let range = Range::read(&query)?;
    let chain_id = state.board.snapshot().identity.chain_id;
    let pieces = ApiError::off_core(move || {
        let (from, to) = (Height(range.from), Height(range.to.unwrap_or(u64::MAX)));
        Ok(state.source.evidence(from, to, PIECES_PER_PAGE_MAX))
    });
    Ok(Json(pieces.await?.iter().map(|piece| show(chain_id, piece)).collect()))
}

fn show(chain_id: u64, evidence: &Evidence) -> Value {
    let messages = match evidence {
        Evidence::Votes(first, second) => [first, second].map(|vote| show_vote(chain_id, vote)),
        Evidence::Proposals(first, second) => [first, second].map(|proposal| show_proposal(chain_id, proposal)),
    };
    json!({
        "height": evidence.height(),
        "validator": evidence.validator(),
        "messages": messages,
    })
}

fn show_vote(chain_id: u64, vote: &Vote) -> Value {
    json!({
        "type": match vote.kind {
            VoteKind::Prevote => "prevote",
            VoteKind::Precommit => "precommit",
        },
        "round": vote.round,
        "value_id": vote.value_id,
        "signed_bytes": hex::encode_prefixed(sign::vote(
            chain_id,
            vote.kind,
            vote.height,
            vote.round,
            vote.value_id.as_ref(),
        )),
        "signature": hex::encode_prefixed(vote.signature.0),
    })
}

fn show_proposal(chain_id: u64, proposal: &Proposal) -> Value {
    json!({
        "type": "proposal",
        "round": proposal.round,
        "value_id": proposal.value_id,
        "valid_round": proposal.valid_round,
        "signed_bytes": hex::encode_prefixed(sign::proposal(
            chain_id,
            proposal.height,
            proposal.round,
            &proposal.value_id,
            proposal.valid_round,
        )),
        "signature": hex::encode_prefixed(proposal.signature.0),
    })
}
