//! This file knows how frames leave a node's line and come in at another's, in steps:
//!
//! ```text
//!   Uplink ─▶ last byte out ─▶ latency ─▶ Reached ─▶ the receiver's line ─▶ Received ─▶ its budget ─▶ Paid ─▶ read
//! ```

use ultramarine_net::Spend;
use ultramarine_net::bounds::{FULL_NODE_STREAMS_MAX, STREAM_WINDOW_BYTES};
use ultramarine_types::Nanos;

use crate::network::Route;
use crate::uplink::{Departure, transfer};
use crate::wire::{SimFrame, StreamId};
use crate::world::{Event, Step, World};

/// A receiver tells its peer that it has read, when that is so much of a stream.
const TOLD_BYTES: u64 = STREAM_WINDOW_BYTES as u64 / 8;

impl World {
    /// Sends the messages that the core's newest turn has left.
    pub(crate) fn send_messages(&mut self, index: usize) {
        while let Some(departure) = self.nodes[index].uplink.next_message(self.now) {
            self.depart(index, departure);
        }
    }

    /// Sends what a node's line has room for, and plans when it has more.
    pub(crate) fn send_on(&mut self, index: usize) {
        self.send_messages(index);
        while let Some(departure) = self.nodes[index].uplink.next(self.now) {
            self.depart(index, departure);
        }
        let node = &mut self.nodes[index];
        if let Some(at) = node.uplink.busy_until(self.now)
            && node.uplink.looks.first().is_none_or(|planned| at < *planned)
        {
            node.uplink.looks.insert(at);
            let life = node.life;
            self.queue.plan(at, Event::LineFree { node: index, life, at });
        }
        if !self.nodes[index].later.is_empty() {
            self.full_nodes_look(index);
        }
    }

    /// All lines have another rate from here on, but those of nodes that have their own.
    pub fn set_rate(&mut self, bytes_per_ms: u64) {
        self.config.weather.bytes_per_ms = bytes_per_ms;
        for index in 0..self.nodes.len() {
            let rate = self.config.rates(index).out;
            self.nodes[index].uplink.set_rate(rate);
        }
    }

    /// A frame's last byte leaves at a moment: what becomes of it.
    pub(super) fn depart(&mut self, from: usize, departure: Departure) {
        let Departure { to, packet, at } = departure;
        let bytes = packet.bytes();
        let frame = packet.read(&self.config.chain.limits());
        if let SimFrame::Begin { init, .. } = &frame {
            self.checks.learn(init.key().id, init);
        }
        let stream = frame.stream();
        if self.filter.as_ref().is_some_and(|keeps| !keeps(from, to, &frame)) {
            return self.nodes[from].uplink.read(to, stream, bytes as u64);
        }
        let moments = match self.network.route(at, from, to, stream.is_some()) {
            Route::Arrives(at) => [Some(at), None],
            Route::Twice(first, second) => [Some(first), Some(second)],
            Route::Lost | Route::Broken => {
                self.nodes[from].uplink.read(to, stream, bytes as u64);
                if let Some(stream) = stream {
                    self.breaks(from, to, stream, frame.is_request());
                }
                return;
            }
        };
        let Some(epoch) = self.network.epoch(from, to) else {
            return;
        };
        let step = if stream.is_some() && !frame.is_request() {
            Step::Reached
        } else {
            Step::Received
        };
        let mut frame = Some(Box::new(frame));
        for (moment, is_last) in moments.into_iter().flatten().zip([moments[1].is_none(), true]) {
            let frame = if is_last { frame.take() } else { frame.clone() };
            let Some(frame) = frame else { return };
            self.bring(moment, from, to, epoch, bytes, step, frame);
        }
    }

    /// Plans the next step of a frame.
    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn bring(&mut self, at: Nanos, from: usize, to: usize, epoch: u64, bytes: usize, step: Step, frame: Box<SimFrame>) {
        let is_message = matches!(*frame, SimFrame::Message(_));
        let event = Event::Frame {
            from,
            to,
            epoch,
            bytes,
            step,
            frame,
        };
        let number = self.queue.plan(at, event);
        if is_message {
            self.under_way[to].insert(number);
        }
    }

    /// A frame of a stream is lost: whoever waits for the stream sees it break.
    fn breaks(&mut self, from: usize, to: usize, stream: StreamId, is_request: bool) {
        let waits = if is_request { from } else { to };
        self.nodes[from].uplink.cut(to, stream);
        let life = self.nodes[waits].life;
        let at = self.now + self.dice.millis(1, 300);
        let node = waits;
        self.queue.plan(at, Event::StreamGone { node, life, stream });
    }

    /// A frame has come to a running node.
    pub(crate) fn arrive(
        &mut self,
        from: usize,
        to: usize,
        epoch: u64,
        bytes: usize,
        step: Step,
        frame: Box<SimFrame>,
    ) {
        let wait = match step {
            Step::Reached => {
                let node = &mut self.nodes[to];
                let takes = transfer(bytes, self.config.rates(to).into);
                node.line_in_free_at = self.now.max(node.line_in_free_at + takes);
                let wait = node.line_in_free_at.since(self.now);
                (wait > Nanos::ZERO).then_some((wait, Step::Received))
            }
            Step::Received => self.reads_after(from, to, &frame).map(|wait| (wait, Step::Paid)),
            Step::Paid => None,
        };
        // A frame that need not wait at its line may have to wait for its sender's budget.
        let wait = match (step, wait) {
            (Step::Reached, None) => self.reads_after(from, to, &frame).map(|wait| (wait, Step::Paid)),
            (_, wait) => wait,
        };
        if let Some((wait, step)) = wait {
            return self.bring(self.now + wait, from, to, epoch, bytes, step, frame);
        }
        self.trace
            .line(self.now, format_args!("{from} > {to} {}", frame.describe()));
        self.receive(from, to, *frame, bytes);
    }

    /// How long a frame waits until its sender can afford that it is read; `None` if it need not wait.
    fn reads_after(&mut self, from: usize, to: usize, frame: &SimFrame) -> Option<Nanos> {
        let spend = match frame {
            SimFrame::Message(_) | SimFrame::Status(_) | SimFrame::Hearing(_) => Spend::Message,
            SimFrame::Begin { answers: false, .. } => Spend::Stream,
            _ => return None,
        };
        let wait = self.spend(to, from, spend);
        if let SimFrame::Begin { stream, .. } = frame {
            if wait > Nanos::ZERO {
                // Its parts wait with it.
                let incoming = self.nodes[to].streams.entry(*stream).or_default();
                (incoming.peer, incoming.is_unpaid) = (from, true);
            }
            return (wait > Nanos::ZERO).then_some(wait);
        }
        // Messages of one connection are read one after the other.
        let now = self.now;
        let reads_from = self.nodes[to].reads_from.entry(from).or_default();
        *reads_from = now.max(*reads_from) + wait;
        let wait = reads_from.since(now);
        (wait > Nanos::ZERO).then_some(wait)
    }

    /// A node has read bytes of a peer's: the peer may send as many more once it knows.
    pub(super) fn has_read(&mut self, from: usize, index: usize, stream: Option<StreamId>, bytes: usize) {
        let bytes = bytes as u64;
        let Some(epoch) = self.network.epoch(from, index) else {
            return;
        };
        let incoming = stream.and_then(|stream| self.nodes[index].streams.get_mut(&stream).map(|it| (stream, it)));
        let Some((stream, incoming)) = incoming else {
            self.nodes[from].uplink.read(index, stream, bytes);
            return self.send_on(from);
        };
        incoming.read_bytes += bytes;
        if incoming.read_bytes >= TOLD_BYTES {
            let bytes = std::mem::take(&mut incoming.read_bytes);
            let at = self.now + self.network.distance(index, from);
            self.queue.plan(
                at,
                Event::Read {
                    node: from,
                    peer: index,
                    epoch,
                    stream,
                    bytes,
                },
            );
        }
    }

    /// A stream of a peer's has ended here.
    pub(super) fn forget_stream(&mut self, index: usize, stream: StreamId) -> Option<usize> {
        let incoming = self.nodes[index].streams.remove(&stream)?;
        let waiting: usize = incoming.waiting.iter().map(|(_, bytes)| bytes).sum();
        let bytes = incoming.read_bytes + waiting as u64;
        self.nodes[incoming.peer].uplink.read(index, Some(stream), bytes);
        self.send_on(incoming.peer);
        Some(incoming.peer)
    }

    /// Streams values to full nodes if their turn has come.
    fn full_nodes_look(&mut self, index: usize) {
        let is_room = self.nodes[index].full_node_streams() < FULL_NODE_STREAMS_MAX;
        let node = &self.nodes[index];
        let is_due = node.later.iter().any(|later| {
            let mut before = later.before.iter();
            later.from <= self.now || before.all(|(peer, stream)| !node.uplink.is_sending(*peer, *stream))
        });
        if is_room && is_due {
            self.stream_to_full_nodes(index);
        }
    }

    /// A node reads no more of a stream, and tells its sender.
    pub(super) fn stop_reading(&mut self, index: usize, stream: StreamId) {
        let Some(peer) = self.forget_stream(index, stream) else {
            return;
        };
        if let Some(epoch) = self.network.epoch(index, peer)
            && self.nodes[peer].uplink.is_sending(index, stream)
        {
            let at = self.now + self.network.distance(index, peer);
            self.queue.plan(
                at,
                Event::Stopped {
                    node: peer,
                    peer: index,
                    epoch,
                    stream,
                },
            );
        }
    }

    /// A node closes a connection at the end of this turn.
    pub(super) fn close(&mut self, a: usize, b: usize) {
        if let Some(epoch) = self.network.epoch(a, b) {
            self.queue.plan(self.now, Event::Close { a, b, epoch });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::RunConfig;
    use crate::adversaries::AdversaryKind;

    /// A look plans no other behind one that is planned. Otherwise each look that came before its time would begin one
    /// more row of looks, which ends only when nothing waits, and a run would be made of looks.
    #[test]
    fn whatever_waits_for_its_turn_a_line_is_looked_at_in_one_row() {
        let mut world = World::new(RunConfig {
            full_nodes: 4,
            adversaries: (4..8).map(|stranger| (stranger, AdversaryKind::Puller)).collect(),
            ..RunConfig::quiet(1)
        });
        let until = world.now + Nanos::from_millis(10_000);
        while world.now < until && world.step() {
            let mut looks = BTreeMap::<(usize, Nanos), usize>::new();
            for (at, event) in world.queue.planned() {
                if let Event::LineFree { node, .. } = event {
                    *looks.entry((*node, at)).or_default() += 1;
                }
            }
            let most = looks.values().max().copied().unwrap_or(0);
            assert!(most <= 1, "{most} looks at one line are planned for one moment");
        }
        assert!(world.nodes[4].deeds.contains_key("pull"));
    }
}
