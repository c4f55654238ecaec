//! A validator loses its directory and comes back with the same key: it never contradicts what it signed before,
//! catches up, and takes part again. Now and then it comes back while it is cut off from everybody.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

pub const SCENARIO: Scenario = Scenario {
    name: "wiped-validator",
    claim: "a validator with an empty directory and its old key contradicts nothing, catches up and takes part again",
    config: |seed| RunConfig {
        target: 24,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 5", |world| world.lowest_head() >= Height(5))?;
    // Any moment: in the middle of a round as well.
    for _ in 0..world.config.seed * 13 % 211 {
        world.step();
    }
    let victim = (world.config.seed % 4) as usize;
    world.crash(victim);
    world.nodes[victim].disk.wipe();
    world.checks.agreement.wiped(victim);
    if world.config.seed.is_multiple_of(3) {
        let cut = (0..4)
            .filter(|other| *other != victim)
            .flat_map(|other| [(victim, other), (other, victim)])
            .collect();
        // Longer than it would wait for others before it began, if it did not listen first.
        world.cut(cut, Nanos::from_millis(20_000));
    }
    world.restart(victim);
    let tip = world.checks.agreement.tip();
    wait(world, 90, "it catches up", |world| {
        let head = world.nodes[victim].head();
        head > tip && head.0 + 1 >= world.checks.agreement.tip().0
    })?;
    let mut signs = false;
    wait(world, 60, "it takes part again", |world| {
        signs |= world
            .notices
            .iter()
            .any(|notice| matches!(notice, WorldNotice::Sent { node, .. } if *node == victim));
        signs
    })
}
