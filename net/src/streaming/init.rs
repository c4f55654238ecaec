//! This file knows which `Init`s have a legal shape, so that they can be offered to the core. The core checks
//! signatures and election.

use std::sync::Arc;

use ultramarine_types::limits::{EXTRA_DATA_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::{Chain, ChainIdentity, Init, ListKind, ValueKey};

/// An `Init` whose shape is legal, with the key computed from its metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedInit {
    key: ValueKey,
    init: Arc<Init>,
    proofs_per_blob: u32,
}

/// What is wrong with the shape of an `Init`. No honest node relays such a one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitFault {
    #[error("chain {found} is not ours")]
    Chain { found: ChainIdentity },
    /// Height 0 is never decided.
    #[error("height 0 is genesis")]
    Genesis,
    #[error("{found} blobs are more than the chain's {limit}")]
    Blobs { found: u32, limit: u32 },
    /// An empty payload or one beyond the protocol's bound.
    #[error("a payload of {found} bytes")]
    Payload { found: u32 },
    /// An execution header may not have as many.
    #[error("{found} bytes of extra data")]
    ExtraData { found: usize },
}

impl CheckedInit {
    /// Checks the shape and computes the key.
    pub fn check(init: Init, chain: &Chain) -> Result<Self, InitFault> {
        let metadata = &init.metadata;
        if metadata.chain != chain.identity {
            return Err(InitFault::Chain { found: metadata.chain });
        }
        if metadata.height.0 == 0 {
            return Err(InitFault::Genesis);
        }
        let limit = chain.params.limits().blobs_per_block;
        if metadata.blobs_count > limit {
            return Err(InitFault::Blobs {
                found: metadata.blobs_count,
                limit,
            });
        }
        let payload_bytes = metadata.payload_bytes as usize;
        if payload_bytes == 0 || payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(InitFault::Payload {
                found: metadata.payload_bytes,
            });
        }
        if metadata.header.extra_data.len() > EXTRA_DATA_BYTES_MAX {
            return Err(InitFault::ExtraData {
                found: metadata.header.extra_data.len(),
            });
        }
        let proofs_per_blob = chain.params.proofs_per_blob(metadata.header.timestamp);
        Ok(Self {
            key: init.key(),
            init: Arc::new(init),
            proofs_per_blob,
        })
    }

    /// The key, whose id was computed from the metadata.
    pub const fn key(&self) -> ValueKey {
        self.key
    }

    pub const fn init(&self) -> &Arc<Init> {
        &self.init
    }

    /// How many proofs each blob has, by the chain's rule at the block's time.
    pub const fn proofs_per_blob(&self) -> u32 {
        self.proofs_per_blob
    }

    /// How many items one of the value's lists has.
    pub fn list_len(&self, kind: ListKind) -> usize {
        self.init.metadata.list_len(kind, self.proofs_per_blob)
    }

    /// How many chunks the payload has.
    pub fn chunks_count(&self) -> usize {
        self.list_len(ListKind::Chunks)
    }

    pub fn blobs_count(&self) -> usize {
        self.init.metadata.blobs_count as usize
    }

    /// Bytes of all items of the four lists.
    pub fn lists_bytes(&self) -> usize {
        ListKind::ALL
            .into_iter()
            .map(|kind| self.list_len(kind) * kind.item_bytes())
            .sum()
    }
}

/// Length of a payload's chunk at `index`. The last chunk may be shorter. `None` beyond the payload.
pub(crate) fn chunk_bytes(payload_bytes: usize, index: usize) -> Option<usize> {
    let start = index.checked_mul(PAYLOAD_CHUNK_BYTES)?;
    (start < payload_bytes).then(|| (payload_bytes - start).min(PAYLOAD_CHUNK_BYTES))
}
