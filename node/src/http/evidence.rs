//! This file knows how to show what convicts validators so that anybody can check it.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::{ChainIdentity, Evidence, Height, Proposal, Vote, VoteKind, sign};

use crate::http::HttpState;
use crate::http::body::json_array;
use crate::http::decided::Range;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::value::{show_lists, show_metadata};

/// Pieces one answer may list. The largest has a blob and the lists of the largest block.
const PIECES_PER_PAGE_MAX: usize = 256;

/// `GET /ultramarine/v1/evidence?from=A&to=B`: every kept piece of evidence, in order of height.
///
/// Each signature comes with the bytes that were signed. So anybody can verify it with the validator's ed25519 key
/// alone. A false value comes with all that binds its blob; that the proof does not hold is for a KZG library to say.
pub async fn evidence(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    let range = Range::read(&query)?;
    let chain = state.chain.identity;
    let pieces = ApiError::off_core(move || {
        let (from, to) = (Height(range.from), Height(range.to.unwrap_or(u64::MAX)));
        Ok(state.source.evidence(from, to, PIECES_PER_PAGE_MAX))
    });
    let pieces = pieces.await?.into_iter();
    Ok(json_array(pieces.map(move |piece| show(&chain, &piece).to_string())))
}

fn show(chain: &ChainIdentity, evidence: &Evidence) -> Value {
    let (name, contents) = match evidence {
        Evidence::Votes(first, second) => ("messages", json!([first, second].map(|vote| show_vote(chain, vote)))),
        Evidence::Proposals(first, second) => (
            "messages",
            json!([first, second].map(|proposal| show_proposal(chain, proposal))),
        ),
        Evidence::Value(value) => ("value", show_value(chain, value)),
    };
    json!({
        "height": evidence.height(),
        "validator": evidence.validator(),
        name: contents,
    })
}

fn show_vote(chain: &ChainIdentity, vote: &Vote) -> Value {
    json!({
        "type": match vote.kind {
            VoteKind::Prevote => "prevote",
            VoteKind::Precommit => "precommit",
        },
        "round": vote.round,
        "value_id": vote.value_id,
        "signed_bytes": hex::encode_prefixed(sign::vote(
            chain,
            vote.kind,
            vote.height,
            vote.round,
            vote.value_id.as_ref(),
        )),
        "signature": vote.signature,
    })
}

fn show_proposal(chain: &ChainIdentity, proposal: &Proposal) -> Value {
    json!({
        "type": "proposal",
        "round": proposal.round,
        "value_id": proposal.value_id,
        "valid_round": proposal.valid_round,
        "signed_bytes": hex::encode_prefixed(sign::proposal(
            chain,
            proposal.height,
            proposal.round,
            &proposal.value_id,
            proposal.valid_round,
        )),
        "signature": proposal.signature,
    })
}

/// A value, and the blob that refutes it. `Null` stands for what the lists lack, and kept evidence lacks nothing.
fn show_value(chain: &ChainIdentity, value: &FalseValue) -> Value {
    let FalseValue {
        init,
        lists,
        index,
        blob,
    } = value;
    let (at, value_id) = (usize::from(*index), init.metadata.id());
    json!({
        "value_id": value_id,
        "index": index,
        "commitment": lists.commitments.get(at),
        "proof": lists.proofs.get(at),
        "digest": lists.digests.get(at),
        "signed_bytes": hex::encode_prefixed(sign::init(chain, &value_id)),
        "init_signature": init.signature,
        "metadata": show_metadata(&init.metadata),
        "lists": show_lists(lists),
        "blob": hex::encode_prefixed(blob),
    })
}
