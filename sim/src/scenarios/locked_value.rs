//! A value locked in one round and decided in a later one, through another proposer, the origin proposer named.
//!
//! ```text
//!   round 0     A proposes v           D does not hear of the proposal: prevotes nil
//!               A, B see the polka     C lacks A's prevote: precommits nil, as does D
//!               A, B lock v            two precommits for v, two for nil: nothing is decided
//!   round 1     B proposes v again, with valid round 0: decided
//! ```

use std::sync::Arc;

use ultramarine_types::{ConsensusMessage, Height, Round, VoteKind};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::wire::SimFrame;
use crate::world::World;

pub const SCENARIO: Scenario = Scenario {
    name: "locked-value",
    claim: "a value locked in one round is decided in a later one through another proposer, its origin named",
    config: |seed| RunConfig {
        blobs_range: (3, 6),
        target: 10,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let height = Height(4 + world.config.seed % 4);
    let elected = |world: &World, round| {
        let address = *world.validators.proposer(height, round);
        world.node_of(&address).ok_or("the proposer is no node")
    };
    let (a, b) = (elected(world, Round(0))?, elected(world, Round(1))?);
    let (c, d) = (elected(world, Round(2))?, elected(world, Round(3))?);
    let of_a = world.nodes[a].address;
    world.filter = Some(Box::new(move |_, to, frame| {
        let SimFrame::Message(message) = frame else { return true };
        if message.height() != height || message.round() != Round(0) {
            return true;
        }
        match message {
            ConsensusMessage::Proposal(_) => to != d,
            // Nodes pass on each other's votes, so it matters whose vote it is, not who sends it.
            ConsensusMessage::Vote(vote) => !(vote.kind == VoteKind::Prevote && Some(vote.voter) == of_a && to == c),
            ConsensusMessage::Polka(_) => to != c && to != d,
            ConsensusMessage::Round(_) => true,
        }
    }));
    wait(world, 120, "the height is decided", |world| {
        world.lowest_head() >= height
    })?;
    world.filter = None;

    let value = world.nodes[c]
        .disk
        .decided(height)
        .ok_or("C has not the height")?
        .clone();
    let (certificate, metadata) = (&value.decided.certificate, &value.decided.init.metadata);
    if certificate.round == Round(0) {
        return Err("it was decided in round 0".to_owned());
    }
    if metadata.origin_round != Round(0) || Some(metadata.origin_proposer) != world.nodes[a].address {
        return Err(format!(
            "decided in round {} was a value of round {}",
            certificate.round, metadata.origin_round
        ));
    }
    // Round 1's proposer was B; a later one is somebody else again, or A only if it took four rounds.
    if certificate.round == Round(1) && *world.validators.proposer(height, Round(1)) == metadata.origin_proposer {
        return Err("it was decided through its own proposer".to_owned());
    }
    for node in [a, b, c, d] {
        let held = world.nodes[node]
            .disk
            .decided(height)
            .ok_or("a node lacks the height")?;
        if held.decided.init != Arc::clone(&value.decided.init)
            || held.assembly.blobs.len() != metadata.blobs_count as usize
        {
            return Err(format!("node {node} holds something else"));
        }
    }
    Ok(())
}
