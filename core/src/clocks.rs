//! This file knows how our wall clock compares with the other validators'.
//!
//! ```text
//!   a status of ours ── token ─▶ peer holds it for held_ns ── echo(token, held_ns), unix_ns ─▶ back here
//!   way there and back = now - token - held_ns          peer's clock now = unix_ns + half of the way
//! ```
//!
//! So a measurement is wrong by at most half of the way, and one whose way took too long does not count. A peer can lie
//! only about its own clock. What counts is the median by power, our clock included, and only if a quorum was heard.
//! Liars have less than half of that power, so the median lies between two honest clocks.
//!
//! Nothing in consensus depends on any of this: it is for people.
//!
//! Keeps:
//! - a peer's measurements are few, quick, in order of time, and of the same two clocks;
//! - only validators' clocks are watched, and a grade changes as soon as enough looks agree.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::network::{ClockReading, Echo};
use ultramarine_types::{Address, Nanos, ValidatorSet, limits};

/// Measurements kept of a peer. The one with the shortest way counts.
const SAMPLES_MAX: usize = 8;
/// How long a measurement counts.
const FRESH: Nanos = Nanos::from_millis(10_000);
/// How far two clocks drift apart in that time, including what each host corrects.
const DRIFT_NS: u64 = 50_000_000;
/// A way that took longer measures nothing.
const WAY_MAX: Nanos = Nanos::from_millis(2_000);
/// From this offset on, people are warned. The uncertainty of a long way, and what NTP leaves, are below it.
pub const OFF_NS: u64 = 2_000_000_000;
/// From this offset on, do not rely on the node: it is a third of `limits::TIMESTAMP_AHEAD_SECONDS`, at which blocks
/// are withheld.
pub const WRONG_NS: u64 = 5_000_000_000;
/// A grade ends only when the offset is this far below it.
const SLACK_NS: u64 = 500_000_000;
/// Looks, one a second, that must agree before a grade changes.
const LOOKS: u32 = 3;
/// At most one line about a validator's clock in this time: a clock that swings to and fro must not fill the log.
const LINE: Nanos = Nanos::from_millis(60_000);

const _: () = assert!(SLACK_NS < OFF_NS, "a grade that was reached can be left");
const _: () = assert!(OFF_NS < WRONG_NS - SLACK_NS, "each grade has its own offsets");
const _: () = assert!(NEWS_NS < OFF_NS, "an offset is news before it is a warning");
const _: () = assert!(
    WRONG_NS <= limits::TIMESTAMP_AHEAD_SECONDS * 1_000_000_000 / 3,
    "people hear of it in time"
);
const _: () = assert!(WAY_MAX.0 < FRESH.0, "a measurement outlives its way");

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Nanos,
    /// How far the peer's clock is ahead of ours.
    ahead_ns: i64,
    way: Nanos,
}

impl Sample {
    /// Whether both may be of the same two clocks: each is wrong by at most half of its way, and clocks drift a little.
    const fn agrees(&self, other: &Self) -> bool {
        let uncertain = self.way.0 / 2 + other.way.0 / 2 + DRIFT_NS;
        self.ahead_ns.abs_diff(other.ahead_ns) <= uncertain
    }
}

/// What is known of a peer's clocks.
#[derive(Clone, Debug, Default)]
pub struct PeerClock {
    /// Its newest token, and when it came.
    heard: Option<(u64, Nanos)>,
    samples: VecDeque<Sample>,
}

impl PeerClock {
    /// A reading came; `unix_ns` is our wall clock.
    pub fn hear(&mut self, now: Nanos, unix_ns: u64, reading: &ClockReading) {
        self.heard = Some((reading.token, now));
        let Some(Echo { token, held_ns }) = reading.echo else {
            return;
        };
        // A token of ours from the future, or a hold longer than the whole way, is made up.
        let Some(way) = now.0.checked_sub(token).and_then(|way| way.checked_sub(held_ns)) else {
            return;
        };
        if way > WAY_MAX.0 {
            return;
        }
        let theirs = i128::from(reading.unix_ns) + i128::from(way / 2);
        let sample = Sample {
            at: now,
            ahead_ns: clamp(theirs - i128::from(unix_ns)),
            way: Nanos(way),
        };
        // If they disagree, one of the two clocks was set since, and the older measurements mean nothing.
        self.samples.retain(|older| older.agrees(&sample));
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What our next status tells the peer about its last one.
    pub fn echo(&self, now: Nanos) -> Option<Echo> {
        self.heard.map(|(token, at)| Echo {
            token,
            held_ns: now.since(at).0,
        })
    }

    /// How far its clock is ahead of ours; `None` if that was not measured lately.
    pub fn ahead_ns(&self, now: Nanos) -> Option<i64> {
        let fresh = self.samples.iter().filter(|sample| now.since(sample.at) <= FRESH);
        fresh.min_by_key(|sample| sample.way).map(|sample| sample.ahead_ns)
    }

    /// The shortest way there and back that was measured lately, as far as the peer tells the truth.
    pub fn way(&self, now: Nanos) -> Option<Nanos> {
        let fresh = self.samples.iter().filter(|sample| now.since(sample.at) <= FRESH);
        fresh.map(|sample| sample.way).min()
    }

    /// Asserts that the measurements kept are few, quick, in order of time, and of the same two clocks.
    pub fn check(&self) {
        assert!(self.samples.len() <= SAMPLES_MAX, "too many measurements are kept");
        let Some(newest) = self.samples.back() else { return };
        for sample in &self.samples {
            assert!(sample.way <= WAY_MAX, "a measurement is kept that took too long");
            assert!(sample.at <= newest.at, "a measurement is newer than the newest");
            assert!(
                sample.agrees(newest),
                "a measurement is kept of a clock that was set since"
            );
        }
    }

    /// Our wall clock was set forward by this much.
    pub fn shift(&mut self, step_ns: i64) {
        for sample in &mut self.samples {
            sample.ahead_ns = sample.ahead_ns.saturating_sub(step_ns);
        }
    }
}

fn clamp(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// How bad an offset is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Grade {
    /// Too little to report.
    #[default]
    Right,
    /// Far enough off that people are warned.
    Off,
    /// Blocks will be withheld, here or elsewhere.
    Wrong,
}

impl Grade {
    /// The grade of an offset, coming from another grade.
    fn of(offset_ns: i64, before: Self) -> Self {
        let size = offset_ns.unsigned_abs();
        let reaches = |grade: Self, bound: u64| size >= if before >= grade { bound - SLACK_NS } else { bound };
        if reaches(Self::Wrong, WRONG_NS) {
            Self::Wrong
        } else if reaches(Self::Off, OFF_NS) {
            Self::Off
        } else {
            Self::Right
        }
    }
}

/// A grade that changes only when several looks agree.
#[derive(Clone, Copy, Default, Debug)]
struct Steady {
    grade: Grade,
    next: Grade,
    looks: u32,
}

impl Steady {
    /// Takes a look. Returns whether the grade changed.
    fn look(&mut self, offset_ns: i64) -> bool {
        let seen = Grade::of(offset_ns, self.grade);
        if seen == self.grade {
            self.looks = 0;
            return false;
        }
        self.looks = if seen == self.next { self.looks + 1 } else { 1 };
        self.next = seen;
        if self.looks < LOOKS {
            return false;
        }
        self.looks = 0;
        self.grade = seen;
        true
    }
}

/// Something that people should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// Our clock, and how far it is ahead of the validators' median; `None` if too few were heard.
    Ours {
        offset_ns: Option<i64>,
        /// How bad it is.
        grade: Grade,
    },
    /// A validator's clock, and how far it is ahead of the median.
    Peer {
        validator: Address,
        offset_ns: i64,
        /// How bad it is.
        grade: Grade,
    },
}

/// What is known of a validator's clock, connected or not, so that a validator that comes back does not begin afresh.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    steady: Steady,
    told: ClockLine,
    told_at: Option<Nanos>,
}

/// What a line about a clock says: how bad it is, and on which side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockLine {
    grade: Grade,
    is_ahead: bool,
}

impl ClockLine {
    /// What to say about an offset after this line. A clock that is right has no side. Nor has one that was just set
    /// right, whose grade takes a few looks to follow: until then there is nothing new to say.
    pub const fn of(grade: Grade, offset_ns: i64, before: Self) -> Self {
        let is_right = matches!(grade, Grade::Right);
        if !is_right && !is_said(offset_ns) {
            return before;
        }
        Self {
            grade,
            is_ahead: !is_right && offset_ns > 0,
        }
    }
}

/// Whether an offset may be called wrong, whatever the grade: some looks must agree before a grade changes.
pub const fn is_said(offset_ns: i64) -> bool {
    offset_ns.unsigned_abs() >= OFF_NS - SLACK_NS
}

impl Watched {
    /// Takes a look. Returns whether people should know of it now.
    fn look(&mut self, now: Nanos, offset_ns: i64) -> bool {
        self.steady.look(offset_ns);
        let said = ClockLine::of(self.steady.grade, offset_ns, self.told);
        let is_news = said != self.told && self.told_at.is_none_or(|at| now.since(at) >= LINE);
        if is_news {
            (self.told, self.told_at) = (said, Some(now));
        }
        is_news
    }
}

#[derive(Debug, Default)]
pub struct Clocks {
    ours: Steady,
    told: Option<Option<i64>>,
    /// How many of the others' clocks were off when we last said so.
    told_off: usize,
    /// One for each validator at most.
    peers: BTreeMap<Address, Watched>,
    peers_off: usize,
}

/// An offset is news when it changes by this much.
const NEWS_NS: u64 = 100_000_000;

impl Clocks {
    /// Looks, once a second. `ahead` says how far each other validator's clock is ahead of ours.
    pub fn look(
        &mut self,
        now: Nanos,
        set: &ValidatorSet,
        ours: &Address,
        ahead: &BTreeMap<Address, i64>,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let median = median(set, ours, ahead);
        let offset_ns = median.map(|median| median.saturating_neg());
        // Without a median no clock gets a new grade, neither ours nor, by ours, another.
        let changed = offset_ns.is_some_and(|offset_ns| self.ours.look(offset_ns));
        let is_far = match (self.told.flatten(), offset_ns) {
            (Some(told), Some(offset)) => told.abs_diff(offset) >= NEWS_NS,
            (told, offset) => told != offset,
        };
        let compared = ahead.iter().filter(|(validator, _)| set.get(validator).is_some());
        self.peers_off = 0;
        for (validator, ahead) in compared {
            let Some(median) = median else { break };
            let offset_ns = ahead.saturating_sub(median);
            let watched = self.peers.entry(*validator).or_default();
            if watched.look(now, offset_ns) {
                news.push(News::Peer {
                    validator: *validator,
                    offset_ns,
                    grade: watched.steady.grade,
                });
            }
            self.peers_off += usize::from(watched.steady.grade > Grade::Right);
        }
        if changed || is_far || self.told_off != self.peers_off || self.told.is_none() && offset_ns.is_some() {
            self.told = Some(offset_ns);
            self.told_off = self.peers_off;
            news.push(News::Ours {
                offset_ns,
                grade: self.ours.grade,
            });
        }
        news
    }

    /// Asserts that no more clocks are watched than there are validators.
    pub fn check(&self, validators: usize) {
        assert!(self.peers.len() <= validators, "a stranger's clock is watched");
        assert!(
            self.peers_off <= self.peers.len(),
            "more clocks are off than are watched"
        );
    }

    /// Asserts that the clocks watched are validators', and that no grade is overdue.
    pub fn check_whole(&self, set: &ValidatorSet) {
        assert!(self.ours.looks < LOOKS, "our clock's grade is overdue");
        for (validator, watched) in &self.peers {
            assert!(
                set.get(validator).is_some(),
                "the clock of {validator} is watched, who is no validator"
            );
            assert!(
                watched.steady.looks < LOOKS,
                "the grade of {validator}'s clock is overdue"
            );
        }
    }

    /// How many validators' clocks were off at the last look.
    pub const fn peers_off(&self) -> usize {
        self.peers_off
    }
}

/// The median by power of the validators' clocks, relative to ours, which counts as well; `None` if no quorum was
/// heard. In a tie, the side that is nearer to ours: we cannot tell which one is wrong.
fn median(set: &ValidatorSet, ours: &Address, ahead: &BTreeMap<Address, i64>) -> Option<i64> {
    let own = set.get(ours).map(|validator| (0, validator.power));
    let others = ahead
        .iter()
        .filter(|(address, _)| *address != ours)
        .filter_map(|(address, ahead)| Some((*ahead, set.get(address)?.power)));
    let mut clocks: Vec<(i64, u64)> = others.chain(own).collect();
    let heard = clocks.iter().fold(0u64, |sum, (_, power)| sum.saturating_add(*power));
    if !set.is_quorum(heard) {
        return None;
    }
    clocks.sort_unstable();
    let (mut power, mut low, mut high) = (0u64, None, None);
    for (ahead, more) in clocks {
        power = power.saturating_add(more);
        let twice = u128::from(power) * 2;
        if low.is_none() && twice >= u128::from(heard) {
            low = Some(ahead);
        }
        if high.is_none() && twice > u128::from(heard) {
            high = Some(ahead);
        }
    }
    let (low, high) = (low?, high?);
    assert!(low <= high, "the clocks are in order");
    Some(0.clamp(low, high))
}

#[cfg(test)]
#[path = "clocks/tests.rs"]
mod tests;
