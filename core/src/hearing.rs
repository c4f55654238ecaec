//! This file knows the calls of validators that have just started: our own, who answered it, and the way back for the
//! answers to those of others.
//!
//! Keeps: of each listener there is at most one call for each peer that brings its calls, so that nobody's copies of
//! old calls keep a new one out; and of a call each answer goes back once.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Address, Height, Nanos, Nonce, PeerId};

/// A call that a peer brings again sooner than this is not passed on again.
const REST: Nanos = Nanos::from_millis(400);
/// How long we wait for the others to connect before we call.
pub const CALL_AFTER: Nanos = Nanos::from_millis(100);
/// We call again after this long: a call or an answer may be lost.
pub const CALL_AGAIN: Nanos = Nanos::from_millis(500);

const _: () = assert!(REST.0 < CALL_AGAIN.0, "a call that is made again is passed on again");

/// A call on its way.
#[derive(Debug)]
struct Passing {
    nonce: Nonce,
    at: Nanos,
    /// Whose answers went back.
    answered: BTreeSet<Address>,
}

#[derive(Debug, Default)]
pub struct Hearings {
    /// The validators that answered our call, and their newest heights.
    heard: BTreeMap<Address, Height>,
    /// A validator that was not heard when we looked at all of them last.
    missing: Option<Address>,
    /// When we call next; `None` while nobody is to hear us.
    call_at: Option<Nanos>,
    /// Whether we have called.
    called: bool,
    passing: BTreeMap<(Address, PeerId), Passing>,
}

impl Hearings {
    /// We have started, and listen.
    pub fn begin(&mut self, now: Nanos) {
        self.call_at = Some(now + CALL_AFTER);
    }

    /// We have listened.
    pub fn end(&mut self) {
        self.call_at = None;
    }

    /// When we call next.
    pub fn deadline(&self) -> Option<Nanos> {
        self.call_at
    }

    /// Whether it is time to call; the next time is later then.
    pub fn is_due(&mut self, now: Nanos) -> bool {
        let due = self.call_at.is_some_and(|at| at <= now);
        if due {
            self.call_at = Some(now + CALL_AGAIN);
            self.called = true;
        }
        due
    }

    /// Whether a peer that has just come missed a call of ours.
    pub fn is_missed(&self) -> bool {
        self.called && self.call_at.is_some()
    }

    /// A validator answered our call.
    pub fn note(&mut self, by: Address, tip: Height) {
        let known = self.heard.entry(by).or_default();
        *known = tip.max(*known);
    }

    /// The validators that answered our call, and their newest heights.
    pub fn heard(&self) -> &BTreeMap<Address, Height> {
        &self.heard
    }

    /// The validator that [`miss`](Self::miss) named.
    pub fn missing(&self) -> Option<&Address> {
        self.missing.as_ref()
    }

    /// Somebody was not heard, or everybody was.
    pub fn miss(&mut self, missing: Option<Address>) {
        self.missing = missing;
    }

    /// Whether a call that a peer brings is to be looked at. It costs a signature check, so not too often.
    pub fn rests(&self, now: Nanos, listener: &Address, peer: &PeerId) -> bool {
        let known = self.passing.get(&(*listener, *peer));
        known.is_some_and(|passing| now.since(passing.at) < REST)
    }

    /// A peer brings a call that holds; answers whether it is to be passed on.
    pub fn bring(&mut self, now: Nanos, listener: Address, nonce: Nonce, peer: PeerId) -> bool {
        let known = self
            .of(listener)
            .any(|(_, passing)| passing.nonce == nonce && now.since(passing.at) < REST);
        let passing = Passing {
            nonce,
            at: now,
            answered: BTreeSet::new(),
        };
        self.passing.insert((listener, peer), passing);
        !known
    }

    /// The peers that brought a call, to whom this answer has not gone back.
    pub fn back(&self, listener: &Address, nonce: &Nonce, by: &Address) -> Vec<PeerId> {
        let waits = |passing: &Passing| passing.nonce == *nonce && !passing.answered.contains(by);
        let ways = self.of(*listener).filter(|(_, passing)| waits(passing));
        ways.map(|(peer, _)| *peer).collect()
    }

    /// The ways that a listener's calls came, and nobody else's: where hundreds start together there are many.
    fn of(&self, listener: Address) -> impl Iterator<Item = (&PeerId, &Passing)> {
        let (first, last) = (PeerId([0; 32]), PeerId([0xff; 32]));
        let ways = self.passing.range((listener, first)..=(listener, last));
        ways.map(|((_, peer), passing)| (peer, passing))
    }

    /// An answer goes back to a peer.
    pub fn answer(&mut self, listener: &Address, by: Address, peer: &PeerId) {
        if let Some(passing) = self.passing.get_mut(&(*listener, *peer)) {
            passing.answered.insert(by);
        }
    }

    /// A peer is gone.
    pub fn lose(&mut self, peer: &PeerId) {
        self.passing.retain(|(_, of), _| of != peer);
    }

    /// Calls on their way.
    pub fn len(&self) -> usize {
        self.passing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: Address = Address([1; 20]);

    fn peer(byte: u8) -> PeerId {
        PeerId([byte; 32])
    }

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    #[test]
    fn a_call_is_passed_on_once_until_it_is_made_again() {
        let mut hearings = Hearings::default();
        let (call, other) = (Nonce([5; 32]), Nonce([6; 32]));
        assert!(hearings.bring(at(0), LISTENER, call, peer(1)));
        assert!(!hearings.bring(at(5), LISTENER, call, peer(2)), "another way");
        assert!(hearings.rests(at(5), &LISTENER, &peer(1)));
        // An old call that a peer brings again and again keeps a new one out from itself alone.
        assert!(hearings.bring(at(10), LISTENER, other, peer(3)));
        assert!(!hearings.rests(at(10), &LISTENER, &peer(4)));
        assert!(hearings.bring(at(500), LISTENER, call, peer(1)), "made again");
        assert_eq!(hearings.len(), 3);
        hearings.lose(&peer(3));
        assert_eq!(hearings.len(), 2);
    }

    #[test]
    fn an_answer_goes_back_every_way_once() {
        let mut hearings = Hearings::default();
        let (call, by) = (Nonce([5; 32]), Address([2; 20]));
        assert_eq!(hearings.back(&LISTENER, &call, &by), [], "nobody called");
        hearings.bring(at(0), LISTENER, call, peer(1));
        hearings.bring(at(1), LISTENER, call, peer(2));
        assert_eq!(hearings.back(&LISTENER, &call, &by), [peer(1), peer(2)]);
        hearings.answer(&LISTENER, by, &peer(1));
        assert_eq!(hearings.back(&LISTENER, &call, &by), [peer(2)]);
        assert_eq!(hearings.back(&LISTENER, &Nonce([7; 32]), &by), [], "another start's");
        hearings.bring(at(500), LISTENER, call, peer(1));
        assert_eq!(hearings.back(&LISTENER, &call, &by), [peer(1), peer(2)]);
    }

    #[test]
    fn we_call_until_we_have_listened() {
        let mut hearings = Hearings::default();
        assert!(!hearings.is_due(at(1_000)));
        hearings.begin(at(0));
        assert!(!hearings.is_due(at(99)) && hearings.is_due(at(100)) && !hearings.is_due(at(100)));
        assert!(hearings.is_due(at(600)));
        hearings.end();
        assert_eq!((hearings.deadline(), hearings.is_due(at(9_000))), (None, false));
    }
}
