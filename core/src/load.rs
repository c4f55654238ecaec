//! This file knows how much a core may hold because of what peers send, and why it is no more.

use ultramarine_types::limits::{INIT_ROUNDS_AHEAD, SYNC_HEIGHTS_IN_FLIGHT, VALUES_PER_ROUND_MAX};

use crate::early;
use crate::machine::messages::ROUNDS_AHEAD;
use crate::machine::tell::RESENDS_WAITING_MAX;
use crate::values::ROUNDS_KEPT;

/// What a core holds that peers can make more of; or the most of it there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Values above the head.
    pub values: usize,
    /// Those of them whose payloads are in memory.
    pub payloads: usize,
    /// Proposals of the current height.
    pub proposals: usize,
    /// Messages of the next height.
    pub early: usize,
    /// Messages to be sent again to one peer that wait for the log.
    pub resends: usize,
}

impl Load {
    /// The most there may be of each with so many validators, at a height that nobody has spent more than `rounds` rounds at.
    ///
    /// A round has two values by their `Init`s alone, two that proposals name, and one that a polka names, which takes more
    /// than a third of honest power. Of rounds long past nothing is left but what was judged `Valid`, without its payload,
    /// and what a polka names.
    pub const fn ceiling(validators: usize, rounds: usize) -> Self {
        let (offered_ahead, named_ahead, kept) =
            (INIT_ROUNDS_AHEAD as usize, ROUNDS_AHEAD as usize, ROUNDS_KEPT as usize);
        let offered = VALUES_PER_ROUND_MAX * (rounds + offered_ahead);
        let named = VALUES_PER_ROUND_MAX * (rounds + named_ahead);
        // Two of each round that the next height may be offered, and one of each height in flight.
        let later = VALUES_PER_ROUND_MAX * (1 + offered_ahead) + SYNC_HEIGHTS_IN_FLIGHT;
        let recent =
            VALUES_PER_ROUND_MAX * (kept + 1 + offered_ahead) + VALUES_PER_ROUND_MAX * (kept + 1 + named_ahead);
        let proposals = named + rounds;
        // Of each voter a prevote and a precommit, of the peer's round and ours; our own of all rounds; and certificates.
        let batch = proposals + 2 * 2 * validators + 3 * rounds + rounds + 1;
        Self {
            values: offered + named + rounds + later,
            payloads: recent + rounds + later,
            proposals,
            early: early::ROUNDS as usize * (2 * validators + 3),
            resends: RESENDS_WAITING_MAX + batch,
        }
    }

    /// The first thing that is held beyond a ceiling: its name, how much of it, and the ceiling.
    pub fn beyond(&self, ceiling: &Self) -> Option<(&'static str, usize, usize)> {
        [
            ("values", self.values, ceiling.values),
            ("payloads", self.payloads, ceiling.payloads),
            ("proposals", self.proposals, ceiling.proposals),
            ("messages of the next height", self.early, ceiling.early),
            ("messages to send again", self.resends, ceiling.resends),
        ]
        .into_iter()
        .find(|(_, held, most)| held > most)
    }
}
