//! A height that stands still for many rounds, because no execution client answers, and is decided soon after
//! they are back.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

/// Rounds of the height that stands still.
const ROUNDS: u32 = 60;
/// The longest that so many rounds may take: forty-five seconds each.
const ROUNDS_SECONDS: u64 = 45 * ROUNDS as u64;

pub const SCENARIO: Scenario = Scenario {
    name: "long-height",
    claim: "a height that stood still for sixty rounds is decided soon after the execution clients are back",
    config: |seed| {
        let mut config = RunConfig {
            target: 6,
            events_max: 60_000_000,
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 1000;
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    stand_still(world, ROUNDS)?;
    for node in 0..world.nodes.len() {
        world.start_client(node);
    }
    let tip = world.checks.agreement.tip();
    let began = world.now;
    wait(world, 120, "the height is decided", |world| world.lowest_head() > tip)?;
    world.trace.line(
        world.now,
        format_args!("decided {} ms after the clients", world.now.since(began).0 / 1_000_000),
    );
    Ok(())
}

/// Kills all execution clients, and waits until every node has come to a round.
pub fn stand_still(world: &mut World, rounds: u32) -> Result<(), String> {
    wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(3))?;
    for node in 0..world.nodes.len() {
        world.kill_client(node);
    }
    let is_there = |world: &World| {
        let mut cores = world.nodes.iter().map(|node| node.core.as_ref());
        cores.all(|core| {
            core.and_then(|core| core.round())
                .is_some_and(|round| round.0 >= rounds)
        })
    };
    let deadline = world.now + Nanos::from_millis(ROUNDS_SECONDS * 1000);
    if world.run(deadline, is_there) {
        Ok(())
    } else {
        Err(format!("not {rounds} rounds within {ROUNDS_SECONDS} s"))
    }
}
