//! One validator after another is killed and started again at once, while all others answer: half a second later it
//! signs whatever there is to sign.

use std::collections::BTreeMap;

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

pub const SCENARIO: Scenario = Scenario {
    name: "killed-and-back",
    claim: "a killed validator signs at the tip half a second after its start, where all others answer",
    config: |seed| {
        let mut config = RunConfig {
            target: 30,
            ..RunConfig::quiet(seed)
        };
        // Faster blocks run ahead of all clocks, and the chain waits for those.
        config.chain.block_interval_ms = 1_000;
        config
    },
    script,
};

/// From the start, or from the first signature of another validator at a height that begins later.
const PATIENCE: Nanos = Nanos::from_millis(500);
/// How much longer the others execute a block.
const OTHERS_EXECUTE: Nanos = Nanos::from_millis(300);

fn script(world: &mut World) -> Result<(), String> {
    for victim in 0..world.nodes.len() {
        let goal = Height(world.checks.agreement.tip().0 + 4);
        wait(world, 60, "heights go by", |world| world.lowest_head() >= goal)?;
        // So that no height is decided before its own client has judged the block.
        for (position, node) in world.nodes.iter_mut().enumerate() {
            node.el.execute_extra = if position == victim {
                Nanos::ZERO
            } else {
                OTHERS_EXECUTE
            };
        }
        for _ in 0..world.config.seed * 17 % 97 {
            world.step();
        }
        world.crash(victim);
        world.start_at_once(victim);
        sign(world, victim)?;
    }
    Ok(())
}

/// It has just started. Its first signature at a new height comes in time, and it passes over no height that begins
/// after that.
fn sign(world: &mut World, victim: usize) -> Result<(), String> {
    let since = world.now;
    // What it signed before it was killed, it may send again.
    let signed = world.checks.signing.newest(victim).unwrap_or_default();
    let tip = world.checks.agreement.tip().max(signed);
    // When another validator signed first, or again, at each height above the tip.
    let mut begun: BTreeMap<Height, Nanos> = BTreeMap::new();
    let mut signed = None;
    wait(world, 20, "it signs at the tip", |world| {
        for notice in &world.notices {
            let WorldNotice::Sent { node, message } = notice else {
                continue;
            };
            let height = message.height();
            if *node != victim && height > tip {
                begun.entry(height).or_insert(world.now);
            } else if *node == victim && height > tip {
                signed = signed.or(Some((height, world.now)));
            }
        }
        signed.is_some()
    })?;
    let (height, at) = signed.ok_or("it has signed")?;
    // Where it proposes, nobody signs before it.
    let began = begun.get(&height).map_or(at, |began| *began);
    if at > began.max(since) + PATIENCE {
        let (took, late) = (at.since(since), at.since(began));
        return Err(format!(
            "{victim} signs {took:?} after its start, at {height}, which began {late:?} before"
        ));
    }
    match begun.range(..height).find(|(_, began)| **began >= since + PATIENCE) {
        Some((passed, began)) => Err(format!(
            "{victim} signs nothing at {passed}, which began {:?} after its start",
            began.since(since)
        )),
        None => Ok(()),
    }
}
