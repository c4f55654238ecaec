//! A network that starts together, its execution clients one after the other: the first height is decided in round 0.

use ultramarine_types::{Height, Nanos, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "first-height",
    claim: "a network that starts together decides height 1 in round 0, however slow its execution clients start",
    config,
    script: together,
};

pub const ONE_MISSING: Scenario = Scenario {
    name: "first-height-without-one",
    claim: "a network in which a validator never starts waits for it a few seconds, and not for ever",
    config,
    script: one_missing,
};

pub const BY_HAND: Scenario = Scenario {
    name: "first-height-by-hand",
    claim: "validators that are started by hand, some long before the others, decide their first height in round 0",
    config,
    script: by_hand,
};

fn config(seed: u64) -> RunConfig {
    RunConfig {
        target: 5,
        ..RunConfig::quiet(seed)
    }
}

fn together(world: &mut World) -> Result<(), String> {
    // Clients that come up to six seconds after their nodes.
    let nodes = world.nodes.len();
    for node in 0..nodes {
        world.kill_client(node);
    }
    let began = world.now;
    let mut order: Vec<usize> = (0..nodes).collect();
    order.rotate_left(world.config.seed as usize % nodes);
    for (position, node) in order.into_iter().enumerate() {
        let at = began + Nanos::from_millis(1_500 * (position as u64 + 1));
        world.run(at, |_| false);
        world.start_client(node);
    }
    soon_decided_at_once(world)
}

fn by_hand(world: &mut World) -> Result<(), String> {
    let nodes = world.nodes.len();
    let proposer = *world.validators.proposer(Height(1), Round(0));
    let proposer = world.node_of(&proposer).ok_or("the first proposer is no node")?;
    // Two wait from the beginning, too few to begin. The operators of the others, the proposer's among them, are not
    // there yet.
    let late = [proposer, (proposer + 1) % nodes];
    let began = world.now;
    while world.now < began + Nanos::from_millis(25_000) {
        step_without(world, &late)?;
    }
    for node in &late {
        world.kill_client(*node);
        world.restart(*node);
    }
    // Longer than it takes to listen.
    world.run(world.now + Nanos::from_millis(6_000), |_| false);
    for node in &late {
        world.start_client(*node);
    }
    soon_decided_at_once(world)
}

fn one_missing(world: &mut World) -> Result<(), String> {
    // The last in turn, so that round 0 has a proposer.
    let last = *world.validators.proposer(Height(1), Round(3));
    let missing = world.node_of(&last).ok_or("the last proposer is no node")?;
    let began = world.now;
    world.filter = None;
    let away = move |world: &World| {
        (0..world.nodes.len())
            .filter(|node| *node != missing)
            .all(|node| world.nodes[node].head() >= Height(1))
    };
    // It is killed as often as it starts.
    while !away(world) {
        if world.now > began + Nanos::from_millis(12_000) {
            return Err("the others wait for ever".to_owned());
        }
        step_without(world, &[missing])?;
    }
    world.restart(missing);
    decided_at_once(world)
}

/// Takes one step without these nodes: kills each that has started.
fn step_without(world: &mut World, absent: &[usize]) -> Result<(), String> {
    for node in absent {
        if world.nodes[*node].is_running() {
            world.crash(*node);
        }
    }
    if world.step() {
        Ok(())
    } else {
        Err("nothing happens any more".to_owned())
    }
}

fn soon_decided_at_once(world: &mut World) -> Result<(), String> {
    wait(world, 20, "the first height is decided", |world| {
        world.lowest_head() >= Height(1)
    })?;
    decided_at_once(world)
}

fn decided_at_once(world: &World) -> Result<(), String> {
    let held = world.nodes.iter().find_map(|node| node.disk.decided(Height(1)));
    let round = held.ok_or("nobody has it")?.decided.certificate.round;
    if round == Round(0) {
        Ok(())
    } else {
        Err(format!("it was decided in round {round}"))
    }
}
