//! Strangers of one address that hold all places for full nodes, while an operator's own full node and an honest one of
//! another address have to come in.

use ultramarine_types::Height;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::World;

const VALIDATORS: usize = 4;
/// The operator's own.
const LISTED: usize = 4;
/// Nobody's, at an address of its own.
const OTHER: usize = 5;
const PLACES: usize = 6;
/// More than there are places.
const STRANGERS: usize = 8;

pub const SCENARIO: Scenario = Scenario {
    name: "all-places-taken",
    claim: "strangers that hold all places keep out neither a configured full node nor one of another address",
    config: |seed| RunConfig {
        full_nodes: 2 + STRANGERS,
        target: 20,
        places: PLACES,
        listed: vec![LISTED],
        adversaries: (OTHER + 1..OTHER + 1 + STRANGERS)
            .map(|stranger| (stranger, AdversaryKind::Puppet))
            .collect(),
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    world.crash(LISTED);
    world.crash(OTHER);
    let all = VALIDATORS - 1 + PLACES;
    wait(world, 60, "strangers hold all places", |world| {
        world.nodes[..VALIDATORS].iter().all(|node| node.sees.len() == all)
    })?;
    world.restart(LISTED);
    world.restart(OTHER);
    let is_in = |world: &World, node: usize| {
        let mut validators = world.nodes[..VALIDATORS].iter();
        validators.all(|validator| validator.sees.contains_key(&node))
    };
    wait(world, 10, "the configured one has its place everywhere", |world| {
        is_in(world, LISTED)
    })?;
    wait(world, 10, "the other one has a place everywhere", |world| {
        is_in(world, OTHER)
    })?;
    let target = Height(world.config.target);
    wait(world, 60, "both follow the chain", |world| {
        [LISTED, OTHER].iter().all(|node| world.nodes[*node].head() >= target)
    })?;
    match is_in(world, LISTED) {
        true => Ok(()),
        false => Err("the configured one lost its place".to_owned()),
    }
}
