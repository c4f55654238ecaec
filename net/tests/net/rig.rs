//! A join, and a hand-played rest of the node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ultramarine_net::streaming::{
    Begin, Brings, CheckedInit, Completed, Input, Join, JoinConfig, Missing, Output, StopReason,
};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::PAYLOAD_CHUNK_BYTES;
use ultramarine_types::network::{Fault, Flaw, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Verdict, VerifyJob, VerifyRequest};
use ultramarine_types::{Assembly, Chain, ListKind, Machine, Nanos, Outbox, PeerId, ValueKey};

use crate::fixture::{Lanes, chain};

/// A job at the lanes. One from before a `Forget` leads to no verdict about its value.
pub struct Waiting {
    pub job: VerifyJob,
    is_old: bool,
}

pub struct Rig {
    pub join: Join,
    pub now: Nanos,
    pub streams: u64,
    pub limits: Limits,
    chain: Chain,
    /// What the lanes have not answered.
    pub jobs: Vec<Waiting>,
    pub forgotten: Vec<ValueKey>,
    lanes: Lanes,
    pub events: Vec<NetEvent>,
    pub started: Vec<OfferId>,
    pub paused: BTreeSet<OfferId>,
    pub stopped: BTreeMap<OfferId, StopReason>,
    pub charges: Vec<(PeerId, Fault)>,
    pub requests: Vec<(OfferId, PeerId, Option<Missing>)>,
    pub complete: Vec<Completed>,
    pub alarms: Vec<ValueKey>,
}

impl Rig {
    pub fn new(blobs_per_block: u32) -> Self {
        let chain = chain(blobs_per_block);
        let limits = chain.params.limits();
        Self {
            join: Join::new(JoinConfig { limits }),
            now: Nanos::from_millis(1),
            streams: 0,
            limits,
            chain,
            jobs: Vec::new(),
            forgotten: Vec::new(),
            lanes: Lanes::default(),
            events: Vec::new(),
            started: Vec::new(),
            paused: BTreeSet::new(),
            stopped: BTreeMap::new(),
            charges: Vec::new(),
            requests: Vec::new(),
            complete: Vec::new(),
            alarms: Vec::new(),
        }
    }

    pub fn feed(&mut self, input: Input) {
        let mut out = Outbox::new();
        self.join.handle(self.now, input, &mut out);
        self.join.check_whole();
        self.take(&mut out);
    }

    pub fn wait(&mut self, span: Nanos) {
        // As a tile does: wake at every deadline on the way.
        let end = self.now + span;
        while let Some(due) = self.join.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut out = Outbox::new();
            self.join.wake(self.now, &mut out);
            self.join.check_whole();
            self.take(&mut out);
        }
        self.now = end;
    }

    pub fn take(&mut self, out: &mut Outbox<Output>) {
        for output in out.drain() {
            match output {
                Output::Ask(event) => self.events.push(event),
                Output::Start { stream } => self.started.push(stream),
                Output::Pause { stream } => assert!(self.paused.insert(stream), "it is not paused"),
                Output::Resume { stream } => assert!(self.paused.remove(&stream), "it is paused"),
                Output::Stop { stream, why } => {
                    self.paused.remove(&stream);
                    self.stopped.insert(stream, why);
                }
                Output::Verify(VerifyRequest::Job(job)) => self.jobs.push(Waiting { job, is_old: false }),
                Output::Verify(VerifyRequest::Forget(key)) => {
                    self.lanes.forget(key);
                    let its = self.jobs.iter_mut().filter(|waiting| waiting.job.key == key);
                    its.for_each(|waiting| waiting.is_old = true);
                    self.forgotten.push(key);
                }
                Output::Request {
                    stream, peer, missing, ..
                } => self.requests.push((stream, peer, missing)),
                Output::Complete(completed) => self.complete.push(*completed),
                Output::Alarm { key, .. } => self.alarms.push(key),
                Output::Charge { peer, fault, .. } => self.charges.push((peer, fault)),
            }
        }
    }

    pub fn name(&mut self) -> OfferId {
        self.streams += 1;
        OfferId(self.streams)
    }

    pub fn begin_as(&mut self, stream: OfferId, peer: PeerId, value: &Assembly, brings: Brings) {
        let init = CheckedInit::check(value.init.as_ref().clone(), &self.chain).expect("a legal shape");
        self.feed(Input::Begin(Begin {
            stream,
            peer,
            init,
            brings,
        }));
    }

    pub fn begin(&mut self, peer: PeerId, value: &Assembly) -> OfferId {
        let stream = self.name();
        self.begin_as(stream, peer, value, Brings::Proposal);
        stream
    }

    /// Begins a stream and admits it.
    pub fn admitted(&mut self, peer: PeerId, value: &Assembly) -> OfferId {
        let stream = self.begin(peer, value);
        self.feed(Input::Admit {
            offer: stream,
            tag: Tag::Streamed,
        });
        stream
    }

    /// Begins a stream, admits it, and brings its lists.
    pub fn listed(&mut self, peer: PeerId, value: &Assembly) -> OfferId {
        let stream = self.admitted(peer, value);
        self.lists(stream, value);
        stream
    }

    /// Brings all lists.
    pub fn lists(&mut self, stream: OfferId, value: &Assembly) {
        for kind in ListKind::ALL {
            self.part(stream, Part::List(kind), value);
        }
    }

    pub fn list(&mut self, stream: OfferId, kind: ListKind, items: Vec<u8>) {
        let items = items.into();
        self.feed(Input::List { stream, kind, items });
    }

    pub fn part(&mut self, stream: OfferId, part: Part, value: &Assembly) {
        self.wait_for_turn(stream);
        match part {
            Part::List(kind) => {
                let mut items = Vec::new();
                value.lists.write(kind, &mut items);
                self.list(stream, kind, items);
            }
            Part::Chunk(index) => {
                let start = index * PAYLOAD_CHUNK_BYTES;
                let bytes = value
                    .payload
                    .slice(start..value.payload.len().min(start + PAYLOAD_CHUNK_BYTES));
                self.feed(Input::Chunk {
                    stream,
                    index: index as u32,
                    bytes,
                });
            }
            Part::Blob(index) => {
                let blob = value.blobs[index].clone();
                self.blob(stream, index, blob);
            }
        }
    }

    pub fn blob(&mut self, stream: OfferId, index: usize, blob: Bytes) {
        let index = index as u16;
        self.feed(Input::Blob { stream, index, blob });
    }

    /// As a reader does: waits until its stream is not paused. The lanes go on meanwhile.
    pub fn wait_for_turn(&mut self, stream: OfferId) {
        while self.paused.contains(&stream) {
            self.verify(0);
        }
    }

    /// The lanes answer job number `job` of those waiting.
    pub fn verify(&mut self, job: usize) {
        let Waiting { job, is_old } = self.jobs.remove(job);
        let verdicts = if is_old {
            vec![Lanes::hash(&job).1]
        } else {
            self.lanes.judge(&job)
        };
        verdicts.into_iter().for_each(|verdict| self.say(verdict));
    }

    pub fn say(&mut self, verdict: Verdict) {
        self.feed(Input::Verdict(verdict));
    }

    pub fn verify_all(&mut self) {
        while !self.jobs.is_empty() {
            self.verify(0);
        }
    }

    pub fn incomplete(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, NetEvent::Incomplete { .. }))
            .count()
    }

    /// Payloads that the core has received.
    pub fn payloads(&self) -> Vec<Bytes> {
        let payload = |event: &NetEvent| match event {
            NetEvent::Payload { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        self.events.iter().filter_map(payload).collect()
    }

    /// Flaws that the core was told.
    pub fn flaws(&self) -> Vec<Flaw> {
        let flaw = |event: &NetEvent| match event {
            NetEvent::Flawed { flaw, .. } => Some(flaw.clone()),
            _ => None,
        };
        self.events.iter().filter_map(flaw).collect()
    }

    pub fn offers(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, NetEvent::Offer { .. }))
            .count()
    }

    /// Asks an honest holder for what is missing, and gets it.
    pub fn repair(&mut self, holder: PeerId, value: &Assembly) {
        let stream = self.name();
        self.feed(Input::Fetch {
            stream,
            key: value.key,
            peer: holder,
        });
        let Some((name, _, missing)) = self.requests.pop() else {
            return;
        };
        assert_eq!(name, stream);
        self.begin_as(stream, holder, value, Brings::Proposal);
        if self
            .events
            .iter()
            .any(|event| matches!(event, NetEvent::Offer { offer, .. } if *offer == stream))
        {
            self.feed(Input::Admit {
                offer: stream,
                tag: Tag::Streamed,
            });
        }
        for part in parts(value).into_iter().filter(|part| wanted(missing.as_ref(), *part)) {
            self.part(stream, part, value);
        }
        self.feed(Input::Fin { stream });
        self.verify_all();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    List(ListKind),
    Chunk(usize),
    Blob(usize),
}

/// All parts of a value, in the order in which they are sent.
pub fn parts(value: &Assembly) -> Vec<Part> {
    let lists = ListKind::ALL.into_iter().map(Part::List);
    lists.chain(parts_behind_lists(value)).collect()
}

/// Chunks and blobs of a value.
pub fn parts_behind_lists(value: &Assembly) -> Vec<Part> {
    let chunks = (0..value.lists.chunks.len()).map(Part::Chunk);
    chunks.chain((0..value.blobs.len()).map(Part::Blob)).collect()
}

/// Whether a part is among the missing ones. Without a list all are.
pub fn wanted(missing: Option<&Missing>, part: Part) -> bool {
    missing.is_none_or(|missing| match part {
        Part::List(kind) => missing.lists.contains(kind),
        Part::Chunk(index) => missing.chunks.contains(index),
        Part::Blob(index) => missing.blobs.contains(index),
    })
}

/// Brings a part with wrong bytes.
pub fn spoil(rig: &mut Rig, stream: OfferId, part: Part, value: &Assembly) {
    rig.wait_for_turn(stream);
    match part {
        Part::List(kind) => {
            let mut items = Vec::new();
            value.lists.write(kind, &mut items);
            items[7] ^= 1;
            rig.list(stream, kind, items);
        }
        Part::Chunk(index) => {
            let mut bytes = value.payload.slice(..PAYLOAD_CHUNK_BYTES).to_vec();
            bytes[7] ^= 1;
            rig.feed(Input::Chunk {
                stream,
                index: index as u32,
                bytes: bytes.into(),
            });
        }
        Part::Blob(index) => {
            let mut blob = value.blobs[index].to_vec();
            blob[70_000] ^= 1;
            rig.blob(stream, index, blob.into());
        }
    }
}
