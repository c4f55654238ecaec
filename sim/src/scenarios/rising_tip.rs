//! Nodes that claim ever higher tips and refuse late, while a validator has to catch up whose vote is needed.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::World;

/// The validator that was away.
const LATE: usize = 0;
/// Heights that it missed.
const MISSED: u64 = 6;
/// What catching up may take: a few round trips a height, and the blocks of the heights decided meanwhile.
const CATCH_UP: Nanos = Nanos::from_millis(2_000);

pub const STRANGERS: Scenario = Scenario {
    name: "rising-tip",
    claim: "full nodes that claim rising tips and refuse late keep nobody from catching up",
    config: |seed| RunConfig {
        full_nodes: 1 + (seed % 4) as usize,
        adversaries: (4..5 + (seed % 4) as usize)
            .map(|stranger| (stranger, AdversaryKind::RisingTip))
            .collect(),
        ..config(seed)
    },
    script,
};

pub const VALIDATOR: Scenario = Scenario {
    name: "rising-tip-validator",
    claim: "a validator that claims rising tips and refuses late keeps nobody from catching up",
    config: |seed| RunConfig {
        adversaries: vec![(3, AdversaryKind::RisingTip)],
        ..config(seed)
    },
    script,
};

fn config(seed: u64) -> RunConfig {
    RunConfig {
        target: 30,
        ..RunConfig::quiet(seed)
    }
}

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 4", |world| world.checks.agreement.tip() >= Height(4))?;
    world.crash(LATE);
    let missed = Height(world.checks.agreement.tip().0 + MISSED);
    wait(world, 60, "the others go on", |world| {
        world.checks.agreement.tip() >= missed
    })?;
    world.restart(LATE);
    // Long enough for the strangers' statuses to pile up.
    wait(world, 10, "it is connected", |world| world.nodes[LATE].sees.len() >= 3)?;
    let began = world.now;
    wait(world, 120, "the late validator catches up", |world| {
        world.nodes[LATE].head().0 + 1 >= world.checks.agreement.tip().0
    })?;
    let took = world.now.since(began);
    if took > CATCH_UP {
        return Err(format!("it caught up after {took:?}, and not within {CATCH_UP:?}"));
    }
    Ok(())
}
