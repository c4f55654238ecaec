//! This file knows how to show what convicts validators so that anybody can check it.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::{Address, ChainIdentity, Evidence, Height, Proposal, Vote, VoteKind, sign};

use crate::http::HttpState;
use crate::http::body::{JSON, json_list};
use crate::http::decided::in_order;
use crate::http::error::ApiError;
use crate::http::query::{self, Query};
use crate::http::value::{show_lists, show_metadata};

/// Bytes of all pieces of one answer. A piece has 4 KB at most, as lists and blobs are answered apart.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Pieces for one answer, and how a reader goes on.
struct Page {
    pieces: Vec<String>,
    next: Option<Next>,
}

/// The first piece that an answer had no room for: its height, and how many pieces of that height were answered.
struct Next {
    from: u64,
    skip: u64,
}

/// `GET /ultramarine/v1/evidence?from=A&to=B&skip=N`: kept pieces of evidence, in order of height, without the first N.
///
/// Each signature comes with the bytes that were signed. So anybody can verify it with the validator's ed25519 key
/// alone. Of a false value, [`false_value`] serves the rest.
pub async fn evidence(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    query.only(&["from", "to", "skip"])?;
    let (from, to) = (query.number("from")?, query.number("to")?);
    in_order(from, to)?;
    let (from, to) = (Height(from.unwrap_or(1)), Height(to.unwrap_or(u64::MAX)));
    let skip = query.number("skip")?.unwrap_or(0);
    let Page { pieces, next } = ApiError::off_core(move || Ok(page(&state, from, to, skip))).await?;
    let next = next.map(|Next { from, skip }| json!({ "from": from, "skip": skip }));
    let opening = format!("{{\"next\":{},\"evidence\":", json!(next));
    let body = json_list(opening, pieces.into_iter());
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}

fn page(state: &HttpState, from: Height, to: Height, mut skip: u64) -> Page {
    let chain = state.chain.identity;
    let mut page = Page {
        pieces: Vec::new(),
        next: None,
    };
    // Height, and how many pieces of it came, skipped ones included.
    let (mut at, mut bytes) = ((from.0, 0), 0);
    state.source.evidence(from, to, &mut |piece| {
        let height = piece.height().0;
        if height != at.0 {
            at = (height, 0);
        }
        if skip > 0 {
            skip -= 1;
            at.1 += 1;
            return ControlFlow::Continue(());
        }
        let shown = show(&chain, &piece).to_string();
        bytes += shown.len();
        if bytes > PAGE_BYTES_MAX && !page.pieces.is_empty() {
            page.next = Some(Next { from: at.0, skip: at.1 });
            return ControlFlow::Break(());
        }
        page.pieces.push(shown);
        at.1 += 1;
        ControlFlow::Continue(())
    });
    page
}

/// `GET /ultramarine/v1/evidence/{height}/{validator}`: the false value of a validator at a height, with the lists and
/// the blob.
///
/// It has all that binds the blob. That the proof does not hold is for a KZG library to say.
pub async fn false_value(
    State(state): State<HttpState>,
    Path((height, validator)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let height = query::height(&height)?;
    let validator: Address = validator
        .parse()
        .map_err(|_| query::no(&validator, "validator", "0x and 40 hex digits"))?;
    let found = ApiError::off_core(move || {
        let value = state.source.false_value(&validator, height);
        let unknown = || ApiError::not_found(format!("no false value of {validator} at height {height} is kept here"));
        let value = value.ok_or_else(unknown)?;
        let mut shown = show_value(&state.chain.identity, &value);
        shown["lists"] = show_lists(&value.lists);
        shown["blob"] = hex::encode_prefixed(&value.blob).into();
        Ok(json!({ "height": height, "validator": validator, "value": shown }))
    });
    Ok(Json(found.await?))
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

/// What a value binds of the blob that refutes it. `Null` stands for what the lists lack, and kept evidence lacks
/// nothing.
fn show_value(chain: &ChainIdentity, value: &FalseValue) -> Value {
    let FalseValue {
        init,
        lists,
        index,
        blob: _,
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
    })
}
