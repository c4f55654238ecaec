//! A chain that is begun again with the same validators, keys and parameters: what they signed on its past is played
//! in, and means nothing.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::World;

/// Plays the past in. The checkers watch the others: no honest node is charged, convicted or stopped by it.
const HOARDER: usize = 1;

pub const SCENARIO: Scenario = Scenario {
    name: "relaunch",
    claim: "what was said on a chain's past costs whoever plays it in, and nobody else anything",
    config: |seed| RunConfig {
        adversaries: vec![(HOARDER, AdversaryKind::Relaunch)],
        target: 20,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "four heights", |world| world.lowest_head() >= Height(4))?;
    // Somebody has to ask for packages.
    world.crash(2);
    wait(world, 60, "the others go on", |world| {
        world.nodes[0].head() >= Height(12)
    })?;
    // It sees the hoarder alone for a while, and asks it.
    let links = [(0, 2), (2, 0), (3, 2), (2, 3)];
    world.cut(links.to_vec(), Nanos::from_millis(10_000));
    world.restart(2);
    // A connection begins with one hello.
    for _ in 0..30 {
        if world.nodes[HOARDER].deeds.contains_key("old-hello") {
            break;
        }
        world.reset(0, HOARDER);
        world.run(world.now + Nanos::from_millis(1_000), |_| false);
    }
    for deed in ["old-message", "old-claim", "old-hello", "old-init", "old-package"] {
        wait(world, 60, deed, |world| world.nodes[HOARDER].deeds.contains_key(deed))?;
    }
    wait(world, 120, "all come along", |world| world.lowest_head() >= Height(16))?;
    let kept = |name: &str| world.faults.get(name).copied().unwrap_or_default();
    if kept("adversary-charged") == 0 || kept("evidence-kept") > 0 {
        return Err(format!("it had effects: {:?}", world.faults));
    }
    Ok(())
}
