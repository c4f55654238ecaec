//! This file knows which `Init`s have a shape worth offering to the core; signatures and election are the core's to check.

use std::sync::Arc;

use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{EXTRA_DATA_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::{Init, ValueKey};

/// An `Init` whose shape is legal, with the key computed from its metadata.
#[derive(Clone, Debug)]
pub struct CheckedInit {
    key: ValueKey,
    init: Arc<Init>,
}

/// What is wrong with the shape of an `Init`. Nobody honest relays such a one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitFault {
    /// Of another chain.
    #[error("chain id {found} is not ours")]
    Chain {
        /// As received.
        found: u64,
    },
    /// Of no height that can be decided.
    #[error("height 0 is genesis")]
    Genesis,
    /// More blobs than the chain allows.
    #[error("{found} blobs are more than the chain's {limit}")]
    Blobs {
        /// As received.
        found: usize,
        /// The chain's.
        limit: u32,
    },
    /// An empty payload or one beyond the protocol's bound.
    #[error("a payload of {found} bytes")]
    Payload {
        /// As received.
        found: u32,
    },
    /// Not one hash per chunk.
    #[error("{found} chunk hashes for {wanted} chunks")]
    Chunks {
        /// As received.
        found: usize,
        /// By the payload's length.
        wanted: usize,
    },
    /// One chunk is the payload, yet the hashes differ.
    #[error("the only chunk's hash is not the payload's")]
    PayloadHash,
    /// Longer than an execution header may have.
    #[error("{found} bytes of extra data")]
    ExtraData {
        /// As received.
        found: usize,
    },
}

impl CheckedInit {
    /// Checks the shape and computes the key.
    pub fn check(init: Init, chain_id: u64, limits: &Limits) -> Result<Self, InitFault> {
        let metadata = &init.metadata;
        if metadata.chain_id != chain_id {
            return Err(InitFault::Chain {
                found: metadata.chain_id,
            });
        }
        if metadata.height.0 == 0 {
            return Err(InitFault::Genesis);
        }
        if metadata.commitments.len() > limits.blobs_per_block as usize {
            return Err(InitFault::Blobs {
                found: metadata.commitments.len(),
                limit: limits.blobs_per_block,
            });
        }
        let payload_bytes = metadata.payload_bytes as usize;
        if payload_bytes == 0 || payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(InitFault::Payload {
                found: metadata.payload_bytes,
            });
        }
        let wanted = payload_bytes.div_ceil(PAYLOAD_CHUNK_BYTES);
        match metadata.chunk_hashes.as_slice() {
            [only] if wanted == 1 && *only != metadata.payload_hash => return Err(InitFault::PayloadHash),
            hashes if hashes.len() != wanted => {
                return Err(InitFault::Chunks {
                    found: hashes.len(),
                    wanted,
                });
            }
            _ => {}
        }
        if metadata.header.extra_data.len() > EXTRA_DATA_BYTES_MAX {
            return Err(InitFault::ExtraData {
                found: metadata.header.extra_data.len(),
            });
        }
        Ok(Self {
            key: init.key(),
            init: Arc::new(init),
        })
    }

    /// Height and id, the id computed from the metadata.
    pub const fn key(&self) -> ValueKey {
        self.key
    }

    /// The `Init`.
    pub const fn init(&self) -> &Arc<Init> {
        &self.init
    }
}

/// Length of a payload's chunk at `index`; the last may be shorter. `None` beyond the payload.
pub(crate) fn chunk_bytes(payload_bytes: usize, index: usize) -> Option<usize> {
    let start = index.checked_mul(PAYLOAD_CHUNK_BYTES)?;
    (start < payload_bytes).then(|| (payload_bytes - start).min(PAYLOAD_CHUNK_BYTES))
}
