//! This file knows made-up headers, metadata, `Init`s and statuses for tests and benches: whole in shape, and true of
//! no block or peer.
//!
//! Always compiled. A feature for tests alone would make `cargo run` and `cargo test` compile the workspace differently
//! (`xtask/tests/features.rs` forbids that), and what no program calls is no part of it.

use crate::ids::{Address, ChainIdentity, Hash, Height, Round, Signature};
use crate::lists::Lists;
use crate::network::{ClockReading, Status};
use crate::positions::Positions;
use crate::value::{ExecutionHeader, Init, ValueMetadata};

/// An empty block's header: zero wherever zero is legal.
pub const fn header(number: u64) -> ExecutionHeader {
    ExecutionHeader {
        parent_hash: Hash::ZERO,
        fee_recipient: Address::ZERO,
        state_root: Hash::ZERO,
        transactions_root: Hash::ZERO,
        receipts_root: Hash::ZERO,
        logs_bloom: [0; 256],
        number,
        gas_limit: 30_000_000,
        gas_used: 0,
        timestamp: 1,
        extra_data: Vec::new(),
        prev_randao: Hash::ZERO,
        base_fee_per_gas: Hash::ZERO,
        withdrawals_root: Hash::ZERO,
        blob_gas_used: 0,
        excess_blob_gas: 0,
        parent_beacon_block_root: Hash::ZERO,
        requests_hash: None,
        block_hash: Hash::ZERO,
    }
}

/// The identity of a chain that nobody runs.
pub const CHAIN: ChainIdentity = ChainIdentity([7; 32]);

/// Metadata of a value with these payload bytes and lists, hashed as a proposer would.
pub fn metadata(height: u64, payload: &[u8], lists: &Lists) -> ValueMetadata {
    ValueMetadata {
        chain: CHAIN,
        height: Height(height),
        origin_proposer: Address::ZERO,
        origin_proposer_index: 0,
        origin_round: Round(0),
        validator_set_hash: Hash::ZERO,
        header: header(height),
        payload_bytes: u32::try_from(payload.len()).expect("a test's payload is far below 4 GiB"),
        blobs_count: u32::try_from(lists.commitments.len()).expect("a test's blobs are few"),
        roots: lists.roots(),
    }
}

/// An `Init` whose signatures nobody checks.
pub const fn unsigned(metadata: ValueMetadata) -> Init {
    Init {
        metadata,
        signature: Signature::ZERO,
        header_signature: Signature::ZERO,
    }
}

/// A peer with every blob up to its tip, no undecided value, and clocks of which it says nothing.
pub const fn status(tip: Height) -> Status {
    Status {
        tip,
        oldest_blobs: Height(1),
        round: Round(0),
        holds: Vec::new(),
        seen_signed: None,
        clock: ClockReading {
            unix_ns: 0,
            token: 0,
            echo: None,
        },
        ready: true,
        links: Positions::NONE,
        proposes: true,
    }
}
