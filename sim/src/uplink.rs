//! This file knows what waits at a node to be sent, and what goes out next.
//!
//! ```text
//!   messages ─▶ Queue of each peer ─┐ small: behind a burst of each connection that is busy
//!   requests ───────────────────────┤
//!   values, repairs ────────────────┼─▶ connections in turn, in each the streams of highest priority in turn ─▶ rate
//!   packages, all for full nodes ─▶ ServingQueue: their turn over all connections ─┘
//! ```
//!
//! As in the real net: messages wait in its [`Queue`] while the peer reads nothing, on one connection they go before
//! all bytes of values, answers go behind proposals, and nobody sends more unread bytes than the peer's windows allow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ultramarine_net::bounds::{
    FULL_NODE_WINDOW_BYTES, SERVING_BYTES_PER_SECOND, STREAM_WINDOW_BYTES, VALIDATOR_WINDOW_BYTES,
};
use ultramarine_net::{Bulk, MessageName, PeerOrigin, Portion, Queue, Rank, ServingQueue, TurnId};
use ultramarine_types::Nanos;

use crate::wire::{Packet, Place, StreamId};

/// What the kernel is handed at one time: ten datagrams. A small frame waits for so much of each busy connection.
const BURST_BYTES: u64 = 10 * DATAGRAM_BYTES;
/// What a path of the internet carries at least, by QUIC's own probing.
const DATAGRAM_BYTES: u64 = 1452;
/// Pause between two looks for a turn.
const MOMENT: Nanos = Nanos(100_000);
/// Headers of one datagram: IPv6, UDP, QUIC, the authentication tag, and a frame's head.
const DATAGRAM_HEAD_BYTES: u64 = 40 + 8 + 12 + 16 + 8;

/// What a stream brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dispatch {
    /// The answer to a request for a decided height.
    Package,
    /// The answer to a request for parts or a certificate.
    Repair,
    /// A value that is streamed unasked.
    Value,
}

impl Dispatch {
    /// Which streams of one connection go first: the highest.
    const fn priority(self) -> u8 {
        match self {
            Self::Package | Self::Repair => 0,
            Self::Value => 1,
        }
    }
}

/// What leaves, when its last byte has left.
#[derive(Debug)]
pub struct Departure {
    pub to: usize,
    pub packet: Packet,
    pub at: Nanos,
}

#[derive(Debug)]
struct Outgoing {
    stream: StreamId,
    dispatch: Dispatch,
    packets: VecDeque<Packet>,
    unread_bytes: u64,
    /// Of background bytes: the turn of its next packet. Of what the round needs: the stream itself.
    ticket: Option<TurnId>,
    /// Whether its next packet waits for no turn.
    may_go: bool,
}

#[derive(Debug)]
struct Connection {
    /// Messages that the peer's window has no room for yet.
    queue: Queue,
    streams: VecDeque<Outgoing>,
    /// Value streams, of which the oldest give way.
    values: Bulk<StreamId>,
    /// Bytes sent and not read.
    unread_bytes: u64,
    window_bytes: u64,
    /// Who stands behind the peer.
    origin: PeerOrigin,
    /// Whether it is in line.
    in_turn: bool,
}

/// All that one node sends.
#[derive(Debug)]
pub struct Uplink {
    bytes_per_ms: u64,
    connections: BTreeMap<usize, Connection>,
    /// Who may send background bytes next, as the real net has it.
    serving: ServingQueue,
    /// Packets that wait for their turn.
    asked: BTreeMap<TurnId, (usize, StreamId)>,
    tickets: u64,
    /// Peers with messages that may go.
    talks: BTreeSet<usize>,
    /// Connections with something to send, next first.
    turn: VecDeque<usize>,
    /// When the line is free for the next bytes of values.
    free_at: Nanos,
    /// When it is for the next small frame.
    small_free_at: Nanos,
    /// When it is looked at again: no look is planned behind another.
    pub looks: BTreeSet<Nanos>,
    /// Whether a bug is planted that waits for no turn.
    #[cfg(feature = "planted")]
    pub turns_waived: bool,
}

/// Whether it waits for its turn over all connections.
fn is_background(dispatch: Dispatch, origin: &PeerOrigin) -> bool {
    dispatch == Dispatch::Package || Rank::of(origin) != Rank::Validators
}

/// Bytes that a frame takes on the line.
fn line_bytes(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes + bytes.div_ceil(DATAGRAM_BYTES - DATAGRAM_HEAD_BYTES) * DATAGRAM_HEAD_BYTES
}

/// How long bytes take at a rate.
pub fn transfer(bytes: usize, bytes_per_ms: u64) -> Nanos {
    Nanos(line_bytes(bytes) * 1_000_000 / bytes_per_ms)
}

impl Uplink {
    /// A line of this rate. Proposals hold background bytes back for `round_wait` at most.
    pub fn new(bytes_per_ms: u64, round_wait: Nanos) -> Self {
        Self {
            bytes_per_ms,
            connections: BTreeMap::new(),
            serving: ServingQueue::new(SERVING_BYTES_PER_SECOND, round_wait),
            asked: BTreeMap::new(),
            tickets: 0,
            talks: BTreeSet::new(),
            turn: VecDeque::new(),
            free_at: Nanos::ZERO,
            small_free_at: Nanos::ZERO,
            looks: BTreeSet::new(),
            #[cfg(feature = "planted")]
            turns_waived: false,
        }
    }

    /// What leaves from here on leaves at another rate.
    pub fn set_rate(&mut self, bytes_per_ms: u64) {
        self.bytes_per_ms = bytes_per_ms;
    }

    /// A connection to a peer stands, and who stands behind it. `is_validator`: the peer takes this node for a
    /// validator's, and gives it a larger window.
    pub fn connect(&mut self, peer: usize, origin: PeerOrigin, is_validator: bool) {
        let window = match is_validator {
            true => VALIDATOR_WINDOW_BYTES,
            false => FULL_NODE_WINDOW_BYTES,
        };
        self.hang_up(peer);
        self.connections.insert(
            peer,
            Connection {
                queue: Queue::default(),
                streams: VecDeque::new(),
                values: Bulk::default(),
                unread_bytes: 0,
                window_bytes: u64::from(window),
                origin,
                in_turn: false,
            },
        );
    }

    /// A connection is gone, with all that waited for it.
    pub fn hang_up(&mut self, peer: usize) {
        if let Some(gone) = self.connections.remove(&peer) {
            gone.streams.iter().for_each(|stream| self.end(stream));
        }
        self.talks.remove(&peer);
        self.turn.retain(|other| *other != peer);
    }

    /// Queues a consensus message, as the real net does.
    pub fn message(&mut self, peer: usize, name: MessageName, frame: Bytes) {
        if let Some(connection) = self.connections.get_mut(&peer) {
            self.talks.insert(peer);
            connection.queue.push(name, frame);
        }
    }

    /// Queues a status, in place of one that was not sent yet.
    pub fn status(&mut self, peer: usize, frame: Bytes) {
        if let Some(connection) = self.connections.get_mut(&peer) {
            self.talks.insert(peer);
            connection.queue.push_status(frame);
        }
    }

    /// The next message to any peer whose window has room for it.
    pub fn next_message(&mut self, now: Nanos) -> Option<Departure> {
        while let Some(to) = self.talks.first().copied() {
            let connection = self.connections.get_mut(&to);
            let open = connection.filter(|it| it.unread_bytes < it.window_bytes);
            let frame = open.and_then(|it| Some((it.queue.pop()?, it)));
            let Some((frame, connection)) = frame else {
                // It goes on when the peer has read.
                self.talks.remove(&to);
                continue;
            };
            connection.unread_bytes += frame.len() as u64;
            let packet = Packet {
                place: Place::Control,
                pieces: vec![frame],
            };
            let at = self.small(now, packet.bytes());
            return Some(Departure { to, packet, at });
        }
        None
    }

    /// When a small frame has left that is sent now.
    pub fn small(&mut self, now: Nanos, bytes: usize) -> Nanos {
        let own = transfer(bytes, self.bytes_per_ms);
        let busy = if self.free_at > now {
            // The line takes it between two bursts, and the bytes of values wait as long.
            self.free_at = self.free_at + own;
            self.turn.len().max(1) as u64
        } else {
            0
        };
        self.small_free_at = self.small_free_at.max(now) + own;
        self.small_free_at + Nanos(busy * BURST_BYTES * 1_000_000 / self.bytes_per_ms)
    }

    /// Begins a stream of a value to a peer that has not asked. The streams that give way to it are returned.
    pub fn value(
        &mut self,
        now: Nanos,
        peer: usize,
        stream: StreamId,
        packets: Vec<Packet>,
        bytes_max: u64,
    ) -> Vec<StreamId> {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return Vec::new();
        };
        let bytes = packets.iter().map(|packet| packet.bytes() as u64).sum();
        let streams = &connection.streams;
        let is_done = |known: &StreamId| streams.iter().all(|it| it.stream != *known);
        let gone = connection.values.add(stream, bytes, bytes_max, is_done);
        for stream in &gone {
            self.cut(peer, *stream);
        }
        self.stream(now, peer, stream, packets, Dispatch::Value);
        gone
    }

    /// Adds packets to a stream, and begins it if there is none.
    pub fn stream(&mut self, now: Nanos, peer: usize, stream: StreamId, packets: Vec<Packet>, dispatch: Dispatch) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        match connection.streams.iter_mut().find(|it| it.stream == stream) {
            Some(known) => known.packets.extend(packets),
            None => connection.streams.push_back(Outgoing {
                stream,
                dispatch,
                packets: packets.into(),
                unread_bytes: 0,
                ticket: None,
                may_go: false,
            }),
        }
        self.ask(now, peer, stream);
        self.line_up(peer);
    }

    /// Has the next packet of a stream wait for its turn, if it is a background one. All others hold those back.
    fn ask(&mut self, now: Nanos, peer: usize, stream: StreamId) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let origin = connection.origin;
        let known = connection.streams.iter_mut().find(|it| it.stream == stream);
        let Some(known) = known.filter(|it| it.ticket.is_none()) else {
            return;
        };
        let Some(bytes) = known.packets.front().map(|packet| packet.bytes() as u64) else {
            return;
        };
        self.tickets += 1;
        let ticket = TurnId(self.tickets);
        known.ticket = Some(ticket);
        let waits = is_background(known.dispatch, &origin);
        #[cfg(feature = "planted")]
        let waits = waits && !self.turns_waived;
        if waits {
            self.asked.insert(ticket, (peer, stream));
            self.serving.ask(now, Portion { ticket, origin, bytes });
        } else {
            known.may_go = true;
            self.serving.begin_round(now, ticket);
        }
    }

    /// Nothing more of a stream is sent.
    fn end(&mut self, stream: &Outgoing) {
        if let Some(ticket) = stream.ticket {
            self.asked.remove(&ticket);
            self.serving.done(ticket);
            self.serving.end_round(ticket);
        }
    }

    /// Gives turns.
    fn grant(&mut self, now: Nanos) {
        while let Some(ticket) = self.serving.next(now) {
            let Some((peer, stream)) = self.asked.remove(&ticket) else {
                continue;
            };
            let streams = self.connections.get_mut(&peer).map(|it| &mut it.streams);
            let known = streams.and_then(|it| it.iter_mut().find(|it| it.stream == stream));
            if let Some(known) = known {
                known.may_go = true;
                self.line_up(peer);
            }
        }
    }

    /// Sends nothing more of a stream.
    pub fn cut(&mut self, peer: usize, stream: StreamId) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        let position = connection.streams.iter().position(|it| it.stream == stream);
        if let Some(gone) = position.and_then(|position| connection.streams.remove(position)) {
            self.end(&gone);
        }
    }

    /// Whether a stream has bytes that have not left.
    pub fn is_sending(&self, peer: usize, stream: StreamId) -> bool {
        let connection = self.connections.get(&peer);
        connection.is_some_and(|it| it.streams.iter().any(|it| it.stream == stream))
    }

    /// The peer has read so many bytes of a connection, and of a stream.
    pub fn read(&mut self, peer: usize, stream: Option<StreamId>, bytes: u64) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        connection.unread_bytes = connection.unread_bytes.saturating_sub(bytes);
        if connection.queue.has_news() {
            self.talks.insert(peer);
        }
        if let Some(known) = connection.streams.iter_mut().find(|it| Some(it.stream) == stream) {
            known.unread_bytes = known.unread_bytes.saturating_sub(bytes);
        }
        self.line_up(peer);
    }

    /// The next frame of a value or answer, once the line is free.
    pub fn next(&mut self, now: Nanos) -> Option<Departure> {
        if self.free_at > now {
            return None;
        }
        self.grant(now);
        while let Some(peer) = self.turn.pop_front() {
            let Some(connection) = self.connections.get_mut(&peer) else {
                continue;
            };
            connection.in_turn = false;
            if let Some((packet, sent)) = connection.next() {
                self.free_at = now + transfer(packet.bytes(), self.bytes_per_ms);
                match sent {
                    Sent::All(ticket) => {
                        self.serving.done(ticket);
                        self.serving.end_round(ticket);
                    }
                    Sent::Portion(ticket, stream) => {
                        self.serving.done(ticket);
                        self.ask(now, peer, stream);
                    }
                    Sent::OfRound => {}
                }
                self.line_up(peer);
                let at = self.free_at;
                return Some(Departure { to: peer, packet, at });
            }
        }
        None
    }

    /// When to look again, if something may be sent then.
    pub fn busy_until(&self, now: Nanos) -> Option<Nanos> {
        let line = (!self.turn.is_empty()).then_some(self.free_at);
        // What waits for its turn asks again a moment later, so that time goes on.
        let turns = self
            .serving
            .deadline(now)
            .map(|due| due.max(self.free_at).max(now + MOMENT));
        line.into_iter().chain(turns).min()
    }

    fn line_up(&mut self, peer: usize) {
        if let Some(connection) = self.connections.get_mut(&peer)
            && !connection.in_turn
            && connection.may_send().is_some()
        {
            connection.in_turn = true;
            self.turn.push_back(peer);
        }
    }
}

impl Connection {
    /// The stream whose turn it is.
    fn may_send(&self) -> Option<usize> {
        let fits = |it: &Outgoing| {
            let bytes = it.packets.front()?.bytes() as u64;
            // A frame larger than a window goes piece by piece, as the peer reads it.
            let in_stream = it.unread_bytes == 0 || it.unread_bytes + bytes <= u64::from(STREAM_WINDOW_BYTES);
            let in_all = self.unread_bytes == 0 || self.unread_bytes + bytes <= self.window_bytes;
            (it.may_go && in_stream && in_all).then_some(it.dispatch.priority())
        };
        let positions = self.streams.iter().enumerate();
        let open = positions.filter_map(|(position, it)| Some((fits(it)?, position)));
        let best = open.max_by_key(|(priority, position)| (*priority, std::cmp::Reverse(*position)));
        best.map(|(_, position)| position)
    }

    fn next(&mut self) -> Option<(Packet, Sent)> {
        let position = self.may_send()?;
        let mut stream = self.streams.remove(position)?;
        let packet = stream.packets.pop_front()?;
        let bytes = packet.bytes() as u64;
        stream.unread_bytes += bytes;
        self.unread_bytes += bytes;
        let ticket = stream.ticket?;
        if stream.packets.is_empty() {
            return Some((packet, Sent::All(ticket)));
        }
        let sent = if is_background(stream.dispatch, &self.origin) {
            (stream.ticket, stream.may_go) = (None, false);
            Sent::Portion(ticket, stream.stream)
        } else {
            Sent::OfRound
        };
        self.streams.push_back(stream);
        Some((packet, sent))
    }
}

/// What a packet that leaves was.
enum Sent {
    /// The last one of its stream.
    All(TurnId),
    /// A portion of background bytes, of a stream that has more.
    Portion(TurnId, StreamId),
    /// A part of what the round needs.
    OfRound,
}

#[cfg(test)]
mod tests;
