//! All nodes and all execution clients are killed, and the clients forget everything: the chain comes back by itself.

use ultramarine_types::{Height, Nanos, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "everything-killed",
    claim: "all nodes and their in-memory execution clients are killed, and the chain continues by itself",
    config: |seed| RunConfig {
        target: 20,
        ..RunConfig::quiet(seed)
    },
    script,
};

pub const NO_ROUND_LOST: Scenario = Scenario {
    name: "no-round-lost",
    claim: "after all nodes and clients were killed, heights are decided in round 0 once the clients have replayed",
    config: |seed| {
        let mut config = RunConfig {
            target: 70,
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 1_000;
        config
    },
    script: no_round_lost,
};

fn no_round_lost(world: &mut World) -> Result<(), String> {
    wait(world, 90, "heights to replay", |world| {
        world.lowest_head() >= Height(60)
    })?;
    for _ in 0..world.config.seed * 13 % 101 {
        world.step();
    }
    for node in 0..world.nodes.len() {
        world.kill_client(node);
        world.crash(node);
    }
    // They come back one after the other, and so do their clients.
    for node in 0..world.nodes.len() {
        world.run(world.now + Nanos::from_millis(100), |_| false);
        world.start_at_once(node);
        world.start_client(node);
    }
    let tip = world.checks.agreement.tip();
    wait(world, 30, "the chain continues", |world| {
        world.lowest_head() >= Height(tip.0 + 4)
    })?;
    for height in tip.0 + 1..=tip.0 + 4 {
        let held = world.nodes[0].disk.decided(Height(height)).ok_or("it has the height")?;
        let round = held.decided.certificate.round;
        if round > Round(0) {
            return Err(format!("height {height} was decided in round {round}"));
        }
    }
    Ok(())
}

fn script(world: &mut World) -> Result<(), String> {
    for goal in [4, 8, 12] {
        wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(goal))?;
        for node in 0..world.nodes.len() {
            world.kill_client(node);
            world.crash(node);
        }
        for node in 0..world.nodes.len() {
            world.start_client(node);
            world.restart(node);
        }
    }
    let tip = world.checks.agreement.tip();
    wait(world, 10, "the chain continues", |world| world.lowest_head() > tip)?;
    let tip = world.checks.agreement.tip();
    wait(world, 30, "the clients follow", |world| {
        world.nodes.iter().all(|node| node.el.head_number() >= tip.0)
    })
}
