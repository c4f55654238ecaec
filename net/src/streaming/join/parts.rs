//! This file knows what a part does to its value: it fills a place, settles one, completes the value, or costs its
//! sender.

use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{Fault, Flaw, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Finding, Malformed, Urgency, Verdict, VerifyJob};
use ultramarine_types::{BlobPart, Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::{Completed, Output, StopReason};
use crate::streaming::value::{BlobFate, ChunkFate, Joined, Pending, Settled};

impl Join {
    /// A stream whose parts count, and its value.
    fn active(&mut self, name: OfferId) -> Option<(&mut Stream, &mut Pending)> {
        let stream = self.streams.get_mut(&name)?;
        let value = self.values.get_mut(&stream.key)?;
        (stream.state == State::Active).then_some((stream, value))
    }

    pub(super) fn chunk(&mut self, now: Nanos, name: OfferId, index: u32, bytes: Bytes, out: &mut Outbox<Output>) {
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        let position = index as usize;
        if position >= value.init.metadata.chunk_hashes.len() || !stream.chunks_seen.insert(position) {
            return self.fail(name, Fault::Protocol, out);
        }
        stream.progress = now;
        let key = stream.key;
        match value.put_chunk(now, position, bytes) {
            ChunkFate::Taken => self.join_payload(now, key, out),
            ChunkFate::Known => {}
            ChunkFate::Bad => self.fail(name, Fault::Chunk, out),
            ChunkFate::Outside => self.fail(name, Fault::Protocol, out),
        }
    }

    /// Joins chunks of a value one step further. The next step is due at once.
    pub(super) fn join_payload(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        self.joining.remove(&key);
        let Some(value) = self.values.get_mut(&key) else { return };
        match value.join_payload() {
            Ok(Joined::AllThatIsHere) => {}
            Ok(Joined::Some) => drop(self.joining.insert(key, now)),
            Ok(Joined::Whole(payload)) => {
                // The execution client can begin while blobs are still coming.
                out.push(Output::Ask(NetEvent::Payload { key, payload }));
                self.settle_value(now, key, out);
            }
            Err(flaw) => self.give_up(now, key, flaw, out),
        }
    }

    pub(super) fn blob(&mut self, now: Nanos, name: OfferId, index: u16, part: BlobPart, out: &mut Outbox<Output>) {
        let Some((stream, value)) = self.active(name) else {
            return;
        };
        let position = usize::from(index);
        // A blob has one proof (EIP-4844) until the chain has cell proofs. The wire has room for those already.
        let (&[proof], true) = (part.proofs.as_slice(), part.blob.len() == BLOB_BYTES) else {
            return self.fail(name, Fault::Protocol, out);
        };
        let Some(commitment) = value.init.metadata.commitments.get(position).copied() else {
            return self.fail(name, Fault::Protocol, out);
        };
        if !stream.blobs_seen.insert(position) {
            return self.fail(name, Fault::Protocol, out);
        }
        stream.progress = now;
        let (key, peer, blob) = (stream.key, stream.peer, part.blob.clone());
        match value.put_blob(now, position, peer, part) {
            BlobFate::Taken => {
                let urgency = if value.tag == Tag::Certified {
                    Urgency::Sync
                } else {
                    Urgency::Current
                };
                let last = value.has_all_blobs();
                let sender = Some(peer);
                out.push(Output::Verify(VerifyJob {
                    key,
                    index,
                    sender,
                    urgency,
                    last,
                    blob,
                    commitment,
                    proof,
                }));
            }
            BlobFate::Known => {}
            BlobFate::Outside => self.fail(name, Fault::Protocol, out),
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
                if value.is_some_and(|value| stream.withheld(&value.missing())) {
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

    pub(super) fn verdict(&mut self, now: Nanos, verdict: Verdict, out: &mut Outbox<Output>) {
        let (Some(sender), Some(value)) = (verdict.sender, self.values.get_mut(&verdict.key)) else {
            return;
        };
        let key = verdict.key;
        let holds = verdict.finding == Finding::Holds;
        let Some(settled) = value.settle(usize::from(verdict.index), sender, holds) else {
            return;
        };
        let is_assembled = value.reserved.is_some();
        let mut tells = false;
        match verdict.finding {
            // Another stream may have brought this part already: it was passed over, and must be asked for again.
            Finding::Holds if settled == Settled::Opened && is_assembled => tells = true,
            Finding::Holds => self.settle_value(now, key, out),
            // The value id binds the commitment: a peer that relays it cannot help it.
            Finding::Malformed(Malformed::Commitment(_)) => {
                let flaw = Flaw::Commitment { index: verdict.index };
                self.give_up(now, key, flaw, out);
            }
            Finding::Wrong | Finding::Malformed(Malformed::Blob(_) | Malformed::Proof(_)) => {
                self.cut_off(key, sender, out);
                tells = true;
            }
            Finding::Unjudged => value.given_back = true,
        }
        // Once no verdict about this sender's blobs is awaited, all those given back can be asked for together.
        if let Some(value) = self.values.get_mut(&key)
            && value.given_back
            && !value.awaits_verdicts_about(sender)
        {
            value.given_back = false;
            tells = true;
        }
        if tells {
            self.tell_if_stuck(key, sender, out);
        }
    }

    /// Charges the sender of a bad blob, and takes no more of the value from it. While the bad blob was being verified,
    /// another peer's good one may have been passed over.
    fn cut_off(&mut self, key: ValueKey, sender: PeerId, out: &mut Outbox<Output>) {
        let fault = Fault::Proof;
        out.push(Output::Charge {
            peer: sender,
            fault,
            key,
        });
        for name in self.streams_of(key, sender) {
            self.streams.remove(&name);
            out.push(Output::Stop {
                stream: name,
                why: StopReason::Fault(fault),
            });
        }
    }

    /// Streams of a value from one peer that are being read.
    fn streams_of(&self, key: ValueKey, peer: PeerId) -> Vec<OfferId> {
        let of = |stream: &Stream| stream.key == key && stream.peer == peer && stream.state == State::Active;
        self.streams
            .iter()
            .filter(|(_, stream)| of(stream))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Gives up a value that can never be whole, and tells the core why, once. It is never stored and never `Valid`.
    fn give_up(&mut self, now: Nanos, key: ValueKey, flaw: Flaw, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.hopeless {
            return;
        }
        value.hopeless = true;
        value.park();
        out.push(Output::Ask(NetEvent::Flawed { key, flaw }));
        self.stop_streams(key, &StopReason::Complete, out);
        self.start_queued(now, out);
    }

    /// Completes a value if it is whole.
    pub(super) fn settle_value(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.hopeless || !value.is_whole() {
            return;
        }
        let (streamed, verified, tag) = (value.streamed(), value.verified(now), value.tag);
        let assembly = value.assemble();
        self.values.remove(&key);
        self.done.insert(key);
        while self.done.len() > bounds::DONE_MAX {
            self.done.pop_first();
        }
        out.push(Output::Complete(Box::new(Completed {
            assembly,
            tag,
            streamed,
            verified,
        })));
        self.stop_streams(key, &StopReason::Complete, out);
        self.start_queued(now, out);
    }
}
