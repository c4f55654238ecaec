//! This file knows what the network tells others about who is connected.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ultramarine_types::{Address, Height, PeerId};

/// A peer that is connected.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerView {
    pub peer: PeerId,
    /// The validator that attests it; `None` for a full node.
    pub validator: Option<Address>,
    /// Whether our operator configured it.
    pub is_listed: bool,
    pub address: SocketAddr,
    /// Whether we dialed it.
    pub dialed: bool,
    /// How long a packet takes there and back.
    pub round_trip: Duration,
    /// Its score: what its faults cost it.
    pub points: u64,
    /// The newest height that it says it has decided; `None`: it has not said.
    pub tip: Option<Height>,
}

/// Who is connected, by name. The network writes it, anybody reads it. It has as many entries as there are sessions,
/// which the roster bounds.
#[derive(Clone, Debug, Default)]
pub struct PeerBook(Arc<Mutex<Vec<PeerView>>>);

impl PeerBook {
    /// Replaces all entries.
    pub fn show(&self, peers: Vec<PeerView>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    pub fn peers(&self) -> Vec<PeerView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
