//! This file knows the network tile of a node: commands of the core become frames, frames become events, and parts go
//! through the real join.

mod answer;
mod join;
mod line;
mod send;
mod serve;

use std::sync::Arc;

use ultramarine_core::io::Input;
use ultramarine_net::PeerOrigin;
use ultramarine_net::bounds::LATE;
use ultramarine_net::message::{PartsRequest, ValueRequest};
use ultramarine_net::reply::PeerRequest;
use ultramarine_net::streaming::Input as JoinInput;
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferId, Status, SyncEnd};
use ultramarine_types::{ConsensusMessage, Init, Nanos, ValueKey};

use super::{Event, Incoming, Sync, World, WorldNotice};
use crate::checks::{CheckOutcome, blame, validity};
#[cfg(feature = "planted")]
use crate::planted::PlantedBug;
use crate::wire::{SimFrame, StreamId};

/// From the network tile to the core over their link.
const HOP: Nanos = Nanos(20_000);
/// Most messages that a core verifies together. A run has few validators, so more are seldom under way.
const BURST_MESSAGES: usize = 16;

impl World {
    pub(crate) fn net_command(&mut self, index: usize, command: NetCommand) {
        match command {
            NetCommand::Send { to, message } => self.send_message(index, to, message),
            NetCommand::Status { to, status } => {
                if let Some(peer) = self.peer_index(&to) {
                    self.send(index, peer, SimFrame::Status(status));
                }
            }
            NetCommand::Hearing { to, hearing } => {
                if let Some(peer) = self.peer_index(&to) {
                    self.send(index, peer, SimFrame::Hearing(hearing));
                }
            }
            NetCommand::Admit { offer, tag } => {
                self.trace
                    .line(self.now, format_args!("{index} admits {} {tag:?}", offer.0));
                if let Some(init) = self.nodes[index].offers.remove(&offer) {
                    let checked = self.admissible(&init);
                    self.note(index, checked);
                }
                self.join_input(index, JoinInput::Admit { offer, tag });
            }
            NetCommand::Refuse { offer, why } => {
                self.trace
                    .line(self.now, format_args!("{index} refuses {} {why:?}", offer.0));
                self.nodes[index].offers.remove(&offer);
                self.join_input(index, JoinInput::Refuse { offer, why });
            }
            NetCommand::Stream { key, to } => self.stream(index, key, to),
            NetCommand::Fetch { key, peer } => {
                self.trace.line(self.now, format_args!("{index} fetches {key}"));
                let height = key.height;
                self.notices.push(WorldNotice::Fetch { node: index, height });
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
            NetCommand::Sync { peer, height, want } => {
                self.notices.push(WorldNotice::Fetch { node: index, height });
                self.sync(index, peer, height, want);
            }
            NetCommand::Rejudge { key } => self.join_input(index, JoinInput::Rejudge { key }),
            NetCommand::Forget { height } => {
                self.join_input(index, JoinInput::Forget { height });
                if let Some(adversary) = self.nodes[index].adversary.as_mut() {
                    adversary.forget(height.prev());
                }
            }
            NetCommand::Charge { peer, fault } => self.charge(index, &peer, fault),
        }
    }

    /// Verifies a message together with some that are on their way, as if they had come in one turn of the tile. Those
    /// are then known.
    fn verify_ahead(&mut self, index: usize, message: &ConsensusMessage) {
        if self.happening <= self.nodes[index].verified_through {
            return;
        }
        let queue = &self.queue;
        let planned = |number: u64| match queue.get(number)? {
            Event::Frame { frame, .. } => match &**frame {
                SimFrame::Message(message) => Some((number, message)),
                _ => None,
            },
            _ => None,
        };
        let under_way = self.under_way[index].iter().filter_map(|number| planned(*number));
        let burst: Vec<_> = std::iter::once((self.happening, message))
            .chain(under_way)
            .take(BURST_MESSAGES)
            .collect();
        let node = &mut self.nodes[index];
        if let Some(core) = node.core.as_mut() {
            core.verify_ahead(burst.iter().map(|(_, message)| *message));
            node.verified_through = burst.iter().map(|(number, _)| *number).max().unwrap_or(0);
        }
    }

    /// A frame that has arrived at a running node is read.
    pub(super) fn receive(&mut self, from: usize, index: usize, frame: SimFrame, bytes: usize) {
        let peer = self.nodes[from].peer;
        *self.nodes[index].came_bytes.entry(from).or_default() += bytes as u64;
        self.as_adversary(index, from, |adversary, means| adversary.incoming(means, from, &frame));
        if !matches!(
            frame,
            SimFrame::List { .. }
                | SimFrame::Chunk { .. }
                | SimFrame::Blob { .. }
                | SimFrame::Fin { .. }
                | SimFrame::PackageBlob { .. }
        ) {
            self.has_read(from, index, frame.stream(), bytes);
        }
        match frame {
            SimFrame::Message(message) => {
                if self.config.bursts {
                    self.verify_ahead(index, &message);
                }
                self.feed(index, Input::Net(NetEvent::Message { peer, message }));
            }
            SimFrame::Status(status) => self.hear_status(from, index, status),
            SimFrame::Hearing(hearing) => self.feed(index, Input::Net(NetEvent::Hearing { peer, hearing })),
            SimFrame::Begin { stream, init, answers } => self.begin(from, index, stream, init, answers),
            SimFrame::List { .. }
            | SimFrame::Blob { .. }
            | SimFrame::Chunk { .. }
            | SimFrame::Fin { .. }
            | SimFrame::PackageBlob { .. } => self.part(from, index, frame, bytes),
            SimFrame::Gone { stream } | SimFrame::NotHeld { stream } => self.stream_gone(index, stream),
            SimFrame::PartsRequest { stream, key, missing } => {
                let request = PeerRequest::Parts(PartsRequest { key, missing });
                self.serve(index, from, stream, request);
            }
            SimFrame::SyncRequest { stream, height, want } => {
                let request = PeerRequest::Value(ValueRequest { height, want });
                self.serve(index, from, stream, request);
            }
            SimFrame::SyncAnswer { stream, response } => self.sync_answer(from, index, stream, response),
            SimFrame::Package {
                stream,
                certificate,
                bytes,
            } => self.package(from, index, stream, certificate, &bytes),
            SimFrame::Unreadable { stream, what } => {
                self.trace
                    .line(self.now, format_args!("{index} cannot read {from}: {what}"));
                match stream {
                    Some(stream) if self.nodes[index].syncs.contains_key(&stream) => self.unusable(index, stream),
                    Some(stream) => {
                        self.charge(index, &peer, Fault::Protocol);
                        self.stream_gone(index, stream);
                    }
                    None => {
                        self.charge(index, &peer, Fault::Protocol);
                        self.close(index, from);
                    }
                }
            }
        }
    }

    /// Whether the status that comes now was sent before one that has come. All that a node says of itself goes over
    /// one stream, on which nothing overtakes. Votes are not held to that: they come again by other ways.
    fn is_overtaken(&mut self, from: usize, index: usize) -> bool {
        let newest = self.statuses_come.entry((from, index)).or_default();
        let is_older = self.happening < *newest;
        *newest = self.happening.max(*newest);
        is_older
    }

    /// A status has been read: its node's core hears it at once, or when its peer may be heard again.
    fn hear_status(&mut self, from: usize, index: usize, status: Status) {
        if self.is_overtaken(from, index) {
            return;
        }
        let peer = self.nodes[from].peer;
        let node = &mut self.nodes[index];
        let is_stranger = matches!(node.sees.get(&from), Some(PeerOrigin::Site(_)) | None);
        let now = node.clock.local(self.now);
        match node.statuses.hear(now, peer, is_stranger, status) {
            Some(status) => self.tell_status(index, from, status),
            None => self.tell_statuses(index),
        }
    }

    fn tell_status(&mut self, index: usize, from: usize, status: Status) {
        let (node, peer) = (index, self.nodes[from].peer);
        self.notices.push(WorldNotice::Status { node, peer: from });
        self.feed(index, Input::Net(NetEvent::Status { peer, status }));
    }

    /// Tells a core the statuses that it may hear now, and plans when it may hear the next.
    pub(crate) fn tell_statuses(&mut self, index: usize) {
        let now = self.nodes[index].clock.local(self.now);
        while let Some((peer, status)) = self.nodes[index].statuses.next(now) {
            let peer = self.peer_index(&peer);
            if let Some(from) = peer.filter(|from| self.nodes[index].sees.contains_key(from)) {
                self.tell_status(index, from, status);
            }
        }
        let node = &mut self.nodes[index];
        if let Some(due) = node.statuses.deadline()
            && node.statuses_due.is_none_or(|planned| due < planned)
        {
            node.statuses_due = Some(due);
            let life = node.life;
            let wait = due.since(now).max(Nanos(1_000));
            self.queue.plan(self.now + wait, Event::Statuses { node: index, life });
        }
    }

    /// A stream of another node broke or was refused.
    pub(crate) fn stream_gone(&mut self, index: usize, stream: StreamId) {
        if let Some(Sync { peer, height, .. }) = self.nodes[index].syncs.remove(&stream) {
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

    pub(crate) fn sync_timeout(&mut self, index: usize, stream: StreamId, due: Nanos) {
        // If its process slept, what came meanwhile is read first, as the real net does.
        let has_slept = self.now > due + LATE;
        let node = &mut self.nodes[index];
        let goes_on = |sync: &mut Sync, came: u64| has_slept || sync.patience.goes_on(came);
        if let Some(sync) = node.syncs.get_mut(&stream)
            && goes_on(sync, node.came_bytes.get(&sync.peer).copied().unwrap_or(0))
        {
            let (due, life) = (self.now + self.config.chain.limits().sync_timeout(), node.life);
            let event = Event::SyncTimeout {
                node: index,
                life,
                stream,
                due,
            };
            self.queue.plan(due, event);
            return;
        }
        if let Some(Sync { peer, height, .. }) = self.nodes[index].syncs.remove(&stream) {
            let peer = self.nodes[peer].peer;
            self.charge(index, &peer, Fault::Withheld);
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

    /// A node says that a value is invalid: so it must be, or its own execution client must have said so.
    pub(crate) fn check_invalid(&self, index: usize, key: &ValueKey, reason: &str) -> CheckOutcome {
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
        let is_false = self.checks.false_values.contains(&init.metadata.id());
        validity::judge(init, below.map(Arc::as_ref), &self.chain, is_false)
    }

    /// A node takes an `Init` under its own name, or decides it.
    pub(super) fn admissible(&mut self, init: &Init) -> CheckOutcome {
        let key = init.key();
        // Every node takes the same ones.
        let judged = (key.id, init.signature, init.header_signature);
        if !self.checks.admissible.contains(&judged) {
            validity::admissible(init, &self.chain, &self.validators)
                .map_err(|why| ("admission", format!("{key} is taken: {why}")))?;
            self.checks.admissible.insert(judged);
        }
        Ok(())
    }

    fn charge(&mut self, index: usize, name: &ultramarine_types::PeerId, fault: Fault) {
        let Some(peer) = self.peer_index(name) else { return };
        self.trace
            .line(self.now, format_args!("{index} charges {peer} {}", fault.name()));
        self.notices.push(WorldNotice::Charge {
            node: index,
            peer,
            fault,
        });
        let checked = blame::charged(peer, self.nodes[peer].is_honest(), fault);
        self.note(index, checked);
        if !self.nodes[peer].is_honest() {
            self.count("adversary-charged");
        }
        if self.config.bans {
            self.punish(index, peer, *name, fault);
        }
    }

    /// Bans a peer whose score has reached the threshold.
    fn punish(&mut self, index: usize, peer: usize, name: ultramarine_types::PeerId, fault: Fault) {
        #[cfg(feature = "planted")]
        let fault = match fault {
            Fault::Withheld if self.config.planted == Some(PlantedBug::SlownessBanned) => Fault::Part,
            fault => fault,
        };
        let origin = self.guest(peer, self.nodes[peer].address).origin();
        let node = &mut self.nodes[index];
        let now = node.clock.local(self.now);
        let is_banned = node.bans.charge(now, name, Some(origin), fault);
        if is_banned && self.nodes[peer].peer == name && self.nodes[index].sees.contains_key(&peer) {
            self.trace.line(self.now, format_args!("{index} bans {peer}"));
            self.count("banned");
            let checked = blame::banned(peer, self.nodes[peer].is_honest());
            self.note(index, checked);
            self.close(index, peer);
        }
    }

    fn tell(&mut self, index: usize, event: NetEvent) {
        if let NetEvent::Offer { offer, init, .. } = &event {
            self.nodes[index].offers.insert(*offer, Arc::clone(init));
        }
        if let NetEvent::Flawed { key, flaw } = &event
            && !self.checks.false_values.contains(&key.id)
        {
            let what = format!("{key} is good and is found false: {flaw}");
            self.note(index, Err(("blame", what)));
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunConfig;

    #[test]
    fn a_status_that_a_newer_one_has_overtaken_is_not_heard() {
        let mut world = World::new(RunConfig::quiet(1));
        let mut is_overtaken = |number, from| {
            world.happening = number;
            world.is_overtaken(from, 1)
        };
        assert!(!is_overtaken(7, 0) && !is_overtaken(9, 0));
        assert!(is_overtaken(8, 0));
        assert!(!is_overtaken(8, 2), "of another node");
        assert!(!is_overtaken(10, 0));
    }
}
