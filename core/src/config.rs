//! This file knows what the core must be told before its first input.

use std::sync::Arc;

use ultramarine_types::execution::ParentBlock;
use ultramarine_types::{ChainParams, Nanos, ValidatorSet};

/// What a core is made from.
#[derive(Clone)]
pub struct CoreConfig {
    /// The chain's parameters.
    pub chain: ChainParams,
    /// Its validators.
    pub validators: Arc<ValidatorSet>,
    /// The validator's ed25519 seed; `None`: a full node, which follows and never signs.
    pub key: Option<[u8; 32]>,
    /// The execution genesis: hash, number 0 and timestamp.
    pub genesis_block: ParentBlock,
    /// Heights for which blobs are kept; `None`: all. Never fewer than the chain's minimum.
    pub retention: Option<u64>,
    /// How long to listen to peers before the first signature after a start on an empty or doubtful directory; cut
    /// short when every other validator has been heard.
    pub fresh_directory_listen: Nanos,
    /// The bug planted for the simulator to find, if any.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Planted>,
}

#[cfg(feature = "planted")]
impl CoreConfig {
    /// Whether this bug is planted.
    pub(crate) fn plants(&self, bug: crate::planted::Planted) -> bool {
        self.planted == Some(bug)
    }
}

impl std::fmt::Debug for CoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("CoreConfig")
            .field("chain", &self.chain)
            .field("validators", &self.validators.len())
            .field("signs", &self.key.is_some())
            .field("genesis_block", &self.genesis_block)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
