//! Three peers that fill every place of a large block with garbage, and hang up before any of it is judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use ultramarine_net::bounds::UNJUDGED_PER_STREAM_MAX;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::Fault;
use ultramarine_types::{Height, Nanos, Round, ValueKey};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::blobs;
use crate::wire::SimFrame;
use crate::world::{World, WorldNotice};

const BLOBS: u32 = 128;
/// No block below this height is attacked.
const HEIGHT_MIN: u64 = 3;
/// They have less than a third of the power of all, and do nothing by themselves.
const FLOODERS: [usize; 3] = [1, 4, 7];
const VALIDATORS: usize = 10;
/// What the garbage costs of two lanes' time: 0.3 ms for each of 384 blobs. It is hashed while blobs are on their way.
const GARBAGE_TIME: Nanos = Nanos::from_millis(58);

pub const SCENARIO: Scenario = Scenario {
    name: "garbage-flood",
    claim: "garbage for every place of a block loses none of them, costs its senders, and costs no round",
    config: |seed| {
        let mut config = RunConfig {
            validators: VALIDATORS,
            blobs_range: (BLOBS, BLOBS),
            target: 8,
            adversaries: FLOODERS.map(|flooder| (flooder, AdversaryKind::Puppet)).to_vec(),
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = BLOBS;
        // Nine copies of a block need a sixth of a second of this line, and the rounds ten times as much.
        config.weather.bytes_per_ms = 1_000_000;
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let mut quiet = World::new(world.config.clone());
    let quiet_ns = stored_after(&mut quiet, |_, _, _| Ok(BTreeSet::new()))?;
    let flooded_ns = stored_after(world, flood)?;
    if flooded_ns > quiet_ns + GARBAGE_TIME {
        return Err(format!("whole after {flooded_ns:?}, and {quiet_ns:?} without garbage"));
    }
    wait(world, 60, "the block is decided", |world| {
        world.lowest_head() >= Height(world.config.target)
    })?;
    if world.checks.agreement.rounds_above_zero > 0 {
        return Err("a round was lost".to_owned());
    }
    Ok(())
}

/// How long after its first blob came the block is on the victim's disk. Meanwhile `attack` is made.
fn stored_after(
    world: &mut World,
    attack: impl FnOnce(&mut World, usize, ValueKey) -> Result<BTreeSet<usize>, String>,
) -> Result<Nanos, String> {
    let is_honest = |node: &usize| !FLOODERS.contains(node);
    let proposer_of = |height: &Height| world.node_of(world.validators.proposer(*height, Round(0)));
    let attacked = (HEIGHT_MIN..)
        .map(Height)
        .find_map(|height| Some((height, proposer_of(&height).filter(is_honest)?)));
    let (height, proposer) = attacked.ok_or("all proposers are among the three")?;
    let victim = (0..VALIDATORS).filter(is_honest).find(|node| *node != proposer);
    let victim = victim.ok_or("nobody is left")?;
    let mut sent = None;
    wait(world, 60, "the first blob of the block", |world| {
        let is_here = world
            .notices
            .iter()
            .any(|notice| matches!(notice, WorldNotice::Blob { from, to, .. } if (*from, *to) == (proposer, victim)));
        let mut keys = world.nodes[proposer].disk.undecided();
        sent = keys.find(|key| key.height == height).copied().filter(|_| is_here);
        sent.is_some()
    })?;
    let key = sent.ok_or("the block is sent")?;
    let began = world.now;
    let guilty = attack(world, victim, key)?;
    let (mut charged, mut is_lost) = (BTreeSet::new(), false);
    wait(world, 60, "the block is on the victim's disk", |world| {
        for notice in &world.notices {
            match notice {
                WorldNotice::Fetch { node, height: of } => is_lost |= (*node, *of) == (victim, height),
                WorldNotice::Charge {
                    node,
                    peer,
                    fault: Fault::Part,
                } if *node == victim => drop(charged.insert(*peer)),
                _ => {}
            }
        }
        world.nodes[victim].disk.value(&key).is_ok()
    })?;
    if is_lost || charged != guilty {
        return Err(format!("places lost: {is_lost}; charged: {charged:?}"));
    }
    Ok(world.now.since(began))
}

/// Garbage for every place, from each of the three, by as many streams as that takes. Then they hang up.
fn flood(world: &mut World, victim: usize, key: ValueKey) -> Result<BTreeSet<usize>, String> {
    let held = world.nodes.iter().find_map(|node| node.disk.value(&key).ok());
    let value = held.ok_or("its proposer has it")?;
    for flooder in FLOODERS {
        for first in (0..BLOBS as usize).step_by(UNJUDGED_PER_STREAM_MAX) {
            let stream = world.stream_id();
            let begin = SimFrame::Begin {
                stream,
                init: Arc::clone(&value.init),
                answers: false,
            };
            world.slip_in(flooder, victim, begin);
            for frame in SimFrame::lists(stream, &value.lists) {
                world.slip_in(flooder, victim, frame);
            }
            for index in first..first + UNJUDGED_PER_STREAM_MAX {
                let bytes = blobs::spoiled(&value.blobs[index]);
                world.slip_in(flooder, victim, SimFrame::Blob { stream, index, bytes });
            }
        }
    }
    // And the proposer's first blob.
    let unjudged = FLOODERS.len() * BLOBS as usize + 1;
    wait(world, 1, "each place has the garbage of all three", |world| {
        world.nodes[victim].join.unjudged_bytes() >= unjudged * BLOB_BYTES
    })?;
    for flooder in FLOODERS {
        world.reset(flooder, victim);
    }
    Ok(FLOODERS.into())
}
