//! Lanes that lie: memory that rots, sums that are wrong, a library that fails. Nothing follows from it but work.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

/// Whose lanes lie.
const LIED_TO: usize = 2;
/// It takes half of this. Nobody comes along as fast who waits until others show it what they decided.
const SECONDS_MAX: u64 = 40;

pub const SCENARIO: Scenario = Scenario {
    name: "lying-lanes",
    claim: "a value about which the lanes lie is fetched anew and decided, and nobody is charged",
    config: |seed| RunConfig {
        blobs_range: (1, 6),
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    world.nodes[LIED_TO].lanes_lie_until = Nanos::NEVER;
    let (mut charged, mut fetched) = (false, false);
    wait(world, SECONDS_MAX, "everybody decides", |world| {
        for notice in &world.notices {
            match notice {
                WorldNotice::Charge { .. } => charged = true,
                WorldNotice::Fetch { node: LIED_TO, .. } => fetched = true,
                _ => {}
            }
        }
        world.lowest_head() >= Height(16)
    })?;
    let withheld = world.faults.get("verdict-withheld").copied().unwrap_or(0);
    if withheld == 0 || charged || !fetched {
        return Err(format!("{withheld} withheld, fetched: {fetched}, charged: {charged}"));
    }
    Ok(())
}
