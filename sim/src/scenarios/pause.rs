//! A process that stands still, as a machine under load or a virtual one that is moved: its timers are late, its peers
//! have gone, and nobody's clock has moved but time itself.

use ultramarine_core::io::Event as CoreEvent;
use ultramarine_types::{Height, Nanos, Round};

use super::{Scenario, first_running, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

pub const SCENARIO: Scenario = Scenario {
    name: "pause",
    claim: "a validator whose process stood still for twenty seconds takes part again at once, and nobody stops",
    config: |seed| RunConfig {
        target: 30,
        ..RunConfig::quiet(seed)
    },
    script,
};

pub const SHORT: Scenario = Scenario {
    name: "short-pauses",
    claim: "a needed validator that stands still beyond the wait for a proposal reads what came, and costs no round",
    config: |seed| {
        let mut config = RunConfig {
            target: 12,
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 1_000;
        config
    },
    script: short,
};

pub const BEHIND: Scenario = Scenario {
    name: "pause-while-behind",
    claim: "a node that stands still for longer than its peers have to answer charges none of them, and catches up",
    config: |seed| {
        let mut config = RunConfig {
            target: 80,
            blobs_range: (0, 2),
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 100;
        config
    },
    script: behind,
};

fn script(world: &mut World) -> Result<(), String> {
    wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(4))?;
    let still = world.config.seed as usize % world.nodes.len();
    let before = world.nodes[still].head();
    let span = Nanos::from_millis(20_000);
    let until = world.now + span;
    world.stand_still(still, span);
    world.run(until, |world| world.nodes[still].head() != before);
    if world.now < until {
        return Err("it did not stand still".to_owned());
    }
    if world.checks.agreement.tip() < Height(before.0 + 10) {
        return Err("the others stood still with it".to_owned());
    }
    let tip = world.checks.agreement.tip();
    wait(world, 10, "it catches up", |world| world.nodes[still].head() > tip)
}

/// Heights that a node misses before it asks for them.
const MISSED: u64 = 60;
/// Longer than a request may take, and not as long as a silent connection lasts.
const LONG_PAUSE: Nanos = Nanos::from_millis(7_000);

fn behind(world: &mut World) -> Result<(), String> {
    wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(4))?;
    let still = world.config.seed as usize % world.nodes.len();
    world.crash(still);
    let missed = Height(world.checks.agreement.tip().0 + MISSED);
    wait(world, 120, "the others go on", |world| {
        world.checks.agreement.tip() >= missed
    })?;
    world.restart(still);
    wait(world, 20, "it asks for what it missed", |world| {
        let asks = |notice: &WorldNotice| matches!(notice, WorldNotice::Fetch { node, .. } if *node == still);
        world.notices.iter().any(asks)
    })?;
    world.stand_still(still, LONG_PAUSE);
    let (tip, mut charged) = (world.checks.agreement.tip(), None);
    wait(world, 30, "it catches up", |world| {
        for notice in &world.notices {
            if let WorldNotice::Charge { node, peer, fault } = notice
                && *node == still
            {
                charged = Some(format!("it stood still, and charges node {peer} for {}", fault.name()));
            }
        }
        world.nodes[still].head() > tip
    })?;
    charged.map_or(Ok(()), Err)
}

/// Longer than the wait for a proposal by more than a timer may be late.
const SHORT_PAUSE: Nanos = Nanos::from_millis(2_000);
/// Rounds in which it stands still.
const PAUSES: usize = 4;

fn short(world: &mut World) -> Result<(), String> {
    wait(world, 60, "heights go by", |world| world.lowest_head() >= Height(8))?;
    let dead = world.config.seed as usize % world.nodes.len();
    let still = (dead + 1) % world.nodes.len();
    world.crash(dead);
    let until = world.now + Nanos::from_millis(5_000);
    world.run(until, |_| false);
    for _ in 0..PAUSES {
        let mut height = Height::GENESIS;
        wait(world, 60, "a round begins in which another one proposes", |world| {
            let begun = world.notices.iter().find_map(|notice| match notice {
                WorldNotice::Core { node, event } if *node == still => match **event {
                    CoreEvent::Round { height, round, .. } => Some((height, round)),
                    _ => None,
                },
                _ => None,
            });
            let fits = |(height, round): &(Height, Round)| {
                let proposer = world.validators.proposer(*height, *round);
                *round == first_running(world, *height) && world.node_of(proposer) != Some(still)
            };
            height = begun.filter(fits).map_or(height, |(height, _)| height);
            height > Height::GENESIS
        })?;
        world.stand_still(still, SHORT_PAUSE);
        wait(world, 60, "the height is decided", |world| {
            let mut running = world.nodes.iter().filter(|node| node.is_running());
            running.all(|node| node.head() >= height)
        })?;
        let held = world.nodes[still].disk.decided(height).ok_or("it has the height")?;
        let (round, first) = (held.decided.certificate.round, first_running(world, height));
        if round != first {
            return Err(format!(
                "height {height} was decided in round {round}, and not in {first}"
            ));
        }
    }
    world.restart(dead);
    Ok(())
}
