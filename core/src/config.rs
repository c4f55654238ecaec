//! This file knows what a core is made from.

use std::sync::Arc;

use ultramarine_types::execution::ParentBlock;
use ultramarine_types::{Chain, ChainIdentity, Nanos, Nonce, ValidatorSet};

/// What a core is made from.
#[derive(Clone)]
pub struct CoreConfig {
    pub chain: Chain,
    pub validators: Arc<ValidatorSet>,
    /// The validator's ed25519 seed; `None` for a full node, which follows and never signs.
    pub key: Option<[u8; 32]>,
    /// The execution genesis: hash, number 0 and timestamp.
    pub genesis_block: ParentBlock,
    /// Heights for which blobs are kept, never fewer than the chain's minimum; `None` keeps all.
    pub retention: Option<u64>,
    /// How long to listen to peers after a start, before the first signature. It ends early once every other validator
    /// has been heard.
    pub fresh_directory_listen: Nanos,
    /// Drawn at random for this start. Answers that name it are younger than the start.
    pub nonce: Nonce,
    /// The bug for the simulator to find, if one is planted.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Planted>,
}

impl CoreConfig {
    /// The identity in the domains of votes and proposals.
    pub(crate) const fn voting_chain(&self) -> &ChainIdentity {
        #[cfg(feature = "planted")]
        if matches!(self.planted, Some(crate::planted::Planted::AnyChainsVotes)) {
            return &ChainIdentity::ZERO;
        }
        &self.chain.identity
    }
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
