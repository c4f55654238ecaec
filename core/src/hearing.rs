//! This file knows the calls of validators that have just started: our own, who answered it, and the way back for the
//! answers to those of others.
//!
//! A call carries no time, so anybody may repeat the call of an earlier start. Nobody can make up a new one: there are
//! as many as the listener has started. So each call rests by itself, and one first seen earlier rests longer:
//!
//! ```text
//!   the calls of one listener that one peer brings, in the order in which they were first seen
//!   call        1st   2nd   3rd   newest
//!   rests       1.6   1.2   0.8   0.4 s
//! ```
//!
//! Keeps:
//! - an old call that is repeated keeps no other one out, whoever brings them, and costs less the more there are;
//! - of each listener and peer at most [`CALLS`] calls are known, in the order in which they were first seen;
//! - each time that a call is brought, each answer to it goes back once, and to the listener alone
//!   if it has called here.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Address, Height, Nanos, Nonce, PeerId};

/// A call that a peer brings again sooner than this is not passed on again.
const REST: Nanos = Nanos::from_millis(400);
/// Calls of one listener that are known of one peer. Each was signed at another start of the listener.
const CALLS: usize = 16;
/// Where all places are taken, a call that is new here takes the first one's place once that was known so long.
const KEPT: Nanos = Nanos::from_millis(1_000);
/// How long we wait for the others to connect before we call.
pub const CALL_AFTER: Nanos = Nanos::from_millis(100);
/// We call again after this long: a call or an answer may be lost.
pub const CALL_AGAIN: Nanos = Nanos::from_millis(500);

const _: () = assert!(REST.0 < CALL_AGAIN.0, "a call that is made again is passed on again");

/// A call on its way.
#[derive(Debug)]
struct Passing {
    nonce: Nonce,
    /// When this peer brought it first.
    since: Nanos,
    /// When this peer brought it last.
    at: Nanos,
    /// When we passed it on last, if it was this peer that had brought it, and how often we had before.
    passed: Option<(Nanos, u32)>,
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
    /// What each peer brought of each listener, in the order in which it was first seen.
    passing: BTreeMap<(Address, PeerId), Vec<Passing>>,
    /// How many those are. It is asked after every input.
    passing_count: usize,
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

    /// Whether a call that a peer brings is left unread. To look at it costs a signature check, so not too often.
    pub fn rests(&self, now: Nanos, listener: &Address, nonce: &Nonce, peer: &PeerId) -> bool {
        let Some(way) = self.passing.get(&(*listener, *peer)) else {
            return false;
        };
        let mut newest_first = way.iter().rev().enumerate();
        match newest_first.find(|(_, passing)| passing.nonce == *nonce) {
            Some((newer, passing)) => now.since(passing.at) < Nanos(REST.0 * (newer as u64 + 1)),
            None => way.len() >= CALLS && way.first().is_some_and(|first| now.since(first.since) < KEPT),
        }
    }

    /// A peer brings a call that holds. If it is to be passed on, the answer is how often it was before. That it rests
    /// counts from when it was passed on last, and not from when it was brought: who repeats it keeps nobody from
    /// hearing it again.
    pub fn bring(&mut self, now: Nanos, listener: Address, nonce: Nonce, peer: PeerId) -> Option<u32> {
        let ways = self.of(listener).filter(|(_, passing)| passing.nonce == nonce);
        let last = ways.filter_map(|(_, passing)| passing.passed).max();
        let is_recent = last.is_some_and(|(passed, _)| now.since(passed) < REST);
        let times = last.map_or(0, |(_, before)| before.saturating_add(1));
        let way = self.passing.entry((listener, peer)).or_default();
        if !way.iter().any(|passing| passing.nonce == nonce) {
            if way.len() >= CALLS {
                way.remove(0);
                self.passing_count -= 1;
            }
            self.passing_count += 1;
            way.push(Passing {
                nonce,
                since: now,
                at: now,
                passed: None,
                answered: BTreeSet::new(),
            });
        }
        let known = way.iter_mut().find(|passing| passing.nonce == nonce);
        let passing = known.expect("it is there, or has just been put there");
        passing.at = now;
        passing.answered.clear();
        if is_recent {
            return None;
        }
        passing.passed = Some((now, times));
        Some(times)
    }

    /// The peers that brought a call, to whom this answer has not gone back. If the listener's own node is among those
    /// that brought it, the answer goes to that one alone: by all ways, each answer would reach all whom the call has.
    pub fn back(
        &self,
        listener: &Address,
        nonce: &Nonce,
        by: &Address,
        is_listener: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let ways = self.of(*listener).filter(|(_, passing)| passing.nonce == *nonce);
        let ways: Vec<_> = ways.collect();
        let is_direct = ways.iter().any(|(peer, _)| is_listener(peer));
        let waits =
            |(peer, passing): &(&PeerId, &Passing)| !passing.answered.contains(by) && (!is_direct || is_listener(peer));
        ways.into_iter().filter(waits).map(|(peer, _)| *peer).collect()
    }

    /// The ways that a listener's calls came, and nobody else's: where hundreds start together there are many.
    fn of(&self, listener: Address) -> impl Iterator<Item = (&PeerId, &Passing)> {
        let (first, last) = (PeerId([0; 32]), PeerId([0xff; 32]));
        let ways = self.passing.range((listener, first)..=(listener, last));
        ways.flat_map(|((_, peer), way)| way.iter().map(move |passing| (peer, passing)))
    }

    /// An answer goes back to a peer.
    pub fn answer(&mut self, listener: &Address, nonce: &Nonce, by: Address, peer: &PeerId) {
        let way = self.passing.get_mut(&(*listener, *peer)).into_iter().flatten();
        for passing in way.filter(|passing| passing.nonce == *nonce) {
            passing.answered.insert(by);
        }
    }

    /// A peer is gone.
    pub fn lose(&mut self, peer: &PeerId) {
        self.passing.retain(|(_, of), _| of != peer);
        self.passing_count = self.passing.values().map(Vec::len).sum();
    }

    /// Calls on their way.
    pub const fn len(&self) -> usize {
        self.passing_count
    }

    /// Asserts that of each way there are few calls, each once, in the order in which they were first seen.
    pub fn check_whole(&self) {
        let passing: usize = self.passing.values().map(Vec::len).sum();
        assert_eq!(passing, self.passing_count, "calls are counted that are not known");
        for way in self.passing.values() {
            assert!((1..=CALLS).contains(&way.len()), "a way with {} calls", way.len());
            assert!(
                way.is_sorted_by_key(|passing| passing.since),
                "calls out of their order"
            );
            let nonces: BTreeSet<_> = way.iter().map(|passing| passing.nonce.0).collect();
            assert_eq!(nonces.len(), way.len(), "a call has two places");
        }
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
        assert_eq!(hearings.bring(at(0), LISTENER, call, peer(1)), Some(0));
        assert_eq!(hearings.bring(at(5), LISTENER, call, peer(2)), None, "another way");
        assert!(hearings.rests(at(5), &LISTENER, &call, &peer(1)));
        assert_eq!(hearings.bring(at(10), LISTENER, other, peer(3)), Some(0));
        assert!(!hearings.rests(at(10), &LISTENER, &call, &peer(4)));
        assert_eq!(hearings.bring(at(500), LISTENER, call, peer(1)), Some(1), "made again");
        assert_eq!(
            hearings.bring(at(1_000), LISTENER, call, peer(2)),
            Some(2),
            "whoever brings it"
        );
        assert_eq!(hearings.len(), 3);
        hearings.lose(&peer(3));
        assert_eq!(hearings.len(), 2);
    }

    #[test]
    fn an_answer_goes_back_every_way_once() {
        let mut hearings = Hearings::default();
        let (call, by) = (Nonce([5; 32]), Address([2; 20]));
        assert_eq!(hearings.back(&LISTENER, &call, &by, |_| false), [], "nobody called");
        hearings.bring(at(0), LISTENER, call, peer(1));
        hearings.bring(at(1), LISTENER, call, peer(2));
        assert_eq!(hearings.back(&LISTENER, &call, &by, |_| false), [peer(1), peer(2)]);
        hearings.answer(&LISTENER, &call, by, &peer(1));
        assert_eq!(hearings.back(&LISTENER, &call, &by, |_| false), [peer(2)]);
        assert_eq!(
            hearings.back(&LISTENER, &Nonce([7; 32]), &by, |_| false),
            [],
            "another start's"
        );
        hearings.bring(at(500), LISTENER, call, peer(1));
        assert_eq!(hearings.back(&LISTENER, &call, &by, |_| false), [peer(1), peer(2)]);
    }

    #[test]
    fn where_the_listener_itself_called_the_answers_go_to_it_alone() {
        let mut hearings = Hearings::default();
        let (call, by) = (Nonce([5; 32]), Address([2; 20]));
        let back = |hearings: &Hearings| hearings.back(&LISTENER, &call, &by, |it| *it == peer(3));
        hearings.bring(at(0), LISTENER, call, peer(1));
        assert_eq!(back(&hearings), [peer(1)], "it did not call here");
        hearings.bring(at(1), LISTENER, call, peer(3));
        assert_eq!(back(&hearings), [peer(3)]);
        hearings.answer(&LISTENER, &call, by, &peer(3));
        assert_eq!(back(&hearings), [], "once, and by no other way then");
        hearings.bring(at(500), LISTENER, call, peer(3));
        assert_eq!(back(&hearings), [peer(3)], "it called again");
    }

    /// Whether a peer's call is looked at, and then passed on.
    fn offer(hearings: &mut Hearings, now: Nanos, nonce: Nonce) -> bool {
        let is_read = !hearings.rests(now, &LISTENER, &nonce, &peer(1));
        let passes = is_read && hearings.bring(now, LISTENER, nonce, peer(1)).is_some();
        hearings.check_whole();
        passes
    }

    #[test]
    fn old_calls_that_are_repeated_keep_no_new_one_out_and_its_answers_find_back() {
        let mut hearings = Hearings::default();
        let (new, by) = (Nonce([0xff; 32]), Address([2; 20]));
        // One peer brings the calls of many starts at once, and as often as it likes.
        let olds: Vec<Nonce> = (1..CALLS as u8).map(|byte| Nonce([byte; 32])).collect();
        let (mut read, mut passed) = (0, Vec::new());
        for ms in 0..20_000 {
            for old in &olds {
                read += u64::from(offer(&mut hearings, at(ms), *old));
            }
            if ms >= 1_000 && ms % 500 == 0 && offer(&mut hearings, at(ms), new) {
                passed.push(ms);
            }
            let back = hearings.back(&LISTENER, &new, &by, |_| false);
            assert_eq!(back.len(), usize::from(ms >= 1_000), "its way back stays known");
        }
        assert_eq!(passed, (1_000..20_000).step_by(500).collect::<Vec<_>>(), "each time");
        // Of sixteen that rest 0.4 to 6.4 s, 3.4 are read in 0.4 s.
        assert!(read < 20 * 9, "{read} copies were read in 20 s");
    }

    #[test]
    fn a_call_passes_again_though_more_starts_are_brought_later_than_it() {
        let mut hearings = Hearings::default();
        let new = Nonce([0xff; 32]);
        assert!(offer(&mut hearings, at(0), new));
        for byte in 1..CALLS as u8 {
            assert!(offer(&mut hearings, at(1), Nonce([byte; 32])));
        }
        let passes = (1..=40u64).filter(|step| offer(&mut hearings, at(500 * step), new));
        assert!(
            passes.count() >= 3,
            "it is the one first seen, and passes within seven seconds"
        );
    }

    #[test]
    fn where_all_places_are_taken_the_call_first_seen_gives_way_after_a_second() {
        let mut hearings = Hearings::default();
        for byte in 1..=CALLS as u8 {
            assert!(offer(&mut hearings, at(u64::from(byte)), Nonce([byte; 32])));
        }
        let new = Nonce([0xff; 32]);
        assert!(
            !offer(&mut hearings, at(1_000), new),
            "a check each time it is brought would cost too much"
        );
        assert!(offer(&mut hearings, at(1_001), new));
        let by = Address([2; 20]);
        assert_eq!(hearings.back(&LISTENER, &Nonce([1; 32]), &by, |_| false), []);
        assert_eq!(hearings.back(&LISTENER, &Nonce([2; 32]), &by, |_| false), [peer(1)]);
        assert_eq!(hearings.len(), CALLS);
    }

    #[test]
    fn who_repeats_a_call_early_does_not_keep_it_from_being_passed_on_again() {
        let mut hearings = Hearings::default();
        let call = Nonce([5; 32]);
        let mut passed = 0;
        for step in 0..20u64 {
            // The listener's own node brings it each half second; another peer brings a copy 300 ms later.
            for (ms, bringer) in [(0, 1), (300, 2)] {
                let times = hearings.bring(at(500 * step + ms), LISTENER, call, peer(bringer));
                passed += u64::from(times.is_some());
            }
        }
        assert!(passed >= 10, "{passed} times in ten seconds");
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
