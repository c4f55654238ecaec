//! This file knows how much a core may hold because of what peers send, and why it is no more.

use ultramarine_types::limits::{INIT_ROUNDS_AHEAD, SYNC_HEIGHTS_IN_FLIGHT, VALIDATORS_MAX, VALUES_PER_ROUND_MAX};

use crate::early;
use crate::sync::Sync;
use crate::values::{AT_WORK_MAX, ROUNDS_KEPT};

/// Rounds ahead of ours whose votes and proposals consensus takes. Malachite has the same bound.
pub(crate) const ROUNDS_AHEAD: u32 = 10;
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
    /// Messages of the next height.
    pub early: usize,
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
            ("messages of the next height", self.early, most.early),
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
        let proposals = named + rounds;
        // Each voter's prevote and precommit, of the peer's round and of ours; our own of all rounds; and certificates.
        let batch = proposals + 2 * 2 * validators + 3 * rounds + rounds + 1;
        Self(Held {
            values: offered + named + rounds + later,
            payloads: recent + rounds + later + AT_WORK_MAX,
            // At the current height and the next.
            refuted: 2 * validators,
            proposals,
            early: early::messages_max(validators),
            asked: Sync::ASKED_MAX,
            resends: RESENDS_WAITING_MAX + batch,
        })
    }
}
