//! This file knows what a node makes of the answers to its requests for decided heights: the real net's own code says
//! what an answer is.

use ultramarine_core::io::Input;
use ultramarine_net::frame::Part;
use ultramarine_net::message::{ValueRequest, ValueResponse, ValueWant};
use ultramarine_net::streaming::{Begin, Input as JoinInput};
use ultramarine_net::sync::{RawDecidedValue, Reply};
use ultramarine_types::CommitCertificate;
use ultramarine_types::network::{Fault, NetEvent, OfferId, SyncEnd};

use crate::wire::{SimFrame, StreamId, package_bytes};
use crate::world::{Incoming, Sync, World};

impl World {
    /// The request that `from` answers, if it waits for an answer.
    fn answered(&mut self, from: usize, index: usize, stream: StreamId) -> Option<Sync> {
        let syncs = &mut self.nodes[index].syncs;
        // Too late, or never asked for.
        syncs.get(&stream).filter(|sync| sync.peer == from)?;
        syncs.remove(&stream)
    }

    pub(super) fn sync_answer(&mut self, from: usize, index: usize, stream: StreamId, response: ValueResponse) {
        let Some(sync) = self.answered(from, index, stream) else {
            return;
        };
        let end = match Reply::of(response, &sync.request()) {
            Ok(Reply::Short(end)) => end,
            // The stream ends where a package should begin.
            Ok(Reply::Package(_)) => SyncEnd::TimedOut,
            Err(_) => return self.refuse_answer(index, &sync),
        };
        let (peer, height) = (self.nodes[from].peer, sync.height);
        self.feed(index, Input::Net(NetEvent::SyncEnded { peer, height, end }));
    }

    pub(super) fn package(
        &mut self,
        from: usize,
        index: usize,
        stream: StreamId,
        certificate: CommitCertificate,
        bytes: &[u8],
    ) {
        let Some(sync) = self.answered(from, index, stream) else {
            return;
        };
        let response = ValueResponse::Package {
            certificate: certificate.clone(),
        };
        if Reply::of(response, &sync.request()).is_err() {
            return self.refuse_answer(index, &sync);
        }
        let raw = RawDecidedValue {
            certificate,
            value_bytes: package_bytes(bytes),
        };
        let Ok(mut opened) = raw.open(sync.height, &self.chain) else {
            return self.refuse_answer(index, &sync);
        };
        opened.is_full &= sync.wants_blobs;
        let asked_for = match sync.want {
            ValueWant::Package { blobs } => blobs,
            ValueWant::Certificate => None,
        };
        let (brings, follow) = opened.brings(asked_for);
        let mut incoming = Incoming {
            peer: from,
            is_package: true,
            follow: follow.iter().collect(),
            ..Incoming::default()
        };
        for part in opened.small_parts() {
            let frame = match part {
                Part::List { kind, items } => SimFrame::List { stream, kind, items },
                Part::Chunk { index, bytes } => SimFrame::Chunk {
                    stream,
                    index: index as usize,
                    bytes,
                },
                Part::Blob { .. } | Part::Fin => continue,
            };
            incoming.waiting.push_back((frame, 0));
        }
        if incoming.follow.is_empty() {
            incoming.waiting.push_back((SimFrame::Fin { stream }, 0));
        }
        self.nodes[index].streams.insert(stream, incoming);
        let begin = Begin {
            stream: OfferId(stream.0),
            peer: self.nodes[from].peer,
            init: opened.init,
            brings,
        };
        self.join_input(index, JoinInput::Begin(begin));
    }

    /// The answer to a request is nothing that can be used.
    pub(super) fn unusable(&mut self, index: usize, stream: StreamId) {
        if let Some(sync) = self.nodes[index].syncs.remove(&stream) {
            self.refuse_answer(index, &sync);
        }
    }

    fn refuse_answer(&mut self, index: usize, sync: &Sync) {
        let (peer, height) = (self.nodes[sync.peer].peer, sync.height);
        self.charge(index, &peer, Fault::Package);
        let end = SyncEnd::Unusable;
        self.tell(index, NetEvent::SyncEnded { peer, height, end });
    }
}

impl Sync {
    fn request(&self) -> ValueRequest {
        ValueRequest {
            height: self.height,
            want: self.want.clone(),
        }
    }
}
