//! This file knows what a bug that tests plant makes of claimed tips. It is never compiled into a node.

use ultramarine_types::network::SyncWant;
use ultramarine_types::{Height, Nanos};

use super::{Flight, Sync};
use crate::peers::Peers;
use crate::planted::Planted;

impl Sync {
    /// What a [`Planted::TipsAmongHeights`] makes of tips: each has the place of a height, and nothing bounds them.
    pub(super) fn crowd(&mut self, now: Nanos, next: Height, peers: &Peers) {
        let tips = peers.tips().into_iter();
        let tips = tips.filter(|tip| super::is_past_retention(next, *tip, self.retention_min));
        for tip in tips.filter(|_| self.planted == Some(Planted::TipsAmongHeights)) {
            let deadline = now + self.timeout;
            let ghost = peers.with_tip(tip).first().map(|peer| Flight {
                peer: *peer,
                want: SyncWant::Certificate,
                asked_at: now,
                answered_at: None,
                second_at: deadline,
                deadline,
            });
            self.flights.entry(tip).or_insert_with(|| ghost.into_iter().collect());
        }
    }
}
