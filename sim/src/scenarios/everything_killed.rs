//! All nodes and all execution clients are killed, and the clients forget everything: the chain comes back by itself.

use ultramarine_types::Height;

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
