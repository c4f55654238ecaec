//! A proposer killed in mid-stream: the others decide the height all the same, and when the dead proposer's value is the one
//! decided, its certificate's height names it as the origin.

use ultramarine_types::Height;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::network::Weather;
use crate::world::{Notice, World};

pub const SCENARIO: Scenario = Scenario {
    name: "proposer-killed",
    claim: "a proposer killed in mid-stream does not stop the chain, and catches up",
    config: |seed| RunConfig {
        blobs_range: (6, 6),
        target: 12,
        // Slow enough that a stream has a middle.
        weather: Weather {
            bytes_per_ms: 20_000,
            ..Weather::CALM
        },
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 3 is decided everywhere", |world| {
        world.lowest_head() >= Height(3)
    })?;
    let mut victim = None;
    wait(world, 60, "a stream is in its middle", |world| {
        victim = world.notices.iter().find_map(|notice| match notice {
            Notice::Blob { from, index: 2, .. } => Some(*from),
            _ => None,
        });
        victim.is_some()
    })?;
    let victim = victim.ok_or("no stream")?;
    let head = world.nodes[victim].head();
    world.crash(victim);
    wait(world, 60, "the others go on", |world| {
        world.checks.agreement.tip() >= Height(head.0 + 3)
    })?;
    // The height whose proposer died names whoever built the value that was decided.
    let id = world
        .checks
        .agreement
        .at(head.next())
        .ok_or("the height is not decided")?;
    let init = world.checks.values.get(&id).ok_or("the decided value is unknown")?;
    let elected = *world.validators.proposer(head.next(), init.metadata.origin_round);
    if init.metadata.origin_proposer != elected {
        return Err(format!(
            "the origin of height {} is {:?}",
            head.next(),
            init.metadata.origin_proposer
        ));
    }
    world.restart(victim);
    wait(world, 60, "the dead proposer comes back", |world| {
        world.nodes[victim].head() >= Height(head.0 + 3)
    })
}
