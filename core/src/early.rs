//! This file knows how to keep verified messages of the next height until it starts.
//!
//! Malachite would buffer them itself, but unverified, and in a queue that any peer can fill, so that later votes are
//! lost. Here each validator has one message per kind and round, for one height and few rounds: it cannot overflow.
//!
//! Keeps: messages are of one height, no further than the next, and each stands under its own key.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Address, ConsensusMessage, Height, Round, VoteKind};

/// Rounds of the next height that are kept. A peer that is further ahead sends again when we get there.
pub const ROUNDS: u32 = 4;

/// The most that is kept: of each round two votes of each validator, a proposal and two certificates.
pub const fn messages_max(validators: usize) -> usize {
    ROUNDS as usize * (2 * validators + 3)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum MessageKey {
    Proposal,
    Vote(VoteKind, Address),
    Polka,
    RoundCertificate,
}

impl MessageKey {
    const fn of(message: &ConsensusMessage) -> Self {
        match message {
            ConsensusMessage::Proposal(_) => Self::Proposal,
            ConsensusMessage::Vote(vote) => Self::Vote(vote.kind, vote.voter),
            ConsensusMessage::Polka(_) => Self::Polka,
            ConsensusMessage::Round(_) => Self::RoundCertificate,
        }
    }
}

/// Messages of one height to come.
#[derive(Debug, Default)]
pub struct Early {
    height: Height,
    messages: BTreeMap<(Round, MessageKey), ConsensusMessage>,
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
        let key = MessageKey::of(&message);
        self.messages.entry((message.round(), key)).or_insert(message);
    }

    /// The validators that voted at `height` already, each once.
    pub fn voters(&self, height: Height) -> BTreeSet<Address> {
        if self.height != height {
            return BTreeSet::new();
        }
        let voter = |(_, key): &(Round, MessageKey)| match key {
            MessageKey::Vote(_, voter) => Some(*voter),
            MessageKey::Proposal | MessageKey::Polka | MessageKey::RoundCertificate => None,
        };
        self.messages.keys().filter_map(voter).collect()
    }

    /// Takes the messages kept for `height`, by rounds, and in each round proposals first.
    pub fn take(&mut self, height: Height) -> Vec<ConsensusMessage> {
        if self.height != height {
            return Vec::new();
        }
        std::mem::take(&mut self.messages).into_values().collect()
    }

    /// Asserts that there are no more than fit, of a height no further than the next.
    pub fn check(&self, current: Height, validators: usize) {
        assert!(
            self.height <= current.next(),
            "messages are kept of height {}",
            self.height
        );
        assert!(
            self.messages.len() <= messages_max(validators),
            "a message is kept twice"
        );
    }

    /// Asserts that each message is of the height and stands under its own key.
    pub fn check_whole(&self) {
        for ((round, key), message) in &self.messages {
            assert_eq!(message.height(), self.height, "a message of another height is kept");
            assert!(
                *round == message.round() && round.0 < ROUNDS,
                "a message of another round is kept"
            );
            assert_eq!(*key, MessageKey::of(message), "a message stands under another's key");
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
#[path = "early/tests.rs"]
mod tests;
