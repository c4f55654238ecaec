//! This file knows how to keep verified messages of the next height until it starts.
//!
//! Malachite would buffer them itself, but unverified and in a queue that anybody can fill, losing the votes behind.
//! Here there is one slot per validator, kind and round, for one height and few rounds: it cannot overflow.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Address, ConsensusMessage, Height, Round, VoteKind};

/// Rounds of the next height that are kept; whoever is further ahead sends again when we get there.
pub const ROUNDS: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Slot {
    Proposal,
    Vote(VoteKind, Address),
    Polka,
    RoundCertificate,
}

/// Messages of one height to come.
#[derive(Debug, Default)]
pub struct Early {
    height: Height,
    messages: BTreeMap<(Round, Slot), ConsensusMessage>,
}

impl Early {
    /// Keeps a verified message if it is of `next`.
    pub fn keep(&mut self, next: Height, message: ConsensusMessage) {
        if message.height() != next || message.round().0 >= ROUNDS {
            return;
        }
        if self.height != next {
            self.messages.clear();
            self.height = next;
        }
        let slot = match &message {
            ConsensusMessage::Proposal(_) => Slot::Proposal,
            ConsensusMessage::Vote(vote) => Slot::Vote(vote.kind, vote.voter),
            ConsensusMessage::Polka(_) => Slot::Polka,
            ConsensusMessage::Round(_) => Slot::RoundCertificate,
        };
        self.messages.entry((message.round(), slot)).or_insert(message);
    }

    /// Who voted at `height` already, each once.
    pub fn voters(&self, height: Height) -> BTreeSet<Address> {
        if self.height != height {
            return BTreeSet::new();
        }
        let voter = |(_, slot): &(Round, Slot)| match slot {
            Slot::Vote(_, voter) => Some(*voter),
            Slot::Proposal | Slot::Polka | Slot::RoundCertificate => None,
        };
        self.messages.keys().filter_map(voter).collect()
    }

    /// Takes what was kept for `height`, by rounds, proposals first.
    pub fn take(&mut self, height: Height) -> Vec<ConsensusMessage> {
        if self.height != height {
            return Vec::new();
        }
        std::mem::take(&mut self.messages).into_values().collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
#[path = "early/tests.rs"]
mod tests;
