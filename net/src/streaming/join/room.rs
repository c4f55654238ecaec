//! This file knows whose bytes there is room for: reservations within the budget, queues and parked values.

use ultramarine_types::network::{Fault, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::streaming::contract::{Output, StopReason};

impl Join {
    /// Lets an admitted value's stream be read, once there is room for the value.
    pub(super) fn start(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get(&name) else { return };
        let (key, peer) = (stream.key, stream.peer);
        let Some(value) = self.values.get(&key) else { return };
        if value.hopeless || !value.is_missing_parts() {
            self.streams.remove(&name);
            out.push(Output::Stop {
                stream: name,
                why: StopReason::Complete,
            });
            return;
        }
        let state = if self.reserve(key, peer) {
            State::Active
        } else {
            State::Queued
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        (stream.state, stream.since, stream.progress) = (state, now, now);
        if state == State::Active {
            out.push(Output::Start { stream: name });
        }
    }

    /// Makes room for a value, parking another one if need be; answers whether there is room.
    pub(super) fn reserve(&mut self, key: ValueKey, peer: PeerId) -> bool {
        let Some(value) = self.values.get(&key) else {
            return false;
        };
        if value.reserved.is_some() {
            return true;
        }
        let bytes = value.bytes();
        let total = self.config.limits.assembly_bytes();
        if self.reserved_bytes_of(peer).saturating_add(bytes) > total / 2 {
            return false;
        }
        while self.reserved_bytes().saturating_add(bytes) > total {
            // An uncertified value nobody is sending any more, oldest first: values of failed rounds.
            let idle = self
                .values
                .values()
                .filter(|other| other.reserved.is_some() && other.tag == Tag::Streamed && other.key != key)
                .filter(|other| {
                    !self
                        .streams
                        .values()
                        .any(|stream| stream.key == other.key && stream.state == State::Active)
                })
                .min_by_key(|other| (other.admitted, other.key))
                .map(|other| other.key);
            let Some(parked) = idle.and_then(|idle| self.values.get_mut(&idle)) else {
                return false;
            };
            parked.park();
        }
        let Some(value) = self.values.get_mut(&key) else {
            return false;
        };
        value.reserved = Some((peer, bytes));
        true
    }

    /// Room was made: starts queued streams, oldest value first.
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
            if self.reserve(key, peer) {
                self.start(now, name, out);
            } else if let Some(stream) = self.streams.get_mut(&name) {
                stream.since = since;
            }
        }
    }

    /// Stops every stream of a value that the core is not being asked about.
    pub(super) fn stop_streams(&mut self, key: ValueKey, why: &StopReason, out: &mut Outbox<Output>) {
        let names: Vec<OfferId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.key == key && !matches!(stream.state, State::Asked { .. }))
            .map(|(name, _)| *name)
            .collect();
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

    /// Says `Incomplete` if parts of an admitted value are missing and no stream may still bring them.
    pub(super) fn tell_if_stuck(&self, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get(&key) else { return };
        let missing = value.missing();
        let expected = |stream: &Stream| stream.key == key && stream.may_bring(&missing);
        if value.hopeless || !value.is_missing_parts() || self.streams.values().any(expected) {
            return;
        }
        out.push(Output::Ask(NetEvent::Incomplete { key, peer }));
    }
}
