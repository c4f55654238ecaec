//! This file knows which values are kept, and which have room for their bytes: reservations within the budget, streams
//! that wait for room, and parked values.
//!
//! When room is short, the join takes it first from values that nobody is sending, those with the fewest bytes first.
//! Then it takes it from a value of which less than a megabit a second came of late, whoever sends it. Last, it takes
//! it from a value whose senders all lag behind the pace that the deadlines of proposals and sync are made of, for a
//! reason:
//!
//! - its proposer has two more values with room than the other one's;
//! - it is not certified, and the other one is;
//! - it is restored, and the other one is not.
//!
//! In all other cases the newcomer waits. On slow lines all senders lag, and a value that gave way to each newcomer
//! would never be whole.

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{Fault, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Address, Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::{Output, StopReason};
use crate::streaming::pace::Pace;
use crate::streaming::value::Pending;

impl Join {
    /// Whether a value is kept, or could be.
    pub(super) fn can_keep(&self, key: ValueKey) -> bool {
        self.values.len() < bounds::VALUES_MAX || self.values.contains_key(&key) || self.abandoned_value().is_some()
    }

    /// Gives up an abandoned value if there are too many to keep one more. If there is none, the value is kept on top
    /// of the limit: the core asks for few.
    pub(super) fn make_way(&mut self, key: ValueKey, out: &mut Outbox<Output>) {
        if self.values.len() >= bounds::VALUES_MAX
            && !self.values.contains_key(&key)
            && let Some(abandoned) = self.abandoned_value()
        {
            self.let_go(abandoned, out);
        }
    }

    /// The oldest uncertified value that is not whole, and that no stream and no verdict is about. If it is wanted
    /// again, its next stream is offered like a first one.
    fn abandoned_value(&self) -> Option<ValueKey> {
        self.values
            .values()
            .filter(|value| value.tag != Tag::Certified && (value.is_hopeless() || value.needs_parts()))
            .filter(|value| {
                !self.unjudged.awaits(value.key) && self.streams.values().all(|stream| stream.key != value.key)
            })
            .min_by_key(|value| (value.admitted, value.key))
            .map(|value| value.key)
    }

    /// Lets an admitted value's stream be read, once there is room for the value.
    pub(super) fn start(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get(&name) else { return };
        let (key, peer) = (stream.key, stream.peer);
        let Some(value) = self.values.get(&key) else { return };
        if value.is_hopeless() || !value.needs_parts() {
            self.streams.remove(&name);
            out.push(Output::Stop {
                stream: name,
                why: StopReason::Complete,
            });
            return;
        }
        let state = if self.reserve(now, key, peer, out) {
            State::Active
        } else {
            if self.room_retry <= now {
                self.room_retry = now + bounds::ROOM_RETRY;
            }
            State::Queued
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        (stream.state, stream.since, stream.progress) = (state, now, now);
        if state == State::Active {
            out.push(Output::Start { stream: name });
            self.hold_back_newcomer(now, name, out);
        }
    }

    /// Makes room for a value, and parks others if need be. Returns whether there is room.
    pub(super) fn reserve(&mut self, now: Nanos, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) -> bool {
        let Some(value) = self.values.get(&key) else {
            return false;
        };
        if value.reserved.is_some() {
            return true;
        }
        let bytes = value.bytes();
        let total = self.config.limits.assembly_bytes();
        // What is restored waits for room until nobody sends what holds it.
        let may_take = value.tag != Tag::Restored;
        if self.reserved_bytes_of(peer).saturating_add(bytes) > total / 2 {
            return false;
        }
        if self.reserved_bytes().saturating_add(bytes) > total {
            self.note_paces(now);
        }
        while self.reserved_bytes().saturating_add(bytes) > total {
            if let Some(idle) = self.idle_value(key) {
                self.park(idle, out);
            } else if let Some(slow) = self.value_that_gives_way(now, key).filter(|_| may_take) {
                self.reclaim(now, slow, out);
            } else {
                return false;
            }
        }
        let Some(value) = self.values.get_mut(&key) else {
            return false;
        };
        value.reserved = Some((peer, bytes));
        value.pace = Pace::begin(now, 0);
        true
    }

    /// The uncertified value that nobody is sending any more with the fewest bytes: one of a failed round.
    fn idle_value(&self, wanted: ValueKey) -> Option<ValueKey> {
        self.values
            .values()
            .filter(|other| other.reserved.is_some() && other.tag != Tag::Certified && other.key != wanted)
            .filter(|other| self.active_streams_of(other.key).next().is_none())
            .min_by_key(|other| (other.bytes_here(), other.admitted, other.key))
            .map(|other| other.key)
    }

    /// The value that loses its room to `wanted`: the one with the fewest bytes of those that must, and a certified one
    /// last. `None` if the other one waits.
    fn value_that_gives_way(&self, now: Nanos, wanted: ValueKey) -> Option<ValueKey> {
        let wanted = self.values.get(&wanted)?;
        self.values
            .values()
            .filter(|other| other.key != wanted.key && other.reserved.is_some() && other.needs_parts())
            .filter(|other| self.gives_way(now, other, wanted))
            .min_by_key(|other| (other.tag == Tag::Certified, self.arrived_bytes(other), other.key))
            .map(|other| other.key)
    }

    /// Whether there is a reason for a value with senders to lose its room to another one.
    fn gives_way(&self, now: Nanos, value: &Pending, wanted: &Pending) -> bool {
        let is_unfair = || self.held_for(value.proposer()) >= self.held_for(wanted.proposer()) + 2;
        let is_reason = match (value.tag, wanted.tag) {
            (Tag::Certified, _) => false,
            (_, Tag::Certified) | (Tag::Restored, _) => true,
            (Tag::Streamed | Tag::Proposed, _) => is_unfair(),
        };
        is_reason && self.lag_of(now, value).is_some() || self.dribbles(now, value)
    }

    /// Whether hardly anything came of a value of late. If a sender of it waits for us, we are the slow ones.
    fn dribbles(&self, now: Nanos, value: &Pending) -> bool {
        let mut streams = self.active_streams_of(value.key).peekable();
        streams.peek().is_some()
            && streams.all(|(_, stream)| stream.paused.is_none())
            && value.pace.dribbles(now, self.arrived_bytes(value))
    }

    /// Uncertified values with room that one validator proposed.
    fn held_for(&self, proposer: Address) -> usize {
        let is_its =
            |value: &&Pending| value.reserved.is_some() && value.tag != Tag::Certified && value.proposer() == proposer;
        self.values.values().filter(is_its).count()
    }

    /// Bytes by which the best sender of a value lags; `None` if it has no room or no sender, or one that keeps pace.
    fn lag_of(&self, now: Nanos, value: &Pending) -> Option<u64> {
        value.reserved?;
        let lags = self
            .active_streams_of(value.key)
            .map(|(_, stream)| stream.lag_bytes(now));
        lags.min().filter(|lag| *lag > 0)
    }

    /// Bytes of a value that are here, judged or not.
    fn arrived_bytes(&self, value: &Pending) -> u64 {
        (value.bytes_here() + self.unjudged.places(value.key).count() * BLOB_BYTES) as u64
    }

    fn each_pace(&mut self, change: impl Fn(&mut Pace, u64)) {
        let held = self.values.values().filter(|value| value.reserved.is_some());
        let arrived: Vec<_> = held.map(|value| (value.key, self.arrived_bytes(value))).collect();
        for (key, bytes) in arrived {
            if let Some(value) = self.values.get_mut(&key) {
                change(&mut value.pace, bytes);
            }
        }
    }

    fn note_paces(&mut self, now: Nanos) {
        self.each_pace(|pace, bytes| pace.note(now, bytes));
    }

    /// What came up to now is no measure of what comes.
    pub(super) fn begin_paces(&mut self, now: Nanos) {
        self.each_pace(|pace, bytes| *pace = Pace::begin(now, bytes));
    }

    fn active_streams_of(&self, key: ValueKey) -> impl Iterator<Item = (OfferId, &Stream)> {
        self.streams
            .iter()
            .filter(move |(_, stream)| stream.key == key && stream.state == State::Active)
            .map(|(name, stream)| (*name, stream))
    }

    /// Takes a value's room from senders that lag. Only those that dribble are charged: a slow connection is nobody's
    /// fault. The value stays admitted. The core hears that it is incomplete after a pause, so that two values do not
    /// push each other out without one.
    fn reclaim(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        let names: Vec<OfferId> = self.active_streams_of(key).map(|(name, _)| name).collect();
        for name in names {
            let Some(stream) = self.streams.remove(&name) else {
                continue;
            };
            let (peer, fault) = (stream.peer, Fault::Withheld);
            let why = if stream.dribbles(now) {
                out.push(Output::Charge { peer, fault, key });
                StopReason::Fault(fault)
            } else {
                StopReason::Busy
            };
            out.push(Output::Stop { stream: name, why });
            self.later.push_back((now + bounds::REFETCH_PAUSE, key, peer));
        }
        self.park(key, out);
    }

    /// When to look again at streams that wait for room; `None` if none waits.
    pub(super) fn room_due(&self) -> Option<Nanos> {
        let waits = self.streams.values().any(|stream| stream.state == State::Queued);
        waits.then_some(self.room_retry)
    }

    /// Starts streams that wait for room. They may take it from senders that have fallen behind since.
    pub(super) fn retry_room(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        if self.room_due().is_some_and(|due| due <= now) {
            self.room_retry = now + bounds::ROOM_RETRY;
            self.start_queued(now, out);
        }
    }

    /// Starts queued streams for which there is room now, oldest stream first.
    pub(super) fn start_queued(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        let queued: Vec<OfferId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.state == State::Queued)
            .map(|(name, _)| *name)
            .collect();
        for name in queued {
            let Some((key, peer, since)) = self
                .streams
                .get(&name)
                .map(|stream| (stream.key, stream.peer, stream.since))
            else {
                continue;
            };
            if self.reserve(now, key, peer, out) {
                self.start(now, name, out);
            } else if let Some(stream) = self.streams.get_mut(&name) {
                stream.since = since;
            }
        }
    }

    /// Stops every stream of a value, except those that the core is asked about.
    pub(super) fn stop_streams(&mut self, key: ValueKey, why: &StopReason, out: &mut Outbox<Output>) {
        let is_meant = |stream: &Stream| stream.key == key && !matches!(stream.state, State::Asked { .. });
        self.stop_where(is_meant, why, out);
    }

    pub(super) fn stop_where(
        &mut self,
        is_meant: impl Fn(&Stream) -> bool,
        why: &StopReason,
        out: &mut Outbox<Output>,
    ) {
        let meant = self.streams.iter().filter(|(_, stream)| is_meant(stream));
        let names: Vec<OfferId> = meant.map(|(name, _)| *name).collect();
        for name in names {
            self.streams.remove(&name);
            out.push(Output::Stop {
                stream: name,
                why: why.clone(),
            });
        }
    }

    /// Ends a stream whose sender is at fault.
    pub(super) fn fail(&mut self, name: OfferId, fault: Fault, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.remove(&name) else {
            return;
        };
        out.push(Output::Charge {
            peer: stream.peer,
            fault,
            key: stream.key,
        });
        out.push(Output::Stop {
            stream: name,
            why: StopReason::Fault(fault),
        });
        self.tell_if_stuck(stream.key, stream.peer, out);
    }
}
