//! This file knows the network tile of a node: commands of the core become frames, frames become events, and parts go through
//! the real join.

use std::collections::VecDeque;
use std::sync::Arc;

use ultramarine_core::io::Input;
use ultramarine_net::streaming::{Begin, Brings, CheckedInit, Input as JoinInput, Missing, Output as JoinOutput};
use ultramarine_types::limits::{Limits, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferId, OfferKind, Recipients, SyncEnd, SyncWant};
use ultramarine_types::storage::{Blobs, StoreRequest};
use ultramarine_types::{
    Assembly, CommitCertificate, ConsensusMessage, Height, Init, Machine, Nanos, Outbox, ValueId, ValueKey, VoteKind,
};

use super::{Event, Incoming, Notice, World};
use crate::adversaries::Means;
use crate::checks::{Checked, blame, validity};
use crate::network::Route;
use crate::wire::{Frame, StreamId};

/// From the network tile to the core over their link.
const HOP: Nanos = Nanos(20_000);

impl World {
    pub(crate) fn net_command(&mut self, index: usize, command: NetCommand) {
        match command {
            NetCommand::Send { to, message } => self.send_message(index, to, message),
            NetCommand::Status { to, status } => {
                if let Some(peer) = self.peer_index(&to) {
                    self.send(index, peer, Frame::Status(status));
                }
            }
            NetCommand::Admit { offer, tag } => {
                self.trace
                    .line(self.now, format_args!("{index} admits {} {tag:?}", offer.0));
                self.join_input(index, JoinInput::Admit { offer, tag });
            }
            NetCommand::Refuse { offer, why } => {
                self.trace
                    .line(self.now, format_args!("{index} refuses {} {why:?}", offer.0));
                self.join_input(index, JoinInput::Refuse { offer, why });
            }
            NetCommand::Stream { key, to } => self.stream(index, key, to),
            NetCommand::Fetch { key, peer } => {
                self.trace.line(self.now, format_args!("{index} fetches {key}"));
                let stream = self.stream_id();
                if let Some(of) = self.peer_index(&peer) {
                    self.nodes[index].streams.insert(
                        stream,
                        Incoming {
                            peer: of,
                            ..Incoming::default()
                        },
                    );
                    self.join_input(
                        index,
                        JoinInput::Fetch {
                            stream: OfferId(stream.0),
                            key,
                            peer,
                        },
                    );
                }
            }
            NetCommand::Sync { peer, height, want } => self.sync(index, peer, height, want),
            NetCommand::Forget { height } => {
                self.join_input(index, JoinInput::Forget { height });
                if let Some(adversary) = self.nodes[index].adversary.as_mut() {
                    adversary.forget(height.prev());
                }
            }
            NetCommand::Charge { peer, fault } => self.charge(index, &peer, fault),
        }
    }

    /// A frame arrives at a running node.
    pub(crate) fn receive(&mut self, from: usize, index: usize, frame: Frame) {
        let peer = self.nodes[from].peer;
        match frame {
            Frame::Message(message) => self.feed(index, Input::Net(NetEvent::Message { peer, message })),
            Frame::Status(status) => self.feed(index, Input::Net(NetEvent::Status { peer, status })),
            Frame::Begin {
                stream,
                init,
                kind,
                certificate,
                answers,
            } => {
                self.begin(from, index, stream, init, kind, certificate, answers);
            }
            Frame::Blob { .. } | Frame::Chunk { .. } | Frame::Fin { .. } => self.part(from, index, frame),
            Frame::Gone { stream } => self.stream_gone(index, stream),
            Frame::PartsRequest { stream, key, missing } => match self.nodes[index].disk.value(&key) {
                Ok(assembly) => {
                    self.stream_out(
                        index,
                        from,
                        &assembly,
                        stream,
                        OfferKind::Proposal,
                        None,
                        true,
                        missing.as_ref(),
                    );
                }
                Err(_) => self.send(index, from, Frame::Gone { stream }),
            },
            Frame::SyncRequest { stream, height, want } => self.serve(index, from, stream, height, want),
            Frame::SyncAnswer { stream, end } => {
                if let Some((_, height)) = self.nodes[index].syncs.remove(&stream) {
                    self.feed(index, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                }
            }
        }
    }

    /// A stream of another node broke or was refused.
    pub(crate) fn stream_gone(&mut self, index: usize, stream: StreamId) {
        if let Some((peer, height)) = self.nodes[index].syncs.remove(&stream) {
            let peer = self.nodes[peer].peer;
            self.tell(
                index,
                NetEvent::SyncEnded {
                    peer,
                    height,
                    end: SyncEnd::TimedOut,
                },
            );
        }
        if self.nodes[index].streams.remove(&stream).is_some() {
            self.join_input(
                index,
                JoinInput::Gone {
                    stream: OfferId(stream.0),
                },
            );
        }
    }

    pub(crate) fn sync_timeout(&mut self, index: usize, stream: StreamId) {
        if let Some((peer, height)) = self.nodes[index].syncs.remove(&stream) {
            let peer = self.nodes[peer].peer;
            self.feed(
                index,
                Input::Net(NetEvent::SyncEnded {
                    peer,
                    height,
                    end: SyncEnd::TimedOut,
                }),
            );
        }
    }

    pub(crate) fn join_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.wake(now, &mut out);
        self.join_outputs(index, out);
    }

    /// Tells the join, and carries out what it wants.
    pub(crate) fn join_input(&mut self, index: usize, input: JoinInput) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.handle(now, input, &mut out);
        self.join_outputs(index, out);
    }

    /// A node says that a value is invalid: so it must be, or its own execution client must have said so.
    pub(crate) fn check_invalid(&self, index: usize, key: &ValueKey, reason: &str) -> Checked {
        let Some(init) = self.checks.values.get(&key.id) else {
            return Ok(());
        };
        let refused = self.checks.execution.refused(index, &init.metadata.header.block_hash);
        if !refused && self.judge(init).is_ok() {
            return Err(("blame", format!("{key} is good and is called invalid: {reason}")));
        }
        Ok(())
    }

    fn judge(&self, init: &Init) -> Result<(), &'static str> {
        let below = self.checks.agreement.at(init.metadata.height.prev());
        let below = below.and_then(|id| self.checks.values.get(&id));
        validity::judge(init, below.map(Arc::as_ref), &self.config.chain)
    }

    fn send_message(&mut self, index: usize, to: Recipients, message: ConsensusMessage) {
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
            self.notices.push(Notice::Sent {
                node: index,
                message: Box::new(message.clone()),
            });
        }
        let peers: Vec<usize> = match to {
            Recipients::All => self.nodes[index].sees.iter().copied().collect(),
            Recipients::One(peer) => self.peer_index(&peer).into_iter().collect(),
        };
        for peer in peers {
            self.send(index, peer, Frame::Message(message.clone()));
        }
    }

    /// A new proposal or prevote for a value leaves a node.
    fn check_accepted(&self, index: usize, message: &ConsensusMessage) -> Checked {
        let (id, round): (ValueId, _) = match message {
            ConsensusMessage::Proposal(proposal) => (proposal.value_id, proposal.round),
            ConsensusMessage::Vote(vote) if vote.kind == VoteKind::Prevote => match vote.value_id {
                Some(id) => (id, vote.round),
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
        match self.checks.execution.accepted(index, init) {
            // A value that others have locked is not asked about the head again.
            Err(("I9", _)) if round > init.metadata.origin_round => Ok(()),
            checked => checked,
        }
    }

    fn charge(&mut self, index: usize, peer: &ultramarine_types::PeerId, fault: Fault) {
        let Some(peer) = self.peer_index(peer) else { return };
        self.trace
            .line(self.now, format_args!("{index} charges {peer} {}", fault.name()));
        let checked = blame::charged(peer, self.nodes[peer].is_honest(), fault);
        self.note(index, checked);
        if !self.nodes[peer].is_honest() {
            self.count("adversary-charged");
        }
    }

    fn tell(&mut self, index: usize, event: NetEvent) {
        let life = self.nodes[index].life;
        self.queue.plan(
            self.now + HOP,
            Event::Tell {
                node: index,
                life,
                event: Box::new(event),
            },
        );
    }

    // ---- out ----

    fn stream(&mut self, index: usize, key: ValueKey, to: Recipients) {
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
        self.notices.push(Notice::Stream { node: index, key });
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
    fn stream_out(
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
            Frame::Begin {
                stream,
                init: Arc::clone(&assembly.init),
                kind,
                certificate,
                answers,
            },
        );
        let length = assembly.payload.len();
        for position in 0..length.div_ceil(PAYLOAD_CHUNK_BYTES) {
            if wanted.is_none_or(|wanted| wanted.chunks.contains(position)) {
                let start = position * PAYLOAD_CHUNK_BYTES;
                let bytes = assembly.payload.slice(start..length.min(start + PAYLOAD_CHUNK_BYTES));
                self.send(
                    index,
                    to,
                    Frame::Chunk {
                        stream,
                        index: position,
                        bytes,
                    },
                );
            }
        }
        if kind != OfferKind::MetadataOnly {
            for (position, part) in assembly.blobs.iter().enumerate() {
                if wanted.is_none_or(|wanted| wanted.blobs.contains(position)) {
                    self.send(
                        index,
                        to,
                        Frame::Blob {
                            stream,
                            index: position,
                            part: part.clone(),
                        },
                    );
                }
            }
        }
        self.send(index, to, Frame::Fin { stream });
    }

    fn sync(&mut self, index: usize, peer: ultramarine_types::PeerId, height: Height, want: SyncWant) {
        let Some(to) = self.peer_index(&peer) else { return };
        let stream = self.stream_id();
        self.nodes[index].syncs.insert(stream, (to, height));
        let wait = Limits::of(&self.config.chain).sync_timeout();
        let life = self.nodes[index].life;
        self.queue.plan(
            self.now + wait,
            Event::SyncTimeout {
                node: index,
                life,
                stream,
            },
        );
        self.send(index, to, Frame::SyncRequest { stream, height, want });
    }

    fn serve(&mut self, index: usize, to: usize, stream: StreamId, height: Height, want: SyncWant) {
        let node = &self.nodes[index];
        let Some(value) = node.disk.decided(height) else {
            let end = SyncEnd::NotDecided { tip: node.disk.head() };
            return self.send(index, to, Frame::SyncAnswer { stream, end });
        };
        let certificate = value.decided.certificate.clone();
        if want == SyncWant::Certificate {
            return self.send(
                index,
                to,
                Frame::SyncAnswer {
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
        self.stream_out(index, to, &assembly, stream, kind, Some(certificate), true, None);
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, frame: Frame) {
        let frames = match self.nodes[from].adversary.take() {
            None => vec![frame],
            Some(mut adversary) => {
                let node = &mut self.nodes[from];
                let mut means = Means {
                    chain: &self.config.chain,
                    address: node.address.unwrap_or(ultramarine_types::Address::ZERO),
                    key: node.key.as_ref().expect("adversaries are validators"),
                    disk: &node.disk,
                    dice: &mut node.adversary_dice,
                    deeds: &mut node.deeds,
                };
                let frames = adversary.outgoing(&mut means, to, frame);
                node.adversary = Some(adversary);
                frames
            }
        };
        for frame in frames {
            self.put_on_wire(from, to, frame);
        }
    }

    fn put_on_wire(&mut self, from: usize, to: usize, frame: Frame) {
        if let Frame::Begin { init, .. } = &frame {
            self.checks.learn(init.key().id, init);
        }
        if self.filter.as_ref().is_some_and(|keeps| !keeps(from, to, &frame)) {
            return;
        }
        let stream = frame.stream();
        if stream.is_some_and(|stream| self.broken.contains(&stream)) {
            return;
        }
        let request = matches!(frame, Frame::PartsRequest { .. } | Frame::SyncRequest { .. });
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
                            frame: frame.clone(),
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

    // ---- in ----

    #[allow(clippy::too_many_arguments, reason = "the fields of one frame")]
    fn begin(
        &mut self,
        from: usize,
        index: usize,
        stream: StreamId,
        init: Arc<Init>,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
        answers: Option<StreamId>,
    ) {
        let peer = self.nodes[from].peer;
        let limits = Limits::of(&self.config.chain);
        let checked = CheckedInit::check(Arc::unwrap_or_clone(init), self.config.chain.chain_id, &limits);
        let asked = match (kind, &certificate) {
            (OfferKind::Proposal, None) => None,
            (OfferKind::Full | OfferKind::MetadataOnly, Some(_)) => match self.nodes[index].syncs.remove(&stream) {
                Some((of, height)) if of == from => Some(height),
                // Too late, or never asked for.
                _ => return,
            },
            _ => return self.charge(index, &peer, Fault::Protocol),
        };
        let init = match checked {
            Ok(init) => init,
            Err(_) => {
                self.charge(
                    index,
                    &peer,
                    if asked.is_some() {
                        Fault::Package
                    } else {
                        Fault::Protocol
                    },
                );
                return self.unusable(index, peer, asked);
            }
        };
        let brings = match (kind, certificate) {
            (OfferKind::Full, Some(certificate)) => Brings::Full(certificate),
            (OfferKind::MetadataOnly, Some(certificate)) => Brings::MetadataOnly(certificate),
            _ => Brings::Proposal,
        };
        if let (Some(height), Brings::Full(certificate) | Brings::MetadataOnly(certificate)) = (asked, &brings) {
            let key = ValueKey {
                height: certificate.height,
                id: certificate.value_id,
            };
            if init.key() != key || key.height != height {
                self.charge(index, &peer, Fault::Package);
                return self.unusable(index, peer, asked);
            }
        }
        let known = self.nodes[index].streams.contains_key(&stream);
        // An answer to a request that was given up, or a name that is in use.
        if asked.is_none() && answers.is_some() != known {
            return;
        }
        self.nodes[index].streams.insert(
            stream,
            Incoming {
                peer: from,
                ..Incoming::default()
            },
        );
        self.join_input(
            index,
            JoinInput::Begin(Begin {
                stream: OfferId(stream.0),
                peer,
                init,
                brings,
            }),
        );
    }

    fn unusable(&mut self, index: usize, peer: ultramarine_types::PeerId, asked: Option<Height>) {
        if let Some(height) = asked {
            self.tell(
                index,
                NetEvent::SyncEnded {
                    peer,
                    height,
                    end: SyncEnd::Unusable,
                },
            );
        }
    }

    fn part(&mut self, from: usize, index: usize, frame: Frame) {
        let Some(stream) = frame.stream() else { return };
        let Some(incoming) = self.nodes[index].streams.get_mut(&stream) else {
            return;
        };
        if incoming.peer != from {
            return;
        }
        if let Frame::Blob { index: position, .. } = &frame {
            self.notices.push(Notice::Blob {
                from,
                to: index,
                index: *position,
            });
        }
        if incoming.started {
            self.read(index, frame);
        } else {
            incoming.waiting.push_back(frame);
        }
    }

    fn read(&mut self, index: usize, frame: Frame) {
        let input = match frame {
            Frame::Chunk { stream, index, bytes } => JoinInput::Chunk {
                stream: OfferId(stream.0),
                index: index as u32,
                bytes,
            },
            Frame::Blob { stream, index, part } => JoinInput::Blob {
                stream: OfferId(stream.0),
                index: index as u16,
                part,
            },
            Frame::Fin { stream } => {
                self.nodes[index].streams.remove(&stream);
                JoinInput::Fin {
                    stream: OfferId(stream.0),
                }
            }
            _ => return,
        };
        self.join_input(index, input);
    }

    fn join_outputs(&mut self, index: usize, mut out: Outbox<JoinOutput>) {
        let mut started = VecDeque::new();
        while let Some(output) = out.pop() {
            match output {
                JoinOutput::Ask(event) => self.tell(index, event),
                JoinOutput::Start { stream } => {
                    if let Some(incoming) = self.nodes[index].streams.get_mut(&StreamId(stream.0)) {
                        incoming.started = true;
                        started.push_back(StreamId(stream.0));
                    }
                }
                JoinOutput::Stop { stream, why } => {
                    self.trace
                        .line(self.now, format_args!("{index} stops stream {} {why:?}", stream.0));
                    self.nodes[index].streams.remove(&StreamId(stream.0));
                }
                JoinOutput::Verify(job) => self.verify(index, job),
                JoinOutput::Request {
                    stream,
                    peer,
                    key,
                    missing,
                } => {
                    if let Some(to) = self.peer_index(&peer) {
                        self.send(
                            index,
                            to,
                            Frame::PartsRequest {
                                stream: StreamId(stream.0),
                                key,
                                missing,
                            },
                        );
                    }
                }
                JoinOutput::Complete(completed) => {
                    let completed = *completed;
                    self.store_request(
                        index,
                        StoreRequest::Put {
                            assembly: completed.assembly,
                            tag: completed.tag,
                        },
                    );
                }
                JoinOutput::Charge { peer, fault, .. } => self.charge(index, &peer, fault),
            }
        }
        let limit = Limits::of(&self.config.chain).assembly_bytes();
        let checked = self
            .checks
            .bounds
            .join_bytes(self.nodes[index].join.reserved_bytes(), limit);
        self.note(index, checked);
        // What arrived before its stream was started is read now.
        for stream in started {
            while let Some(frame) = self.nodes[index]
                .streams
                .get_mut(&stream)
                .filter(|it| it.started)
                .and_then(|it| it.waiting.pop_front())
            {
                self.read(index, frame);
            }
        }
        self.plan_join_wake(index);
    }

    fn plan_join_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.join.deadline().filter(|_| node.core.is_some()) else {
            node.join_wake_at = None;
            return;
        };
        let at = node.clock.simulated(deadline).max(self.now);
        if node.join_wake_at != Some(at) && at != Nanos::NEVER {
            node.join_wake_at = Some(at);
            self.queue.plan(
                at,
                Event::JoinWake {
                    node: index,
                    life: node.life,
                    at,
                },
            );
        }
    }
}
