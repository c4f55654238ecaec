//! A join, and a hand-played rest of the node.

use std::collections::BTreeMap;

use bytes::Bytes;
use ultramarine_net::streaming::{
    Begin, Brings, CheckedInit, Completed, Input, Join, JoinConfig, Missing, Output, StopReason,
};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::PAYLOAD_CHUNK_BYTES;
use ultramarine_types::network::{Fault, Flaw, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Finding, Verdict, VerifyJob};
use ultramarine_types::{Assembly, BlobPart, KzgProof, Machine, Nanos, Outbox, PeerId};

use crate::fixture::{CHAIN_ID, judge, params};

pub struct Rig {
    pub join: Join,
    pub now: Nanos,
    pub streams: u64,
    pub limits: Limits,
    pub jobs: Vec<VerifyJob>,
    pub events: Vec<NetEvent>,
    pub started: Vec<OfferId>,
    pub stopped: BTreeMap<OfferId, StopReason>,
    pub charges: Vec<(PeerId, Fault)>,
    pub requests: Vec<(OfferId, PeerId, Option<Missing>)>,
    pub complete: Vec<Completed>,
}

impl Rig {
    pub fn new(blobs_per_block: u32) -> Self {
        let limits = params(blobs_per_block).limits();
        Self {
            join: Join::new(JoinConfig { limits }),
            now: Nanos::from_millis(1),
            streams: 0,
            limits,
            jobs: Vec::new(),
            events: Vec::new(),
            started: Vec::new(),
            stopped: BTreeMap::new(),
            charges: Vec::new(),
            requests: Vec::new(),
            complete: Vec::new(),
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
                Output::Stop { stream, why } => drop(self.stopped.insert(stream, why)),
                Output::Verify(job) => self.jobs.push(job),
                Output::Request {
                    stream, peer, missing, ..
                } => self.requests.push((stream, peer, missing)),
                Output::Complete(completed) => self.complete.push(*completed),
                Output::Charge { peer, fault, .. } => self.charges.push((peer, fault)),
            }
        }
    }

    pub fn name(&mut self) -> OfferId {
        self.streams += 1;
        OfferId(self.streams)
    }

    pub fn begin_as(&mut self, stream: OfferId, peer: PeerId, value: &Assembly, brings: Brings) {
        let init = CheckedInit::check(value.init.as_ref().clone(), CHAIN_ID, &self.limits).expect("a legal shape");
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

    pub fn part(&mut self, stream: OfferId, part: Part, value: &Assembly) {
        match part {
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
                self.feed(Input::Blob {
                    stream,
                    index: index as u16,
                    part: value.blobs[index].clone(),
                });
            }
        }
    }

    /// All parts of a value, in order.
    pub fn parts(&mut self, stream: OfferId, value: &Assembly) {
        for part in parts(value) {
            self.part(stream, part, value);
        }
    }

    /// The verifier answers job number `job` of those waiting.
    pub fn verify(&mut self, job: usize) {
        let job = self.jobs.remove(job);
        self.feed(Input::Verdict(judge(&job)));
    }

    /// The verifier gives back job number `job` of those waiting, because of other wrong blobs of its sender.
    pub fn give_back(&mut self, job: usize) {
        let VerifyJob { key, index, sender, .. } = self.jobs.remove(job);
        let finding = Finding::Unjudged;
        self.feed(Input::Verdict(Verdict {
            key,
            index,
            sender,
            finding,
        }));
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
            NetEvent::Flawed { flaw, .. } => Some(*flaw),
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
    Chunk(usize),
    Blob(usize),
}

/// All parts of a value.
pub fn parts(value: &Assembly) -> Vec<Part> {
    let chunks = (0..value.init.metadata.chunk_hashes.len()).map(Part::Chunk);
    chunks.chain((0..value.blobs.len()).map(Part::Blob)).collect()
}

/// Whether a part is among the missing ones. Without a list all are.
pub fn wanted(missing: Option<&Missing>, part: Part) -> bool {
    missing.is_none_or(|missing| match part {
        Part::Chunk(index) => missing.chunks.contains(index),
        Part::Blob(index) => missing.blobs.contains(index),
    })
}

/// Brings a part with wrong bytes or a wrong proof.
pub fn spoil(rig: &mut Rig, stream: OfferId, part: Part, value: &Assembly) {
    match part {
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
            let BlobPart { blob, .. } = value.blobs[index].clone();
            let part = BlobPart {
                blob,
                proofs: vec![KzgProof([9; 48])],
            };
            rig.feed(Input::Blob {
                stream,
                index: index as u16,
                part,
            });
        }
    }
}
