//! Turns parts, arriving in any order from any peer, into one whole proposal.
//!
//! ```text
//!   Begin ─▶ asked ──Admit──▶ active ──Chunk, Blob, Fin──▶ Complete
//!              │                │  └─ bad part, stall, break ─▶ Incomplete ─▶ (core) Fetch ─▶ Request ─▶ Begin …
//!              └─Refuse─▶ stopped
//! ```
//!
//! Keeps: a slot is filled by one stream only until its verdict; a part that fails its hash or proof costs its
//! sender and says nothing about the value; bytes reserved never pass `Limits::assembly_bytes`, nor half of it for
//! one peer's sake; a value completes with exactly the bytes its id binds, every proof verified.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::limits::{BLOB_BYTES, Limits};
use ultramarine_types::network::{Fault, NetEvent, OfferId, OfferKind, Refusal, SyncEnd};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Finding, Malformed, Urgency, Verdict, VerifyJob};
use ultramarine_types::{
    Assembly, BlobPart, CommitCertificate, Height, Init, Machine, Nanos, Outbox, PeerId, ValueKey,
};

use super::bits::Bits;
use super::init::CheckedInit;
use super::value::{BlobFate, ChunkFate, Pending};
use crate::bounds;

/// What a join must know of its chain.
#[derive(Clone, Copy, Debug)]
pub struct JoinConfig {
    /// Ceilings.
    pub limits: Limits,
}

/// What the sender of a stream says it is.
#[derive(Clone, Debug)]
pub enum Brings {
    /// A proposal's stream, first or again, or requested parts of one.
    Proposal,
    /// A sync package with its blobs.
    Full(CommitCertificate),
    /// A sync package of a height whose blobs are past retention.
    MetadataOnly(CommitCertificate),
}

/// A stream whose `Init` has arrived.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The stream, named by the driver: no two streams of one run share a name.
    pub stream: OfferId,
    /// Whose it is.
    pub peer: PeerId,
    /// Its `Init`, shape checked. For a sync package the driver has compared the key with the certificate's.
    pub init: CheckedInit,
    /// What it is said to be.
    pub brings: Brings,
}

/// What the join is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stream began. Its parts wait for [`Output::Start`].
    Begin(Begin),
    /// From the core.
    Admit {
        /// The stream.
        offer: OfferId,
        /// Tag for the store.
        tag: Tag,
    },
    /// From the core.
    Refuse {
        /// The stream.
        offer: OfferId,
        /// Why.
        why: Refusal,
    },
    /// A payload chunk of a started stream.
    Chunk {
        /// The stream.
        stream: OfferId,
        /// Its position.
        index: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A blob of a started stream.
    Blob {
        /// The stream.
        stream: OfferId,
        /// Its position.
        index: u16,
        /// Bytes and proofs.
        part: BlobPart,
    },
    /// The sender says that it has sent all it meant to.
    Fin {
        /// The stream.
        stream: OfferId,
    },
    /// The stream broke, or the peer cannot serve what was requested.
    Gone {
        /// The stream.
        stream: OfferId,
    },
    /// From the verifier.
    Verdict(Verdict),
    /// From the core: ask `peer` for what is missing of a value.
    Fetch {
        /// The name of the stream that will carry the answer, chosen by the driver.
        stream: OfferId,
        /// The value.
        key: ValueKey,
        /// Whom.
        peer: PeerId,
    },
    /// From the core: everything at or below this height is decided.
    Forget {
        /// The height.
        height: Height,
    },
}

/// Parts of a value that are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(derive(Debug))]
pub struct Missing {
    /// Positions of payload chunks.
    pub chunks: Bits,
    /// Positions of blobs.
    pub blobs: Bits,
}

/// A whole value.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The value.
    pub assembly: Assembly,
    /// For the store.
    pub tag: Tag,
    /// From the first part to the last one.
    pub streamed: Nanos,
    /// From the last blob's last byte to the last verdict; `None` for a value without blobs.
    pub verified: Option<Nanos>,
}

/// Why a stream is read no further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The core refused it.
    Refused(Refusal),
    /// Nothing more is needed of its value.
    Complete,
    /// Its sender is at fault.
    Fault(Fault),
    /// Too many at once, or nobody answered for it in time; nobody's fault.
    Busy,
    /// Its height is decided.
    Forgotten,
}

/// What the join wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the core.
    Ask(NetEvent),
    /// Read the stream's parts.
    Start {
        /// The stream.
        stream: OfferId,
    },
    /// Stop reading the stream; the join has forgotten it.
    Stop {
        /// The stream.
        stream: OfferId,
        /// Why.
        why: StopReason,
    },
    /// Verify a blob.
    Verify(VerifyJob),
    /// Ask a peer for parts.
    Request {
        /// The stream the answer comes on.
        stream: OfferId,
        /// Whom.
        peer: PeerId,
        /// The value.
        key: ValueKey,
        /// Which parts; `None`: all of them.
        missing: Option<Missing>,
    },
    /// Store a whole value.
    Complete(Box<Completed>),
    /// Score a peer.
    Charge {
        /// Whom.
        peer: PeerId,
        /// For what.
        fault: Fault,
        /// About which value.
        key: ValueKey,
    },
}

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Requested; its `Init` has not come.
    Requested,
    /// The core was asked about it; `gone` once it broke meanwhile.
    Asked { gone: bool },
    /// The core was asked about another stream with the same `Init`.
    Waiting,
    /// Admitted; there is no room for its value yet.
    Queued,
    /// Its parts are being read.
    Active,
}

#[derive(Debug)]
struct Stream {
    peer: PeerId,
    key: ValueKey,
    /// `None` while requested.
    init: Option<Arc<Init>>,
    kind: OfferKind,
    state: State,
    /// When it entered its state.
    since: Nanos,
    /// When a part last came.
    progress: Nanos,
    chunks_seen: Bits,
    blobs_seen: Bits,
}

/// Joins parts into values. See the module's words.
#[derive(Debug)]
pub struct Join {
    config: JoinConfig,
    values: BTreeMap<ValueKey, Pending>,
    streams: BTreeMap<OfferId, Stream>,
    /// Values completed above `forgotten`: their streams are stopped without asking anybody.
    done: BTreeSet<ValueKey>,
    forgotten: Height,
    /// `Incomplete`s held back for a moment, oldest first, so that a peer that answers "not held" is not asked in a tight circle.
    later: VecDeque<(Nanos, ValueKey, PeerId)>,
}

impl Join {
    /// An empty join.
    pub const fn new(config: JoinConfig) -> Self {
        Self {
            config,
            values: BTreeMap::new(),
            streams: BTreeMap::new(),
            done: BTreeSet::new(),
            forgotten: Height::GENESIS,
            later: VecDeque::new(),
        }
    }

    /// Bytes reserved for values in assembly; never above [`Limits::assembly_bytes`].
    pub fn reserved_bytes(&self) -> usize {
        self.values
            .values()
            .filter_map(|value| value.reserved)
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Bytes reserved for one peer's sake; never above half of [`Limits::assembly_bytes`].
    pub fn reserved_bytes_of(&self, peer: PeerId) -> usize {
        self.values
            .values()
            .filter_map(|value| value.reserved)
            .filter(|(owner, _)| *owner == peer)
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Values in assembly.
    pub fn values_count(&self) -> usize {
        self.values.len()
    }

    /// Streams known.
    pub fn streams_count(&self) -> usize {
        self.streams.len()
    }

    fn begin(&mut self, now: Nanos, begin: Begin, out: &mut Outbox<Output>) {
        let Begin {
            stream: name,
            peer,
            init,
            brings,
        } = begin;
        let key = init.key();
        let (kind, certificate) = match brings {
            Brings::Proposal => (OfferKind::Proposal, None),
            Brings::Full(certificate) => (OfferKind::Full, Some(certificate)),
            Brings::MetadataOnly(certificate) => (OfferKind::MetadataOnly, Some(certificate)),
        };
        if let Some(requested) = self.streams.remove(&name) {
            // The answer to a request must be about what was asked, by whom it was asked.
            if requested.state != State::Requested || requested.key != key || requested.peer != peer {
                self.streams.insert(name, requested);
                self.fail(now, name, Fault::Protocol, out);
                return;
            }
        }
        let refusal = if key.height <= self.forgotten {
            Some(StopReason::Refused(Refusal::Height))
        } else if kind == OfferKind::Proposal && self.done.contains(&key) {
            Some(StopReason::Complete)
        } else if self.offers_of(peer) >= bounds::OFFERS_PER_PEER_MAX
            || (self.values.len() >= bounds::VALUES_MAX && !self.values.contains_key(&key))
        {
            Some(StopReason::Busy)
        } else {
            None
        };
        if let Some(why) = refusal {
            out.push(Output::Stop { stream: name, why });
            if kind != OfferKind::Proposal {
                // The core waits for an answer to its request, and no offer will come of it.
                out.push(Output::Ask(NetEvent::SyncEnded {
                    peer,
                    height: key.height,
                    end: SyncEnd::TimedOut,
                }));
            }
            return;
        }
        let mut stream = Stream {
            peer,
            key,
            init: Some(init.init().clone()),
            kind,
            state: State::Asked { gone: false },
            since: now,
            progress: now,
            chunks_seen: Bits::new(),
            blobs_seen: Bits::new(),
        };
        if kind == OfferKind::Proposal && self.values.contains_key(&key) {
            self.streams.insert(name, stream);
            self.start(now, name, out);
            return;
        }
        let asked_already = self
            .streams
            .values()
            .any(|other| other.key == key && matches!(other.state, State::Asked { .. }) && other.init == stream.init);
        if kind == OfferKind::Proposal && asked_already {
            stream.state = State::Waiting;
        } else {
            let init = init.init().clone();
            out.push(Output::Ask(NetEvent::Offer {
                offer: name,
                peer,
                key,
                init,
                kind,
                certificate,
            }));
        }
        self.streams.insert(name, stream);
    }

    fn admit(&mut self, now: Nanos, offer: OfferId, tag: Tag, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get(&offer) else { return };
        let (State::Asked { gone }, Some(init)) = (stream.state, stream.init.clone()) else {
            return;
        };
        let (key, peer) = (stream.key, stream.peer);
        let wants_blobs = stream.kind != OfferKind::MetadataOnly;
        self.done.remove(&key);
        let value = self
            .values
            .entry(key)
            .or_insert_with(|| Pending::new(key, init, tag, wants_blobs, now));
        if tag == Tag::Certified {
            value.tag = tag;
        }
        if !wants_blobs {
            value.wants_blobs = false;
        }
        let waiting: Vec<OfferId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.key == key && stream.state == State::Waiting)
            .map(|(name, _)| *name)
            .collect();
        if gone {
            self.streams.remove(&offer);
        } else {
            self.start(now, offer, out);
        }
        for name in waiting {
            self.start(now, name, out);
        }
        self.settle_value(now, key, out);
        if gone {
            self.tell_if_stuck(key, peer, out);
        }
    }

    fn refuse(&mut self, offer: OfferId, why: &Refusal, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get(&offer) else { return };
        if !matches!(stream.state, State::Asked { .. }) {
            return;
        }
        let Some(refused) = self.streams.remove(&offer) else {
            return;
        };
        // Streams that wait with the same `Init` share its fate; one with other signatures was asked about by itself.
        let waiting: Vec<OfferId> = self
            .streams
            .iter()
            .filter(|(_, other)| {
                other.key == refused.key && other.state == State::Waiting && other.init == refused.init
            })
            .map(|(name, _)| *name)
            .collect();
        let mut stopped = vec![(offer, refused)];
        stopped.extend(
            waiting
                .into_iter()
                .filter_map(|name| Some((name, self.streams.remove(&name)?))),
        );
        for (name, stream) in stopped {
            if matches!(why, Refusal::Invalid { .. }) {
                let fault = if stream.kind == OfferKind::Proposal {
                    Fault::Signature
                } else {
                    Fault::Certificate
                };
                out.push(Output::Charge {
                    peer: stream.peer,
                    fault,
                    key: stream.key,
                });
            }
            if !matches!(stream.state, State::Asked { gone: true }) {
                out.push(Output::Stop {
                    stream: name,
                    why: StopReason::Refused(why.clone()),
                });
            }
        }
    }

    /// Lets an admitted value's stream be read, once there is room for the value.
    fn start(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
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
    fn reserve(&mut self, key: ValueKey, peer: PeerId) -> bool {
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

    fn chunk(&mut self, now: Nanos, name: OfferId, index: u32, bytes: Bytes, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        let Some(value) = self.values.get_mut(&stream.key) else {
            return;
        };
        if stream.state != State::Active {
            return;
        }
        let position = index as usize;
        if position >= value.init.metadata.chunk_hashes.len() || !stream.chunks_seen.insert(position) {
            return self.fail(now, name, Fault::Protocol, out);
        }
        stream.progress = now;
        let key = stream.key;
        match value.put_chunk(now, position, bytes) {
            ChunkFate::Taken => self.settle_value(now, key, out),
            ChunkFate::Known => {}
            ChunkFate::Bad => self.fail(now, name, Fault::Chunk, out),
            ChunkFate::Outside => self.fail(now, name, Fault::Protocol, out),
        }
    }

    fn blob(&mut self, now: Nanos, name: OfferId, index: u16, part: BlobPart, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        let Some(value) = self.values.get_mut(&stream.key) else {
            return;
        };
        if stream.state != State::Active {
            return;
        }
        let position = usize::from(index);
        // One proof a blob (EIP-4844) until the chain has cell proofs; the wire has room for them already.
        let (&[proof], true) = (part.proofs.as_slice(), part.blob.len() == BLOB_BYTES) else {
            return self.fail(now, name, Fault::Protocol, out);
        };
        let Some(commitment) = value.init.metadata.commitments.get(position).copied() else {
            return self.fail(now, name, Fault::Protocol, out);
        };
        if !stream.blobs_seen.insert(position) {
            return self.fail(now, name, Fault::Protocol, out);
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
            BlobFate::Outside => self.fail(now, name, Fault::Protocol, out),
        }
    }

    fn fin(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        match self.streams.get(&name).map(|stream| stream.state) {
            None => {}
            Some(State::Active) => {
                let Some(stream) = self.streams.remove(&name) else {
                    return;
                };
                if self
                    .values
                    .get(&stream.key)
                    .is_some_and(|value| withheld(value, &stream))
                {
                    out.push(Output::Charge {
                        peer: stream.peer,
                        fault: Fault::Withheld,
                        key: stream.key,
                    });
                }
                self.tell_if_stuck(stream.key, stream.peer, out);
            }
            Some(_) => self.fail(now, name, Fault::Protocol, out),
        }
    }

    fn gone(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        if let State::Asked { gone } = &mut stream.state {
            // The core will answer, and must then learn that nobody is sending.
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

    fn verdict(&mut self, now: Nanos, verdict: Verdict, out: &mut Outbox<Output>) {
        let (Some(sender), Some(value)) = (verdict.sender, self.values.get_mut(&verdict.key)) else {
            return;
        };
        let holds = verdict.finding == Finding::Holds;
        if value.settle(usize::from(verdict.index), sender, holds).is_none() {
            return;
        }
        match verdict.finding {
            Finding::Holds => self.settle_value(now, verdict.key, out),
            // The value id binds the commitment: whoever relays it is as helpless as we are. The value can never be
            // whole, so it is never stored, and never `Valid`.
            Finding::Malformed(Malformed::Commitment) => {
                value.hopeless = true;
                self.stop_streams(verdict.key, &StopReason::Complete, out);
            }
            Finding::Wrong | Finding::Malformed(Malformed::Blob | Malformed::Proof) => {
                out.push(Output::Charge {
                    peer: sender,
                    fault: Fault::Proof,
                    key: verdict.key,
                });
                self.tell_if_stuck(verdict.key, sender, out);
            }
        }
    }

    fn fetch(&mut self, now: Nanos, name: OfferId, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) {
        if key.height <= self.forgotten {
            return;
        }
        let busy = |stream: &Stream| {
            stream.key == key
                && stream.peer == peer
                && matches!(
                    stream.state,
                    State::Requested | State::Active | State::Queued | State::Waiting
                )
        };
        if self.streams.values().any(busy) {
            return;
        }
        let missing = match self.values.get(&key) {
            Some(value) if value.hopeless || !value.is_missing_parts() => return,
            Some(value) => Some(value.missing()),
            None => None,
        };
        // The core asks for what it does not hold; if it was complete here, the store has lost or refused it.
        self.done.remove(&key);
        let stream = Stream {
            peer,
            key,
            init: None,
            kind: OfferKind::Proposal,
            state: State::Requested,
            since: now,
            progress: now,
            chunks_seen: Bits::new(),
            blobs_seen: Bits::new(),
        };
        self.streams.insert(name, stream);
        out.push(Output::Request {
            stream: name,
            peer,
            key,
            missing,
        });
    }

    fn forget(&mut self, now: Nanos, height: Height, out: &mut Outbox<Output>) {
        if height <= self.forgotten {
            return;
        }
        self.forgotten = height;
        let names: Vec<OfferId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.key.height <= height)
            .map(|(name, _)| *name)
            .collect();
        for name in names {
            if let Some(stream) = self.streams.remove(&name)
                && !matches!(stream.state, State::Asked { gone: true })
            {
                out.push(Output::Stop {
                    stream: name,
                    why: StopReason::Forgotten,
                });
            }
        }
        self.values.retain(|key, _| key.height > height);
        self.done.retain(|key| key.height > height);
        self.later.retain(|(_, key, _)| key.height > height);
        self.start_queued(now, out);
    }

    /// Completes a value if it is whole.
    fn settle_value(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.hopeless || !value.is_whole() {
            return;
        }
        let (streamed, verified, tag) = (value.streamed(), value.verified(now), value.tag);
        let Some(assembly) = value.assemble() else {
            value.hopeless = true;
            value.park();
            self.stop_streams(key, &StopReason::Complete, out);
            self.start_queued(now, out);
            return;
        };
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

    /// Stops every stream of a value that the core is not being asked about.
    fn stop_streams(&mut self, key: ValueKey, why: &StopReason, out: &mut Outbox<Output>) {
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

    /// Room was made: starts queued streams, oldest value first.
    fn start_queued(&mut self, now: Nanos, out: &mut Outbox<Output>) {
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

    /// Ends a stream whose sender is at fault.
    fn fail(&mut self, now: Nanos, name: OfferId, fault: Fault, out: &mut Outbox<Output>) {
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

    /// Says `Incomplete` if parts of an admitted value are missing and nobody is sending any.
    fn tell_if_stuck(&self, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get(&key) else { return };
        let expected = |stream: &Stream| stream.key == key && !matches!(stream.state, State::Asked { .. });
        if value.hopeless || !value.is_missing_parts() || self.streams.values().any(expected) {
            return;
        }
        out.push(Output::Ask(NetEvent::Incomplete { key, peer }));
    }

    fn offers_of(&self, peer: PeerId) -> usize {
        self.streams.values().filter(|stream| stream.peer == peer).count()
    }

    fn deadline_of(&self, stream: &Stream) -> Nanos {
        match stream.state {
            State::Requested => stream.since + bounds::REQUEST_WAIT,
            State::Asked { .. } | State::Waiting | State::Queued => stream.since + bounds::OFFER_WAIT,
            State::Active => {
                (stream.progress + bounds::STREAM_STALL).min(stream.since + self.config.limits.sync_timeout())
            }
        }
    }
}

impl Machine for Join {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Nanos, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Begin(begin) => self.begin(now, begin, out),
            Input::Admit { offer, tag } => self.admit(now, offer, tag, out),
            Input::Refuse { offer, why } => self.refuse(offer, &why, out),
            Input::Chunk { stream, index, bytes } => self.chunk(now, stream, index, bytes, out),
            Input::Blob { stream, index, part } => self.blob(now, stream, index, part, out),
            Input::Fin { stream } => self.fin(now, stream, out),
            Input::Gone { stream } => self.gone(now, stream, out),
            Input::Verdict(verdict) => self.verdict(now, verdict, out),
            Input::Fetch { stream, key, peer } => self.fetch(now, stream, key, peer, out),
            Input::Forget { height } => self.forget(now, height, out),
        }
        assert!(
            self.reserved_bytes() <= self.config.limits.assembly_bytes(),
            "assembly stays within its budget"
        );
    }

    fn deadline(&self) -> Option<Nanos> {
        let streams = self.streams.values().map(|stream| self.deadline_of(stream));
        streams.chain(self.later.front().map(|(due, ..)| *due)).min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        if self.deadline().is_some_and(|due| now.since(due) > bounds::LATE) {
            // We slept through the deadline (a stopped process, a starved core): what peers sent meanwhile waits
            // unread, so their silence proves nothing.
            self.streams
                .values_mut()
                .for_each(|stream| (stream.since, stream.progress) = (now, now));
        }
        while self.later.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, key, peer)) = self.later.pop_front() else {
                break;
            };
            let expected = self.streams.values().any(|stream| stream.key == key);
            let wanted = self
                .values
                .get(&key)
                .is_none_or(|value| !value.hopeless && value.is_missing_parts());
            if !expected && wanted && !self.done.contains(&key) {
                out.push(Output::Ask(NetEvent::Incomplete { key, peer }));
            }
        }
        let due: Vec<(OfferId, State)> = self
            .streams
            .iter()
            .filter(|(_, stream)| self.deadline_of(stream) <= now)
            .map(|(name, stream)| (*name, stream.state))
            .collect();
        for (name, state) in due {
            match state {
                State::Active | State::Requested => self.fail(now, name, Fault::Withheld, out),
                State::Asked { .. } | State::Waiting | State::Queued => {
                    let Some(stream) = self.streams.remove(&name) else {
                        continue;
                    };
                    if state != (State::Asked { gone: true }) {
                        out.push(Output::Stop {
                            stream: name,
                            why: StopReason::Busy,
                        });
                    }
                    self.tell_if_stuck(stream.key, stream.peer, out);
                }
            }
        }
    }
}

/// Whether a stream that says it is finished has left out parts that nobody else brought.
fn withheld(value: &Pending, stream: &Stream) -> bool {
    let missing = value.missing();
    missing.chunks.iter().any(|index| !stream.chunks_seen.contains(index))
        || missing.blobs.iter().any(|index| !stream.blobs_seen.contains(index))
}

#[cfg(test)]
mod tests;
