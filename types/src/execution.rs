//! This file knows what the core asks of the execution client's driver, and what the driver answers.
//!
//! *Payload bytes* are canonical and opaque here: one version byte, the execution requests, then the SSZ of
//! `ExecutionPayloadV3`; `engine/src/payload.rs` encodes and checks them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Hash, Height, Round, ValueKey};
use crate::lists::Lists;
use crate::value::{ExecutionHeader, Init};

/// The block a new one is built on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParentBlock {
    pub hash: Hash,
    /// Its number, equal to its height.
    pub number: u64,
    /// Its timestamp, Unix seconds.
    pub timestamp: u64,
}

/// What the execution client's driver is asked. Calls of different kinds may overlap; forkchoice updates keep their
/// order.
#[derive(Clone, Debug)]
pub enum EngineCall {
    /// `forkchoiceUpdated` with head, safe and finalized on this block, without attributes.
    Forkchoice { head: Hash, height: Height },
    /// `forkchoiceUpdated` with attributes on `parent`, then `getPayload`. Before the answer the bundle's proofs are
    /// verified, and `newPayload` of the block has answered `VALID`.
    Build {
        /// Height to build for.
        height: Height,
        /// Round it is asked for.
        round: Round,
        parent: ParentBlock,
        /// Root of the parent's sidecar header; zero on genesis.
        parent_beacon_block_root: Hash,
        /// Lowest timestamp: the larger of the wall clock and the parent's plus one.
        timestamp: u64,
    },
    /// Check that the bytes are what the metadata says (see `Inspect`), then `newPayload`.
    Execute {
        key: ValueKey,
        init: Arc<Init>,
        lists: Arc<Lists>,
        payload: Bytes,
    },
    /// Check only: the payload decodes, its header fields and recomputed block hash are those of the metadata, and its
    /// transactions' versioned hashes are the commitments'.
    Inspect {
        key: ValueKey,
        init: Arc<Init>,
        lists: Arc<Lists>,
        payload: Bytes,
    },
    /// `newPayload`, then `forkchoiceUpdated` on it: import or replay of a decided block.
    Import {
        height: Height,
        init: Arc<Init>,
        lists: Arc<Lists>,
        payload: Bytes,
    },
    /// Ask for the newest block number the client knows: a hint for where a replay may start.
    Newest,
}

/// The answer to a payload or forkchoice call, with every status by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PayloadStatus {
    /// `VALID`, with the hash the client calls latest valid.
    Valid {
        /// `latestValidHash`, if the answer had one.
        latest: Option<Hash>,
    },
    /// The client calls the block invalid.
    Invalid {
        /// `latestValidHash`, if the answer had one.
        latest: Option<Hash>,
        /// The client's `validationError`, bounded in length.
        reason: String,
    },
    Syncing,
    Accepted,
    /// No usable answer: refused connection, timeout, an error code. The text says which.
    Unavailable {
        reason: String,
    },
}

impl fmt::Display for PayloadStatus {
    /// The client's word, with what it means where people may have to act on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid { .. } => f.write_str("VALID"),
            Self::Invalid { reason, .. } => write!(f, "INVALID ({reason})"),
            Self::Syncing => f.write_str("SYNCING: it lacks blocks before that one"),
            Self::Accepted => f.write_str(
                "ACCEPTED, which is never taken for VALID: it keeps the block and has not executed it. Its own log \
                 says why; if that lasts, start it again or use another execution client",
            ),
            Self::Unavailable { reason } => f.write_str(reason),
        }
    }
}

/// What became of [`EngineCall::Execute`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Executed {
    /// The bytes are not what the metadata claims: a fault of the origin proposer, bound by the value id.
    Broken {
        /// Names the rule, for the log.
        reason: String,
    },
    /// The bytes fit and the client answered.
    Answered(PayloadStatus),
}

/// A block built by our own client, checked and executed.
#[derive(Clone, Debug)]
pub struct Built {
    pub header: ExecutionHeader,
    /// In the canonical encoding that this module's head describes.
    pub payload: Bytes,
    /// Chunk hashes, commitments, digests and proofs. The proofs are verified.
    pub lists: Lists,
    /// Blobs in block order.
    pub blobs: Vec<Bytes>,
}

/// What the execution client's driver tells the core.
#[derive(Clone, Debug)]
pub enum EngineReply {
    Forkchoice {
        /// The head that was sent.
        head: Hash,
        status: PayloadStatus,
    },
    Built {
        height: Height,
        round: Round,
        /// The block, or why there is none.
        result: Result<Box<Built>, String>,
    },
    Executed {
        key: ValueKey,
        /// What came of it.
        outcome: Executed,
    },
    Inspected {
        key: ValueKey,
        /// The broken rule, if any.
        result: Result<(), String>,
    },
    Imported {
        height: Height,
        /// What `newPayload` answered about it.
        payload: PayloadStatus,
        /// What `forkchoiceUpdated` answered about it.
        forkchoice: PayloadStatus,
    },
    Newest {
        /// Block number, if the client answered.
        number: Option<u64>,
    },
}
