//! A process that stands still, as a machine under load or a virtual one that is moved: its timers are late, its peers
//! have gone, and nobody's clock has moved but time itself.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "pause",
    claim: "a validator whose process stood still for twenty seconds takes part again at once, and nobody stops",
    config: |seed| RunConfig {
        target: 30,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(4))?;
    let still = world.config.seed as usize % world.nodes.len();
    let before = world.nodes[still].head();
    let span = Nanos::from_millis(20_000);
    let until = world.now + span;
    world.stand_still(still, span);
    world.run(until, |world| world.nodes[still].head() != before);
    if world.now < until {
        return Err("it did not stand still".to_owned());
    }
    if world.checks.agreement.tip() < Height(before.0 + 10) {
        return Err("the others stood still with it".to_owned());
    }
    let tip = world.checks.agreement.tip();
    wait(world, 10, "it catches up", |world| world.nodes[still].head() > tip)
}
