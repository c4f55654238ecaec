//! This file knows what a part does to its value: it fills a place, goes to the lanes, or costs its sender.

use bytes::Bytes;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{Fault, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Urgency, VerifyJob, VerifyRequest};
use ultramarine_types::{ListKind, Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::{Output, StopReason};
#[cfg(feature = "planted")]
use crate::streaming::planted::JoinBug;
use crate::streaming::value::{Bound, Fate, Joined, Pending};

impl Join {
    /// A stream whose parts are read, and its value.
    fn active(&mut self, name: OfferId) -> Option<(&mut Stream, &mut Pending)> {
        let stream = self.streams.get_mut(&name)?;
        let value = self.values.get_mut(&stream.key)?;
        (stream.state == State::Active).then_some((stream, value))
    }

    pub(super) fn list(&mut self, now: Nanos, name: OfferId, kind: ListKind, items: &[u8], out: &mut Outbox<Output>) {
        #[cfg(feature = "planted")]
        let takes_any = self.plants(JoinBug::RootUnchecked);
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        if !stream.lists_seen.insert(kind) {
            return self.fail(name, Fault::Protocol, out);
        }
        stream.progress = now;
        let key = stream.key;
        let fate = value.put_list(now, kind, items);
        #[cfg(feature = "planted")]
        let fate = match fate {
            Fate::Bad if takes_any => value.put_any_list(now, kind, items),
            fate => fate,
        };
        match fate {
            Fate::Taken => {
                self.announce(key, out);
                self.settle_value(now, key, out);
            }
            Fate::Known => {}
            Fate::Bad | Fate::Early => self.fail(name, Fault::Part, out),
        }
    }

    pub(super) fn chunk(&mut self, now: Nanos, name: OfferId, index: u32, bytes: Bytes, out: &mut Outbox<Output>) {
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        let position = index as usize;
        if position >= value.init.chunks_count() || !stream.chunks_seen.insert(position) {
            return self.fail(name, Fault::Protocol, out);
        }
        stream.progress = now;
        let key = stream.key;
        match value.put_chunk(now, position, bytes) {
            Fate::Taken => self.join_payload(now, key, out),
            Fate::Known => {}
            Fate::Bad => self.fail(name, Fault::Part, out),
            Fate::Early => self.part_before_list(name, &[ListKind::Chunks], out),
        }
    }

    /// Joins chunks of a value one step further. The next step is due at once.
    pub(super) fn join_payload(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        self.joining.remove(&key);
        let Some(value) = self.values.get_mut(&key) else { return };
        match value.join_payload() {
            Joined::AllThatIsHere => {}
            Joined::Some => drop(self.joining.insert(key, now)),
            Joined::Whole => {
                self.announce(key, out);
                self.settle_value(now, key, out);
            }
        }
    }

    /// Tells the core of a whole payload: its execution client can begin while blobs are still coming.
    fn announce(&mut self, key: ValueKey, out: &mut Outbox<Output>) {
        if let Some(value) = self.values.get_mut(&key)
            && value.tag != Tag::Restored
            && let Some((lists, payload)) = value.announce()
        {
            out.push(Output::Ask(NetEvent::Payload { key, lists, payload }));
        }
    }

    pub(super) fn blob(&mut self, now: Nanos, name: OfferId, index: u16, blob: Bytes, out: &mut Outbox<Output>) {
        #[cfg(feature = "planted")]
        let (needs_no_digest, keeps_first) = (
            self.plants(JoinBug::PartBeforeDigest),
            self.plants(JoinBug::FirstComeKept),
        );
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        let (position, blobs_count) = (usize::from(index), value.init.blobs_count());
        if blob.len() != BLOB_BYTES || position >= blobs_count || !stream.blobs_seen.insert(position) {
            return self.fail(name, Fault::Protocol, out);
        }
        stream.progress = now;
        let (key, sender) = (stream.key, stream.peer);
        let bound = value.bound(position);
        #[cfg(feature = "planted")]
        let bound = bound.or_else(|| value.bound_by_itself(position, &blob).filter(|_| needs_no_digest));
        let Some(bound) = bound else {
            let lists = [ListKind::Commitments, ListKind::Digests, ListKind::Proofs];
            return self.part_before_list(name, &lists, out);
        };
        // Bytes that are found right already need no others. A second time from one sender: if its first bytes are
        // wrong, it is cut off, and else they were enough.
        if !value.wants_blob(position) || self.unjudged.has(key, index, sender) {
            return;
        }
        #[cfg(feature = "planted")]
        if keeps_first && self.unjudged.places(key).contains(position) {
            return;
        }
        let Some((_, value)) = self.active(name) else {
            return;
        };
        if value.tag == Tag::Restored {
            return self.restored_blob(now, name, position, blob, &bound, out);
        }
        let blobs_count = u16::try_from(blobs_count).expect("an `Init` has at most BLOBS_PER_BLOCK_MAX blobs");
        value.blob_came(now);
        value.is_at_lanes = true;
        let urgency = if value.tag == Tag::Certified {
            Urgency::Sync
        } else {
            Urgency::Current
        };
        self.unjudged.put(key, index, sender, name, blob.clone());
        let Bound {
            commitment,
            proof,
            digest,
        } = bound;
        out.push(Output::Verify(VerifyRequest::Job(VerifyJob {
            key,
            index,
            blobs_count,
            sender: Some(sender),
            urgency,
            blob,
            commitment,
            proof,
            digest: Some(digest),
        })));
        self.hold_back(now, name, out);
    }

    /// A blob of a value that was decided before: its digest is all that it takes.
    fn restored_blob(
        &mut self,
        now: Nanos,
        name: OfferId,
        position: usize,
        blob: Bytes,
        bound: &Bound,
        out: &mut Outbox<Output>,
    ) {
        let is_right = blob_digest(&blob, &bound.commitment) == bound.digest;
        #[cfg(feature = "planted")]
        let is_right = is_right || self.plants(JoinBug::RestoredUnchecked);
        if !is_right {
            return self.fail(name, Fault::Part, out);
        }
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        let key = stream.key;
        value.blob_came(now);
        value.fill(position, blob);
        self.settle_value(now, key, out);
    }

    /// A part came before the lists that bind it. That is its sender's fault, unless we asked it to leave such a list
    /// out: the value had the list then, and lost it for want of room.
    fn part_before_list(&mut self, name: OfferId, lists: &[ListKind], out: &mut Outbox<Output>) {
        let left_out = |stream: &Stream| {
            let asked_for = stream.asked_for.as_ref();
            asked_for.is_some_and(|asked_for| lists.iter().any(|kind| !asked_for.lists.contains(*kind)))
        };
        if !self.streams.get(&name).is_some_and(left_out) {
            return self.fail(name, Fault::Protocol, out);
        }
        if let Some(stream) = self.streams.remove(&name) {
            out.push(Output::Stop {
                stream: name,
                why: StopReason::Busy,
            });
            self.tell_if_stuck(stream.key, stream.peer, out);
        }
    }

    pub(super) fn fin(&mut self, name: OfferId, out: &mut Outbox<Output>) {
        match self.streams.get(&name).map(|stream| stream.state) {
            None => {}
            Some(State::Active) => {
                let Some(stream) = self.streams.remove(&name) else {
                    return;
                };
                let value = self.values.get(&stream.key);
                if value.is_some_and(|value| stream.withheld(&self.missing_of(value))) {
                    out.push(Output::Charge {
                        peer: stream.peer,
                        fault: Fault::Withheld,
                        key: stream.key,
                    });
                }
                self.tell_if_stuck(stream.key, stream.peer, out);
            }
            Some(_) => self.fail(name, Fault::Protocol, out),
        }
    }

    pub(super) fn gone(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        if let State::Asked { gone } = &mut stream.state {
            // The core will answer, and must then learn that nobody sends.
            *gone = true;
            return;
        }
        let requested = stream.state == State::Requested;
        let (key, peer) = (stream.key, stream.peer);
        self.streams.remove(&name);
        if requested {
            self.later.push_back((now + bounds::REFETCH_PAUSE, key, peer));
        } else {
            self.tell_if_stuck(key, peer, out);
        }
    }

    /// Tells the core `Incomplete` if parts of an admitted value are missing and no stream may still bring them. Bytes
    /// that wait for a verdict may still turn out to be right.
    pub(super) fn tell_if_stuck(&self, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get(&key) else { return };
        let missing = self.missing_of(value);
        let expected = |stream: &Stream| stream.key == key && stream.may_bring(&missing);
        if value.is_hopeless() || missing.is_empty() || self.streams.values().any(expected) {
            return;
        }
        out.push(Output::Ask(NetEvent::Incomplete { key, peer }));
    }
}
