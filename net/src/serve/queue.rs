//! This file knows which background bytes may leave next, over all connections. These are packages, and whatever full
//! nodes are sent.
//!
//! One budget bounds all of them. A sender asks for the turn of each *portion*, and sends it when it is granted. At
//! most [`IN_HAND_BYTES`] have been granted and have not left, so hardly any of them stand before what the current
//! round needs: proposals for validators, and validators' repairs. These never ask.
//!
//! ```text
//!   while the round needs the line   Validators 2/16, Listed 1/16, Strangers 1/16 of the budget, and no more
//!   else                             all of it: Validators, then Listed, then Strangers; the same is theirs at least
//! ```
//! So strangers are held back first and validators last, and none of them starves: a validator that always has a stream
//! open stops nobody's catching up. Within a rank, those who stand behind the peers take turns: all nodes of a
//! validator are one, and all strangers of a site.
//!
//! Time is an input, so the simulator's nodes send by the same code.
//!
//! Keeps: portions in hand stay within [`IN_HAND_BYTES`], but for those whose connection takes nothing.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::Nanos;

use crate::bounds::{self, IN_HAND_BYTES};
use crate::peers::origin::PeerOrigin;
use crate::peers::pace::Bucket;

/// Who is sent background bytes; the first goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    Validators,
    Listed,
    Strangers,
}

impl Rank {
    pub const ALL: [Self; 3] = [Self::Validators, Self::Listed, Self::Strangers];

    /// The rank of whoever stands behind a peer.
    pub const fn of(origin: &PeerOrigin) -> Self {
        match origin {
            PeerOrigin::Validator(_) => Self::Validators,
            PeerOrigin::Listed(_) => Self::Listed,
            PeerOrigin::Site(_) => Self::Strangers,
        }
    }

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validators => "validators",
            Self::Listed => "listed",
            Self::Strangers => "strangers",
        }
    }

    /// Its share of the budget, in sixteenths, that nothing can take from it.
    const fn floor(self) -> u64 {
        match self {
            Self::Validators => 2,
            Self::Listed | Self::Strangers => 1,
        }
    }

    /// Most bytes of one portion. Strangers may be many, and each may have one on its way.
    pub const fn portion_bytes(self) -> usize {
        match self {
            Self::Validators | Self::Listed => bounds::PORTION_BYTES,
            Self::Strangers => bounds::STRANGERS_PORTION_BYTES,
        }
    }
}

/// Windows in which the line's pace is remembered: a second.
const WINDOWS: usize = 4;

/// Names one portion, or one stream of the current round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TurnId(pub u64);

/// Bytes that wait for their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portion {
    pub ticket: TurnId,
    pub origin: PeerOrigin,
    pub bytes: u64,
}

#[derive(Debug)]
struct Line {
    floor: Bucket,
    /// Whoever has portions that wait, next first.
    turn: VecDeque<PeerOrigin>,
    waiting: BTreeMap<PeerOrigin, VecDeque<Portion>>,
    granted_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct InHand {
    bytes: u64,
    until: Nanos,
}

/// See the file's words.
#[derive(Debug)]
pub struct ServingQueue {
    bytes_per_second: u64,
    /// How long a stream of the round holds background bytes back at most.
    round_wait: Nanos,
    budget: Bucket,
    lines: BTreeMap<Rank, Line>,
    in_hand: BTreeMap<TurnId, InHand>,
    /// The round's streams, and until when each counts.
    round: BTreeMap<TurnId, Nanos>,
    pace: LinePace,
    shed: u64,
}

/// What our line took of background bytes, in a second, while no round held them back. Floors are shares of it: on a
/// slow line a share of the budget could be all there is.
#[derive(Clone, Copy, Debug)]
struct LinePace {
    /// Of the last windows in which something left. The largest counts.
    windows: [u64; WINDOWS],
    since: Nanos,
    left_bytes: u64,
    was_round: bool,
}

impl LinePace {
    fn bytes_per_second(&self) -> u64 {
        self.windows.iter().max().copied().unwrap_or(0)
    }
}

impl ServingQueue {
    pub fn new(bytes_per_second: u64, round_wait: Nanos) -> Self {
        let line = |rank: Rank| {
            let rate = bytes_per_second * rank.floor() / 16;
            (
                rank,
                Line {
                    floor: Bucket::new(rate, rate / bounds::SERVING_BURSTS_PER_SECOND, Nanos::ZERO),
                    turn: VecDeque::new(),
                    waiting: BTreeMap::new(),
                    granted_bytes: 0,
                },
            )
        };
        Self {
            bytes_per_second,
            round_wait,
            budget: Bucket::new(
                bytes_per_second,
                bytes_per_second / bounds::SERVING_BURSTS_PER_SECOND,
                Nanos::ZERO,
            ),
            lines: Rank::ALL.into_iter().map(line).collect(),
            in_hand: BTreeMap::new(),
            round: BTreeMap::new(),
            pace: LinePace {
                windows: [bytes_per_second; WINDOWS],
                since: Nanos::ZERO,
                left_bytes: 0,
                was_round: false,
            },
            shed: 0,
        }
    }

    /// A portion waits for its turn.
    pub fn ask(&mut self, now: Nanos, portion: Portion) {
        self.shed += u64::from(self.is_round_open(now));
        let Some(line) = self.lines.get_mut(&Rank::of(&portion.origin)) else {
            return;
        };
        let own = line.waiting.entry(portion.origin).or_default();
        if own.is_empty() {
            line.turn.push_back(portion.origin);
        }
        own.push_back(portion);
    }

    /// Takes the portion that may go now.
    pub fn next(&mut self, now: Nanos) -> Option<TurnId> {
        self.round.retain(|_, until| *until > now);
        self.measure(now);
        self.pace.was_round |= !self.round.is_empty();
        if self.in_hand_bytes(now) >= self.in_hand_max() {
            return None;
        }
        let (rank, by_floor) = self.next_rank(now)?;
        let line = self.lines.get_mut(&rank)?;
        let portion = line.pop()?;
        // The floor is what a rank has at least, so what it gets besides is taken from there first.
        let of_floor = if by_floor {
            portion.bytes
        } else {
            portion.bytes.min(line.floor.left(now))
        };
        line.floor.take(now, of_floor);
        line.granted_bytes += portion.bytes;
        self.budget.take(now, portion.bytes);
        let until = now + bounds::IN_HAND_WAIT;
        let bytes = portion.bytes;
        self.in_hand.insert(portion.ticket, InHand { bytes, until });
        Some(portion.ticket)
    }

    /// The rank whose turn it is, and whether it has it by its floor alone.
    fn next_rank(&self, now: Nanos) -> Option<(Rank, bool)> {
        let mut waiting = self.lines.iter().filter(|(_, line)| !line.turn.is_empty());
        let first = waiting.clone().next().map(|(rank, _)| *rank)?;
        let below = waiting.find(|(_, line)| line.floor.left(now) > 0);
        if let Some((rank, _)) = below {
            return Some((*rank, true));
        }
        (self.round.is_empty() && !self.budget.is_in_debt(now)).then_some((first, false))
    }

    /// A portion has left, or will not go.
    pub fn done(&mut self, ticket: TurnId) {
        if let Some(portion) = self.in_hand.remove(&ticket) {
            self.pace.left_bytes += portion.bytes;
            return;
        }
        for line in self.lines.values_mut() {
            for own in line.waiting.values_mut() {
                own.retain(|portion| portion.ticket != ticket);
            }
            line.waiting.retain(|_, own| !own.is_empty());
            line.turn.retain(|origin| line.waiting.contains_key(origin));
        }
    }

    /// A stream that the current round needs begins.
    pub fn begin_round(&mut self, now: Nanos, ticket: TurnId) {
        self.round.insert(ticket, now + self.round_wait);
    }

    pub fn end_round(&mut self, ticket: TurnId) {
        self.round.remove(&ticket);
    }

    /// When [`next`](Self::next) may find one; `None` while none waits.
    pub fn deadline(&self, now: Nanos) -> Option<Nanos> {
        let lines = || self.lines.values().filter(|line| !line.turn.is_empty());
        let floor = lines().map(|line| line.floor.ready_at(now)).min()?;
        let round = self.round.values().max().copied().unwrap_or(now);
        let granted = floor.min(round.max(self.budget.ready_at(now)));
        if self.in_hand_bytes(now) < self.in_hand_max() {
            return Some(granted);
        }
        let counted = self.in_hand.values().filter(|portion| portion.until > now);
        Some(granted.max(counted.map(|portion| portion.until).min()?))
    }

    fn in_hand_bytes(&self, now: Nanos) -> u64 {
        let counted = self.in_hand.values().filter(|portion| portion.until > now);
        counted.map(|portion| portion.bytes).sum()
    }

    /// A slow line is handed less, so that it is done as soon.
    fn in_hand_max(&self) -> u64 {
        let soon = self.pace.bytes_per_second() / bounds::IN_HAND_PARTS_OF_SECOND;
        soon.clamp(bounds::IN_HAND_BYTES_MIN, IN_HAND_BYTES)
    }

    /// Bytes that wait for their turn.
    pub fn waiting_bytes(&self) -> u64 {
        let portions = self.lines.values().flat_map(|line| line.waiting.values().flatten());
        portions.map(|portion| portion.bytes).sum()
    }

    /// Bytes that were granted to a rank.
    pub fn granted_bytes(&self, rank: Rank) -> u64 {
        self.lines.get(&rank).map_or(0, |line| line.granted_bytes)
    }

    /// Portions that were asked for while the current round needed the line.
    pub const fn shed(&self) -> u64 {
        self.shed
    }

    fn is_round_open(&self, now: Nanos) -> bool {
        self.round.values().any(|until| *until > now)
    }

    /// Once a window: learns what the line takes, and takes the floors from that.
    fn measure(&mut self, now: Nanos) {
        let passed = now.since(self.pace.since);
        if passed < bounds::LINE_PACE_WINDOW {
            return;
        }
        let before = self.pace.bytes_per_second();
        let LinePace {
            left_bytes, was_round, ..
        } = self.pace;
        (self.pace.since, self.pace.left_bytes, self.pace.was_round) = (now, 0, false);
        if was_round {
            // What left was held back. In case it always is, what we know of the line is slowly forgotten.
            let most = self.bytes_per_second;
            self.pace
                .windows
                .iter_mut()
                .for_each(|it| *it = (*it + *it / 64).min(most));
        } else if left_bytes > 0 {
            let measured = u128::from(left_bytes) * 1_000_000_000 / u128::from(passed.0.max(1));
            let measured = u64::try_from(measured).unwrap_or(u64::MAX).min(self.bytes_per_second);
            self.pace.windows.rotate_right(1);
            if let Some(newest) = self.pace.windows.first_mut() {
                *newest = measured;
            }
        }
        let pace = self.pace.bytes_per_second();
        if pace == before {
            return;
        }
        for (rank, line) in &mut self.lines {
            let (most, least) = (
                self.bytes_per_second * rank.floor() / 16,
                bounds::FLOOR_BYTES_PER_SECOND_MIN,
            );
            let floor = (pace * rank.floor() / 16).max(least.min(most));
            line.floor
                .set_rate(now, floor, floor / bounds::SERVING_BURSTS_PER_SECOND);
        }
    }
}

impl Line {
    fn pop(&mut self) -> Option<Portion> {
        let origin = self.turn.pop_front()?;
        let own = self.waiting.get_mut(&origin)?;
        let portion = own.pop_front()?;
        if own.is_empty() {
            self.waiting.remove(&origin);
        } else {
            self.turn.push_back(origin);
        }
        Some(portion)
    }
}

#[cfg(test)]
mod tests;
