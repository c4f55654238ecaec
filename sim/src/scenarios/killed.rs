//! One validator after another is killed and started again at once, while all others answer: each signs at the tip
//! half a second later.

use ultramarine_core::Core;
use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

pub const SCENARIO: Scenario = Scenario {
    name: "killed-and-back",
    claim: "a killed validator takes part at the tip within half a second of its start, where all others answer",
    config: |seed| {
        let mut config = RunConfig {
            target: 30,
            ..RunConfig::quiet(seed)
        };
        // Faster blocks run ahead of all clocks, and the chain waits for those.
        config.chain.block_interval_ms = 1_000;
        config
    },
    script,
};

const PATIENCE: Nanos = Nanos::from_millis(500);

fn script(world: &mut World) -> Result<(), String> {
    for victim in 0..world.nodes.len() {
        let goal = Height(world.checks.agreement.tip().0 + 4);
        wait(world, 60, "heights go by", |world| world.lowest_head() >= goal)?;
        for _ in 0..world.config.seed * 17 % 97 {
            world.step();
        }
        world.crash(victim);
        world.start_at_once(victim);
        let since = world.now;
        wait(world, 20, "it takes part at the tip", |world| {
            let node = &world.nodes[victim];
            node.core.as_ref().is_some_and(Core::is_signing) && node.head() == world.checks.agreement.tip()
        })?;
        let took = world.now.since(since);
        if took > PATIENCE {
            return Err(format!("{victim} takes part {took:?} after its start"));
        }
        let tip = world.checks.agreement.tip();
        // A height may be decided before a slow client has judged its block.
        wait(world, 6, "it signs what comes next", |world| {
            let signs = |notice: &WorldNotice| match notice {
                WorldNotice::Sent { node, message } => *node == victim && message.height() > tip,
                _ => false,
            };
            world.notices.iter().any(signs)
        })?;
    }
    Ok(())
}
