//! This file knows how frames of streams reach a node's join, and how what the join wants is carried out.

use std::collections::VecDeque;
use std::sync::Arc;

use ultramarine_net::streaming::{Begin, Brings, CheckedInit, Input as JoinInput, Output as JoinOutput};
use ultramarine_types::network::{Fault, OfferId};
use ultramarine_types::storage::StoreRequest;
use ultramarine_types::{Init, Machine, Nanos, Outbox};

use crate::wire::{SimFrame, StreamId};
use crate::world::{Event, World, WorldNotice};

impl World {
    pub(crate) fn join_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.wake(now, &mut out);
        if self.config.checks_whole {
            node.join.check_whole();
        }
        self.join_outputs(index, out);
    }

    /// Tells the join, and carries out what it wants.
    pub(crate) fn join_input(&mut self, index: usize, input: JoinInput) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        let now = node.clock.local(self.now);
        node.join.handle(now, input, &mut out);
        if self.config.checks_whole {
            node.join.check_whole();
        }
        self.join_outputs(index, out);
    }

    /// An `Init` begins a stream of parts: a value's that nobody asked for, or an answer's.
    pub(super) fn begin(&mut self, from: usize, index: usize, stream: StreamId, init: Arc<Init>, answers: bool) {
        let known = self.nodes[index].streams.get(&stream);
        // An answer to a request that was given up, or a name that is in use.
        if answers != known.is_some_and(|it| !it.is_unpaid) {
            return;
        }
        let peer = self.nodes[from].peer;
        let init = match CheckedInit::check(Arc::unwrap_or_clone(init), &self.chain) {
            Ok(init) => init,
            Err(_) => {
                self.charge(index, &peer, Fault::Protocol);
                return self.stream_gone(index, stream);
            }
        };
        let incoming = self.nodes[index].streams.entry(stream).or_default();
        (incoming.peer, incoming.is_unpaid) = (from, false);
        let begin = Begin {
            stream: OfferId(stream.0),
            peer,
            init,
            brings: Brings::Proposal,
        };
        self.join_input(index, JoinInput::Begin(begin));
    }

    pub(super) fn part(&mut self, from: usize, index: usize, frame: SimFrame, bytes: usize) {
        let Some(stream) = frame.stream() else { return };
        let Some(incoming) = self.nodes[index]
            .streams
            .get_mut(&stream)
            .filter(|incoming| incoming.peer == from)
        else {
            // Nobody reads the stream any more.
            return self.has_read(from, index, Some(stream), bytes);
        };
        let frame = match frame {
            // What comes behind a package has no number.
            SimFrame::PackageBlob { stream, bytes } => match incoming.follow.pop_front() {
                Some(index) => SimFrame::Blob { stream, index, bytes },
                None => return,
            },
            frame => frame,
        };
        if let SimFrame::Blob { index: position, .. } = &frame {
            self.notices.push(WorldNotice::Blob {
                from,
                to: index,
                index: *position,
            });
        }
        let is_last_of_package =
            matches!(frame, SimFrame::Blob { .. }) && incoming.is_package && incoming.follow.is_empty();
        incoming.waiting.push_back((frame, bytes));
        if is_last_of_package {
            incoming.waiting.push_back((SimFrame::Fin { stream }, 0));
        }
        self.read_on(index, stream);
    }

    /// Reads what has arrived of a stream, as far as the join wants it.
    pub(super) fn read_on(&mut self, index: usize, stream: StreamId) {
        while let Some((from, (frame, bytes))) = self.nodes[index]
            .streams
            .get_mut(&stream)
            .filter(|it| it.started && !it.paused)
            .and_then(|it| Some((it.peer, it.waiting.pop_front()?)))
        {
            self.has_read(from, index, Some(stream), bytes);
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
                self.forget_stream(index, stream);
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
                    self.stop_reading(index, StreamId(stream.0));
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
