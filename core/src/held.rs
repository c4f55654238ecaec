//! This file knows how much a core may hold because of what peers send, and why it is no more.

use ultramarine_types::limits::{INIT_ROUNDS_AHEAD, SYNC_HEIGHTS_IN_FLIGHT, VALIDATORS_MAX, VALUES_PER_ROUND_MAX};

use crate::early;
use crate::sync::Sync;
use crate::values::{AT_WORK_MAX, ROUNDS_KEPT};

/// Rounds ahead of ours whose votes and proposals consensus takes. Malachite has the same bound.
pub(crate) const ROUNDS_AHEAD: u32 = 10;
/// Rounds whose messages are sent again: ours and the one before. Those of the rounds that a lock or a polka marks come
/// on top.
pub(crate) const ROUNDS_TOLD: u32 = 2;
/// Rounds that a lock, a valid value and a polka mark.
const MARKED: usize = 3;
/// While this many messages wait for the log, nothing is sent again: statuses ask for resends, and must not pile them
/// up behind a slow disk.
pub(crate) const RESENDS_WAITING_MAX: usize = 1024;

const _: () = assert!(
    INIT_ROUNDS_AHEAD <= ROUNDS_AHEAD,
    "a value is worth its bytes only if consensus takes it"
);
const _: () = assert!(
    early::ROUNDS <= ROUNDS_AHEAD,
    "what was kept early is taken when its height begins"
);
const _: () = assert!(
    INIT_ROUNDS_AHEAD < early::ROUNDS,
    "the proposal of an admitted value is kept as well"
);
const _: () = assert!(RESENDS_WAITING_MAX >= 2 * VALIDATORS_MAX, "the votes of one round fit");

/// What a core holds that peers can make more of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Values above the head.
    pub values: usize,
    /// Values whose lists and payloads are in memory.
    pub payloads: usize,
    /// Validators that a false value of theirs convicts, each once at a height.
    pub refuted: usize,
    /// Proposals of the current height.
    pub proposals: usize,
    /// Votes and proposals of ours, to be sent again.
    pub published: usize,
    /// Messages of the next height.
    pub early: usize,
    /// Steps of others of which something was passed on.
    pub passed: usize,
    /// Calls of others, each once for every peer that brings it.
    pub calls: usize,
    /// Requests for decided heights, and for certificates of tips.
    pub asked: usize,
    /// Messages to be sent again to one peer that wait for the log.
    pub resends: usize,
}

impl Held {
    /// The first thing that is held beyond its ceiling: its name, how much of it is held, and the ceiling.
    pub fn beyond(&self, Ceilings(most): &Ceilings) -> Option<(&'static str, usize, usize)> {
        [
            ("values", self.values, most.values),
            ("payloads", self.payloads, most.payloads),
            ("false values", self.refuted, most.refuted),
            ("proposals", self.proposals, most.proposals),
            ("messages of ours", self.published, most.published),
            ("messages of the next height", self.early, most.early),
            ("steps passed on", self.passed, most.passed),
            ("calls", self.calls, most.calls),
            ("requests to peers", self.asked, most.asked),
            ("messages to send again", self.resends, most.resends),
        ]
        .into_iter()
        .find(|(_, held, most)| held > most)
    }
}

/// The most there may be of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ceilings(Held);

impl Ceilings {
    /// The ceilings with so many validators, at a height at which no node has begun more than `rounds` rounds.
    ///
    /// A round has two values by their `Init`s alone, two that proposals name, and one that a polka names, which takes
    /// more than a third of honest power. Of a round long past two kinds of values are left: those that were judged
    /// `Valid`, without their payloads, and those that a polka names; and a few that are being sent or executed.
    pub const fn of(validators: usize, rounds: usize) -> Self {
        let (offered_ahead, named_ahead, kept) =
            (INIT_ROUNDS_AHEAD as usize, ROUNDS_AHEAD as usize, ROUNDS_KEPT as usize);
        let offered = VALUES_PER_ROUND_MAX * (rounds + offered_ahead);
        let named = VALUES_PER_ROUND_MAX * (rounds + named_ahead);
        // Two of each round that the next height may be offered, and one of each height in flight.
        let later = VALUES_PER_ROUND_MAX * (1 + offered_ahead) + SYNC_HEIGHTS_IN_FLIGHT;
        let recent =
            VALUES_PER_ROUND_MAX * (kept + 1 + offered_ahead) + VALUES_PER_ROUND_MAX * (kept + 1 + named_ahead);
        // Of the rounds that mean anything, as many as there are: two that a proposer signs, and one that a polka
        // names.
        let proposals = (VALUES_PER_ROUND_MAX + 1) * (kept + 1 + named_ahead + MARKED);
        let told = ROUNDS_TOLD as usize + MARKED;
        // Two votes and a proposal of ours, and the proposal that we locked on.
        let published = 4 * told;
        // Each voter's prevote and precommit, of the peer's round and of ours; and certificates.
        let batch = proposals + 2 * 2 * validators + published + 2 * proposals + 1;
        Self(Held {
            values: offered + named + rounds + later,
            payloads: recent + rounds + later + AT_WORK_MAX,
            // At the current height and the next.
            refuted: 2 * validators,
            proposals,
            published,
            early: early::messages_max(validators),
            // Three steps of each validator in each round that is passed on.
            passed: 3 * validators * (kept + 1 + named_ahead + MARKED + 2 * early::ROUNDS as usize),
            // Each validator's, by two nodes of each of the others.
            calls: 2 * validators * validators,
            asked: Sync::ASKED_MAX,
            resends: RESENDS_WAITING_MAX + batch,
        })
    }
}
