//! This file knows who is connected, in the Beacon API's words.
//!
//! We know of peers that are connected and of no others, so the other states of the standard name nobody.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use ultramarine_net::PeerView;
use ultramarine_types::PeerId;

use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query::{self, NoParameters, Query};

/// The standard's states; ours is [`CONNECTED`] always.
const STATES: [&str; 4] = ["disconnected", "connecting", CONNECTED, "disconnecting"];
const CONNECTED: &str = "connected";
const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];

/// `GET /eth/v1/node/peers?state=connected&direction=inbound,outbound`.
pub async fn peers(State(state): State<HttpState>, query: Query) -> Result<Json<Value>, ApiError> {
    query.only_lists(&["state", "direction"])?;
    let states = one_of(&query, "state", &STATES)?;
    let directions = one_of(&query, "direction", &DIRECTIONS)?;
    let has = |wanted: &[&str], name: &str| wanted.is_empty() || wanted.contains(&name);
    let peers = state.peers.peers();
    let peers = peers
        .iter()
        .filter(|peer| has(&states, CONNECTED) && has(&directions, direction(peer)));
    let data: Vec<Value> = peers.map(show).collect();
    Ok(Json(json!({ "meta": { "count": data.len() }, "data": data })))
}

/// `GET /eth/v1/node/peers/{peer id}`.
pub async fn peer(
    State(state): State<HttpState>,
    Path(peer): Path<String>,
    _: NoParameters,
) -> Result<Json<Value>, ApiError> {
    let id: PeerId = peer
        .parse()
        .map_err(|_| query::no(&peer, "peer id", "0x and 64 hex digits"))?;
    let peers = state.peers.peers();
    let found = peers.iter().find(|peer| peer.peer == id);
    let found = found.ok_or_else(|| ApiError::not_found(format!("no peer {id} is connected")))?;
    Ok(Json(json!({ "data": show(found) })))
}

/// A list whose items are among `known`.
fn one_of(query: &Query, name: &str, known: &[&'static str]) -> Result<Vec<&'static str>, ApiError> {
    let what = format!("one of {}", known.join(", "));
    query.list(name, &what, |text| known.iter().copied().find(|word| *word == text))
}

fn show(peer: &PeerView) -> Value {
    json!({
        "peer_id": peer.peer,
        "enr": null,
        "last_seen_p2p_address": multiaddress(peer.address),
        "state": CONNECTED,
        "direction": direction(peer),
    })
}

fn direction(peer: &PeerView) -> &'static str {
    DIRECTIONS[usize::from(peer.dialed)]
}

/// The address in libp2p's notation, as the standard asks.
fn multiaddress(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/ip4/{ip}/udp/{port}/quic-v1"),
        IpAddr::V6(ip) => format!("/ip6/{ip}/udp/{port}/quic-v1"),
    }
}
