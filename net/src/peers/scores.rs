//! This file knows what faults cost: a score that faults raise and time lowers, and a ban at its threshold.
//!
//! Keeps: at most [`REMEMBERED_MAX`] scores are remembered, and every score is below the threshold: a peer that reaches
//! it is banned and begins again at half of it.

use std::collections::BTreeMap;

use ultramarine_types::Nanos;
use ultramarine_types::limits::PEERS_MAX;
use ultramarine_types::network::Fault;

/// At this score a peer is banned.
pub const BAN_SCORE: u64 = 100;
/// At this score of all its peers together an origin is banned: a few bans' worth, such as ten wrong parts. No honest
/// neighbour comes near it.
pub const ORIGIN_BAN_SCORE: u64 = 4 * BAN_SCORE;
/// How long a ban lasts.
pub const BAN: Nanos = Nanos::from_millis(30_000);
/// One point is forgotten in this time.
pub const POINT_DECAY: Nanos = Nanos::from_millis(1_000);
/// Peers remembered: several times as many as can be connected, so that a peer that changes keys does not wash out its
/// neighbours' scores.
const REMEMBERED_MAX: usize = 4 * PEERS_MAX;

/// Points that a fault costs. Faults that only a deliberate peer makes weigh most; faults that a slow machine makes, or
/// that we alone find, weigh least.
pub const fn weight(fault: Fault) -> u64 {
    match fault {
        Fault::Protocol | Fault::Signature | Fault::Certificate | Fault::Package | Fault::Rule | Fault::Proof => 50,
        Fault::Part => 40,
        Fault::Flood => 20,
        Fault::Withheld | Fault::Execution => 5,
    }
}

/// Whatever breaks in this time because a peer was silent or slow is one stall, and costs once.
const STALL: Nanos = Nanos::from_millis(6_000);

// Slowness alone never bans: its points are forgotten before the next ones come.
const _: () = assert!(weight(Fault::Withheld) * POINT_DECAY.0 <= STALL.0);
const _: () = assert!(ORIGIN_BAN_SCORE > BAN_SCORE);
const _: () = assert!(BAN_SCORE / 2 + weight(Fault::Withheld) < BAN_SCORE);
// The third wrong part bans, though twenty points were forgotten since the first: twenty seconds.
const _: () = assert!(3 * weight(Fault::Part) >= BAN_SCORE + 20);

#[derive(Clone, Copy, Debug)]
struct Score {
    points: u64,
    at: Nanos,
    banned_until: Nanos,
    /// Since when what it withholds is of one stall.
    stalled_at: Option<Nanos>,
}

impl Score {
    fn points_at(&self, now: Nanos) -> u64 {
        self.points.saturating_sub(now.since(self.at).0 / POINT_DECAY.0)
    }
}

/// Scores of peers, or of origins.
#[derive(Debug)]
pub struct Scores<K> {
    ban_score: u64,
    scores: BTreeMap<K, Score>,
}

impl<K: Ord + Copy> Scores<K> {
    /// Scores with a ban at `ban_score`.
    pub const fn new(ban_score: u64) -> Self {
        Self {
            ban_score,
            scores: BTreeMap::new(),
        }
    }

    /// Charges a peer. Returns whether it is banned now.
    pub fn charge(&mut self, now: Nanos, peer: K, fault: Fault) -> bool {
        if self.scores.len() >= REMEMBERED_MAX && !self.scores.contains_key(&peer) {
            self.forget_the_best(now);
        }
        let fresh = Score {
            points: 0,
            at: now,
            banned_until: Nanos::ZERO,
            stalled_at: None,
        };
        let score = self.scores.entry(peer).or_insert(fresh);
        if fault == Fault::Withheld {
            if score.stalled_at.is_some_and(|at| now.since(at) < STALL) {
                return score.banned_until > now;
            }
            score.stalled_at = Some(now);
        }
        score.points = score.points_at(now) + weight(fault);
        score.at = now;
        if score.points >= self.ban_score {
            score.banned_until = now + BAN;
            // The peer comes back with half a ban: its next fault of weight bans it again.
            score.points = self.ban_score / 2;
        }
        assert!(
            score.points < self.ban_score,
            "a peer that reaches the threshold is banned"
        );
        let is_banned = score.banned_until > now;
        self.check();
        is_banned
    }

    fn check(&self) {
        assert!(self.scores.len() <= REMEMBERED_MAX, "memory for scores is bounded");
        if cfg!(test) {
            let mut scores = self.scores.values();
            assert!(
                scores.all(|score| score.points < self.ban_score),
                "every score is below the threshold"
            );
        }
    }

    /// Whether a peer is banned.
    pub fn is_banned(&self, now: Nanos, peer: &K) -> bool {
        self.scores.get(peer).is_some_and(|score| score.banned_until > now)
    }

    /// What a peer's faults weigh now.
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

#[cfg(test)]
mod tests {
    use ultramarine_types::PeerId;

    use super::*;

    const PEER: PeerId = PeerId([1; 32]);

    #[test]
    fn proven_faults_ban_and_time_forgives() {
        let mut scores = Scores::new(BAN_SCORE);
        assert!(!scores.charge(Nanos::ZERO, PEER, Fault::Part));
        assert!(!scores.charge(Nanos::ZERO, PEER, Fault::Part));
        assert!(scores.charge(Nanos::ZERO, PEER, Fault::Part));
        assert!(scores.is_banned(Nanos::ZERO, &PEER));
        assert!(!scores.is_banned(BAN, &PEER));
        assert_eq!(scores.scores[&PEER].points_at(Nanos::from_millis(100_000)), 0);
        assert!(!scores.is_banned(Nanos::ZERO, &PeerId([2; 32])), "nobody else is");
    }

    #[test]
    fn the_third_wrong_part_in_twenty_seconds_bans() {
        let mut scores = Scores::new(BAN_SCORE);
        for second in [0, 10] {
            assert!(!scores.charge(Nanos::from_millis(second * 1_000), PEER, Fault::Part));
        }
        assert!(scores.charge(Nanos::from_millis(20_000), PEER, Fault::Part));
    }

    #[test]
    fn a_slow_peer_is_not_banned_for_one_stall_every_six_seconds() {
        let mut scores = Scores::new(BAN_SCORE);
        assert!((0..1000).all(|turn| !scores.charge(Nanos::from_millis(turn * 6_000), PEER, Fault::Withheld)));
    }

    #[test]
    fn a_stall_costs_once_however_much_it_broke_and_slowness_alone_never_bans() {
        let mut scores = Scores::new(BAN_SCORE);
        for _ in 0..8 {
            scores.charge(Nanos::ZERO, PEER, Fault::Withheld);
        }
        assert_eq!(scores.scores[&PEER].points, weight(Fault::Withheld));
        let is_ever_banned =
            (0..100_000).any(|turn| scores.charge(Nanos::from_millis(turn * 100), PEER, Fault::Withheld));
        assert!(!is_ever_banned);
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
}
