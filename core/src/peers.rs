//! This file knows which peers are connected, and what they say about themselves.
//!
//! A peer is known from its [`up`](Peers::up) to its [`down`](Peers::down), as the network counts connections.
//!
//! What is asked after every input is counted as peers speak. So it costs as much with five peers as with hundreds.
//!
//! Keeps:
//! - each peer's clock is measured as `clocks.rs` says;
//! - what is counted is what the peers say.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, Nanos, PeerId, ValidatorSet, ValueId, limits};

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
    /// Those that a validator attests.
    of_validators: BTreeSet<PeerId>,
    /// The same by validator.
    nodes: BTreeMap<Address, BTreeSet<PeerId>>,
    /// How many peers claim each tip.
    claims: BTreeMap<Height, usize>,
    /// The honest tip, until a validator's claim changes.
    honest: Cell<Option<Height>>,
    /// The power that claims links to the validator at a position, until a validator's links change.
    linked: Cell<Option<(u32, u64)>>,
    /// When each peer is to hear our status next: at zero if it has heard none.
    due: BTreeSet<(Nanos, PeerId)>,
    /// Records looked at by functions that look at more than one.
    #[cfg(test)]
    pub visited: Cell<u64>,
}

impl Peers {
    /// A connection is up.
    pub fn up(&mut self, id: PeerId, validator: Option<Address>) {
        self.down(&id);
        if let Some(validator) = validator {
            self.of_validators.insert(id);
            self.nodes.entry(validator).or_default().insert(id);
        }
        self.due.insert((Nanos::ZERO, id));
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
        let Some(gone) = self.peers.remove(id) else { return };
        self.due.remove(&(due_at(&gone), *id));
        if let Some(status) = &gone.status {
            self.uncount(status.tip);
        }
        if self.of_validators.remove(id) {
            self.honest.set(None);
            self.linked.set(None);
        }
        if let Some(validator) = gone.validator
            && let Some(nodes) = self.nodes.get_mut(&validator)
        {
            nodes.remove(id);
            if nodes.is_empty() {
                self.nodes.remove(&validator);
            }
        }
    }

    /// A peer's status; `false` if it is not connected.
    pub fn heard(&mut self, id: &PeerId, status: Status) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let (tip, is_validator, links) = (status.tip, peer.validator.is_some(), status.links);
        let before = peer.status.replace(status);
        if is_validator && before.as_ref().map(|before| before.links) != Some(links) {
            self.linked.set(None);
        }
        let before = before.map(|before| before.tip);
        if before != Some(tip) {
            if let Some(before) = before {
                self.uncount(before);
            }
            *self.claims.entry(tip).or_default() += 1;
            if is_validator {
                self.honest.set(None);
            }
        }
        true
    }

    fn uncount(&mut self, tip: Height) {
        if let Some(count) = self.claims.get_mut(&tip) {
            *count -= 1;
            if *count == 0 {
                self.claims.remove(&tip);
            }
        }
    }

    /// A peer is sent our status.
    pub fn tell(&mut self, id: &PeerId, status: Status, now: Nanos) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        self.due.remove(&(due_at(peer), *id));
        peer.told = Some((status, now));
        self.due.insert((due_at(peer), *id));
    }

    /// When somebody is to hear our status next, whether or not there is news.
    pub fn tell_due(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The peers that are to hear our status now, in order of their ids.
    pub fn to_tell(&self, now: Nanos) -> BTreeSet<PeerId> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, id)| *id).collect()
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
        self.peers.iter().inspect(|_| self.count_visit())
    }

    /// Tests count how many records an input makes us look at.
    fn count_visit(&self) {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
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
        self.nodes.contains_key(validator)
    }

    /// The peer that speaks for a validator.
    pub fn of_validator(&self, validator: &Address) -> Option<PeerId> {
        self.nodes.get(validator)?.first().copied()
    }

    /// The nodes of a validator.
    pub fn nodes_of(&self, validator: &Address) -> impl Iterator<Item = &Peer> {
        let nodes = self.nodes.get(validator).into_iter().flatten();
        nodes.filter_map(|id| self.get(id)).inspect(|_| self.count_visit())
    }

    /// The power of the validators that say that they are connected to the one at a position.
    pub fn power_linked_to(&self, set: &ValidatorSet, position: u32) -> u64 {
        if let Some((_, power)) = self.linked.get().filter(|(of, _)| *of == position) {
            return power;
        }
        let links = |peer: &Peer| {
            peer.status
                .as_ref()
                .is_some_and(|status| status.links.contains(position))
        };
        let linked = self
            .nodes
            .keys()
            .filter(|validator| self.nodes_of(validator).any(links));
        let powers = linked.filter_map(|validator| set.get(validator)).map(|it| it.power);
        let power = powers.fold(0, u64::saturating_add);
        self.linked.set(Some((position, power)));
        power
    }

    /// The highest tip that any peer claims.
    pub fn best_tip(&self) -> Height {
        self.claims.last_key_value().map_or(Height::GENESIS, |(tip, _)| *tip)
    }

    /// The highest tip that one of these peers claims.
    pub fn tip_of<'a>(&self, peers: impl Iterator<Item = &'a PeerId>) -> Height {
        let tips = peers.filter_map(|id| Some(self.get(id)?.status.as_ref()?.tip));
        tips.max().unwrap_or(Height::GENESIS)
    }

    /// Whether a connected peer says that it has decided a height.
    pub fn claims(&self, id: &PeerId, height: Height) -> bool {
        let status = self.peers.get(id).and_then(|peer| peer.status.as_ref());
        status.is_some_and(|status| status.tip >= height)
    }

    /// The heights that peers claim to have decided, the highest first.
    pub fn tips(&self) -> Vec<Height> {
        self.claims.keys().rev().copied().collect()
    }

    /// The highest height that validators with more than a third of the power claim to have decided: at least one of
    /// them is honest.
    pub fn honest_tip(&self, set: &ValidatorSet) -> Height {
        let honest = self
            .honest
            .get()
            .unwrap_or_else(|| honest_height(set, &self.tips_of_validators()));
        self.honest.set(Some(honest));
        honest
    }

    /// The heights that validators claim to have decided: one each, the highest, though it may have two nodes.
    pub fn tips_of_validators(&self) -> BTreeMap<Address, Height> {
        let mut tips: BTreeMap<Address, Height> = BTreeMap::new();
        for peer in self.of_validators.iter().filter_map(|id| self.get(id)) {
            if let (Some(validator), Some(status)) = (peer.validator, &peer.status) {
                let told = tips.entry(validator).or_default();
                *told = status.tip.max(*told);
            }
        }
        tips
    }

    /// The nodes that validators attest.
    pub fn of_validators(&self) -> Vec<PeerId> {
        self.of_validators.iter().copied().collect()
    }

    pub fn of_validators_len(&self) -> usize {
        self.of_validators.len()
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
            .iter()
            .filter_map(|(_, peer)| Some((peer.validator?, peer.clock.ahead_ns(now)?)));
        measured.collect()
    }

    /// The way to a validator's node and back, in the median of those that were measured: a third cannot choose it.
    pub fn usual_way(&self, now: Nanos) -> Option<Nanos> {
        let nodes = self.of_validators.iter().filter_map(|id| {
            self.count_visit();
            self.get(id)
        });
        let mut ways: Vec<Nanos> = nodes.filter_map(|peer| peer.clock.way(now)).collect();
        ways.sort_unstable();
        ways.get(ways.len() / 2).copied()
    }

    /// Peers whose tip is at or above `height`.
    pub fn with_tip(&self, height: Height) -> Vec<PeerId> {
        self.iter()
            .filter(|(_, peer)| peer.status.as_ref().is_some_and(|status| status.tip >= height))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Peers that say they hold an undecided value of `height`.
    pub fn holders(&self, height: Height, id: &ValueId) -> Vec<PeerId> {
        let holds = |status: &Status| status.tip.next() == height && status.holds.contains(id);
        self.iter()
            .filter(|(_, peer)| peer.status.as_ref().is_some_and(holds))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Asserts what the file's head says.
    pub fn check_whole(&self) {
        let mut claims: BTreeMap<Height, usize> = BTreeMap::new();
        for (id, peer) in &self.peers {
            peer.clock.check();
            assert!(
                self.due.contains(&(due_at(peer), *id)),
                "nobody will tell {id} our status"
            );
            if let Some(status) = &peer.status {
                *claims.entry(status.tip).or_default() += 1;
            }
        }
        assert_eq!(claims, self.claims, "tips are counted that nobody claims");
        let by_validator: BTreeSet<PeerId> = self.nodes.values().flatten().copied().collect();
        assert_eq!(
            by_validator, self.of_validators,
            "a validator has nodes that are not connected"
        );
        assert_eq!(
            self.due.len(),
            self.peers.len(),
            "our status is due to a peer that is gone"
        );
    }

    fn statuses(&self) -> impl Iterator<Item = (&Peer, &Status)> {
        self.iter()
            .filter_map(|(_, peer)| peer.status.as_ref().map(|status| (peer, status)))
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

/// When a peer is to hear our status again.
fn due_at(peer: &Peer) -> Nanos {
    let told = peer.told.as_ref();
    told.map_or(Nanos::ZERO, |(_, at)| *at + limits::STATUS_INTERVAL)
}

#[cfg(test)]
#[path = "peers/tests.rs"]
mod tests;
