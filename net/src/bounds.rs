//! This file knows the network's own ceilings; those shared with other crates stand in `ultramarine_types::limits`.

use std::time::Duration;

use ultramarine_types::Nanos;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, CONSENSUS_MESSAGE_BYTES_MAX, INIT_BYTES_MAX, LISTS_BYTES_MAX, PAYLOAD_BYTES_MAX,
    PAYLOAD_CHUNK_BYTES, PAYLOAD_CHUNKS_MAX, PEERS_MAX, PROOFS_PER_BLOB_MAX, STATUS_VALUES_MAX, VALIDATORS_MAX,
};

use crate::streaming::ranges::RANGES_BYTES_MAX;
use crate::wire::versions::WireVersions;

/// The versions of the wire that this build speaks. Two peers take the highest that both speak.
pub const WIRE_VERSIONS: WireVersions = WireVersions { lowest: 3, highest: 3 };
/// At most one line in this time about nodes that we refuse and whose operator should know.
pub const REFUSAL_LINE: Nanos = Nanos::from_millis(60_000);
/// Socket buffer asked of the kernel, per direction: four round trips of 10 ms at 100 MB/s. The node compares the
/// kernel's ceilings with it at start.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Name of the protocol in TLS. It stays when the wire's version changes: TLS would part nodes that differ here
/// without a reason that anybody can read.
pub const ALPN: &[u8] = b"ultramarine/1";

/// A `Hello`, field by field as `wire/hello.rs` draws it.
pub const HELLO_BYTES: usize = 2 * 4 + 3 * 32 + 8 + 1 + 32 + 8 + 64;
/// A `Hello` of a later version: it may have more fields, and twice as many are plenty.
pub const HELLO_BYTES_MAX: usize = 2 * HELLO_BYTES;
/// Consensus message frame. rkyv adds padding and offsets to what `types::limits` counts: at most as much again.
pub const MESSAGE_FRAME_BYTES_MAX: usize = 2 * CONSENSUS_MESSAGE_BYTES_MAX;
/// Status frame: 32 bytes for each value, and 320 for the rest. That has a message that the receiver signed, and the
/// sender's clocks.
pub const STATUS_FRAME_BYTES_MAX: usize = STATUS_VALUES_MAX * 32 + 320;
/// Frame of a call or an answer to one: two addresses, a nonce, a height, a message that the listener signed, and a
/// signature.
pub const HEARING_FRAME_BYTES_MAX: usize = 320;
/// `Init` frame: an archive, whose padding and offsets `types::limits` counts already.
pub const INIT_FRAME_BYTES_MAX: usize = INIT_BYTES_MAX;
/// List frame: its number, and the items of the longest list. That is the proofs' or the chunk hashes'.
pub const LIST_FRAME_BYTES_MAX: usize = {
    let (chunks, proofs) = (
        PAYLOAD_CHUNKS_MAX * 32,
        BLOBS_PER_BLOCK_MAX as usize * PROOFS_PER_BLOB_MAX * 48,
    );
    1 + if chunks > proofs { chunks } else { proofs }
};
/// Chunk frame: position and bytes.
pub const CHUNK_FRAME_BYTES_MAX: usize = 4 + PAYLOAD_CHUNK_BYTES;
/// Blob frame: position, bytes.
pub const BLOB_FRAME_BYTES_MAX: usize = 2 + BLOB_BYTES;
/// A request: a key, two bytes for what is wanted, and the most ranges of chunks and of blobs.
pub const REQUEST_FRAME_BYTES_MAX: usize = 8 + 32 + 2 + 2 * RANGES_BYTES_MAX;
/// A certificate: 84 bytes a signature and 128 for the rest.
pub const CERTIFICATE_BYTES_MAX: usize = VALIDATORS_MAX * 84 + 128;
/// Answer to a sync request without its blobs: certificate, `Init`, lists, payload, and 4 KiB for the archive. The
/// ceiling is that of the largest chain, because a frame's length is checked before its body is read; a small chain's
/// own limit would save 0.8 %.
pub const PACKAGE_FRAME_BYTES_MAX: usize =
    CERTIFICATE_BYTES_MAX + INIT_BYTES_MAX + LISTS_BYTES_MAX + PAYLOAD_BYTES_MAX + 4096;

/// Streams of one peer that the join knows at one time: those that QUIC lets the peer open, and our requests to it.
pub const OFFERS_PER_PEER_MAX: usize = (UNI_STREAMS_MAX + REQUESTS_PER_PEER_MAX) as usize;
/// Parts of one stream that wait for a verdict: as many blobs as a lane hashes at one time. The reader of the stream
/// waits then, and QUIC's window makes its sender wait.
pub const UNJUDGED_PER_STREAM_MAX: usize = 16;
/// Bytes that wait for a verdict, of all streams: those of 32 streams that wait, 64 MiB. Several senders may have bytes
/// for one place, so a value's reservation does not bound them. If there are as many, each stream that brings one more
/// blob waits behind it.
pub const UNJUDGED_BYTES_MAX: usize = 32 * UNJUDGED_PER_STREAM_MAX * BLOB_BYTES;
/// Admitted values that keep at least their `Init` (2 KB): two a round, over more rounds than a height ever saw. If
/// all of them are in use, values the core asked for are kept on top of this limit.
pub const VALUES_MAX: usize = 128;
/// Completed values remembered above the decided height.
pub const DONE_MAX: usize = 1024;
/// How long the core may take to answer an offer, and how long an admitted stream may wait for room.
pub const OFFER_WAIT: Nanos = Nanos::from_millis(10_000);
/// How long a peer may take to begin its answer to a request for parts.
pub const REQUEST_WAIT: Nanos = Nanos::from_millis(3_000);
/// How long a started stream may bring nothing.
pub const STREAM_STALL: Nanos = Nanos::from_millis(3_000);
/// How long a peer may take no byte of what we send. It may think about the offer, then wait as long for room; after
/// that it must read on or refuse.
pub const WRITE_STALL: Duration = Duration::from_millis((2 * OFFER_WAIT.0 + STREAM_STALL.0) / 1_000_000);
/// How long a peer may take for one control frame. Its value streams are unread while our core thinks about the offers,
/// and may fill the connection's window for as long.
pub const CONTROL_FRAME: Duration = WRITE_STALL;
/// If a wake is this late, our own process slept: the peers are not to blame.
pub const LATE: Nanos = Nanos::from_millis(500);
/// Pace of the slowest honest sender, 10 MB/s. The deadlines of sync are made of it (`Limits::sync_timeout`).
pub const PACE_BYTES_PER_MS: u64 = 10_000;
/// A value that comes more slowly than this loses its room if others want it, and whoever sends so slowly is charged: a
/// megabit a second, about a blob a second. A hundred megabits shared by ninety receivers are still more.
pub const DRIBBLE_BYTES_PER_MS: u64 = 125;
/// How long a time at least is looked at, once a value has its room for longer, to say at what pace it comes.
pub const PACE_WINDOW: Nanos = Nanos::from_millis(10_000);
/// How long a stream may take to get going before its value can lose its room to others.
pub const LAG_GRACE: Nanos = Nanos::from_millis(1_000);
/// How often the join looks whether senders have fallen behind, so that waiting streams can have their room.
pub const ROOM_RETRY: Nanos = Nanos::from_millis(250);
/// Pause before the core learns that a peer did not have the parts we asked for.
pub const REFETCH_PAUSE: Nanos = Nanos::from_millis(100);

/// Unidirectional streams one peer may have open towards us: two values a round over two rounds, times two.
pub const UNI_STREAMS_MAX: u32 = 8;
/// Bidirectional streams one peer may have open towards us: the control stream and the peer's requests.
pub const BIDI_STREAMS_MAX: u32 = 1 + REQUESTS_PER_PEER_MAX;
/// Requests to one peer that are open at one time: sync's eight heights, and four for parts.
pub const REQUESTS_PER_PEER_MAX: u32 = 12;
/// Value streams to one peer at one time. The oldest gives way.
pub const BULK_PER_PEER_MAX: usize = 6;

/// Full nodes that are sent values at one time, over all values.
pub const FULL_NODE_STREAMS_MAX: usize = 8;
/// Full nodes that one value is sent to unasked. The others must ask for it.
pub const FULL_NODES_PER_VALUE_MAX: usize = 32;

/// Unread bytes of one stream.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Unread bytes of a connection until its peer has said who it is.
pub const STRANGER_WINDOW_BYTES: u32 = 128 * 1024;
/// Unread bytes of a full node's connection.
pub const FULL_NODE_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Unread bytes of a validator's connection.
pub const VALIDATOR_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes sent to one peer and not yet acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Largest datagram tried. quinn hands the kernel ten segments a call, and ten of these stay below the kernel's 64 KiB.
pub const MTU_MAX: u16 = 6500;

/// Bytes in flight before the path is known: a third of a six-blob block in the first round trip. It must hold many of
/// the largest datagrams. With quinn's own 14 KB, two path probes would delay a close frame until it is too late.
pub const INITIAL_WINDOW_BYTES: u64 = 256 * 1024;

/// A connection on which nothing arrives for this long is gone.
pub const IDLE: Duration = Duration::from_secs(10);
/// Quiet connections are kept alive at this pace.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Round trip assumed until one is measured. An unanswered first packet is sent again after three of them.
pub const INITIAL_RTT: Duration = Duration::from_millis(100);
/// How long a stranger may take from its first packet to its `Hello`, TLS included.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a stream may take to bring its first frame.
pub const FIRST_FRAME: Duration = Duration::from_secs(3);
/// Handshakes in progress over all addresses. Beyond half of it, strangers must prove their address first.
pub const HANDSHAKES_MAX: usize = 64;
/// Handshakes in progress of one address (of one /64 in IPv6). A peer dials one at a time.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 4;
/// Handshakes that one address may complete in a second. A small network behind one address may start together.
pub const ARRIVALS_PER_SECOND: u64 = 16;
/// Handshakes that one address may complete at once.
pub const ARRIVALS_BURST: u64 = 256;
/// Handshakes that a configured peer may begin in a second in its own entry. A peer dials one at a time: at most every
/// two seconds after a good connection, and otherwise more slowly each time.
pub const EXPECTED_PER_SECOND: u64 = 1;
/// Handshakes that a configured peer may begin at once in its own entry.
pub const EXPECTED_BURST: u64 = 16;
/// Addresses whose use is remembered: several times as many as can be connected.
pub const SITES_MAX: usize = 8 * PEERS_MAX;
/// Connections of one address. A whole small network may live behind it.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// Connected nodes that one validator attests: its node, and a stand-in.
pub const NODES_PER_VALIDATOR_MAX: usize = 2;

/// Places for peers beside the first node of each validator: second nodes of validators, and full nodes.
pub const OTHER_PLACES: usize = PEERS_MAX - VALIDATORS_MAX;
/// Of these, places that second nodes of validators cannot take from configured full nodes.
pub const LISTED_PLACES: usize = 64;
/// If no stranger has a better claim than another, one gives way to a newcomer this often. Then all of them have had a
/// new turn after two hours.
pub const ROTATION: Nanos = Nanos::from_millis(30_000);

/// Messages waiting for one peer: two votes of every validator over eight rounds.
pub const QUEUE_MESSAGES_MAX: usize = VALIDATORS_MAX * 2 * 8;
/// Control messages that we read from one peer in a second.
pub const MESSAGES_PER_SECOND: u64 = 2_000;
/// Control messages that we read from one peer at once.
pub const MESSAGES_BURST: u64 = 8_000;
/// Statuses of one peer that the core hears in a second. Of more, it hears the newest.
pub const STATUSES_PER_SECOND: u64 = 4;
/// Statuses of one peer that the core hears at once.
pub const STATUSES_BURST: u64 = 4;
/// Statuses with news, of one node that a validator attests, that the core hears in a second. A height of a fast chain
/// has a handful.
pub const NEWS_PER_SECOND: u64 = 64;
/// The same, at once.
pub const NEWS_BURST: u64 = 64;
/// Statuses of all strangers together that the core hears in a second: one of each, if they have all places.
pub const STRANGERS_STATUSES_PER_SECOND: u64 = OTHER_PLACES as u64;
/// The same, at once.
pub const STRANGERS_STATUSES_BURST: u64 = 2 * STRANGERS_STATUSES_PER_SECOND;
/// All strangers together may make us read so many times as much as one peer: messages, and value streams.
pub const STRANGERS_TOGETHER: u64 = 2;
/// Value streams that we begin to read from one peer in a second. Each may cost the core two signature checks.
pub const STREAMS_PER_SECOND: u64 = 20;
/// Value streams that we begin to read from one peer at once.
pub const STREAMS_BURST: u64 = 64;
/// Answers of one class read from the source for validators at one time. Each may keep a thread waiting for the disk.
pub const SERVING_VALIDATORS_MAX: usize = 4;
/// Answers of both classes read from the source for full nodes at one time.
pub const SERVING_FULL_NODES_MAX: usize = 4;
/// Answers of one class read from the source for one validator at one time.
pub const SERVING_PER_VALIDATOR_MAX: usize = 2;
/// Answers read from the source for one full node at one time, in each of the two classes.
pub const SERVING_PER_FULL_NODE_MAX: usize = 1;
/// Sync packages that may wait for one peer, in values of the largest size: as many as sync has in flight.
pub const PACKAGES_WAITING_VALUES: u64 = 2;
/// Parts of values that may wait for one peer, in values of the largest size: the value that a round waits for.
pub const REPAIRS_WAITING_VALUES: u64 = 1;
/// Unit in which we count the bytes of answers to one peer.
pub const ANSWER_PERMIT_BYTES: u64 = 64 * 1024;
/// A request costs at least this much, so that many small ones cannot avoid the byte budgets.
pub const REQUEST_BYTES_MIN: u64 = 16 * 1024;
/// Bytes that a validator's requests may cost in a second.
pub const SERVE_VALIDATOR_BYTES_PER_SECOND: u64 = 512 * 1024 * 1024;
/// Bytes that a full node's requests may cost in a second.
pub const SERVE_FULL_NODE_BYTES_PER_SECOND: u64 = 128 * 1024 * 1024;
/// Background bytes in a second, over all peers, unless the operator says otherwise: half of what one core of QUIC
/// sends.
pub const SERVING_BYTES_PER_SECOND: u64 = 256 * 1024 * 1024;
/// A budget that was not used may be used at once for the time of one of so many parts of a second.
pub const SERVING_BURSTS_PER_SECOND: u64 = 10;
/// Background bytes that are handed over to QUIC and have not left, over all peers: 17 ms of a gigabit line.
pub const IN_HAND_BYTES: u64 = 2 * 1024 * 1024;
/// Of a slower line, what it takes in one of so many parts of a second, and no less than the next constant.
pub const IN_HAND_PARTS_OF_SECOND: u64 = 50;
pub const IN_HAND_BYTES_MIN: u64 = 256 * 1024;
/// A portion that has not left after this time counts no more: its peer is slow, so little of the line goes there.
pub const IN_HAND_WAIT: Nanos = Nanos::from_millis(100);
/// Most bytes of one portion.
pub const PORTION_BYTES: usize = 128 * 1024;
/// Most bytes of one portion for a stranger. If each has one on its way, they take 67 ms of a gigabit line.
pub const STRANGERS_PORTION_BYTES: usize = 32 * 1024;
/// Floors of background bytes are no less than this in a second, whatever the line took last.
pub const FLOOR_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;
/// How often we learn what our line takes.
pub const LINE_PACE_WINDOW: Nanos = Nanos::from_millis(250);
/// Peers and addresses whose budgets are remembered: several times as many as can be connected.
pub const PURSES_MAX: usize = 8 * PEERS_MAX;
/// If this many events wait for the core, the network stops reading control messages.
pub const EVENTS_WAITING_MAX: usize = 1024;

/// Bytes of `values_count` values of the largest size, in units of [`ANSWER_PERMIT_BYTES`].
pub const fn answer_permits(limits: &Limits, values_count: u64) -> u32 {
    let permits = values_count * limits.value_bytes() as u64 / ANSWER_PERMIT_BYTES;
    assert!(permits <= u32::MAX as u64, "a value is far below 2^48 bytes");
    #[expect(clippy::cast_possible_truncation, reason = "in range by the assertion above")]
    let permits = permits as u32;
    permits
}

const _: () = assert!(BLOB_FRAME_BYTES_MAX < 1 << 24);
// A part is read into one buffer as long as its frame says.
const _: () = assert!(LIST_FRAME_BYTES_MAX <= PAYLOAD_CHUNK_BYTES);
const _: () = assert!(2 * SERVING_PER_VALIDATOR_MAX <= SERVING_VALIDATORS_MAX);
// Two full nodes, of two classes each.
const _: () = assert!(2 * 2 * SERVING_PER_FULL_NODE_MAX <= SERVING_FULL_NODES_MAX);
const _: () = assert!(MTU_MAX as usize * 10 < 65_536);
// A full node's stream needs a full node that may have the value.
const _: () = assert!(FULL_NODE_STREAMS_MAX <= FULL_NODES_PER_VALUE_MAX);
// What we stream to one peer at one time, it may accept at one time.
const _: () = assert!(BULK_PER_PEER_MAX <= UNI_STREAMS_MAX as usize);
// A peer that has proven more has the larger window.
const _: () = assert!(STRANGER_WINDOW_BYTES < FULL_NODE_WINDOW_BYTES);
const _: () = assert!(FULL_NODE_WINDOW_BYTES < VALIDATOR_WINDOW_BYTES);
const _: () = assert!(STREAM_WINDOW_BYTES <= FULL_NODE_WINDOW_BYTES);
const _: () = assert!(PORTION_BYTES as u64 <= IN_HAND_BYTES_MIN && IN_HAND_BYTES_MIN <= IN_HAND_BYTES);
const _: () = assert!(OTHER_PLACES as u64 * STRANGERS_PORTION_BYTES as u64 <= 4 * IN_HAND_BYTES);
const _: () = assert!(LISTED_PLACES < OTHER_PLACES);
// One address fills the handshakes of all only together with others.
const _: () = assert!(HANDSHAKES_PER_ADDRESS_MAX * 2 <= HANDSHAKES_MAX);
// Sites and purses of all that can be connected fit, so that only the quiet are forgotten.
const _: () = assert!(SITES_MAX > HANDSHAKES_MAX + PEERS_MAX);
const _: () = assert!(PURSES_MAX >= 2 * PEERS_MAX);
// A window says more than its grace.
const _: () = assert!(PACE_WINDOW.0 > 2 * LAG_GRACE.0);
// A sender that keeps pace never dribbles.
const _: () = assert!(DRIBBLE_BYTES_PER_MS < PACE_BYTES_PER_MS);
// Two keep-alives may be lost before a connection is idle.
const _: () = assert!(KEEP_ALIVE.as_millis() * 3 <= IDLE.as_millis());
// A `Hello` is read before its sender has said who it is.
const _: () = assert!(HELLO_BYTES_MAX < STRANGER_WINDOW_BYTES as usize);
