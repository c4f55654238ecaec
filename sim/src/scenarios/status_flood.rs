//! Strangers that send statuses at the full rate, while the chain goes on.

use std::collections::BTreeMap;

use ultramarine_net::bounds::{STATUSES_BURST, STATUSES_PER_SECOND};
use ultramarine_types::Height;

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::{World, WorldNotice};

const VALIDATORS: usize = 4;
const STRANGERS: usize = 2;

pub const SCENARIO: Scenario = Scenario {
    name: "status-flood",
    claim: "strangers with two thousand statuses a second cost a core a few inputs a second, and no round",
    config: |seed| RunConfig {
        full_nodes: STRANGERS,
        target: 15,
        adversaries: (VALIDATORS..VALIDATORS + STRANGERS)
            .map(|stranger| (stranger, AdversaryKind::StatusFlood))
            .collect(),
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the strangers are connected", |world| {
        world.nodes[..VALIDATORS]
            .iter()
            .all(|node| node.sees.len() > VALIDATORS)
    })?;
    let began = world.now;
    let mut heard: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let target = Height(world.config.target);
    wait(world, 60, "the chain goes on", |world| {
        for notice in &world.notices {
            if let WorldNotice::Status { node, peer } = notice
                && *node < VALIDATORS
                && *peer >= VALIDATORS
            {
                *heard.entry((*node, *peer)).or_default() += 1;
            }
        }
        world.lowest_head() >= target
    })?;
    let seconds = world.now.since(began).0 / 1_000_000_000 + 1;
    let most = seconds * STATUSES_PER_SECOND + STATUSES_BURST;
    if let Some(((node, peer), count)) = heard.iter().find(|(_, count)| **count > most) {
        return Err(format!(
            "the core of {node} hears {count} statuses of {peer} in {seconds} s, and not {most} at most"
        ));
    }
    if heard.is_empty() {
        return Err("no core hears a stranger".to_owned());
    }
    if world.checks.agreement.rounds_above_zero > 0 {
        return Err("a round was lost".to_owned());
    }
    Ok(())
}
