//! Strangers that claim to hold every value and serve none, while a validator lacks a block whose vote is needed.

use ultramarine_types::network::Fault;
use ultramarine_types::{Height, Nanos, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::wire::SimFrame;
use crate::world::{World, WorldNotice};

const STRANGERS: usize = 24;
const VALIDATORS: usize = 4;
/// No block below this height loses its stream.
const HEIGHT_MIN: u64 = 6;
/// The search begins after a moment, asks the origin, and the block comes.
const FOUND: Nanos = Nanos::from_millis(400);

pub const SCENARIO: Scenario = Scenario {
    name: "hollow-holders",
    claim: "peers that claim to hold a block and do not serve it keep nobody from it, and pay once",
    config: |seed| RunConfig {
        full_nodes: STRANGERS,
        target: 12,
        adversaries: (VALIDATORS..VALIDATORS + STRANGERS)
            .map(|stranger| (stranger, AdversaryKind::Hollow))
            .collect(),
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the height before", |world| {
        world.lowest_head() >= Height(HEIGHT_MIN)
    })?;
    let height = Height(world.checks.agreement.tip().0 + 2);
    let proposer = world
        .node_of(world.validators.proposer(height, Round(0)))
        .ok_or("no proposer")?;
    let others: Vec<usize> = (0..VALIDATORS).filter(|node| *node != proposer).collect();
    let (victim, dead) = (others[0], others[2]);
    wait(world, 60, "the height begins", |world| {
        world.nodes[proposer].head() >= height.prev() && world.nodes[victim].head() >= height.prev()
    })?;
    // Without it, the victim's vote is needed.
    world.crash(dead);
    // The proposer's own stream to the victim is lost on its way. What the victim asks for comes.
    world.filter = Some(Box::new(move |from, to, frame| {
        let is_own = matches!(frame, SimFrame::Begin { answers: false, init, .. } if init.metadata.height == height);
        !(from == proposer && to == victim && is_own)
    }));
    let mut streamed_at = None;
    let mut charged = std::collections::BTreeMap::<usize, usize>::new();
    wait(world, 60, "the victim has the block", |world| {
        for notice in &world.notices {
            match notice {
                WorldNotice::Stream { node, key } if *node == proposer && key.height == height => {
                    streamed_at.get_or_insert(world.now);
                }
                WorldNotice::Charge { node, peer, fault } if *node == victim && *fault == Fault::Withheld => {
                    *charged.entry(*peer).or_default() += 1;
                }
                _ => {}
            }
        }
        let mut keys = world.nodes[victim].disk.undecided();
        keys.any(|key| key.height == height)
    })?;
    let took = world.now.since(streamed_at.ok_or("the block was streamed")?);
    if took > FOUND {
        return Err(format!("it has the block after {took:?}, and not within {FOUND:?}"));
    }
    if let Some((peer, times)) = charged.into_iter().find(|(_, times)| *times > 1) {
        return Err(format!("node {peer} is charged {times} times for one value"));
    }
    world.restart(dead);
    Ok(())
}
