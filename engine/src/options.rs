//! This file knows what the driver must know of its chain and its client, from the start.

use std::time::Duration;

use ultramarine_runtime::Io;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::PAYLOAD_BYTES_MAX;
use ultramarine_types::{Address, Hash};

use crate::client::CELL_PROOFS;
use crate::startup::ExpectedChain;
use crate::transport::Endpoint;
use crate::waiting::Waiting;

/// What the driver must know from the start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the execution client is.
    pub endpoint: Endpoint,
    /// What this thread runs on. It decides how the Unix socket is driven.
    pub io: Io,
    /// Longest time one call may take.
    pub timeout: Duration,
    /// Shows calls that take long.
    pub waiting: Waiting,
    /// How long a build may collect transactions before it is fetched. Zero suits clients that pack the pool at once
    /// (ethrex, EthereumJS); geth and reth improve a build for some hundred milliseconds.
    pub build_wait: Duration,
    pub fee_recipient: Address,
    pub chain_id: u64,
    /// Hash of the execution genesis block.
    pub genesis_hash: Hash,
    /// Unix time in seconds from which we speak Engine API V4: Prague's.
    pub prague_time: Option<u64>,
    pub limits: Limits,
}

impl EngineOptions {
    /// Whether a block of this time follows Prague.
    pub fn is_prague(&self, timestamp: u64) -> bool {
        self.prague_time.is_some_and(|time| timestamp >= time)
    }

    /// Largest answer: a built block's blobs, their proofs and the payload in hex, with quotes around each, and one MiB
    /// for names and brackets.
    pub const fn answer_bytes_max(&self) -> usize {
        let proofs = self.limits.blobs_per_block as usize * CELL_PROOFS * (48 + 4);
        2 * (self.limits.block_blob_bytes() + proofs + PAYLOAD_BYTES_MAX) + 1024 * 1024
    }

    /// What our chain demands of the client.
    pub const fn expected(&self) -> ExpectedChain {
        ExpectedChain {
            chain_id: self.chain_id,
            genesis_hash: self.genesis_hash,
            prague: self.prague_time.is_some(),
        }
    }
}
