//! This file knows how another node is named in configuration: `PEER_ID@host:port`, or `host:port`.

use std::fmt;
use std::str::FromStr;

use ultramarine_types::PeerId;

/// Where a peer is reached, and which key it must show, if known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// The key it must show; `None`: whoever answers and belongs to the chain.
    pub peer_id: Option<PeerId>,
    /// A name or an IP address (an IPv6 address in brackets) and a port, to be resolved when dialled.
    pub host_port: String,
}

/// A peer's address that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no peer address; expected PEER_ID@host:port (64 hex digits before the @) or host:port")]
pub struct PeerAddressError(String);

/// The same peers, each once: who is listed twice is still one to connect to.
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
        let error = || PeerAddressError(text.to_owned());
        let (peer_id, host_port) = match text.split_once('@') {
            None => (None, text),
            Some((peer_id, host_port)) => (Some(peer_id.parse().map_err(|_| error())?), host_port),
        };
        let (host, port) = host_port.rsplit_once(':').ok_or_else(error)?;
        port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(error)?;
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_v6 || host.chars().any(char::is_whitespace) {
            return Err(error());
        }
        Ok(Self {
            peer_id,
            host_port: host_port.to_owned(),
        })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer_id {
            Some(peer_id) => write!(f, "{}@{}", hex::encode(peer_id.0), self.host_port),
            None => f.write_str(&self.host_port),
        }
    }
}
