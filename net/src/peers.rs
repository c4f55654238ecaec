//! This file knows which peers we keep: a score per peer that faults raise and time lowers, and who has a place.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::limits::{PEERS_MAX, VALIDATORS_MAX};
use ultramarine_types::network::Fault;
use ultramarine_types::verify::WRONG_CLAIMS_MAX;
use ultramarine_types::{Address, Nanos, PeerId};

use crate::bounds;
use crate::doors::Site;
use crate::hello::Goodbye;

/// Where to find a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// `host:port`; looked up again on every dial.
    pub address: String,
    /// The key that must answer there, if it is known.
    pub peer: Option<PeerId>,
}

/// Who stands behind a peer: keys of nodes cost nothing, this does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// The validator that attests it.
    Validator(Address),
    /// Where a full node comes from.
    Site(Site),
}

/// At this score a peer is banned.
pub const BAN_SCORE: u64 = 100;
/// At this score of all its peers together an origin is banned: a few bans' worth, which no honest neighbour is near.
pub const ORIGIN_BAN_SCORE: u64 = 4 * BAN_SCORE;
/// How long a ban lasts.
pub const BAN: Nanos = Nanos::from_millis(30_000);
/// A point is forgotten in this time.
pub const POINT_DECAY: Nanos = Nanos::from_millis(1_000);
/// Peers remembered: several times those that can be connected, so that changing keys does not wash out a neighbour's.
const REMEMBERED_MAX: usize = 4 * PEERS_MAX;

/// Points a fault costs. What only a deliberate peer does weighs most; what a slow machine does, or we alone find, least.
pub const fn weight(fault: Fault) -> u64 {
    match fault {
        Fault::Protocol | Fault::Signature | Fault::Certificate | Fault::Package | Fault::Rule => 50,
        Fault::Proof => 40,
        Fault::Chunk => 34,
        Fault::Flood => 20,
        Fault::Withheld | Fault::Execution => 5,
    }
}

/// Points that may be forgotten between the first of those wrong blobs that the verifier names and the last, so 20 s: some four turns of
/// an inquiry and the pauses between, a fifth of a second (`kzg-pipeline/README.md`), unless turns of other inquiries come between.
const POINTS_FORGOTTEN_MAX: u64 = 20;
// The verifier names no more of them.
const _: () = assert!(WRONG_CLAIMS_MAX as u64 * weight(Fault::Proof) >= BAN_SCORE + POINTS_FORGOTTEN_MAX);

#[derive(Clone, Copy, Debug)]
struct Score {
    points: u64,
    at: Nanos,
    banned_until: Nanos,
}

impl Score {
    fn points_at(&self, now: Nanos) -> u64 {
        self.points.saturating_sub(now.since(self.at).0 / POINT_DECAY.0)
    }
}

/// Scores of peers, or of whatever is charged.
#[derive(Debug)]
pub struct Scores<K> {
    ban_score: u64,
    scores: BTreeMap<K, Score>,
}

impl<K: Ord + Copy> Scores<K> {
    /// Nobody has failed yet. Whoever comes to `ban_score` is banned.
    pub const fn new(ban_score: u64) -> Self {
        Self {
            ban_score,
            scores: BTreeMap::new(),
        }
    }

    /// Charges a peer; answers whether it is banned now.
    pub fn charge(&mut self, now: Nanos, peer: K, fault: Fault) -> bool {
        if self.scores.len() >= REMEMBERED_MAX && !self.scores.contains_key(&peer) {
            self.forget_the_best(now);
        }
        let fresh = Score {
            points: 0,
            at: now,
            banned_until: Nanos::ZERO,
        };
        let score = self.scores.entry(peer).or_insert(fresh);
        score.points = score.points_at(now) + weight(fault);
        score.at = now;
        if score.points >= self.ban_score {
            score.banned_until = now + BAN;
            // It comes back with half a ban: the next fault of weight ends its visit.
            score.points = self.ban_score / 2;
        }
        score.banned_until > now
    }

    /// Whether a peer is banned.
    pub fn is_banned(&self, now: Nanos, peer: &K) -> bool {
        self.scores.get(peer).is_some_and(|score| score.banned_until > now)
    }

    /// A peer's points, 0 for one that never failed.
    pub fn points(&self, now: Nanos, peer: &K) -> u64 {
        self.scores.get(peer).map_or(0, |score| score.points_at(now))
    }

    fn forget_the_best(&mut self, now: Nanos) {
        let best = self
            .scores
            .iter()
            .min_by_key(|(_, score)| (score.banned_until, score.points_at(now)))
            .map(|(peer, _)| *peer);
        if let Some(best) = best {
            self.scores.remove(&best);
        }
    }
}

/// How long to wait before the next dial: doubling from 100 ms to 5 s, a quarter of it up to chance so that nodes that
/// fell together do not dial together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `chance` is any number.
    pub fn next(&mut self, chance: u64) -> Nanos {
        let whole_ms = (100u64 << self.failures.min(6)).min(5_000);
        self.failures = self.failures.saturating_add(1);
        Nanos::from_millis(whole_ms - chance % (whole_ms / 4 + 1))
    }

    /// A connection was made.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Which of two connections between the same two processes stays: the one dialed by the lower name, and of two
/// dialed by the same side the newer. Both ends come to the same answer.
pub fn newer_stays(ours: &PeerId, theirs: &PeerId, old_dialed_by_us: bool, new_dialed_by_us: bool) -> bool {
    old_dialed_by_us == new_dialed_by_us || new_dialed_by_us == (ours < theirs)
}

/// Whether there is a place beside the connected peers, each given by the validator that attests it, for one more.
///
/// Every validator has one for a node of its own; full nodes and second nodes of validators share as many others. A
/// validator may attest any number of keys, and each has a validator's windows and budgets: so it has two at a time. Those
/// that are here stay: were the newest to win, three nodes of one validator would push each other out for ever. The
/// second is for a stand-in that takes over before the first node's connection is known to be dead.
pub fn place(connected: impl Iterator<Item = Option<Address>>, newcomer: Option<Address>) -> Result<(), Goodbye> {
    let (mut validators, mut others, mut siblings) = (BTreeSet::new(), 0, 0);
    for attested_by in connected {
        let is_first = attested_by.is_some_and(|validator| validators.insert(validator));
        others += usize::from(!is_first);
        siblings += usize::from(attested_by.is_some() && attested_by == newcomer);
    }
    if siblings >= bounds::LINKS_PER_VALIDATOR_MAX {
        return Err(Goodbye::Crowded);
    }
    let is_first = newcomer.is_some() && siblings == 0;
    if !is_first && others >= PEERS_MAX - VALIDATORS_MAX {
        return Err(Goodbye::Full);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: PeerId = PeerId([1; 32]);

    #[test]
    fn proven_faults_ban_and_time_forgives() {
        let mut scores = Scores::new(BAN_SCORE);
        assert!(!scores.charge(Nanos::ZERO, PEER, Fault::Proof));
        assert!(!scores.charge(Nanos::ZERO, PEER, Fault::Proof));
        assert!(scores.charge(Nanos::ZERO, PEER, Fault::Proof));
        assert!(scores.is_banned(Nanos::ZERO, &PEER));
        assert!(!scores.is_banned(BAN, &PEER));
        assert_eq!(scores.points(Nanos::from_millis(100_000), &PEER), 0);
        assert!(!scores.is_banned(Nanos::ZERO, &PeerId([2; 32])), "nobody else is");
    }

    #[test]
    fn wrong_blobs_that_the_verifier_names_over_twenty_seconds_ban() {
        let mut scores = Scores::new(BAN_SCORE);
        for second in [0, 10] {
            assert!(!scores.charge(Nanos::from_millis(second * 1_000), PEER, Fault::Proof));
        }
        assert!(scores.charge(Nanos::from_millis(20_000), PEER, Fault::Proof));
    }

    #[test]
    fn a_slow_peer_is_not_banned_for_one_stall_every_six_seconds() {
        let mut scores = Scores::new(BAN_SCORE);
        assert!((0..1000).all(|turn| !scores.charge(Nanos::from_millis(turn * 6_000), PEER, Fault::Withheld)));
    }

    #[test]
    fn memory_for_scores_is_bounded() {
        let mut scores = Scores::new(BAN_SCORE);
        for name in 0..3 * REMEMBERED_MAX as u64 {
            let mut peer = PEER;
            peer.0[..8].copy_from_slice(&name.to_le_bytes());
            scores.charge(Nanos::ZERO, peer, Fault::Withheld);
        }
        assert!(scores.scores.len() <= REMEMBERED_MAX);
    }

    fn validator(number: usize) -> Option<Address> {
        let mut address = Address::ZERO;
        address.0[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Some(address)
    }

    #[test]
    fn every_validator_has_a_place_whatever_the_others_take() {
        let mut connected = Vec::new();
        let mut join = |newcomer| {
            let answer = place(connected.iter().copied(), newcomer);
            if answer.is_ok() {
                connected.push(newcomer);
            }
            answer
        };
        let half = VALIDATORS_MAX / 2;
        assert!((0..half).all(|number| join(validator(number)).is_ok() && join(validator(number)).is_ok()));
        assert_eq!(join(validator(0)), Err(Goodbye::Crowded), "a third of one validator");
        assert!((0..VALIDATORS_MAX - half).all(|_| join(None).is_ok()));
        assert_eq!(join(None), Err(Goodbye::Full));
        assert!(
            (half..VALIDATORS_MAX).all(|number| join(validator(number)).is_ok()),
            "each has its first"
        );
        assert_eq!(join(validator(half)), Err(Goodbye::Full), "no place for a stand-in");
        assert!(connected.len() <= PEERS_MAX);
    }

    #[test]
    fn both_ends_keep_the_same_connection() {
        let (low, high) = (PeerId([1; 32]), PeerId([2; 32]));
        for low_dialed_first in [true, false] {
            let at_low = newer_stays(&low, &high, low_dialed_first, !low_dialed_first);
            let at_high = newer_stays(&high, &low, !low_dialed_first, low_dialed_first);
            assert_eq!(at_low, at_high);
            assert_eq!(at_low, !low_dialed_first, "the lower name's dial stays");
        }
    }

    proptest! {
        #[test]
        fn a_dial_is_tried_again_for_ever_and_never_in_a_tight_circle(chances in proptest::collection::vec(any::<u64>(), 1..100)) {
            let mut backoff = Backoff::default();
            for chance in chances {
                let wait = backoff.next(chance);
                prop_assert!((Nanos::from_millis(75)..=Nanos::from_millis(5_000)).contains(&wait));
            }
        }
    }
}
