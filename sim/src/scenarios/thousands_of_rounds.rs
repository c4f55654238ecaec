//! All execution clients are down for thousands of rounds of one height, and in their midst all nodes are killed. What
//! is sent again stays small all the while, and once the clients are back the height is decided.

use ultramarine_core::Core;
use ultramarine_types::{Height, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "thousands-of-rounds",
    claim: "a height of 5,000 rounds costs no more to tell than a short one, and is decided when the clients are back",
    config: |seed| RunConfig {
        target: 10,
        // Otherwise the last rounds would take twenty minutes each.
        short_rounds: true,
        ..RunConfig::quiet(seed)
    },
    script,
};

const ROUNDS: u32 = 5_000;

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 3", |world| world.lowest_head() >= Height(3))?;
    for node in 0..world.nodes.len() {
        world.kill_client(node);
    }
    wait(world, 9_000, "half of the rounds", |world| {
        round(world) >= Round(ROUNDS / 2)
    })?;
    for node in 0..world.nodes.len() {
        world.crash(node);
    }
    for node in 0..world.nodes.len() {
        world.restart(node);
    }
    wait(world, 9_000, "the other half", |world| round(world) >= Round(ROUNDS))?;
    for node in 0..world.nodes.len() {
        world.start_client(node);
    }
    let tip = world.checks.agreement.tip();
    wait(world, 30, "the height is decided", |world| world.lowest_head() > tip)
}

/// The highest round that a node is in.
fn round(world: &World) -> Round {
    let rounds = world
        .nodes
        .iter()
        .filter_map(|node| node.core.as_ref().and_then(Core::round));
    rounds.max().unwrap_or_default()
}
