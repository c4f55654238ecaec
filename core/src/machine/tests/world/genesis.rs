//! Who the validators of the small world are, and on what chain.

use std::sync::Arc;

use ultramarine_types::{Address, Chain, ChainParams, Hash, PeerId, Validator, ValidatorSet, fixtures};

use crate::signing::Signer;

pub const GENESIS: Hash = Hash([0x11; 32]);
pub const START_UNIX: u64 = 1_800_000_000;
pub const GENESIS_TIME: u64 = START_UNIX - 10;

pub fn seed(node: usize) -> [u8; 32] {
    [node as u8 + 1; 32]
}

pub fn peer_id(node: usize) -> PeerId {
    PeerId([node as u8; 32])
}

pub fn address_of(node: usize) -> Address {
    Signer::new(&seed(node)).address()
}

/// The identity does not follow from the parameters here, so that a test may change them.
pub fn chain() -> Chain {
    Chain {
        identity: fixtures::CHAIN,
        params: ChainParams {
            chain_id: 7,
            execution_genesis_hash: GENESIS,
            blobs_per_block_max: 6,
            block_interval_ms: 100,
            blob_retention_heights_min: 1_000,
            gas_limit_min: 5_000,
            gas_limit_max: 60_000_000,
            genesis_time: GENESIS_TIME,
            prague_time: None,
        },
    }
}

pub fn validators(count: usize) -> Arc<ValidatorSet> {
    let list = (0..count)
        .map(|node| Validator {
            public_key: Signer::new(&seed(node)).public_key(),
            power: 1,
        })
        .collect();
    Arc::new(ValidatorSet::new(list).unwrap())
}
