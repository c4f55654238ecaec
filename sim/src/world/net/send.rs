//! This file knows what a node sends, and what an adversary or the network makes of it.
//!
//! A node sends its core's messages, streams of what its disk has, and answers to peers that catch up.

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_net::streaming::{ListSet, Missing, Ranges};
use ultramarine_types::limits::{PAYLOAD_CHUNK_BYTES, PAYLOAD_CHUNKS_MAX};
use ultramarine_types::network::{OfferKind, Recipients, SyncEnd, SyncWant};
use ultramarine_types::storage::Blobs;
use ultramarine_types::{Assembly, CommitCertificate, ConsensusMessage, Height, ListKind, ValueId, ValueKey, VoteKind};

use crate::adversaries::{Adversary, Means};
use crate::checks::CheckOutcome;
use crate::network::Route;
use crate::wire::{SimFrame, StreamId};
use crate::world::{Event, Sync, World, WorldNotice};

impl World {
    pub(super) fn send_message(&mut self, index: usize, to: Recipients, message: ConsensusMessage) {
        let own = match &message {
            ConsensusMessage::Vote(vote) => Some(vote.voter) == self.nodes[index].address,
            ConsensusMessage::Proposal(proposal) => Some(proposal.proposer) == self.nodes[index].address,
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => false,
        };
        if own && self.nodes[index].is_honest() {
            match self.checks.signing.sent(index, &message, &self.nodes[index].disk) {
                Err(broken) => self.note(index, Err(broken)),
                Ok(false) => {}
                Ok(true) => {
                    let checked = self.check_accepted(index, &message);
                    self.note(index, checked);
                }
            }
        }
        if own {
            self.notices.push(WorldNotice::Sent {
                node: index,
                message: Box::new(message.clone()),
            });
        }
        let peers: Vec<usize> = match to {
            Recipients::All => self.nodes[index].sees.iter().copied().collect(),
            Recipients::One(peer) => self.peer_index(&peer).into_iter().collect(),
        };
        for peer in peers {
            self.send(index, peer, SimFrame::Message(message.clone()));
        }
    }

    /// A new proposal or prevote for a value leaves a node.
    fn check_accepted(&self, index: usize, message: &ConsensusMessage) -> CheckOutcome {
        let id: ValueId = match message {
            ConsensusMessage::Proposal(proposal) => proposal.value_id,
            ConsensusMessage::Vote(vote) if vote.kind == VoteKind::Prevote => match vote.value_id {
                Some(id) => id,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let Some(init) = self.checks.values.get(&id) else {
            return Err(("I4", format!("{id:?} is accepted and nobody has its metadata")));
        };
        if let Err(rule) = self.judge(init) {
            return Err((
                "validity",
                format!("{} is accepted and breaks a rule: {rule}", init.key()),
            ));
        }
        self.checks.execution.accepted(index, init)
    }

    pub(super) fn stream(&mut self, index: usize, key: ValueKey, to: Recipients) {
        let Ok(assembly) = self.nodes[index].disk.value(&key) else {
            self.trace
                .line(self.now, format_args!("{index} has not {key} to stream"));
            return;
        };
        if Some(assembly.init.metadata.origin_proposer) == self.nodes[index].address && self.nodes[index].is_honest() {
            let checked = self
                .checks
                .signing
                .streamed(index, &assembly.init, &self.nodes[index].disk);
            self.note(index, checked);
        }
        self.notices.push(WorldNotice::Stream { node: index, key });
        let peers: Vec<usize> = match to {
            Recipients::All => self.nodes[index].sees.iter().copied().collect(),
            Recipients::One(peer) => self.peer_index(&peer).into_iter().collect(),
        };
        for peer in peers {
            let stream = self.stream_id();
            self.stream_out(index, peer, &assembly, stream, OfferKind::Proposal, None, false, None);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one stream, all said at once")]
    pub(super) fn stream_out(
        &mut self,
        index: usize,
        to: usize,
        assembly: &Assembly,
        stream: StreamId,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
        answers: bool,
        wanted: Option<&Missing>,
    ) {
        let answers = answers.then_some(stream);
        self.send(
            index,
            to,
            SimFrame::Begin {
                stream,
                init: Arc::clone(&assembly.init),
                kind,
                certificate,
                answers,
            },
        );
        for kind in ListKind::ALL {
            if wanted.is_none_or(|wanted| wanted.lists.contains(kind)) {
                let mut items = Vec::new();
                assembly.lists.write(kind, &mut items);
                let items = Bytes::from(items);
                self.send(index, to, SimFrame::List { stream, kind, items });
            }
        }
        let length = assembly.payload.len();
        for position in 0..length.div_ceil(PAYLOAD_CHUNK_BYTES) {
            if wanted.is_none_or(|wanted| wanted.chunks.contains(position)) {
                let start = position * PAYLOAD_CHUNK_BYTES;
                let bytes = assembly.payload.slice(start..length.min(start + PAYLOAD_CHUNK_BYTES));
                self.send(
                    index,
                    to,
                    SimFrame::Chunk {
                        stream,
                        index: position,
                        bytes,
                    },
                );
            }
        }
        if kind != OfferKind::MetadataOnly {
            for (position, bytes) in assembly.blobs.iter().enumerate() {
                if wanted.is_none_or(|wanted| wanted.blobs.contains(position)) {
                    self.send(
                        index,
                        to,
                        SimFrame::Blob {
                            stream,
                            index: position,
                            bytes: bytes.clone(),
                        },
                    );
                }
            }
        }
        self.send(index, to, SimFrame::Fin { stream });
    }

    pub(super) fn sync(&mut self, index: usize, peer: ultramarine_types::PeerId, height: Height, want: SyncWant) {
        let Some(to) = self.peer_index(&peer) else { return };
        let stream = self.stream_id();
        let node = &mut self.nodes[index];
        let blobs = node.join.blobs_missing_at(height).filter(|_| want == SyncWant::Package);
        let blobs = match want {
            SyncWant::Payload => Some(Ranges::default()),
            SyncWant::Package | SyncWant::Certificate => blobs,
        };
        let sync = Sync {
            peer: to,
            height,
            want,
            blobs: blobs.clone(),
        };
        node.syncs.insert(stream, sync);
        let wait = self.config.chain.limits().sync_timeout();
        let life = self.nodes[index].life;
        self.queue.plan(
            self.now + wait,
            Event::SyncTimeout {
                node: index,
                life,
                stream,
            },
        );
        let request = SimFrame::SyncRequest {
            stream,
            height,
            want,
            blobs,
        };
        self.send(index, to, request);
    }

    pub(super) fn serve(
        &mut self,
        index: usize,
        to: usize,
        stream: StreamId,
        height: Height,
        want: SyncWant,
        blobs: Option<Ranges>,
    ) {
        if self.nodes[index].disk.is_rotten(height) {
            let life = self.nodes[index].life;
            self.queue.plan(
                self.now,
                Event::Scrub {
                    node: index,
                    life,
                    height,
                },
            );
            let end = SyncEnd::Unavailable;
            return self.send(index, to, SimFrame::SyncAnswer { stream, end });
        }
        let node = &self.nodes[index];
        let Some(value) = node.disk.decided(height) else {
            let end = SyncEnd::NotDecided { tip: node.disk.head() };
            return self.send(index, to, SimFrame::SyncAnswer { stream, end });
        };
        let certificate = value.decided.certificate.clone();
        if want == SyncWant::Certificate {
            return self.send(
                index,
                to,
                SimFrame::SyncAnswer {
                    stream,
                    end: SyncEnd::Certificate(certificate),
                },
            );
        }
        let kind = if value.decided.blobs == Blobs::Held {
            OfferKind::Full
        } else {
            OfferKind::MetadataOnly
        };
        let assembly = value.assembly.clone();
        let wanted = blobs.map(|blobs| Missing {
            lists: ListSet::ALL,
            chunks: Ranges::below(PAYLOAD_CHUNKS_MAX),
            blobs,
        });
        let certificate = Some(certificate);
        self.stream_out(index, to, &assembly, stream, kind, certificate, true, wanted.as_ref());
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, frame: SimFrame) {
        let sent = self.as_adversary(from, to, |adversary, means| {
            adversary.outgoing(means, to, frame.clone())
        });
        for frame in sent.unwrap_or_else(|| vec![frame]) {
            self.put_on_wire(from, to, frame);
        }
    }

    /// What an adversary makes of its turn; `None` if the node is none.
    pub(crate) fn as_adversary<T>(
        &mut self,
        node: usize,
        to: usize,
        turn: impl FnOnce(&mut dyn Adversary, &mut Means<'_>) -> T,
    ) -> Option<T> {
        let receiver = self.nodes[to].address;
        let (from, mut later) = (node, Vec::new());
        let node = &mut self.nodes[node];
        let adversary = node.adversary.as_mut()?;
        let mut means = Means {
            chain: &self.chain,
            past: &self.past,
            false_values: &mut self.checks.false_values,
            peer: node.peer,
            address: node.address.unwrap_or(ultramarine_types::Address::ZERO),
            receiver,
            key: node.key.as_ref(),
            now: self.now,
            later: &mut later,
            disk: &node.disk,
            dice: &mut node.adversary_dice,
            deeds: &mut node.deeds,
        };
        let done = turn(adversary.as_mut(), &mut means);
        let life = node.life;
        for (at, to, frame) in later {
            let frame = Box::new(frame);
            self.queue.plan(at, Event::Later { from, life, to, frame });
        }
        Some(done)
    }

    /// A frame of a script's arrives before anything else.
    pub(crate) fn slip_in(&mut self, from: usize, to: usize, frame: SimFrame) {
        if let Some(epoch) = self.network.epoch(from, to) {
            let frame = Box::new(frame);
            self.queue.plan(self.now, Event::Frame { from, to, epoch, frame });
        }
    }

    pub(crate) fn put_on_wire(&mut self, from: usize, to: usize, frame: SimFrame) {
        if let SimFrame::Begin { init, .. } = &frame {
            self.checks.learn(init.key().id, init);
        }
        if self.filter.as_ref().is_some_and(|keeps| !keeps(from, to, &frame)) {
            return;
        }
        let stream = frame.stream();
        if stream.is_some_and(|stream| self.broken.contains(&stream)) {
            return;
        }
        let request = matches!(frame, SimFrame::PartsRequest { .. } | SimFrame::SyncRequest { .. });
        match (
            self.network.route(self.now, from, to, frame.bytes(), stream.is_some()),
            stream,
        ) {
            (Route::Arrives(moments), _) => {
                let Some(epoch) = self.network.epoch(from, to) else {
                    return;
                };
                for at in moments {
                    self.queue.plan(
                        at,
                        Event::Frame {
                            from,
                            to,
                            epoch,
                            frame: Box::new(frame.clone()),
                        },
                    );
                }
            }
            (Route::Lost | Route::Broken, Some(stream)) => {
                // Whoever waits for the stream sees it break; its name is not used again.
                let waits = if request { from } else { to };
                if !request {
                    self.broken.insert(stream);
                    if self.broken.len() > 4096 {
                        self.broken.pop_first();
                    }
                }
                let life = self.nodes[waits].life;
                let at = self.now + self.dice.millis(1, 300);
                self.queue.plan(
                    at,
                    Event::StreamGone {
                        node: waits,
                        life,
                        stream,
                    },
                );
            }
            (Route::Lost | Route::Broken, None) => {}
        }
    }
}
