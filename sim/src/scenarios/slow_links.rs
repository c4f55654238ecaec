//! Blocks that need several propose timeouts on their links: what arrived late is proposed again, not sent anew. And
//! messages that need several: rounds grow until they are long enough.

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::network::Weather;
use crate::world::World;

const BLOBS: u32 = 16;
/// How long a block is under way to all others, over its proposer's line.
const TRANSFER_MS: u64 = 5_000;
/// Copies of a block that its proposer sends.
const COPIES: u64 = 3;

pub const SCENARIO: Scenario = Scenario {
    name: "slow-links",
    claim: "a block that needs several propose timeouts on its links is decided soon after it has arrived",
    config: |seed| {
        let mut config = RunConfig {
            blobs_range: (BLOBS, BLOBS),
            target: 4,
            weather: Weather {
                bytes_per_ms: COPIES * u64::from(BLOBS) * BLOB_BYTES as u64 / TRANSFER_MS,
                ..Weather::CALM
            },
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = BLOBS;
        config
    },
    script,
};

/// How long a message is under way.
const MESSAGE_MS: u64 = 3_000;

pub const MESSAGES: Scenario = Scenario {
    name: "slow-messages",
    claim: "where a message needs several propose timeouts, a round comes that is long enough",
    config: |seed| RunConfig {
        target: 3,
        weather: Weather {
            latency: Nanos::from_millis(MESSAGE_MS),
            is_steady: true,
            ..Weather::CALM
        },
        ..RunConfig::quiet(seed)
    },
    script: slow_messages,
};

fn slow_messages(world: &mut World) -> Result<(), String> {
    for height in 1..=2 {
        // Eight rounds of three messages each, and waits that grow from one second to three.
        wait(world, 120, "a height is decided", |world| {
            world.lowest_head() >= Height(height)
        })?;
    }
    Ok(())
}

fn script(world: &mut World) -> Result<(), String> {
    let mut took = Vec::new();
    for height in 1..=4 {
        let began = world.now;
        wait(world, 120, "a height is decided", |world| {
            world.lowest_head() >= Height(height)
        })?;
        took.push(world.now.since(began).0 / 1_000_000);
    }
    // Each proposer that has nothing valid yet builds a block of its own. So a line may have another round's block
    // before the one that is decided, and what is left of them when the next height begins.
    let most = 6 * TRANSFER_MS;
    // What is shown here is how heights are decided, not how a node that was left behind catches up on such links.
    world.set_rate(Weather::CALM.bytes_per_ms);
    match took.iter().all(|took| *took <= most) {
        true => Ok(()),
        false => Err(format!(
            "heights took {took:?} ms, where a block is under way for {TRANSFER_MS}"
        )),
    }
}
