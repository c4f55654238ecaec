//! This file knows how another node is named in configuration: `PEER_ID@host:port`, or `host:port`.

use std::fmt;
use std::str::FromStr;

use ultramarine_types::PeerId;

use ultramarine_types::host::HostPort;

/// Where a peer is reached, and which key it must show, if known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// The key it must show; `None`: whoever answers and belongs to the chain.
    pub peer_id: Option<PeerId>,
    /// Where it is, to be resolved when dialled.
    pub host_port: HostPort,
}

/// A peer's address that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("peer `{text}` {why}; expected PEER_ID@host:port (64 hex digits before the @) or host:port")]
pub struct PeerAddressError {
    pub text: String,
    /// What is wrong. It ends a sentence that begins with the text.
    pub why: &'static str,
}

impl PeerAddress {
    /// Reads an address. The error ends a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.contains("://") {
            return Err("has a scheme; leave it out");
        }
        let (peer_id, host_port) = match text.split_once('@') {
            None => (None, text),
            Some((peer_id, host_port)) => {
                let peer_id = peer_id
                    .parse()
                    .map_err(|_| "has something else than a peer id before the @")?;
                (Some(peer_id), host_port)
            }
        };
        Ok(Self {
            peer_id,
            host_port: HostPort::read(host_port)?,
        })
    }
}

/// The same peers, each once: a peer that is listed twice gets one connection.
pub fn distinct(peers: Vec<PeerAddress>) -> Vec<PeerAddress> {
    let mut kept: Vec<PeerAddress> = Vec::with_capacity(peers.len());
    for peer in peers {
        if !kept.contains(&peer) {
            kept.push(peer);
        }
    }
    kept
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Self::read(text).map_err(|why| PeerAddressError {
            text: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer_id {
            Some(peer_id) => write!(f, "{}@{}", hex::encode(peer_id.0), self.host_port),
            None => write!(f, "{}", self.host_port),
        }
    }
}
