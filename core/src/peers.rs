//! This file knows which peers are connected, and what they say about themselves.
//!
//! A peer is known from its [`up`](Peers::up) to its [`down`](Peers::down), as the network counts connections.
//!
//! Keeps: each peer's clock is measured as `clocks.rs` says.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, Nanos, PeerId, Round, ValidatorSet, ValueId};

use crate::clocks::PeerClock;

/// What orders equal peers, anew for each height and value: no name comes first everywhere.
pub fn draw(height: Height, id: &ValueId, peer: &PeerId) -> u64 {
    // FNV-1a, and a last mix that spreads every byte over the whole.
    let bytes = height.0.to_le_bytes().into_iter().chain(id.0).chain(peer.0);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (hash >> 29)
}

#[derive(Clone, Debug)]
pub struct Peer {
    /// The validator that attests it; `None` for a full node.
    pub validator: Option<Address>,
    pub status: Option<Status>,
    /// The status we sent it last, and when.
    pub told: Option<(Status, Nanos)>,
    /// When we last sent it our messages of the current height again.
    pub resent_at: Option<Nanos>,
    /// How its wall clock compares with ours.
    pub clock: PeerClock,
}

#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<PeerId, Peer>,
}

impl Peers {
    /// A connection is up.
    pub fn up(&mut self, id: PeerId, validator: Option<Address>) {
        self.peers.insert(
            id,
            Peer {
                validator,
                status: None,
                told: None,
                resent_at: None,
                clock: PeerClock::default(),
            },
        );
    }

    /// The last connection is gone.
    pub fn down(&mut self, id: &PeerId) {
        self.peers.remove(id);
    }

    /// A peer's status; `false` if it is not connected.
    pub fn heard(&mut self, id: &PeerId, status: Status) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        peer.status = Some(status);
        true
    }

    pub fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// One peer, to note what we sent it.
    pub fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id)
    }

    /// All, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is connected.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether a validator's node is connected.
    pub fn is_connected(&self, validator: &Address) -> bool {
        self.peers
            .values()
            .any(|peer| peer.validator.as_ref() == Some(validator))
    }

    /// The peer that speaks for a validator.
    pub fn of_validator(&self, validator: &Address) -> Option<PeerId> {
        self.peers
            .iter()
            .find(|(_, peer)| peer.validator.as_ref() == Some(validator))
            .map(|(id, _)| *id)
    }

    /// The highest tip that any peer claims.
    pub fn best_tip(&self) -> Height {
        self.statuses()
            .map(|(_, status)| status.tip)
            .max()
            .unwrap_or(Height::GENESIS)
    }

    /// The highest tip that one of these peers claims.
    pub fn tip_of(&self, is_wanted: impl Fn(&PeerId) -> bool) -> Height {
        let of = self.peers.iter().filter(|(id, _)| is_wanted(id));
        of.filter_map(|(_, peer)| Some(peer.status.as_ref()?.tip))
            .max()
            .unwrap_or(Height::GENESIS)
    }

    /// Whether a connected peer says that it has decided a height.
    pub fn claims(&self, id: &PeerId, height: Height) -> bool {
        let status = self.peers.get(id).and_then(|peer| peer.status.as_ref());
        status.is_some_and(|status| status.tip >= height)
    }

    /// The heights that peers claim to have decided, the highest first.
    pub fn tips(&self) -> Vec<Height> {
        let tips: BTreeSet<Height> = self.statuses().map(|(_, status)| status.tip).collect();
        tips.into_iter().rev().collect()
    }

    /// The highest height that validators with more than a third of the power claim to have decided: at least one of
    /// them is honest.
    pub fn honest_tip(&self, set: &ValidatorSet) -> Height {
        honest_height(set, &self.tips_of_validators())
    }

    /// The heights that validators claim to have decided: one each, the highest, though it may have two nodes.
    pub fn tips_of_validators(&self) -> BTreeMap<Address, Height> {
        let mut tips: BTreeMap<Address, Height> = BTreeMap::new();
        for (peer, status) in self.statuses() {
            if let Some(validator) = peer.validator {
                let told = tips.entry(validator).or_default();
                *told = status.tip.max(*told);
            }
        }
        tips
    }

    /// The nodes that validators attest.
    pub fn of_validators(&self) -> Vec<PeerId> {
        let attested = self.peers.iter().filter(|(_, peer)| peer.validator.is_some());
        attested.map(|(id, _)| *id).collect()
    }

    /// The validators that would begin the chain's first height now, `ours` among them if it would.
    pub fn ready(&self, set: &ValidatorSet, ours: Option<&Address>) -> BTreeSet<Address> {
        let ready =
            |(peer, status): (&Peer, &Status)| peer.validator.filter(|_| status.ready || status.tip > Height::GENESIS);
        let others = self.statuses().filter_map(ready);
        let all = others.chain(ours.copied());
        all.filter(|address| set.get(address).is_some()).collect()
    }

    /// Our wall clock was set, or drifted: it shows this much more than it would have shown.
    pub fn shift_clock(&mut self, step_ns: i64) {
        self.peers.values_mut().for_each(|peer| peer.clock.shift(step_ns));
    }

    /// How far each validator's wall clock is ahead of ours, where that could be measured.
    pub fn clock_offsets(&self, now: Nanos) -> BTreeMap<Address, i64> {
        let measured = self
            .peers
            .values()
            .filter_map(|peer| Some((peer.validator?, peer.clock.ahead_ns(now)?)));
        measured.collect()
    }

    /// Peers whose tip is at or above `height`.
    pub fn with_tip(&self, height: Height) -> Vec<PeerId> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.status.as_ref().is_some_and(|status| status.tip >= height))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Peers that say they hold an undecided value of `height`.
    pub fn holders(&self, height: Height, id: &ValueId) -> Vec<PeerId> {
        let holds = |status: &Status| status.tip.next() == height && status.holds.contains(id);
        self.peers
            .iter()
            .filter(|(_, peer)| peer.status.as_ref().is_some_and(holds))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Peers that are at `height` now, with their round.
    pub fn at(&self, height: Height) -> Vec<(PeerId, Round)> {
        self.peers
            .iter()
            .filter_map(|(id, peer)| peer.status.as_ref().map(|status| (*id, status)))
            .filter(|(_, status)| status.tip.next() == height)
            .map(|(id, status)| (id, status.round))
            .collect()
    }

    /// Asserts that each peer's clock is measured as it should be.
    pub fn check_whole(&self) {
        for peer in self.peers.values() {
            peer.clock.check();
        }
    }

    fn statuses(&self) -> impl Iterator<Item = (&Peer, &Status)> {
        self.peers
            .values()
            .filter_map(|peer| peer.status.as_ref().map(|status| (peer, status)))
    }
}

/// The highest height that validators with more than a third of the power tell.
pub fn honest_height(set: &ValidatorSet, told: &BTreeMap<Address, Height>) -> Height {
    let mut sorted: Vec<(Height, u64)> = told
        .iter()
        .filter_map(|(address, told)| Some((*told, set.get(address)?.power)))
        .collect();
    sorted.sort_by_key(|(told, _)| std::cmp::Reverse(*told));
    let mut power = 0u64;
    let reached = sorted.into_iter().find_map(|(told, more)| {
        power = power.saturating_add(more);
        set.is_honest(power).then_some(told)
    });
    reached.unwrap_or(Height::GENESIS)
}

/// Whether these validators hold more than two thirds of the power.
pub fn is_quorum<'a>(set: &ValidatorSet, validators: impl Iterator<Item = &'a Address>) -> bool {
    let powers = validators
        .filter_map(|address| set.get(address))
        .map(|validator| validator.power);
    set.is_quorum(powers.fold(0, u64::saturating_add))
}

#[cfg(test)]
#[path = "peers/tests.rs"]
mod tests;
