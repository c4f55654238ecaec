//! This file knows how to assert what the head of sync promises.

use ultramarine_types::{Height, Nanos};

use super::{PEERS_PER_HEIGHT, Sync, TIPS_ASKED_MAX, TIPS_AT_ONCE};
use crate::peers::Peers;
#[cfg(feature = "planted")]
use crate::planted::Planted;

impl Sync {
    /// Asserts that requests, certificates and what to avoid are of heights above the head, and that requests are few.
    pub fn check(&self, head: Height) {
        #[cfg(feature = "planted")]
        if self.planted == Some(Planted::TipsAmongHeights) {
            return;
        }
        assert!(
            self.flights.len() <= self.heights_max && self.tips.len() <= TIPS_ASKED_MAX,
            "too much is asked for at one time"
        );
        if let Some((lowest, _)) = self.flights.first_key_value() {
            assert!(*lowest > head, "height {lowest} is asked for, which is decided");
        }
        if let Some(((lowest, _), _)) = self.avoid.first_key_value() {
            assert!(*lowest > head, "a peer is avoided at height {lowest}, which is decided");
        }
        if let Some((lowest, _)) = self.certificates.first_key_value() {
            assert!(
                *lowest > head,
                "a certificate of height {lowest} is kept, which is decided"
            );
        }
        if let Some((highest, _)) = self.certificates.last_key_value() {
            assert!(
                *highest <= self.certified_tip,
                "the certified tip is below a certificate"
            );
        }
    }

    /// Asserts that few and only connected peers are asked, and that each certificate stands at its height.
    pub fn check_whole(&self, now: Nanos, head: Height, peers: &Peers) {
        for (height, flights) in &self.flights {
            assert!(
                !flights.is_empty() && flights.len() <= PEERS_PER_HEIGHT,
                "height {height} is asked of {} peers",
                flights.len()
            );
            for flight in flights {
                assert!(
                    peers.get(&flight.peer).is_some(),
                    "height {height} is asked of a peer that is gone"
                );
            }
        }
        let placed = self.tips.values().filter(|flight| flight.place_until > now);
        assert!(placed.count() <= TIPS_AT_ONCE, "too many tips are asked for");
        for (peer, flight) in &self.tips {
            assert!(peers.get(peer).is_some(), "a tip is asked of a peer that is gone");
            assert!(flight.height > head, "a tip is asked for that is decided");
        }
        for (height, certificate) in &self.certificates {
            assert_eq!(certificate.height, *height, "a certificate stands at another height");
        }
    }
}
