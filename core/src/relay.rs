//! This file knows which votes and proposals were passed on, and which validators pass a message on to which.
//!
//! A receiver whose node is not connected to the signer's gets a message from three of the validators that are
//! connected to the receiver. A hash of message and receiver draws them, so nobody has to ask who does it.
//!
//! The three may be dead, or lie. So a message that is repeated is passed on again, and others are drawn: the hash has
//! in it how often its relay passed it on before. Relays that have seen a message equally often draw the same three.
//! One that has seen it more often draws for itself, and is as likely to be among its own three. So each honest relay
//! has its turn, whoever repeats what.
//!
//! Keeps: of each signer, kind, height and round at most two values are passed on, each at once, and then the less
//! often the more often it was repeated; and rounds are few.

use std::collections::BTreeMap;

use ultramarine_types::canonical::Canonical;
use ultramarine_types::limits::VALUES_PER_ROUND_MAX;
use ultramarine_types::{Address, Height, Nanos, Nonce, Positions, Round, ValueId};

/// Validators that pass a message on to one receiver.
pub const RELAYS: usize = 3;
/// A message that was passed on once is passed on again after so long at the earliest. After the second time it rests
/// twice as long, and so on.
const REST: Nanos = Nanos::from_millis(500);

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
    /// What the relays of a message of this step are drawn by, if they passed it on so often before.
    pub fn draw(&self, value: Option<&ValueId>, times: u32) -> Draw {
        Draw::of(
            Canonical::new("ultramarine/relay/3")
                .height(self.height)
                .round(self.round)
                .u8(self.kind)
                .u32(self.signer)
                .optional(value.map(ValueId::as_bytes))
                .u32(times),
        )
    }
}

/// What relays are drawn by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draw(u64);

impl Draw {
    /// What the relays of a call are drawn by, if they passed it on so often before.
    pub fn of_call(listener: &Address, nonce: &Nonce, times: u32) -> Self {
        Self::of(
            Canonical::new("ultramarine/relay-call/1")
                .address(listener)
                .fixed(&nonce.0)
                .u32(times),
        )
    }

    fn of(named: Canonical) -> Self {
        let hash = named.sha256().0;
        let first = hash.first_chunk().expect("a hash has more than eight bytes");
        Self(u64::from_le_bytes(*first))
    }

    /// Whether `ours` is among the validators that pass the message on to `receiver`. `candidates` are those that
    /// could.
    pub fn picks(self, receiver: u32, candidates: &Positions, ours: u32) -> bool {
        let row = mixed(self.0 ^ u64::from(receiver));
        // Mixing is one-to-one, so no two validators have one ticket.
        let ticket = |position: u32| mixed(row ^ u64::from(position));
        let mine = ticket(ours);
        let before = candidates.iter().filter(|position| ticket(*position) < mine);
        before.take(RELAYS).count() < RELAYS
    }
}

/// The last step of SplitMix64: every bit of the input changes half of the output's. That is enough, as the seed is a
/// hash of what the signer signed, and relays choose neither that nor their positions.
const fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A message that was passed on.
#[derive(Debug)]
struct Passed {
    value: Option<ValueId>,
    /// When it was last.
    at: Nanos,
    /// How often it was.
    times: u32,
}

/// What was passed on.
#[derive(Debug, Default)]
pub struct Relay {
    passed: BTreeMap<SignerStep, Vec<Passed>>,
}

impl Relay {
    /// Notes that a message is passed on, and answers how often it was before; `None` if it rests, or two others of its
    /// step were passed on.
    pub fn pass(&mut self, now: Nanos, step: SignerStep, value: Option<ValueId>) -> Option<u32> {
        let values = self.passed.entry(step).or_default();
        if let Some(known) = values.iter_mut().find(|known| known.value == value) {
            if now.since(known.at) < Nanos(REST.0 * u64::from(known.times)) {
                return None;
            }
            let before = known.times;
            (known.at, known.times) = (now, before.saturating_add(1));
            return Some(before);
        }
        if values.len() >= VALUES_PER_ROUND_MAX {
            return None;
        }
        values.push(Passed {
            value,
            at: now,
            times: 1,
        });
        Some(0)
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

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    #[test]
    fn a_message_is_passed_on_once_at_a_time_and_two_values_of_a_step_at_most() {
        let mut relay = Relay::default();
        let value = |byte| Some(ValueId([byte; 32]));
        assert_eq!(relay.pass(at(0), step(0, 1), None), Some(0));
        assert_eq!(relay.pass(at(0), step(0, 1), None), None, "once");
        assert_eq!(relay.pass(at(0), step(0, 1), value(1)), Some(0));
        assert_eq!(
            relay.pass(at(0), step(0, 1), value(2)),
            None,
            "a third one of an equivocator"
        );
        assert_eq!(relay.pass(at(0), step(0, 2), value(2)), Some(0));
        assert_eq!(relay.pass(at(0), step(1, 1), value(2)), Some(0));
        relay.keep(|_, round| round == Round(1));
        assert_eq!(relay.len(), 1);
    }

    #[test]
    fn a_message_that_is_repeated_is_passed_on_again_and_rests_longer_each_time() {
        let mut relay = Relay::default();
        let passed = (0..60_000u64).step_by(10).filter_map(|ms| {
            let before = relay.pass(at(ms), step(0, 1), None)?;
            Some((ms, before))
        });
        let passed: Vec<_> = passed.collect();
        assert_eq!(passed[..5], [(0, 0), (500, 1), (1_500, 2), (3_000, 3), (5_000, 4)]);
        assert_eq!(passed.len(), 15, "in a minute in which it is repeated without end");
    }

    #[test]
    fn three_of_all_that_could_are_drawn_for_each_message_and_receiver() {
        let candidates: Positions = (0..40).collect();
        let drawn = |round: u32, receiver: u32| {
            let draw = step(round, 7).draw(None, 0);
            let drawn = candidates
                .iter()
                .filter(|ours| draw.picks(receiver, &candidates, *ours));
            drawn.collect::<Vec<_>>()
        };
        let mut turns = [0u32; 40];
        for round in 0..1_000 {
            let relays = drawn(round, 50);
            assert_eq!(relays.len(), RELAYS);
            relays.into_iter().for_each(|relay| turns[relay as usize] += 1);
            assert_ne!(drawn(round, 50), drawn(round, 51), "round {round}");
        }
        // 75 each, give or take five of the deviations of a fair draw.
        assert!(turns.iter().all(|turns| (33..117).contains(turns)), "{turns:?}");
    }

    #[test]
    fn each_repetition_is_drawn_anew_so_no_three_keep_a_message_back() {
        let candidates: Positions = (0..12).collect();
        let listener = Address([1; 20]);
        let draws: [&dyn Fn(u32, u32) -> Draw; 2] = [
            &|message, times| step(message, 7).draw(None, times),
            &|message, times| Draw::of_call(&listener, &Nonce([message as u8; 32]), times),
        ];
        for draw in draws {
            for message in 0..200 {
                let drawn = |times: u32| {
                    let picks = |ours: &u32| draw(message, times).picks(50, &candidates, *ours);
                    candidates.iter().filter(picks).collect::<Vec<_>>()
                };
                // A third of them, and all that are drawn first, are hostile or dead.
                let hostile: Vec<u32> = drawn(0).into_iter().chain([11]).collect();
                let first = (0..20).find(|times| drawn(*times).iter().any(|relay| !hostile.contains(relay)));
                assert!(first.is_some_and(|first| first <= 4), "message {message}: {first:?}");
            }
        }
    }

    #[test]
    fn whatever_tells_two_messages_apart_draws_other_relays() {
        let (listener, nonce, value) = (Address([1; 20]), Nonce([2; 32]), ValueId([3; 32]));
        let step = step(0, 7);
        let (height, round) = (step.height.next(), Round(1));
        let draws = [
            step.draw(None, 0),
            step.draw(None, 1),
            step.draw(Some(&value), 0),
            step.draw(Some(&ValueId([4; 32])), 0),
            SignerStep { height, ..step }.draw(None, 0),
            SignerStep { round, ..step }.draw(None, 0),
            SignerStep { kind: 2, ..step }.draw(None, 0),
            SignerStep { signer: 8, ..step }.draw(None, 0),
            Draw::of_call(&listener, &nonce, 0),
            Draw::of_call(&listener, &nonce, 1),
            Draw::of_call(&listener, &Nonce([5; 32]), 0),
            Draw::of_call(&Address([6; 20]), &nonce, 0),
        ];
        let others: std::collections::BTreeSet<u64> = draws.iter().map(|draw| draw.0).collect();
        assert_eq!(others.len(), draws.len(), "{draws:?}");
    }

    #[test]
    fn relays_that_have_seen_a_message_more_often_than_others_are_three_on_average() {
        let candidates: Positions = (0..30).collect();
        let mut drawn = 0;
        for round in 0..1_000 {
            // Each draws by its own count.
            let picks = |ours: &u32| step(round, 7).draw(None, *ours).picks(50, &candidates, *ours);
            drawn += candidates.iter().filter(picks).count();
        }
        assert!((2_700..3_300).contains(&drawn), "{drawn} in a thousand repetitions");
    }

    #[test]
    fn few_that_could_all_do() {
        let candidates: Positions = [3, 9].into_iter().collect();
        let draw = step(0, 7).draw(None, 0);
        assert!(draw.picks(1, &candidates, 3) && draw.picks(1, &candidates, 9));
    }
}
