//! This file knows who is banned: a peer for its own score, or for what came from the same origin under whatever keys.
//!
//! The simulator's nodes ban by it as well.

use ultramarine_types::network::Fault;
use ultramarine_types::{Nanos, PeerId};

use crate::peers::origin::PeerOrigin;
use crate::peers::scores::{BAN_SCORE, ORIGIN_BAN_SCORE, Scores};

/// See the file's words.
#[derive(Debug)]
pub struct Bans {
    peers: Scores<PeerId>,
    origins: Scores<PeerOrigin>,
}

impl Default for Bans {
    fn default() -> Self {
        Self {
            peers: Scores::new(BAN_SCORE),
            origins: Scores::new(ORIGIN_BAN_SCORE),
        }
    }
}

impl Bans {
    /// Charges a peer, and whoever stands behind it. Returns whether the peer itself is banned now.
    pub fn charge(&mut self, now: Nanos, peer: PeerId, origin: Option<PeerOrigin>, fault: Fault) -> bool {
        if let Some(origin) = origin {
            self.origins.charge(now, origin, fault);
        }
        self.peers.charge(now, peer, fault)
    }

    /// Whether a peer may not come in. A new key is no new start.
    pub fn keep_out(&self, now: Nanos, peer: &PeerId, origin: &PeerOrigin) -> bool {
        self.peers.is_banned(now, peer) || self.origins.is_banned(now, origin)
    }

    /// What a peer's faults weigh now.
    pub fn points(&self, now: Nanos, peer: &PeerId) -> u64 {
        self.peers.points(now, peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_of_an_origin_are_no_new_start_and_others_are_let_in() {
        let mut bans = Bans::default();
        let origin = PeerOrigin::Validator(ultramarine_types::Address([1; 20]));
        let other = PeerOrigin::Validator(ultramarine_types::Address([2; 20]));
        let key = |name: u8| PeerId([name; 32]);
        for name in 0..10 {
            assert!(!bans.charge(Nanos::ZERO, key(name), Some(origin), Fault::Part));
        }
        assert!(bans.keep_out(Nanos::ZERO, &key(99), &origin));
        assert!(
            !bans.keep_out(Nanos::ZERO, &key(0), &other),
            "it reached no threshold itself"
        );
    }
}
