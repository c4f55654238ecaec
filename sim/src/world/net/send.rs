//! This file knows how messages and requests of a node reach its line, and what an adversary makes of them.

use ultramarine_net::message::ValueWant;
use ultramarine_net::{AnswerPatience, MessageName};
use ultramarine_types::network::{Recipients, SyncWant};
use ultramarine_types::{ConsensusMessage, Height, ValueId, VoteKind};

use crate::adversaries::{Adversary, Means};
use crate::checks::CheckOutcome;
use crate::uplink::{Departure, Dispatch};
use crate::wire::{Packet, Place, SimFrame};
use crate::world::{Event, Step, Sync, World, WorldNotice};

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
            Recipients::All => self.nodes[index].sees.keys().copied().collect(),
            Recipients::One(peer) => self.peer_index(&peer).into_iter().collect(),
        };
        if self.nodes[index].is_honest() {
            // Written once for all, as the real net does.
            let name = MessageName::of(&message);
            let packet = Packet::write(&SimFrame::Message(message));
            for peer in peers {
                self.hand_over(index, peer, Some(name.clone()), packet.clone());
            }
        } else {
            for peer in peers {
                self.send(index, peer, SimFrame::Message(message.clone()));
            }
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

    pub(super) fn sync(&mut self, index: usize, peer: ultramarine_types::PeerId, height: Height, want: SyncWant) {
        let Some(to) = self.peer_index(&peer) else { return };
        let stream = self.stream_id();
        let wait = self.config.chain.limits().sync_timeout();
        let node = &mut self.nodes[index];
        let wants_blobs = want != SyncWant::Payload;
        let want = match want {
            // What is here already is not sent again.
            SyncWant::Package => ValueWant::Package {
                blobs: node.join.blobs_missing_at(height),
            },
            SyncWant::Payload | SyncWant::Certificate => ValueWant::from(want),
        };
        let sync = Sync {
            peer: to,
            height,
            want: want.clone(),
            wants_blobs,
            patience: AnswerPatience::new(wait, node.came_bytes.get(&to).copied().unwrap_or(0)),
        };
        node.syncs.insert(stream, sync);
        let life = self.nodes[index].life;
        let due = self.now + wait;
        self.queue.plan(
            due,
            Event::SyncTimeout {
                node: index,
                life,
                stream,
                due,
            },
        );
        self.send(index, to, SimFrame::SyncRequest { stream, height, want });
    }

    /// Sends a frame that is no part of a longer stream.
    pub(crate) fn send(&mut self, from: usize, to: usize, frame: SimFrame) {
        let sent = self.as_adversary(from, to, |adversary, means| {
            adversary.outgoing(means, to, frame.clone())
        });
        for frame in sent.unwrap_or_else(|| vec![frame]) {
            self.write(from, to, &frame);
        }
    }

    /// Sends a frame that an adversary kept back, as it is.
    pub(crate) fn send_kept(&mut self, from: usize, to: usize, frame: &SimFrame) {
        self.write(from, to, frame);
        self.send_on(from);
    }

    fn write(&mut self, from: usize, to: usize, frame: &SimFrame) {
        let name = match frame {
            SimFrame::Message(message) => Some(MessageName::of(message)),
            SimFrame::Hearing(hearing) => Some(MessageName::of_hearing(hearing)),
            _ => None,
        };
        self.hand_over(from, to, name, Packet::write(frame));
    }

    /// Hands a packet to a node's line. Of what waits on the control stream all but statuses have names.
    fn hand_over(&mut self, from: usize, to: usize, name: Option<MessageName>, mut packet: Packet) {
        let uplink = &mut self.nodes[from].uplink;
        match (packet.place, name) {
            (Place::Control, name) => {
                let Some(frame) = packet.pieces.pop() else { return };
                match name {
                    None => uplink.status(to, frame),
                    Some(name) => uplink.message(to, name, frame),
                }
            }
            (Place::Request(_) | Place::Reset(_), _) => {
                let at = uplink.small(self.now, packet.bytes());
                self.depart(from, Departure { to, packet, at });
            }
            (Place::Value(stream) | Place::Parts(stream) | Place::Reply(stream) | Place::Blob(stream), _) => {
                uplink.stream(self.now, to, stream, vec![packet], Dispatch::Repair);
                self.send_on(from);
            }
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
            self.queue.plan(at, Event::Kept { from, life, to, frame });
        }
        Some(done)
    }

    /// A frame of a script's arrives before anything else.
    pub(crate) fn slip_in(&mut self, from: usize, to: usize, frame: SimFrame) {
        if let Some(epoch) = self.network.epoch(from, to) {
            let packet = Packet::write(&frame);
            let bytes = packet.bytes();
            let frame = Box::new(packet.read(&self.config.chain.limits()));
            let step = Step::Paid;
            self.queue.plan(
                self.now,
                Event::Frame {
                    from,
                    to,
                    epoch,
                    bytes,
                    step,
                    frame,
                },
            );
        }
    }
}
