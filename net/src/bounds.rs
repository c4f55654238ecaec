//! This file knows the network's own ceilings; those shared with other crates stand in `ultramarine_types::limits`.

use std::time::Duration;

use ultramarine_types::Nanos;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, CONSENSUS_MESSAGE_BYTES_MAX, INIT_BYTES_MAX, PAYLOAD_BYTES_MAX,
    PAYLOAD_CHUNK_BYTES, PEERS_MAX, PROOFS_PER_BLOB_MAX, STATUS_VALUES_MAX, VALIDATORS_MAX,
};

/// The wire's version; peers of another one are refused with a reason.
pub const WIRE_VERSION: u32 = 3;
/// One line in this time about nodes that come with an attestation that has expired.
pub const LAPSE_LINE: Nanos = Nanos::from_millis(60_000);
/// Socket buffer asked of the kernel, per direction: four round trips of 10 ms at 100 MB/s. The node compares the
/// kernel's ceilings with it at start.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Name of the protocol in TLS.
pub const ALPN: &[u8] = b"ultramarine/1";

/// Consensus message frame: rkyv adds padding and offsets to what `types::limits` counts, at most as much again.
pub const MESSAGE_FRAME_BYTES_MAX: usize = 2 * CONSENSUS_MESSAGE_BYTES_MAX;
/// Status frame: 32 bytes a value and 320 for the rest, with a message of the receiver's and the sender's clocks.
pub const STATUS_FRAME_BYTES_MAX: usize = STATUS_VALUES_MAX * 32 + 320;
/// `Init` frame.
pub const INIT_FRAME_BYTES_MAX: usize = INIT_BYTES_MAX + 1024;
/// Chunk frame: position and bytes.
pub const CHUNK_FRAME_BYTES_MAX: usize = 4 + PAYLOAD_CHUNK_BYTES;
/// Blob frame: position, proof count, proofs, bytes.
pub const BLOB_FRAME_BYTES_MAX: usize = 4 + PROOFS_PER_BLOB_MAX * 48 + BLOB_BYTES;
/// A request: a key and one bit per chunk and blob of the largest value.
pub const REQUEST_FRAME_BYTES_MAX: usize = 1024;
/// A certificate: 84 bytes a signature and 128 for the rest.
pub const CERTIFICATE_BYTES_MAX: usize = VALIDATORS_MAX * 84 + 128;
/// Answer to a sync request without its blobs: certificate, `Init`, payload, one proof a blob with its list header. For any
/// chain, because frames are cut before anybody looks at what they hold; a small chain's own limit would save 0.6 %.
pub const PACKAGE_FRAME_BYTES_MAX: usize =
    CERTIFICATE_BYTES_MAX + INIT_BYTES_MAX + PAYLOAD_BYTES_MAX + BLOBS_PER_BLOCK_MAX as usize * (48 + 8) + 4096;

/// Streams of one peer the join knows at one time: what QUIC lets it open, and the requests we sent it.
pub const OFFERS_PER_PEER_MAX: usize = (UNI_STREAMS_MAX + REQUESTS_PER_PEER_MAX) as usize;
/// Admitted values that keep at least their `Init` (60 KB): two a round over more rounds than a height ever saw. While streams or
/// verdicts are about all of them, what the core asked about or asked for has a place besides.
pub const VALUES_MAX: usize = 128;
/// Completed values remembered above the decided height.
pub const DONE_MAX: usize = 1024;
/// How long the core may think about an offer, or an admitted stream may wait for room.
pub const OFFER_WAIT: Nanos = Nanos::from_millis(10_000);
/// How long a peer may take to begin its answer to a request for parts.
pub const REQUEST_WAIT: Nanos = Nanos::from_millis(3_000);
/// How long a started stream may bring nothing.
pub const STREAM_STALL: Nanos = Nanos::from_millis(3_000);
/// How long a peer may take nothing of what is sent to it: it may think about an offer, wait as long for room, and must then
/// go on or refuse.
pub const WRITE_STALL: Duration = Duration::from_millis((2 * OFFER_WAIT.0 + STREAM_STALL.0) / 1_000_000);
/// How long a peer may take for one control frame: its bulk streams, unread while the core thinks about their offers, may
/// fill the connection's window as long.
pub const CONTROL_FRAME: Duration = WRITE_STALL;
/// A wake this late says that we slept, not that peers did.
pub const LATE: Nanos = Nanos::from_millis(500);
/// The slowest honest sender: what the deadlines of sync are made of (`Limits::sync_timeout`), 10 MB/s.
pub const PACE_BYTES_PER_MS: u64 = 10_000;
/// Who is slower than this while others want its room is charged for it: a megabit a second, a blob a second.
pub const DRIBBLE_BYTES_PER_MS: u64 = 125;
/// How long a stream may take to come up to [`PACE_BYTES_PER_MS`] before it can lose its room to others.
pub const LAG_GRACE: Nanos = Nanos::from_millis(1_000);
/// How often it is looked whether streams that wait for room can have that of senders that have fallen behind.
pub const ROOM_RETRY: Nanos = Nanos::from_millis(250);
/// Pause before the core hears that a peer did not have what it was asked for.
pub const REFETCH_PAUSE: Nanos = Nanos::from_millis(100);

/// Unidirectional streams one peer may have open towards us: two values a round in two rounds, and as many again.
pub const UNI_STREAMS_MAX: u32 = 8;
/// Bidirectional streams one peer may have open towards us: the control stream and its requests.
pub const BIDI_STREAMS_MAX: u32 = 1 + REQUESTS_PER_PEER_MAX;
/// Requests to one peer that are open at one time: sync's eight heights, and four for parts.
pub const REQUESTS_PER_PEER_MAX: u32 = 12;
/// Value streams to one peer at one time; the oldest gives way.
pub const BULK_PER_PEER_MAX: usize = 6;

/// Full nodes that are sent values at one time, over all values.
pub const FULL_NODE_STREAMS_MAX: usize = 8;
/// Full nodes one value is sent to unasked: the others ask for it.
pub const FULL_NODES_PER_VALUE_MAX: usize = 32;

/// Unread bytes of one stream.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Unread bytes of a connection before its peer has said who it is.
pub const STRANGER_WINDOW_BYTES: u32 = 128 * 1024;
/// Unread bytes of a full node's connection.
pub const FULL_NODE_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Unread bytes of a validator's connection.
pub const VALIDATOR_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes sent to one peer and not acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Largest datagram tried: quinn hands the kernel ten segments a call, and ten of these stay below its 64 KiB.
pub const MTU_MAX: u16 = 6500;

/// Bytes in flight before the path is known: a third of a six-blob block in the first round trip. It must hold many of
/// the largest datagrams: with quinn's own 14 KB two path probes are enough to hold a close back until it is too late.
pub const INITIAL_WINDOW_BYTES: u64 = 256 * 1024;

/// A connection that hears nothing for this long is gone.
pub const IDLE: Duration = Duration::from_secs(10);
/// Quiet connections are kept alive at this pace.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Round trip assumed before one was measured; an unanswered first packet is sent again after three of them.
pub const INITIAL_RTT: Duration = Duration::from_millis(100);
/// How long a stranger may take from its first packet to its `Hello`, TLS included.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a stream may take to bring its first frame.
pub const FIRST_FRAME: Duration = Duration::from_secs(3);
/// Handshakes in progress over all addresses; beyond half of it strangers must prove their address first.
pub const HANDSHAKES_MAX: usize = 64;
/// Handshakes in progress of one address (of one /64 for IPv6): a peer dials one at a time.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 4;
/// Handshakes one address may bring to an end a second, and at once: a small network that starts together behind one.
pub const ARRIVALS_PER_SECOND: u64 = 16;
/// See [`ARRIVALS_PER_SECOND`].
pub const ARRIVALS_BURST: u64 = 256;
/// Handshakes a configured peer may begin a second in its own place, and at once: it dials one at a time, after a good
/// connection at most every two seconds, and otherwise more slowly each time.
pub const EXPECTED_PER_SECOND: u64 = 1;
/// See [`EXPECTED_PER_SECOND`].
pub const EXPECTED_BURST: u64 = 16;
/// Addresses remembered for what they have used: several times those that can be connected.
pub const SITES_MAX: usize = 8 * PEERS_MAX;
/// Connections of one address: a whole small network may live behind one.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// Connected nodes that one validator attests: its node, and one that stands in for it.
pub const LINKS_PER_VALIDATOR_MAX: usize = 2;

/// Messages waiting for one peer: two votes of every validator over eight rounds.
pub const QUEUE_MESSAGES_MAX: usize = VALIDATORS_MAX * 2 * 8;
/// Control messages one peer may send a second, and at once.
pub const MESSAGES_PER_SECOND: u64 = 2_000;
/// See [`MESSAGES_PER_SECOND`].
pub const MESSAGES_BURST: u64 = 8_000;
/// Value streams one peer may begin a second, and at once: each may cost the core two signature checks.
pub const STREAMS_PER_SECOND: u64 = 20;
/// See [`STREAMS_PER_SECOND`].
pub const STREAMS_BURST: u64 = 64;
/// Answers of one class read from the source for validators at one time: as many threads may wait for the disk.
pub const SERVING_VALIDATORS_MAX: usize = 4;
/// Answers of both classes read from the source for full nodes at one time.
pub const SERVING_FULL_NODES_MAX: usize = 4;
/// Answers of one class read from the source for one validator at one time.
pub const SERVING_PER_VALIDATOR_MAX: usize = 2;
/// The same for one full node, which so has half of all full nodes' turns at most.
pub const SERVING_PER_FULL_NODE_MAX: usize = 1;
/// Sync packages that may wait for one peer, in values of the largest size: what sync has in flight.
pub const PACKAGES_WAITING_VALUES: u64 = 2;
/// The same for parts of values: the one that a round waits for.
pub const REPAIRS_WAITING_VALUES: u64 = 1;
/// Unit in which the bytes of answers to one peer are counted.
pub const ANSWER_PERMIT_BYTES: u64 = 64 * 1024;
/// Least a request counts as, so that many small ones are no way around the byte budgets.
pub const REQUEST_BYTES_MIN: u64 = 16 * 1024;
/// Bytes served a second to a validator's requests.
pub const SERVE_VALIDATOR_BYTES_PER_SECOND: u64 = 512 * 1024 * 1024;
/// Bytes served a second to a full node's requests.
pub const SERVE_FULL_NODE_BYTES_PER_SECOND: u64 = 128 * 1024 * 1024;
/// Peers and addresses whose budgets are remembered: several times those that can be connected.
pub const PURSES_MAX: usize = 8 * PEERS_MAX;
/// Events for the core that wait in the network before it stops reading.
pub const EVENTS_WAITING_MAX: usize = 1024;

/// Bytes of so many of the largest values, in units of [`ANSWER_PERMIT_BYTES`].
pub const fn answer_permits(limits: &Limits, values_count: u64) -> u32 {
    let permits = values_count * limits.value_bytes() as u64 / ANSWER_PERMIT_BYTES;
    assert!(permits <= u32::MAX as u64, "a value is far below 2^48 bytes");
    #[expect(clippy::cast_possible_truncation, reason = "in range by the assertion above")]
    let permits = permits as u32;
    permits
}

const _: () = assert!(BLOB_FRAME_BYTES_MAX < 1 << 24);
const _: () = assert!(2 * SERVING_PER_VALIDATOR_MAX <= SERVING_VALIDATORS_MAX);
// Two full nodes, of two classes each.
const _: () = assert!(2 * 2 * SERVING_PER_FULL_NODE_MAX <= SERVING_FULL_NODES_MAX);
const _: () = assert!(MTU_MAX as usize * 10 < 65_536);
