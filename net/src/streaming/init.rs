//! This file knows which `Init`s have a legal shape, so that they can be offered to the core. The core checks
//! signatures and election.

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

/// What is wrong with the shape of an `Init`. No honest node relays such a one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitFault {
    #[error("chain id {found} is not ours")]
    Chain { found: u64 },
    /// Height 0 is never decided.
    #[error("height 0 is genesis")]
    Genesis,
    #[error("{found} blobs are more than the chain's {limit}")]
    Blobs { found: usize, limit: u32 },
    /// An empty payload or one beyond the protocol's bound.
    #[error("a payload of {found} bytes")]
    Payload { found: u32 },
    /// The number of hashes is not the number of chunks.
    #[error("{found} chunk hashes for {wanted} chunks")]
    Chunks {
        found: usize,
        /// Chunks of a payload of that length.
        wanted: usize,
    },
    /// The only chunk is the whole payload, yet the two hashes differ.
    #[error("the only chunk's hash is not the payload's")]
    PayloadHash,
    /// An execution header may not have as many.
    #[error("{found} bytes of extra data")]
    ExtraData { found: usize },
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

    /// The key, whose id was computed from the metadata.
    pub const fn key(&self) -> ValueKey {
        self.key
    }

    pub const fn init(&self) -> &Arc<Init> {
        &self.init
    }
}

/// Length of a payload's chunk at `index`. The last chunk may be shorter. `None` beyond the payload.
pub(crate) fn chunk_bytes(payload_bytes: usize, index: usize) -> Option<usize> {
    let start = index.checked_mul(PAYLOAD_CHUNK_BYTES)?;
    (start < payload_bytes).then(|| (payload_bytes - start).min(PAYLOAD_CHUNK_BYTES))
}
