//! Drives the core of a chain's only validator by hand: no network, no disk, no clock but ours.
//!
//! It is told what a tile would tell it, and says what it wants done. Here the store obeys at once, and the execution
//! client confirms our head; when the core asks for a block, the example ends.
//!
//! `cargo run --release --example drive_by_hand`

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ultramarine_core::io::{Input, Output};
use ultramarine_core::{Core, CoreConfig};
use ultramarine_types::execution::{EngineCall, EngineReply, ParentBlock, PayloadStatus};
use ultramarine_types::storage::{LogEpoch, StoreReply, StoreRequest};
use ultramarine_types::{Chain, ChainParams, Hash, Machine, Nanos, Nonce, Outbox, PublicKey, Validator, ValidatorSet};

fn main() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let mut core = Core::new(config(&key));
    let mut out = Outbox::new();
    let mut now = Nanos(0);

    let unix_ns = 1_700_000_000_000_000_000;
    core.handle(now, Input::WallClock { unix_ns }, &mut out);
    core.handle(now, Input::Boot(Box::default()), &mut out);
    loop {
        while let Some(output) = out.pop() {
            println!("{:>10.3} s  {output:?}", now.0 as f64 / 1e9);
            match output {
                Output::Store(request) => {
                    if let Some(reply) = obey(request) {
                        core.handle(now, Input::Store(reply), &mut out);
                    }
                }
                Output::Engine(EngineCall::Forkchoice { head, .. }) => {
                    let status = PayloadStatus::Valid { latest: Some(head) };
                    let reply = EngineReply::Forkchoice { head, status };
                    core.handle(now, Input::Engine(reply), &mut out);
                }
                Output::Engine(EngineCall::Build { .. }) => {
                    return println!("a block is wanted: that is the client's work");
                }
                Output::Stop(stop) => panic!("{stop}"),
                _ => {}
            }
        }
        // Nothing is left to do now: time goes on to when the core wants to be woken.
        now = core.deadline().expect("a validator always waits for something");
        core.wake(now, &mut out);
    }
}

/// A store that has done at once what it is asked.
fn obey(request: StoreRequest) -> Option<StoreReply> {
    match request {
        StoreRequest::BeginEpoch { height } => Some(StoreReply::EpochBegun(LogEpoch { height, generation: 1 })),
        StoreRequest::LogSync { lsn } => Some(StoreReply::LogDurable { lsn }),
        _ => None,
    }
}

fn config(key: &SigningKey) -> CoreConfig {
    let genesis = Hash([7; 32]);
    let validator = Validator {
        public_key: PublicKey(key.verifying_key().to_bytes()),
        power: 1,
    };
    let validators = ValidatorSet::new(vec![validator]).expect("one validator is a set");
    let params = ChainParams {
        chain_id: 1,
        execution_genesis_hash: genesis,
        blobs_per_block_max: 6,
        block_interval_ms: 1000,
        blob_retention_heights_min: 4096,
        gas_limit_min: 5_000_000,
        gas_limit_max: 60_000_000,
        genesis_time: 0,
        prague_time: None,
    };
    let salt = Hash([9; 32]);
    CoreConfig {
        chain: Chain::new(params, &validators, &salt),
        validators: Arc::new(validators),
        key: Some(key.to_bytes()),
        genesis_block: ParentBlock {
            hash: genesis,
            number: 0,
            timestamp: 0,
        },
        retention: None,
        fresh_directory_listen: Nanos::from_millis(3_000),
        // A node draws it.
        nonce: Nonce([1; 32]),
        #[cfg(feature = "planted")]
        planted: None,
    }
}
