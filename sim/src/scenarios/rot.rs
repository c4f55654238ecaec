//! Decided heights that rot on a disk: they come back from the others, and the client gets what it lacks of them.

use ultramarine_types::Height;
use ultramarine_types::storage::Blobs;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::disk::Rot;
use crate::world::{World, WorldNotice};

/// Whose disk it is.
const ROTTEN: usize = 2;
/// A scrub comes by within 8 s.
const SECONDS_MAX: u64 = 20;

pub const SCENARIO: Scenario = Scenario {
    name: "rot",
    claim: "what rots of decided heights comes back from peers, a client replays it, and nobody is charged",
    config: |seed| RunConfig {
        blobs_range: (1, 6),
        target: 30,
        ..RunConfig::quiet(seed)
    },
    script,
};

/// As above, of a height whose blobs nobody keeps any more.
pub const PRUNED: Scenario = Scenario {
    name: "rot-pruned",
    claim: "a payload that rots after its blobs were freed comes back without them",
    config: |seed| {
        let mut config = RunConfig {
            blobs_range: (1, 6),
            target: 60,
            retention: Some(16),
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 100;
        config
    },
    script: pruned,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 12", |world| world.lowest_head() >= Height(12))?;
    for (height, rot) in [(3, Rot::Payload), (5, Rot::Blob), (6, Rot::Row), (11, Rot::Payload)] {
        if !world.rot_at(ROTTEN, Height(height), rot) {
            return Err(format!("height {height} cannot rot"));
        }
    }
    world.kill_client(ROTTEN);
    world.start_client(ROTTEN);
    heals(world)?;
    wait(world, 10, "the client follows", |world| {
        let node = &world.nodes[ROTTEN];
        node.el.head_number() + 1 >= node.head().0
    })
}

fn pruned(world: &mut World) -> Result<(), String> {
    wait(world, 60, "height 40", |world| world.lowest_head() >= Height(40))?;
    for (height, rot) in [(3, Rot::Payload), (4, Rot::Row), (38, Rot::Blob)] {
        if !world.rot_at(ROTTEN, Height(height), rot) {
            return Err(format!("height {height} cannot rot"));
        }
    }
    heals(world)?;
    let blobs = |height| {
        world.nodes[ROTTEN]
            .disk
            .decided(Height(height))
            .map(|value| value.decided.blobs)
    };
    // The chain goes on meanwhile, and may have come so far that this height is past retention too.
    let is_past = world.nodes[ROTTEN].disk.oldest_blobs() > Height(38);
    let recent = if is_past { Blobs::Pruned } else { Blobs::Held };
    match (blobs(3), blobs(4), blobs(38)) {
        (Some(Blobs::Pruned), Some(Blobs::Pruned), found) if found == Some(recent) => Ok(()),
        found => Err(format!("restored as {found:?}")),
    }
}

fn heals(world: &mut World) -> Result<(), String> {
    let mut charged = false;
    wait(world, SECONDS_MAX, "all is whole again", |world| {
        charged |= world
            .notices
            .iter()
            .any(|notice| matches!(notice, WorldNotice::Charge { .. }));
        world.nodes[ROTTEN].disk.rotten().next().is_none()
    })?;
    if charged {
        Err("a peer is charged".to_owned())
    } else {
        Ok(())
    }
}
