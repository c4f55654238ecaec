//! A node on a line of 0.4 MB/s that has to catch up: what it asks for shares the line.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::lines::Rates;
use crate::world::World;

/// A full node behind four validators.
const LATE: usize = 4;
const BYTES_PER_MS: u64 = 400;
/// Heights that it misses.
const MISSED: u64 = 24;
/// New blocks, of one blob a second, take a third of the line. The missed ones need twelve seconds of the rest.
const CATCH_UP: Nanos = Nanos::from_millis(30_000);

pub const SCENARIO: Scenario = Scenario {
    name: "slow-line",
    claim: "a late node on a line of 0.4 MB/s catches up in about the time that the bytes take",
    config: |seed| {
        let mut config = RunConfig {
            full_nodes: 1,
            blobs_range: (1, 1),
            target: 60,
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 1000;
        config.lines.rates.insert(
            LATE,
            Rates {
                out: BYTES_PER_MS,
                into: BYTES_PER_MS,
            },
        );
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the first heights", |world| {
        world.checks.agreement.tip() >= Height(2)
    })?;
    world.crash(LATE);
    let missed = Height(world.checks.agreement.tip().0 + MISSED);
    wait(world, 60, "the others go on", |world| {
        world.checks.agreement.tip() >= missed
    })?;
    world.restart(LATE);
    let began = world.now;
    wait(world, 300, "it catches up", |world| {
        world.nodes[LATE].head().0 + 2 >= world.checks.agreement.tip().0
    })?;
    let took = world.now.since(began);
    if took > CATCH_UP {
        return Err(format!("it caught up after {took:?}, and not within {CATCH_UP:?}"));
    }
    Ok(())
}
