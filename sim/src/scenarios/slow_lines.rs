//! Ten validators on lines of 7 Mbit/s, and blocks of 32 blobs: all copies of a block need 45 s, which is many rounds.
//! Each round's proposer has nothing valid yet, and streams a block of its own, so more are under way than a node has
//! room for.

use ultramarine_types::Height;
use ultramarine_types::limits::BLOB_BYTES;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::network::Weather;
use crate::world::World;

const VALIDATORS: u64 = 10;
const BLOBS: u32 = 32;
/// 6.7 Mbit/s.
const BYTES_PER_MS: u64 = 833;
/// Nobody can have a height sooner: the bare blobs, a copy for each of the others.
const COPIES_MS: u64 = (VALIDATORS - 1) * BLOBS as u64 * BLOB_BYTES as u64 / BYTES_PER_MS;

pub const SCENARIO: Scenario = Scenario {
    name: "slow-lines",
    claim: "blocks that take longer than many rounds are decided in twice the time of their bytes",
    config: |seed| {
        let mut config = RunConfig {
            validators: VALIDATORS as usize,
            blobs_range: (BLOBS, BLOBS),
            target: 1,
            weather: Weather {
                bytes_per_ms: BYTES_PER_MS,
                ..Weather::CALM
            },
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = BLOBS;
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 2 * COPIES_MS / 1_000, "the first height is decided", |world| {
        world.lowest_head() >= Height(1)
    })?;
    Ok(())
}
