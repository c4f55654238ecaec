//! Every client but its builder's answers one payload with an error code: it costs the payload its round, and no node
//! its gate.

use ultramarine_types::{Height, Nanos, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::engine::Mood;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "payload-error",
    claim: "an error code for one payload withholds that value alone; the gate stays open and the next round decides",
    config: |seed| RunConfig {
        target: 12,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let height = Height(4 + world.config.seed % 4);
    let elected = *world.validators.proposer(height, Round(0));
    let builder = world.node_of(&elected).ok_or("the proposer is no node")?;
    wait(world, 60, "the height below is imported everywhere", |world| {
        let is_ready = |node: &crate::world::Node| node.core.as_ref().is_some_and(|core| core.is_execution_ready());
        world.lowest_head() == height.prev() && world.nodes.iter().all(is_ready)
    })?;
    let until = world.now + Nanos::from_millis(60_000);
    for node in (0..world.nodes.len()).filter(|node| *node != builder) {
        world.nodes[node].el.set_mood(Mood::PayloadError, until);
    }
    let mut closed = None;
    wait(world, 30, "the height is decided", |world| {
        let at_it = |node: &crate::world::Node| {
            let core = node.core.as_ref()?;
            (core.head() == height.prev()).then(|| core.is_execution_ready())
        };
        closed = closed.or_else(|| world.nodes.iter().position(|node| at_it(node) == Some(false)));
        world.lowest_head() >= height
    })?;
    let told = |node: &crate::world::Node| node.el.lies.get(Mood::PayloadError.name()).copied().unwrap_or(0);
    let errors: Vec<u64> = world.nodes.iter().map(told).collect();
    if let Some(node) = closed {
        return Err(format!(
            "the gate of node {node} closed for one payload's errors {errors:?}"
        ));
    }
    if errors.iter().filter(|count| **count > 0).count() != 3 {
        return Err(format!("the clients answered with errors {errors:?} times"));
    }
    let value = world.nodes[builder]
        .disk
        .decided(height)
        .ok_or("the builder lacks the height")?;
    match value.decided.certificate.round {
        Round(1) => Ok(()),
        round => Err(format!("height {height} was decided in round {round}")),
    }
}
