//! A value locked in one round and decided in a later one: all but one node precommit in round 0 and nobody hears enough of it,
//! so another proposer proposes the value again, and the decision names the proposer who built it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ultramarine_types::{ConsensusMessage, Height, Round, VoteKind};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::wire::Frame;
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
    // From height 4 on, no precommit of round 0 reaches anybody; prevotes do, so the value is locked.
    let height = Height(4);
    let dropped = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&dropped);
    world.filter = Some(Box::new(move |_, _, frame| {
        let precommit = matches!(frame, Frame::Message(ConsensusMessage::Vote(vote))
            if vote.kind == VoteKind::Precommit && vote.height == height && vote.round == Round(0));
        if precommit {
            count.fetch_add(1, Ordering::Relaxed);
        }
        !precommit
    }));
    wait(world, 120, "height 4 is decided", |world| {
        world.checks.agreement.tip() >= height
    })?;
    world.filter = None;
    if dropped.load(Ordering::Relaxed) == 0 {
        return Err("nothing was kept from anybody".to_owned());
    }
    let id = world.checks.agreement.at(height).ok_or("height 4 is not decided")?;
    let init = Arc::clone(world.checks.values.get(&id).ok_or("the decided value is unknown")?);
    let origin = init.metadata.origin_proposer;
    let (index, value) = world
        .nodes
        .iter()
        .enumerate()
        .find_map(|(index, node)| Some((index, node.disk.decided(height)?.clone())))
        .or_else(|| {
            let done = world.run(world.now + ultramarine_types::Nanos::from_millis(5000), |world| {
                world.nodes.iter().any(|node| node.head() >= height)
            });
            done.then(|| {
                world
                    .nodes
                    .iter()
                    .enumerate()
                    .find_map(|(index, node)| Some((index, node.disk.decided(height)?.clone())))
            })
            .flatten()
        })
        .ok_or("nobody has committed height 4")?;
    let certificate = &value.decided.certificate;
    if certificate.round == Round(0) {
        return Err("height 4 was decided in round 0".to_owned());
    }
    if init.metadata.origin_round != Round(0) || origin != *world.validators.proposer(height, Round(0)) {
        return Err(format!(
            "the decided value was built in round {}",
            init.metadata.origin_round
        ));
    }
    let decider = *world.validators.proposer(height, certificate.round);
    if decider == origin {
        return Err("the value was decided through its own proposer".to_owned());
    }
    if value.decided.init.metadata.origin_proposer != origin {
        return Err(format!("node {index} names another origin"));
    }
    Ok(())
}
