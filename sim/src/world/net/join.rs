//! This file knows how frames of streams reach a node's join, and how what the join wants is carried out.

use std::collections::VecDeque;
use std::sync::Arc;

use ultramarine_net::streaming::{Begin, Brings, CheckedInit, Input as JoinInput, Output as JoinOutput};
use ultramarine_types::network::{Fault, NetEvent, OfferId, OfferKind, SyncEnd, SyncWant};
use ultramarine_types::storage::StoreRequest;
use ultramarine_types::{CommitCertificate, Height, Init, Machine, Nanos, Outbox, ValueKey};

use crate::wire::{SimFrame, StreamId};
use crate::world::{Event, Incoming, World, WorldNotice};

impl World {
    pub(crate) fn join_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.wake(now, &mut out);
        node.join.check_whole();
        self.join_outputs(index, out);
    }

    /// Tells the join, and carries out what it wants.
    pub(crate) fn join_input(&mut self, index: usize, input: JoinInput) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.handle(now, input, &mut out);
        node.join.check_whole();
        self.join_outputs(index, out);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn begin(
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
        let checked = CheckedInit::check(Arc::unwrap_or_clone(init), &self.chain);
        let asked = match (kind, &certificate) {
            (OfferKind::Proposal, None) => None,
            (OfferKind::Full | OfferKind::MetadataOnly, Some(_)) => match self.nodes[index].syncs.remove(&stream) {
                Some(sync) if sync.peer == from => Some(sync),
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
                return self.unusable(index, peer, asked.map(|sync| sync.height));
            }
        };
        // What comes of a height whose blobs are not wanted is taken as a package without them.
        let kind = match &asked {
            Some(sync) if sync.want == SyncWant::Payload => OfferKind::MetadataOnly,
            _ => kind,
        };
        let (asked, blobs) = asked.map(|sync| (sync.height, sync.blobs)).unzip();
        let brings = match (kind, certificate) {
            (OfferKind::Full, Some(certificate)) => Brings::Full {
                certificate,
                blobs: blobs.flatten(),
            },
            (OfferKind::MetadataOnly, Some(certificate)) => Brings::MetadataOnly(certificate),
            _ => Brings::Proposal,
        };
        if let (Some(height), Brings::Full { certificate, .. } | Brings::MetadataOnly(certificate)) = (asked, &brings) {
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

    pub(super) fn part(&mut self, from: usize, index: usize, frame: SimFrame) {
        let Some(stream) = frame.stream() else { return };
        let Some(incoming) = self.nodes[index].streams.get_mut(&stream) else {
            return;
        };
        if incoming.peer != from {
            return;
        }
        if let SimFrame::Blob { index: position, .. } = &frame {
            self.notices.push(WorldNotice::Blob {
                from,
                to: index,
                index: *position,
            });
        }
        incoming.waiting.push_back(frame);
        self.read_on(index, stream);
    }

    /// Reads what has arrived of a stream, as far as the join wants it.
    fn read_on(&mut self, index: usize, stream: StreamId) {
        while let Some(frame) = self.nodes[index]
            .streams
            .get_mut(&stream)
            .filter(|it| it.started && !it.paused)
            .and_then(|it| it.waiting.pop_front())
        {
            self.read(index, frame);
        }
    }

    fn read(&mut self, index: usize, frame: SimFrame) {
        let input = match frame {
            SimFrame::List { stream, kind, items } => JoinInput::List {
                stream: OfferId(stream.0),
                kind,
                items,
            },
            SimFrame::Chunk { stream, index, bytes } => JoinInput::Chunk {
                stream: OfferId(stream.0),
                index: index as u32,
                bytes,
            },
            SimFrame::Blob { stream, index, bytes } => JoinInput::Blob {
                stream: OfferId(stream.0),
                index: index as u16,
                blob: bytes,
            },
            SimFrame::Fin { stream } => {
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
                JoinOutput::Pause { stream } => {
                    if let Some(incoming) = self.nodes[index].streams.get_mut(&StreamId(stream.0)) {
                        incoming.paused = true;
                    }
                }
                JoinOutput::Resume { stream } => {
                    if let Some(incoming) = self.nodes[index].streams.get_mut(&StreamId(stream.0)) {
                        incoming.paused = false;
                        started.push_back(StreamId(stream.0));
                    }
                }
                JoinOutput::Alarm { key, .. } if self.nodes[index].lied_about.contains(&key) => {}
                JoinOutput::Alarm { key, why } => {
                    let what = format!("nothing can be said about {key}, and its bytes are right: {why}");
                    self.note(index, Err(("alarm", what)));
                }
                JoinOutput::Stop { stream, why } => {
                    self.trace
                        .line(self.now, format_args!("{index} stops stream {} {why:?}", stream.0));
                    self.nodes[index].streams.remove(&StreamId(stream.0));
                }
                JoinOutput::Verify(request) => self.verify(index, request),
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
                            SimFrame::PartsRequest {
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
        let limit = self.config.chain.limits().assembly_bytes();
        let checked = self
            .checks
            .bounds
            .join_bytes(self.nodes[index].join.reserved_bytes(), limit);
        self.note(index, checked);
        // What arrived before its stream was started, or while it was paused, is read now.
        for stream in started {
            self.read_on(index, stream);
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
