//! A node that was down, and one that joins late with an empty directory, catch up and then hold the same blobs.

use ultramarine_types::Height;
use ultramarine_types::storage::Blobs;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "catch-up",
    claim: "a node that was down and a full node that joins late catch up and hold the same blobs",
    config: |seed| RunConfig {
        full_nodes: 1,
        target: 40,
        ..RunConfig::quiet(seed)
    },
    script,
};

/// As above, with retention: old heights come without their blobs, recent ones with them.
pub const PRUNED: Scenario = Scenario {
    name: "catch-up-pruned",
    claim: "a node that was away beyond retention catches up through metadata and is no worse for it",
    config: |seed| {
        let mut config = RunConfig {
            full_nodes: 1,
            target: 60,
            retention: Some(16),
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 100;
        config
    },
    script: |world| {
        away(world, 50)?;
        let late = world.nodes.len() - 1;
        let kinds: Vec<Blobs> = world.nodes[late]
            .disk
            .decisions()
            .map(|(_, value)| value.decided.blobs)
            .collect();
        if !kinds.contains(&Blobs::NeverHeld) {
            return Err("every height came with its blobs".to_owned());
        }
        Ok(())
    },
};

fn script(world: &mut World) -> Result<(), String> {
    away(world, 30)
}

fn away(world: &mut World, until: u64) -> Result<(), String> {
    let late = world.nodes.len() - 1;
    // The full node is killed before it has anything: it joins late with an empty directory.
    wait(world, 10, "all start", |world| {
        world.nodes.iter().all(|node| node.is_running())
    })?;
    world.crash(late);
    world.nodes[late].disk.wipe();
    world.checks.agreement.wiped(late);
    wait(world, 60, "height 4", |world| world.checks.agreement.tip() >= Height(4))?;
    world.crash(0);
    let others = |world: &World| {
        world.nodes[1..4]
            .iter()
            .map(|node| node.head())
            .min()
            .unwrap_or_default()
    };
    wait(world, 300, "the others go on", |world| others(world) >= Height(until))?;
    world.restart(0);
    world.restart(late);
    wait(world, 60, "both catch up", |world| {
        let tip = world.checks.agreement.tip().0;
        [0, late].iter().all(|node| world.nodes[*node].head().0 + 2 >= tip)
    })
}
