//! Turns parts, arriving in any order from any peer, into one whole proposal.
//!
//! ```text
//!   Begin ─▶ asked ──Admit──▶ active ──List, Chunk, Blob, Fin──▶ Complete
//!              │                │  └─ bad part, stall, break ─▶ Incomplete ─▶ (core) Fetch ─▶ Request ─▶ Begin …
//!              └─Refuse─▶ stopped
//! ```
//!
//! Keeps:
//!
//! - A place is filled by right bytes only, and nothing is passed over for the sake of another sender's bytes that are
//!   not yet judged.
//! - A part that fails its hash costs its sender, and says nothing about the value. A proof that does not hold costs no
//!   sender.
//! - A stream has at most `UNJUDGED_PER_STREAM_MAX` blobs that wait for a verdict; then its reader waits.
//! - The lanes are told to forget every value that we let go.
//! - Bytes reserved never pass `Limits::assembly_bytes`, and for one peer's sake never half of it.
//! - Only a stream whose value has room is read, and a value without room holds no bytes.
//! - A value completes at once when it is whole.
//! - Nothing is kept of a height that is decided, except what is being restored of it.
//!
//! A value that is restored was verified by those that decided it, and its id binds every byte. So its blobs are
//! compared with their digests here, and the lanes are not asked.

mod flow;
mod parts;
#[cfg(feature = "planted")]
mod planted;
mod promises;
mod room;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{Fault, NetEvent, OfferId, OfferKind, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Height, ListKind, Machine, Nanos, Outbox, PeerId, ValueKey};

use super::bits::Bits;
use super::contract::{Begin, Brings, Input, JoinConfig, Missing, Output, StopReason};
use super::init::CheckedInit;
use super::listset::ListSet;
use super::ranges::Ranges;
use super::unjudged::Unjudged;
use super::value::Pending;
use crate::bounds;

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// We requested it, and its `Init` has not come.
    Requested,
    /// The core is asked about it. `gone`: it broke meanwhile.
    Asked { gone: bool },
    /// The core is asked about another stream with the same `Init`.
    Waiting,
    /// It is admitted, and there is no room for its value yet.
    Queued,
    /// Its parts are being read.
    Active,
}

#[derive(Debug)]
struct Stream {
    peer: PeerId,
    key: ValueKey,
    /// `None` while the stream is requested and has not begun.
    init: Option<CheckedInit>,
    kind: OfferKind,
    state: State,
    /// When it entered its state.
    since: Nanos,
    /// When a part last came.
    progress: Nanos,
    /// Since when its reader waits for verdicts.
    paused: Option<Nanos>,
    lists_seen: ListSet,
    chunks_seen: Bits,
    blobs_seen: Bits,
    /// The parts that it was asked to bring; `None` for all of the value.
    asked_for: Option<Missing>,
}

impl Stream {
    /// Whether it may still bring a missing part. A part comes only once on a stream.
    fn may_bring(&self, missing: &Missing) -> bool {
        match self.state {
            State::Requested | State::Waiting | State::Queued => true,
            State::Active => {
                let asked_for = self.asked_for.as_ref();
                let list = |kind: &ListKind| {
                    !self.lists_seen.contains(*kind) && asked_for.is_none_or(|asked| asked.lists.contains(*kind))
                };
                let chunk = |index: &usize| {
                    !self.chunks_seen.contains(*index) && asked_for.is_none_or(|asked| asked.chunks.contains(*index))
                };
                let blob = |index: &usize| {
                    !self.blobs_seen.contains(*index) && asked_for.is_none_or(|asked| asked.blobs.contains(*index))
                };
                missing.lists.iter().any(|kind| list(&kind))
                    || missing.chunks.iter().any(|index| chunk(&index))
                    || missing.blobs.iter().any(|index| blob(&index))
            }
            // The core has not answered yet: it knows about this stream.
            State::Asked { .. } => false,
        }
    }

    /// Bytes by which it is behind the slowest pace that meets deadlines, since it became active.
    fn lag_bytes(&self, now: Nanos) -> u64 {
        self.bytes_behind(now, bounds::PACE_BYTES_PER_MS)
    }

    /// Whether it is slower than any connection that a node can live on.
    fn dribbles(&self, now: Nanos) -> bool {
        self.bytes_behind(now, bounds::DRIBBLE_BYTES_PER_MS) > 0
    }

    fn bytes_behind(&self, now: Nanos, bytes_per_ms: u64) -> u64 {
        // While it waits for us, it is not behind.
        let now = self.paused.unwrap_or(now);
        let paced_ms = now.since(self.since + bounds::LAG_GRACE).0 / 1_000_000;
        (paced_ms * bytes_per_ms).saturating_sub(self.brought_bytes())
    }

    fn brought_bytes(&self) -> u64 {
        (self.chunks_seen.count() * PAYLOAD_CHUNK_BYTES + self.blobs_seen.count() * BLOB_BYTES) as u64
    }

    /// Whether it was asked for parts that it has not brought, and that nobody else has brought.
    fn withheld(&self, missing: &Missing) -> bool {
        let asked_for = self.asked_for.as_ref();
        let lists = asked_for.map_or(ListSet::ALL, |asked_for| asked_for.lists);
        let chunk = |index: usize| {
            asked_for.is_none_or(|asked_for| asked_for.chunks.contains(index)) && !self.chunks_seen.contains(index)
        };
        let blob = |index: usize| {
            asked_for.is_none_or(|asked_for| asked_for.blobs.contains(index)) && !self.blobs_seen.contains(index)
        };
        lists
            .iter()
            .any(|kind| missing.lists.contains(kind) && !self.lists_seen.contains(kind))
            || missing.chunks.iter().any(chunk)
            || missing.blobs.iter().any(blob)
    }
}

/// Joins parts into values, as the module's head says.
#[derive(Debug)]
pub struct Join {
    config: JoinConfig,
    values: BTreeMap<ValueKey, Pending>,
    streams: BTreeMap<OfferId, Stream>,
    unjudged: Unjudged,
    /// Values completed above `forgotten`, by the `Init`s that they have. The join stops streams with these without
    /// asking the core.
    done: BTreeMap<ValueKey, CheckedInit>,
    forgotten: Height,
    /// `Incomplete`s held back for a moment, oldest first. So a peer that answers "not held" is not asked again and
    /// again without a pause.
    later: VecDeque<(Nanos, ValueKey, PeerId)>,
    /// Values with chunks that are here and not joined yet, and since when. Each wake copies one step further.
    joining: BTreeMap<ValueKey, Nanos>,
    /// When to look next at streams that wait for room, if there are any.
    room_retry: Nanos,
    /// The bug for the simulator to find, if one is planted.
    #[cfg(feature = "planted")]
    planted: Option<super::planted::JoinBug>,
}

impl Join {
    pub const fn new(config: JoinConfig) -> Self {
        Self {
            config,
            values: BTreeMap::new(),
            streams: BTreeMap::new(),
            unjudged: Unjudged::new(),
            done: BTreeMap::new(),
            forgotten: Height::GENESIS,
            later: VecDeque::new(),
            joining: BTreeMap::new(),
            room_retry: Nanos::ZERO,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Bytes reserved for values in assembly, at most [`Limits::assembly_bytes`].
    pub fn reserved_bytes(&self) -> usize {
        self.values
            .values()
            .filter_map(|value| value.reserved)
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Bytes reserved for one peer's sake, at most half of [`Limits::assembly_bytes`].
    pub fn reserved_bytes_of(&self, peer: PeerId) -> usize {
        self.values
            .values()
            .filter_map(|value| value.reserved)
            .filter(|(owner, _)| *owner == peer)
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// The lowest height with a value in assembly that is not restored. It is above the newest one forgotten.
    pub fn lowest_value(&self) -> Option<Height> {
        let is_new = |value: &&Pending| value.tag != Tag::Restored;
        self.values.values().find(is_new).map(|value| value.key.height)
    }

    fn is_restored(&self, key: &ValueKey) -> bool {
        self.values.get(key).is_some_and(|value| value.tag == Tag::Restored)
    }

    pub fn values_count(&self) -> usize {
        self.values.len()
    }

    pub fn streams_count(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that wait for a verdict.
    pub fn unjudged_bytes(&self) -> usize {
        self.unjudged.bytes()
    }

    /// The peers about whose blobs verdicts are awaited. They may be gone by then, and must still be known.
    pub fn awaited_senders(&self) -> BTreeSet<PeerId> {
        self.unjudged.senders()
    }

    /// The blobs that are missing of the decided value of a height, if it is in assembly.
    pub fn blobs_missing_at(&self, height: Height) -> Option<Ranges> {
        let is_decided = |it: &Pending| it.tag == Tag::Certified || it.tag == Tag::Restored && it.wants_blobs;
        let value = self
            .values
            .values()
            .find(|it| it.key.height == height && is_decided(it))?;
        value.reserved.is_some().then(|| self.missing_of(value).blobs)
    }

    /// The parts of a value of which no bytes are here, judged or not.
    fn missing_of(&self, value: &Pending) -> Missing {
        value.missing(&self.unjudged.places(value.key))
    }

    fn begin(&mut self, now: Nanos, begin: Begin, out: &mut Outbox<Output>) {
        let Begin {
            stream: name,
            peer,
            init,
            brings,
        } = begin;
        let key = init.key();
        let (kind, certificate, blobs) = match brings {
            Brings::Proposal => (OfferKind::Proposal, None, None),
            Brings::Full { certificate, blobs } => (OfferKind::Full, Some(certificate), blobs),
            Brings::MetadataOnly(certificate) => (OfferKind::MetadataOnly, Some(certificate), None),
        };
        let mut asked_for = blobs.map(|blobs| Missing {
            lists: ListSet::ALL,
            chunks: Ranges::below(init.chunks_count()),
            blobs,
        });
        // Packages are sent only to peers that requested them.
        let mut is_answer = kind != OfferKind::Proposal;
        if let Some(requested) = self.streams.remove(&name) {
            // The answer to a request must come from the peer that was asked, about the value that was asked for.
            if requested.state != State::Requested || requested.key != key || requested.peer != peer {
                self.streams.insert(name, requested);
                self.fail(name, Fault::Protocol, out);
                return;
            }
            (asked_for, is_answer) = (requested.asked_for, true);
        }
        // The core has checked the `Init` of a value in assembly, and of a whole one. It checks every other one, so
        // that whoever brings a false one pays.
        let is_same = |kept: Option<&CheckedInit>| kind == OfferKind::Proposal && kept == Some(&init);
        let is_known = is_same(self.values.get(&key).map(|value| &value.init));
        // A package of a decided height may be one that is restored: the core knows.
        let refusal = if kind == OfferKind::Proposal && key.height <= self.forgotten {
            Some(StopReason::Refused(Refusal::Height))
        } else if is_same(self.done.get(&key)) {
            Some(StopReason::Complete)
        } else if !is_answer && (self.offers_of(peer) >= bounds::OFFERS_PER_PEER_MAX || !self.can_keep(key)) {
            Some(StopReason::Busy)
        } else {
            None
        };
        if let Some(why) = refusal {
            out.push(Output::Stop { stream: name, why });
            return;
        }
        let mut stream = Stream {
            peer,
            key,
            init: Some(init.clone()),
            kind,
            state: State::Asked { gone: false },
            since: now,
            progress: now,
            paused: None,
            lists_seen: ListSet::NONE,
            chunks_seen: Bits::new(),
            blobs_seen: Bits::new(),
            asked_for,
        };
        if is_known {
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
        // What is certified is good, or the node must know and stop. A flaw that we found before may have been a fault
        // of our own: everything is fetched and judged anew.
        if tag == Tag::Certified && self.values.get(&key).is_some_and(Pending::is_hopeless) {
            self.let_go(key, out);
        }
        // Room was reserved for blobs, or for none.
        let is_otherwise = |value: &Pending| value.wants_blobs != wants_blobs;
        if tag == Tag::Restored && self.values.get(&key).is_some_and(is_otherwise) {
            self.stop_streams(key, &StopReason::Busy, out);
            self.let_go(key, out);
        }
        self.make_way(key, out);
        let value = self
            .values
            .entry(key)
            .or_insert_with(|| Pending::new(init, tag, wants_blobs, now));
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
        // Streams that wait with the same `Init` share its fate. The core is asked separately about one with other
        // signatures.
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

    fn fetch(&mut self, now: Nanos, name: OfferId, key: ValueKey, peer: PeerId, out: &mut Outbox<Output>) {
        if key.height <= self.forgotten {
            return;
        }
        let busy = |stream: &Stream| {
            let missing = self.values.get(&key).map(|value| self.missing_of(value));
            stream.key == key
                && stream.peer == peer
                && missing.map_or(!matches!(stream.state, State::Asked { .. }), |it| stream.may_bring(&it))
        };
        if self.streams.values().any(busy) {
            return;
        }
        let missing = match self.values.get(&key) {
            Some(value) => Some(self.missing_of(value)).filter(|missing| !value.is_hopeless() && !missing.is_empty()),
            None => None,
        };
        if missing.is_none() && self.values.contains_key(&key) {
            return;
        }
        // The core asks only for values that it does not hold. If this one was complete here, the store has lost or
        // refused it.
        self.done.remove(&key);
        let stream = Stream {
            peer,
            key,
            init: None,
            kind: OfferKind::Proposal,
            state: State::Requested,
            since: now,
            progress: now,
            paused: None,
            lists_seen: ListSet::NONE,
            chunks_seen: Bits::new(),
            blobs_seen: Bits::new(),
            asked_for: missing.clone(),
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
        // A package that the core is asked about may be one that is restored: the core knows.
        let is_kept = |stream: &Stream| {
            let is_asked = matches!(stream.state, State::Asked { .. });
            stream.kind != OfferKind::Proposal && (is_asked || self.is_restored(&stream.key))
        };
        let over = self.streams.iter().filter(|(_, stream)| stream.key.height <= height);
        let names: Vec<OfferId> = over.filter(|(_, it)| !is_kept(it)).map(|(name, _)| *name).collect();
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
        let is_over = |value: &&Pending| value.key.height <= height && value.tag != Tag::Restored;
        let over: Vec<ValueKey> = self.values.values().filter(is_over).map(|it| it.key).collect();
        over.into_iter().for_each(|key| self.let_go(key, out));
        self.done.retain(|key, _| key.height > height);
        let values = &self.values;
        self.later
            .retain(|(_, key, _)| key.height > height || values.contains_key(key));
        self.start_queued(now, out);
    }

    fn offers_of(&self, peer: PeerId) -> usize {
        self.streams.values().filter(|stream| stream.peer == peer).count()
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
            Input::List { stream, kind, items } => self.list(now, stream, kind, &items, out),
            Input::Chunk { stream, index, bytes } => self.chunk(now, stream, index, bytes, out),
            Input::Blob { stream, index, blob } => self.blob(now, stream, index, blob, out),
            Input::Fin { stream } => self.fin(stream, out),
            Input::Gone { stream } => self.gone(now, stream, out),
            Input::Verdict(verdict) => self.verdict(now, verdict, out),
            Input::Fetch { stream, key, peer } => self.fetch(now, stream, key, peer, out),
            Input::Rejudge { key } => self.rejudge(now, key, out),
            Input::Forget { height } => self.forget(now, height, out),
        }
        self.check();
    }

    fn deadline(&self) -> Option<Nanos> {
        let streams = self.streams.values().filter_map(|stream| self.deadline_of(stream));
        let later = self.later.front().map(|(due, ..)| *due);
        let joining = self.joining.values().copied();
        streams.chain(later).chain(joining).chain(self.room_due()).min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        if self.deadline().is_some_and(|due| now.since(due) > bounds::LATE) {
            // We slept through the deadline: the process was stopped, or the core was busy. Bytes that peers sent
            // meanwhile wait unread, so their silence proves nothing.
            self.streams
                .values_mut()
                .for_each(|stream| (stream.since, stream.progress) = (now, now));
            self.begin_paces(now);
        }
        if let Some(key) = self.joining.keys().next().copied() {
            self.join_payload(now, key, out);
        }
        while self.later.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, key, peer)) = self.later.pop_front() else {
                break;
            };
            let expected = self.streams.values().any(|stream| stream.key == key);
            let wanted = self
                .values
                .get(&key)
                .is_none_or(|value| !value.is_hopeless() && !self.missing_of(value).is_empty());
            if !expected && wanted && !self.done.contains_key(&key) {
                out.push(Output::Ask(NetEvent::Incomplete { key, peer }));
            }
        }
        self.retry_room(now, out);
        let due: Vec<(OfferId, State)> = self
            .streams
            .iter()
            .filter(|(_, stream)| self.deadline_of(stream).is_some_and(|due| due <= now))
            .map(|(name, stream)| (*name, stream.state))
            .collect();
        for (name, state) in due {
            match state {
                State::Active | State::Requested => self.fail(name, Fault::Withheld, out),
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
        self.check();
    }
}
