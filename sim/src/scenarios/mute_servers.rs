//! A validator that was away catches up although many of those that it may ask never answer, and hang up now and then
//! so that nobody remembers it of them.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::World;

/// The validator that was away.
const LATE: usize = 0;
const VALIDATORS: usize = 7;
/// Two validators, and three strangers.
const MUTE: [usize; 5] = [2, 5, 7, 8, 9];
/// Heights that it missed.
const MISSED: u64 = 100;
/// What they may take to catch up.
const CATCH_UP: Nanos = Nanos::from_millis(4_000);
/// How often the mute hang up.
const HANG_UP: Nanos = Nanos::from_millis(1_500);

pub const SCENARIO: Scenario = Scenario {
    name: "mute-servers",
    claim: "peers that never answer and hang up hold up a node that catches up for a few round trips each",
    config: |seed| {
        let mut config = RunConfig {
            validators: VALIDATORS,
            full_nodes: 3,
            target: 150,
            blobs_range: (0, 2),
            adversaries: MUTE.map(|mute| (mute, AdversaryKind::Mute)).to_vec(),
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 100;
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 4", |world| world.checks.agreement.tip() >= Height(4))?;
    world.crash(LATE);
    let missed = Height(world.checks.agreement.tip().0 + MISSED);
    wait(world, 120, "the others go on", |world| {
        world.checks.agreement.tip() >= missed
    })?;
    world.restart(LATE);
    wait(world, 10, "it is connected", |world| {
        world.nodes[LATE].sees.len() + 1 >= world.nodes.len()
    })?;
    let began = world.now;
    let is_there = |world: &World| world.nodes[LATE].head().0 + 2 >= world.checks.agreement.tip().0;
    while world.now < began + CATCH_UP {
        let until = (world.now + HANG_UP).min(began + CATCH_UP);
        if world.run(until, is_there) {
            return Ok(());
        }
        MUTE.iter().for_each(|mute| world.reset(*mute, LATE));
    }
    let (head, tip) = (world.nodes[LATE].head(), world.checks.agreement.tip());
    Err(format!("after {CATCH_UP:?} it is at {head}, and the others at {tip}"))
}
