//! This file knows which votes and proposals were passed on, and which validators pass a message on to which.
//!
//! A receiver whose node is not connected to the signer's gets a message from three of the validators that are
//! connected to the receiver. A hash of message and receiver draws them, so nobody has to ask who does it, and no three
//! liars can keep all messages back.
//!
//! Keeps: of each signer, kind, height and round at most two values are passed on, each once, and rounds are few.

use std::collections::BTreeMap;

use ultramarine_types::canonical::Canonical;
use ultramarine_types::limits::VALUES_PER_ROUND_MAX;
use ultramarine_types::{Hash, Height, Positions, Round, ValueId};

/// Validators that pass a message on to one receiver.
pub const RELAYS: usize = 3;

/// A step of a validator: the proposal, the prevote or the precommit of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SignerStep {
    pub height: Height,
    pub round: Round,
    /// As [`SignedMessage::step`](ultramarine_types::consensus::SignedMessage::step) numbers the kinds.
    pub kind: u8,
    /// The signer's position in the set.
    pub signer: u32,
}

impl SignerStep {
    /// What a message of this step is drawn by.
    pub fn digest(&self, value: Option<&ValueId>) -> Hash {
        Canonical::new("ultramarine/relay/2")
            .height(self.height)
            .round(self.round)
            .u8(self.kind)
            .u32(self.signer)
            .optional(value.map(ValueId::as_bytes))
            .sha256()
    }
}

/// What was passed on.
#[derive(Debug, Default)]
pub struct Relay {
    passed: BTreeMap<SignerStep, Vec<Option<ValueId>>>,
}

impl Relay {
    /// Notes that a message is passed on; `false` if it was already, or two others of its step were.
    pub fn pass(&mut self, step: SignerStep, value: Option<ValueId>) -> bool {
        let values = self.passed.entry(step).or_default();
        let fresh = !values.contains(&value) && values.len() < VALUES_PER_ROUND_MAX;
        if fresh {
            values.push(value);
        }
        fresh
    }

    /// Forgets all but the steps that may still be passed on.
    pub fn keep(&mut self, may: impl Fn(Height, Round) -> bool) {
        self.passed.retain(|step, _| may(step.height, step.round));
    }

    /// Steps of which something was passed on.
    pub fn len(&self) -> usize {
        self.passed.len()
    }

    pub fn check_whole(&self) {
        for (step, values) in &self.passed {
            assert!(
                values.len() <= VALUES_PER_ROUND_MAX,
                "{step:?} was passed on with {} values",
                values.len()
            );
        }
    }
}

/// Whether `ours` is among the validators that pass a message on to `receiver`. `candidates` are those that could.
pub fn is_drawn(message: &Hash, receiver: u32, candidates: &Positions, ours: u32) -> bool {
    let ticket = |position: u32| {
        Canonical::new("ultramarine/relay-draw/2")
            .hash(message)
            .u32(receiver)
            .u32(position)
            .sha256()
    };
    let mine = ticket(ours);
    let before = candidates
        .iter()
        .filter(|position| *position != ours && ticket(*position) < mine);
    before.take(RELAYS).count() < RELAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(round: u32, signer: u32) -> SignerStep {
        SignerStep {
            height: Height(4),
            round: Round(round),
            kind: 1,
            signer,
        }
    }

    #[test]
    fn a_message_is_passed_on_once_and_two_values_of_a_step_at_most() {
        let mut relay = Relay::default();
        let value = |byte| Some(ValueId([byte; 32]));
        assert!(relay.pass(step(0, 1), None));
        assert!(!relay.pass(step(0, 1), None), "once");
        assert!(relay.pass(step(0, 1), value(1)));
        assert!(!relay.pass(step(0, 1), value(2)), "a third one of an equivocator");
        assert!(relay.pass(step(0, 2), value(2)) && relay.pass(step(1, 1), value(2)));
        relay.keep(|_, round| round == Round(1));
        assert_eq!(relay.len(), 1);
    }

    #[test]
    fn three_of_all_that_could_are_drawn_for_each_message_and_receiver() {
        let candidates: Positions = (0..40).collect();
        let drawn = |round: u32, receiver: u32| {
            let message = step(round, 7).digest(None);
            let drawn = candidates
                .iter()
                .filter(|ours| is_drawn(&message, receiver, &candidates, *ours));
            drawn.collect::<Vec<_>>()
        };
        let mut met = Positions::NONE;
        for round in 0..100 {
            let relays = drawn(round, 50);
            assert_eq!(relays.len(), RELAYS);
            relays.into_iter().for_each(|relay| met.insert(relay));
            assert_ne!(drawn(round, 50), drawn(round, 51), "round {round}");
        }
        assert_eq!(met, candidates, "everybody has its turn");
    }

    #[test]
    fn few_that_could_all_do() {
        let candidates: Positions = [3, 9].into_iter().collect();
        let message = step(0, 7).digest(None);
        assert!(is_drawn(&message, 1, &candidates, 3) && is_drawn(&message, 1, &candidates, 9));
    }
}
