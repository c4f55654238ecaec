//! After kill -9 the `parentBeaconBlockRoot` that a node uses equals the one recomputed from stored metadata: it goes
//! on building on it.

use ultramarine_types::{Height, sidecar};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "parent-root",
    claim: "after kill -9 the parent blob root equals the one recomputed from stored metadata",
    config: |seed| RunConfig {
        blobs_range: (1, 6),
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    for goal in [3, 6, 9] {
        wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(goal))?;
        // Any moment will do: between two events of whatever is going on.
        let steps = world.config.seed % 97 + goal * 7;
        for _ in 0..steps {
            world.step();
        }
        for node in 0..world.nodes.len() {
            world.crash(node);
            world.restart(node);
        }
    }
    wait(world, 60, "the chain goes on", |world| {
        world.lowest_head() >= Height(14)
    })?;
    for (index, node) in world.nodes.iter().enumerate() {
        for height in 2..=14 {
            let at = |height| {
                node.disk
                    .decided(Height(height))
                    .map(|value| value.decided.init.metadata.clone())
            };
            let (Some(below), Some(this)) = (at(height - 1), at(height)) else {
                return Err(format!("node {index} lacks height {height}"));
            };
            if sidecar::header(&below, world.chain.params.genesis_time).root() != this.header.parent_beacon_block_root {
                return Err(format!("height {height} does not name the root of the height below"));
            }
        }
    }
    Ok(())
}
