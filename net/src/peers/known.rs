//! This file knows who stood behind a peer that may be gone: a fault may be found after its peer has hung up.
//!
//! Keeps: at most [`REMEMBERED_MAX`] peers are remembered. One that is connected, or whose bytes are being judged, is
//! never forgotten.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::limits::{BLOB_BYTES, PEERS_MAX};
use ultramarine_types::{Nanos, PeerId};

use crate::bounds;
use crate::peers::origin::PeerOrigin;

/// Peers remembered: several times as many as can be connected.
const REMEMBERED_MAX: usize = 4 * PEERS_MAX;

// Each blob that waits for a verdict may be of another peer, and each stream in progress may bring one more than there
// is room for. All their senders are remembered beside those connected.
const _: () = assert!(REMEMBERED_MAX >= 2 * PEERS_MAX + bounds::UNJUDGED_BYTES_MAX / BLOB_BYTES);

/// Who stands, or stood, behind each peer that was connected.
#[derive(Debug, Default)]
pub struct KnownOrigins {
    origins: BTreeMap<PeerId, (Nanos, PeerOrigin)>,
}

impl KnownOrigins {
    /// A peer is connected. If there are too many, the one met longest ago is forgotten that is not among the needed.
    pub fn meet(&mut self, now: Nanos, peer: PeerId, origin: PeerOrigin, needed: impl FnOnce() -> BTreeSet<PeerId>) {
        if self.origins.len() >= REMEMBERED_MAX && !self.origins.contains_key(&peer) {
            let needed = needed();
            let oldest = self
                .origins
                .iter()
                .filter(|(peer, _)| !needed.contains(*peer))
                .map(|(peer, (met, _))| (*met, *peer))
                .min();
            oldest.map(|(_, peer)| self.origins.remove(&peer));
        }
        self.origins.insert(peer, (now, origin));
        assert!(self.origins.len() <= REMEMBERED_MAX, "memory for origins is bounded");
    }

    /// Who stood behind a peer when it was connected last.
    pub fn of(&self, peer: &PeerId) -> Option<PeerOrigin> {
        self.origins.get(peer).map(|(_, origin)| *origin)
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::Address;

    use super::*;

    fn peer(number: u64) -> PeerId {
        let mut peer = PeerId([1; 32]);
        peer.0[..8].copy_from_slice(&number.to_le_bytes());
        peer
    }

    #[test]
    fn memory_for_origins_is_bounded_and_who_owes_is_remembered() {
        let mut known = KnownOrigins::default();
        let origin = PeerOrigin::Validator(Address([1; 20]));
        let debtor = peer(0);
        for number in 0..3 * REMEMBERED_MAX as u64 {
            known.meet(Nanos(number), peer(number), origin, || [debtor].into());
            assert!(known.origins.len() <= REMEMBERED_MAX);
        }
        assert_eq!(known.of(&debtor), Some(origin));
        assert_eq!(known.of(&peer(1)), None);
        assert_eq!(known.of(&peer(3 * REMEMBERED_MAX as u64 - 1)), Some(origin));
    }
}
