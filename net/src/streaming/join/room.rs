//! This file knows which values are kept, and which have room for their bytes: reservations within the budget, streams
//! that wait for room, and parked values.
//!
//! When room is short, the join takes it first from values that nobody is sending. Then it takes it from values whose
//! senders all lag behind the pace that the deadlines of proposals and sync are made of. A slow sender keeps its room
//! until another value needs it.

use std::cmp::Reverse;

use ultramarine_types::network::{Fault, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::{Output, StopReason};

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
        while self.reserved_bytes().saturating_add(bytes) > total {
            if let Some(idle) = self.idle_value(key) {
                self.park(idle, out);
            } else if let Some(slow) = self.slowest_value(now, key).filter(|_| may_take) {
                self.reclaim(now, slow, out);
            } else {
                return false;
            }
        }
        let Some(value) = self.values.get_mut(&key) else {
            return false;
        };
        value.reserved = Some((peer, bytes));
        true
    }

    /// The oldest uncertified value that nobody is sending any more: one of a failed round.
    fn idle_value(&self, wanted: ValueKey) -> Option<ValueKey> {
        self.values
            .values()
            .filter(|other| other.reserved.is_some() && other.tag != Tag::Certified && other.key != wanted)
            .filter(|other| self.active_streams_of(other.key).next().is_none())
            .min_by_key(|other| (other.admitted, other.key))
            .map(|other| other.key)
    }

    /// The value whose senders lag most, uncertified ones first. `None` if every value has a sender that keeps pace.
    fn slowest_value(&self, now: Nanos, wanted: ValueKey) -> Option<ValueKey> {
        self.values
            .values()
            .filter(|other| other.reserved.is_some() && other.key != wanted && other.needs_parts())
            .filter_map(|other| {
                let lag = self
                    .active_streams_of(other.key)
                    .map(|(_, stream)| stream.lag_bytes(now))
                    .min();
                Some((other, lag.filter(|lag| *lag > 0)?))
            })
            .min_by_key(|(other, lag)| (other.tag == Tag::Certified, Reverse(*lag), other.key))
            .map(|(other, _)| other.key)
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
