//! A proposer killed in mid-stream: the others decide the height all the same, and it catches up.
//!
//! ```text
//!   even seeds   nobody has all of the value: another proposer's is decided
//!   odd seeds    two have it and lock it, the third has heard of nothing: a later round decides it, through one of the
//!                two, with the dead proposer named as its origin
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use ultramarine_types::{ConsensusMessage, Height, Round};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::network::Weather;
use crate::wire::SimFrame;
use crate::world::{World, WorldNotice};

const BLOBS: u32 = 6;

pub const SCENARIO: Scenario = Scenario {
    name: "proposer-killed",
    claim: "a proposer killed in mid-stream does not stop the chain; its value is decided if others locked it",
    config: |seed| RunConfig {
        blobs_range: (BLOBS, BLOBS),
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
    let is_locked = world.config.seed % 2 == 1;
    let height = Height(4 + world.config.seed / 2 % 4);
    let elected = *world.validators.proposer(height, Round(0));
    let victim = world.node_of(&elected).ok_or("the proposer is no node")?;
    wait(world, 60, "the height below is decided everywhere", |world| {
        world.lowest_head() >= height.prev()
    })?;
    if is_locked {
        // The last in the order of turns: one of the other two proposes next.
        let last = *world.validators.proposer(height, Round(3));
        let deaf = world.node_of(&last).ok_or("the last proposer is no node")?;
        world.filter = Some(Box::new(move |from, to, frame| match frame {
            _ if to != deaf => true,
            SimFrame::Message(ConsensusMessage::Proposal(proposal)) => {
                (proposal.height, proposal.round) != (height, Round(0))
            }
            SimFrame::Blob { index, .. } => from != victim || *index <= 2,
            SimFrame::Fin { .. } => from != victim,
            _ => true,
        }));
    }
    // Killed while its third blob is under way to everybody, or when all but one have the last.
    let (blob, reached) = if is_locked { (BLOBS as usize - 1, 2) } else { (2, 1) };
    let mut have = BTreeSet::new();
    wait(world, 60, "a stream is in its middle", |world| {
        have.extend(world.notices.iter().filter_map(|notice| match notice {
            WorldNotice::Blob { from, to, index } if (*from, *index) == (victim, blob) => Some(*to),
            _ => None,
        }));
        have.len() == reached
    })?;
    if world.nodes[victim].head() != height.prev() {
        return Err(format!("the stream is not of height {height}"));
    }
    world.crash(victim);
    wait(world, 60, "the others go on", |world| {
        world.checks.agreement.tip() >= Height(height.0 + 2)
    })?;
    world.filter = None;
    world.restart(victim);
    wait(world, 60, "the dead proposer comes back", |world| {
        world.lowest_head() >= Height(height.0 + 2)
    })?;

    let value = world.nodes[victim].disk.decided(height).ok_or("the victim lacks it")?;
    let (init, round) = (Arc::clone(&value.decided.init), value.decided.certificate.round);
    let origin = init.metadata.origin_proposer;
    if round == Round(0) || (origin == elected) != is_locked {
        return Err(format!(
            "decided in round {round} was a value of {origin}, and {elected} was killed"
        ));
    }
    for (index, node) in world.nodes.iter().enumerate() {
        let held = node.disk.decided(height).ok_or("a node lacks the height")?;
        if held.decided.init != init || held.assembly.blobs.len() != BLOBS as usize {
            return Err(format!("node {index} holds something else"));
        }
    }
    Ok(())
}
