//! Strangers that pull packages without end, while blocks need most of a proposer's line.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::World;

const VALIDATORS: usize = 4;
const STRANGERS: usize = 24;
const BLOBS: u32 = 32;
/// Half a gigabit. Three copies of a block take 0.2 s of it. If each connection had the same share, they would
/// take 2 s, which no round waits for.
const BYTES_PER_MS: u64 = 62_500;
/// Heights before the count begins: so many there are to pull.
const FIRST: Height = Height(4);
const HEIGHTS: u64 = 8;
/// How much longer heights may take, in hundredths.
const LONGER_MAX: u64 = 150;

pub const SCENARIO: Scenario = Scenario {
    name: "package-pullers",
    claim: "strangers that pull packages without end lengthen no height by half, and cost no round",
    config: |seed| {
        let mut config = RunConfig {
            full_nodes: STRANGERS,
            blobs_range: (BLOBS, BLOBS),
            target: FIRST.0 + HEIGHTS,
            adversaries: (VALIDATORS..VALIDATORS + STRANGERS)
                .map(|stranger| (stranger, AdversaryKind::Puller))
                .collect(),
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = BLOBS;
        config.weather.bytes_per_ms = BYTES_PER_MS;
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let mut alone = World::new(RunConfig {
        full_nodes: 0,
        adversaries: Vec::new(),
        ..world.config.clone()
    });
    let (quiet, _) = heights_take(&mut alone)?;
    let (pulled, lost) = heights_take(world)?;
    let longer = pulled.0 * 100 / quiet.0.max(1);
    let pulls: u64 = world.nodes.iter().filter_map(|node| node.deeds.get("pull")).sum();
    if pulls < 100 {
        return Err(format!("they pull {pulls} times only"));
    }
    if longer > LONGER_MAX {
        return Err(format!(
            "{HEIGHTS} heights take {pulled:?}, and {quiet:?} without strangers"
        ));
    }
    match lost {
        0 => Ok(()),
        lost => Err(format!("{lost} heights lost a round")),
    }
}

/// How long it is from one height to another, and how many heights between them lost a round.
fn heights_take(world: &mut World) -> Result<(Nanos, u64), String> {
    wait(world, 60, "the first heights", |world| world.lowest_head() >= FIRST)?;
    let (began, lost) = (world.now, world.checks.agreement.rounds_above_zero);
    let last = Height(FIRST.0 + HEIGHTS);
    wait(world, 120, "the other heights", |world| world.lowest_head() >= last)?;
    Ok((world.now.since(began), world.checks.agreement.rounds_above_zero - lost))
}
