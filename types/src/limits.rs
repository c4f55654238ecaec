//! This file knows the ceilings that crates share, and how each follows from the few that the protocol fixes.
//!
//! A reader can redo each sum. Figures that depend on the chain's blob limit are methods of
//! [`Limits`](crate::chain::Limits). What one crate alone keeps to stands there; ARCHITECTURE.md names the files.

use crate::machine::Nanos;

/// Bytes of a blob: 4096 field elements of 32 bytes (EIP-4844).
pub const BLOB_BYTES: usize = 4096 * 32;
/// Fewest blobs a chain may allow per block: Cancun's own limit.
pub const BLOBS_PER_BLOCK_MIN: u32 = 6;
/// Most blobs a chain may allow per block.
pub const BLOBS_PER_BLOCK_MAX: u32 = 1024;
/// Proofs per blob, on the wire and on disk: one (EIP-4844). Cell proofs (EIP-7594) end at the execution client's
/// driver.
pub const PROOFS_PER_BLOB_MAX: usize = 1;

/// Most validators of a chain; an ed25519 certificate of all of them stays below 32 KiB.
pub const VALIDATORS_MAX: usize = 256;
/// Total voting power that keeps `3 × power` inside 64 bits.
pub const TOTAL_POWER_MAX: u64 = u64::MAX / 3;

/// Payload bytes are streamed and hashed in chunks of this size.
pub const PAYLOAD_CHUNK_BYTES: usize = 64 * 1024;
/// Largest payload: a block of 36 M gas filled with calldata at 4 gas a zero byte is 9 MB.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Chunks of the largest payload.
pub const PAYLOAD_CHUNKS_MAX: usize = PAYLOAD_BYTES_MAX / PAYLOAD_CHUNK_BYTES;
/// `extra_data` of an execution header.
pub const EXTRA_DATA_BYTES_MAX: usize = 32;

/// An `Init`: fixed fields of some 900 bytes, and what an archive adds.
pub const INIT_BYTES_MAX: usize = 2048;
/// The four lists of the largest value: chunk hashes; a commitment, a digest and proofs for each blob.
pub const LISTS_BYTES_MAX: usize =
    PAYLOAD_CHUNKS_MAX * 32 + BLOBS_PER_BLOCK_MAX as usize * (48 + 32 + 48 * PROOFS_PER_BLOB_MAX);
/// A consensus message: the largest is a round certificate with one entry of at most 160 bytes per validator.
pub const CONSENSUS_MESSAGE_BYTES_MAX: usize = VALIDATORS_MAX * 160 + 1024;
/// Undecided values a status may name.
pub const STATUS_VALUES_MAX: usize = 16;
/// How often a status is sent at least.
pub const STATUS_INTERVAL: Nanos = Nanos::from_millis(1000);

/// Distinct values admitted in one round without a certificate: the proposer's, and one more to prove it equivocates.
pub const VALUES_PER_ROUND_MAX: usize = 2;
/// Uncertified values in assembly at one time: two a round, the current round and the next.
pub const VALUES_IN_ASSEMBLY_MAX: usize = VALUES_PER_ROUND_MAX * 2;
/// Heights of sync in flight at one time.
pub const SYNC_HEIGHTS_IN_FLIGHT: usize = 8;
/// Rounds ahead of the current one from which an `Init` is admitted.
pub const INIT_ROUNDS_AHEAD: u32 = 1;
/// A block may be this far ahead of our clock, in seconds.
pub const TIMESTAMP_AHEAD_SECONDS: u64 = 15;
/// Longest text kept of an execution client's error.
pub const REASON_BYTES_MAX: usize = 512;

/// Connected peers: every validator, and the same number of full nodes.
pub const PEERS_MAX: usize = 2 * VALIDATORS_MAX;

const _: () = assert!(BLOBS_PER_BLOCK_MIN <= BLOBS_PER_BLOCK_MAX);
const _: () = assert!(LISTS_BYTES_MAX < 256 * 1024);
const _: () = assert!(
    CONSENSUS_MESSAGE_BYTES_MAX < LISTS_BYTES_MAX,
    "votes are small beside a value's lists"
);
const _: () = assert!(
    TOTAL_POWER_MAX.checked_mul(3).is_some(),
    "quorums are counted in 64 bits"
);
const _: () = assert!(
    VALUES_PER_ROUND_MAX >= 2,
    "one value more than the proposer's proves that it equivocates"
);
const _: () = assert!(
    STATUS_VALUES_MAX >= VALUES_IN_ASSEMBLY_MAX,
    "a status can name every value in assembly"
);
const _: () = assert!(PEERS_MAX >= VALIDATORS_MAX, "every validator can be a peer");
const _: () = assert!(PAYLOAD_BYTES_MAX.is_multiple_of(PAYLOAD_CHUNK_BYTES));
