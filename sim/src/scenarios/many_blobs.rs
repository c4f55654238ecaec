//! Blocks of 1024 blobs: streamed, verified, stored and decided.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::network::Weather;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "many-blobs",
    claim: "blocks of 1024 blobs are decided in round 0",
    config: |seed| {
        let mut config = RunConfig {
            blobs_range: (1024, 1024),
            target: 4,
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = 1024;
        config.weather = Weather {
            latency: Nanos(200_000),
            bytes_per_ms: 1_000_000,
            ..Weather::CALM
        };
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 120, "four heights", |world| world.lowest_head() >= Height(4))?;
    if world.checks.agreement.blobs < 4 * 1024 || world.checks.agreement.rounds_above_zero > 0 {
        return Err(format!(
            "{} blobs, {} heights above round 0",
            world.checks.agreement.blobs, world.checks.agreement.rounds_above_zero
        ));
    }
    Ok(())
}
