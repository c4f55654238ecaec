//! This file knows what a node gives to peers: values that it streams, and answers to their requests. The real net's
//! own code says what that is and who pays for it.

use ultramarine_net::bounds::{FULL_NODE_STREAMS_MAX, FULL_NODES_PER_VALUE_MAX, REQUEST_BYTES_MIN};
use ultramarine_net::reply::{self, PeerRequest};
use ultramarine_net::{AnswerClass, Spend, Spender};
use ultramarine_types::network::{Fault, Recipients};
use ultramarine_types::storage::Source;
use ultramarine_types::{Height, Nanos, ValueKey};

use crate::disk::Shelf;
#[cfg(feature = "planted")]
use crate::planted::PlantedBug;
use crate::uplink::Dispatch;
use crate::wire::{Packet, SimFrame, StreamId, cut_answer, cut_stream};
use crate::world::{Event, Later, World, WorldNotice};

impl World {
    /// Streams a stored value: to validators at once, to full nodes once validators have it.
    pub(super) fn stream(&mut self, index: usize, key: ValueKey, to: Recipients) {
        let node = &self.nodes[index];
        let Some(pieces) = reply::stream(&Shelf(&node.disk), &key) else {
            self.trace
                .line(self.now, format_args!("{index} has not {key} to stream"));
            return;
        };
        if let Ok(assembly) = node.disk.value(&key)
            && Some(assembly.init.metadata.origin_proposer) == node.address
            && node.is_honest()
        {
            let checked = self.checks.signing.streamed(index, &assembly.init, &node.disk);
            self.note(index, checked);
        }
        self.notices.push(WorldNotice::Stream { node: index, key });
        let peers: Vec<usize> = match to {
            Recipients::All => self.nodes[index].sees.keys().copied().collect(),
            Recipients::One(peer) => self.peer_index(&peer).into_iter().collect(),
        };
        let (validators, mut full_nodes): (Vec<usize>, Vec<usize>) =
            peers.into_iter().partition(|peer| self.nodes[*peer].address.is_some());
        full_nodes.retain(|peer| !self.is_behind(index, *peer, key.height));
        let before = validators
            .into_iter()
            .map(|peer| {
                let stream = self.stream_id();
                self.send_value(index, peer, stream, cut_stream(stream, pieces.clone()));
                (peer, stream)
            })
            .collect();
        if !full_nodes.is_empty() {
            // Others each time, and no more than there is time for.
            for position in (1..full_nodes.len()).rev() {
                let other = self.line_dice.below(position + 1);
                full_nodes.swap(position, other);
            }
            full_nodes.truncate(FULL_NODES_PER_VALUE_MAX);
            let round = self.config.chain.limits().propose_timeout();
            let later = Later {
                key,
                full_nodes,
                before,
                from: self.now + round,
                until: self.now + round + round,
            };
            let (at, life) = (later.from, self.nodes[index].life);
            self.nodes[index].later.push(later);
            self.queue.plan(at, Event::FullNodes { node: index, life });
        }
        self.send_on(index);
    }

    /// Whether a peer has told a node that it is too far behind to take a value of a height.
    fn is_behind(&self, index: usize, peer: usize, height: Height) -> bool {
        #[cfg(feature = "planted")]
        if self.config.planted == Some(PlantedBug::StreamedToAll) {
            return false;
        }
        self.nodes[index].statuses.is_behind(&self.nodes[peer].peer, height)
    }

    /// Streams values to the full nodes whose turn has come.
    pub(crate) fn stream_to_full_nodes(&mut self, index: usize) {
        let now = self.now;
        let mut waiting = std::mem::take(&mut self.nodes[index].later);
        waiting.retain(|later| now < later.until);
        for later in &mut waiting {
            let uplink = &self.nodes[index].uplink;
            let is_sent = later
                .before
                .iter()
                .all(|(peer, stream)| !uplink.is_sending(*peer, *stream));
            if !is_sent && now < later.from {
                continue;
            }
            while let Some(peer) = later.full_nodes.pop() {
                let busy = self.nodes[index].full_node_streams();
                if busy >= FULL_NODE_STREAMS_MAX {
                    later.full_nodes.push(peer);
                    break;
                }
                if let Some(pieces) = reply::stream(&Shelf(&self.nodes[index].disk), &later.key) {
                    let stream = self.stream_id();
                    self.nodes[index].to_full_nodes.push((peer, stream));
                    self.send_value(index, peer, stream, cut_stream(stream, pieces));
                }
            }
        }
        waiting.retain(|later| !later.full_nodes.is_empty());
        self.nodes[index].later = waiting;
        self.send_on(index);
    }

    /// Sends a value that was not asked for.
    fn send_value(&mut self, index: usize, peer: usize, stream: StreamId, packets: Vec<Packet>) {
        let packets = self.spoiled(index, peer, packets);
        // A receiver reserves at most half of its room for one sender.
        let bytes_max = self.config.chain.limits().assembly_bytes() as u64 / 2;
        let gone = self.nodes[index]
            .uplink
            .value(self.now, peer, stream, packets, bytes_max);
        for stream in gone {
            self.send(index, peer, SimFrame::Gone { stream });
        }
    }

    /// A request of a peer is read. The peer pays before it is answered.
    pub(super) fn serve(&mut self, index: usize, peer: usize, stream: StreamId, request: PeerRequest) {
        let Some(epoch) = self.network.epoch(index, peer) else {
            return;
        };
        let bytes = request.weigh(&Shelf(&self.nodes[index].disk));
        let wait = self.spend(
            index,
            peer,
            Spend::Serving {
                bytes: bytes.max(REQUEST_BYTES_MIN),
            },
        );
        if wait == Nanos::ZERO {
            return self.answer(index, peer, stream, &request);
        }
        let request = Box::new(request);
        let node = index;
        self.queue.plan(
            self.now + wait,
            Event::Answer {
                node,
                peer,
                epoch,
                stream,
                request,
            },
        );
    }

    /// How long a peer waits until all who stand behind it can afford something.
    pub(super) fn spend(&mut self, index: usize, peer: usize, spend: Spend) -> Nanos {
        let name = self.nodes[peer].peer;
        let node = &mut self.nodes[index];
        let Some(origin) = node.sees.get(&peer).copied() else {
            return Nanos::ZERO;
        };
        let now = node.clock.local(self.now);
        let mut at = now;
        for payer in (Spender { peer: name, origin }).payers() {
            at = at + node.budgets.take(at, payer, spend);
        }
        at.since(now)
    }

    /// Answers a request that is paid for.
    pub(crate) fn answer(&mut self, index: usize, peer: usize, stream: StreamId, request: &PeerRequest) {
        let answer = request.answer(&Shelf(&self.nodes[index].disk));
        if let PeerRequest::Value(request) = request
            && self.nodes[index].disk.is_rotten(request.height)
        {
            // Whoever reads what is rotten finds that.
            let (life, height) = (self.nodes[index].life, request.height);
            let node = index;
            self.queue.plan(self.now, Event::Scrub { node, life, height });
        }
        match answer {
            Ok(answer) => {
                if answer.alarm {
                    self.trace
                        .line(self.now, format_args!("{index} cannot serve what it should have"));
                }
                let packets = cut_answer(stream, request, answer.pieces);
                let packets = self.spoiled(index, peer, packets);
                let head = Shelf(&self.nodes[index].disk).head();
                let dispatch = match request.class(head) {
                    AnswerClass::Package => Dispatch::Package,
                    AnswerClass::Repair => Dispatch::Repair,
                };
                let now = self.now;
                self.nodes[index].uplink.stream(now, peer, stream, packets, dispatch);
                self.send_on(index);
            }
            Err(_) => {
                let name = self.nodes[peer].peer;
                self.charge(index, &name, Fault::Protocol);
                self.send(index, peer, SimFrame::Gone { stream });
            }
        }
    }

    /// What an adversary makes of frames that it is to send.
    fn spoiled(&mut self, index: usize, peer: usize, packets: Vec<Packet>) -> Vec<Packet> {
        if self.nodes[index].is_honest() {
            return packets;
        }
        let limits = self.config.chain.limits();
        let mut sent = Vec::with_capacity(packets.len());
        for packet in packets {
            let frame = packet.read(&limits);
            let frames = self.as_adversary(index, peer, |adversary, means| adversary.outgoing(means, peer, frame));
            sent.extend(frames.unwrap_or_default().iter().map(Packet::write));
        }
        sent
    }
}
