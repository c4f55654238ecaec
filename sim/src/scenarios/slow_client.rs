//! Clients that are slower than a round, and needed for the quorum.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::engine::Mood;
use crate::world::World;

/// How long the slow client executes a block.
const EXECUTES_MS: u64 = 30_000;
/// How long each client builds one.
const BUILDS_MS: u64 = 20_000;

pub const NEEDED: Scenario = Scenario {
    name: "slow-client-needed",
    claim: "a client that executes a block for many rounds, and is needed for the quorum, decides its first block",
    config: |seed| RunConfig {
        validators: 7,
        ..config(seed)
    },
    script: needed,
};

pub const BUILDS: Scenario = Scenario {
    name: "slow-builds",
    claim: "clients that build slower than any round lasts do not stop the chain: what they built is proposed later",
    config,
    script: builds,
};

pub const AWAY: Scenario = Scenario {
    name: "clients-away",
    claim: "clients that were all away for an hour are back, and the chain goes on within ten seconds",
    config: |seed| RunConfig {
        events_max: 60_000_000,
        ..config(seed)
    },
    script: away,
};

pub const AWAY_WITHOUT_ONE: Scenario = Scenario {
    name: "clients-away-and-one-silent",
    claim: "the same, though one of four is connected, says that it could propose, and signs nothing",
    config: |seed| RunConfig {
        adversaries: vec![(seed as usize % 4, AdversaryKind::Silent)],
        ..(AWAY.config)(seed)
    },
    script: away,
};

fn config(seed: u64) -> RunConfig {
    RunConfig {
        target: 4,
        ..RunConfig::quiet(seed)
    }
}

fn needed(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(2))?;
    // Two of seven are down, so each of the others is needed. The slow one executes its own blocks as slowly.
    let dead = [5, 6];
    for node in dead {
        world.crash(node);
    }
    let slow = world.config.seed as usize % 5;
    world.nodes[slow].el.execute_extra = Nanos::from_millis(EXECUTES_MS);
    world.nodes[slow].el.build_extra = Nanos::from_millis(EXECUTES_MS);
    // What is under way is decided without it.
    let goal = Height(world.checks.agreement.tip().0 + 1);
    wait(world, 120, "the height under way", |world| {
        world.checks.agreement.tip() >= goal
    })?;
    let mut took = Vec::new();
    for _ in 0..3 {
        let (began, goal) = (world.now, Height(world.checks.agreement.tip().0 + 1));
        wait(world, 600, "another height", |world| {
            world.checks.agreement.tip() >= goal
        })?;
        took.push(world.now.since(began).0 / 1_000_000);
    }
    for node in dead {
        world.restart(node);
    }
    let most = 2 * EXECUTES_MS;
    match took.iter().all(|took| *took <= most) {
        true => Ok(()),
        false => Err(format!(
            "heights took {took:?} ms, where a block is executed for {EXECUTES_MS}"
        )),
    }
}

fn builds(world: &mut World) -> Result<(), String> {
    for node in &mut world.nodes {
        node.el.build_extra = Nanos::from_millis(BUILDS_MS);
    }
    let began = world.now;
    wait(world, 600, "three heights", |world| world.lowest_head() >= Height(3))?;
    let took = world.now.since(began).0 / 1_000_000 / 3;
    let most = 3 * BUILDS_MS;
    match took <= most {
        true => Ok(()),
        false => Err(format!(
            "a height took {took} ms, where a block is built for {BUILDS_MS}"
        )),
    }
}

fn away(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(2))?;
    let back = world.now + Nanos::from_millis(3_600_000);
    for node in &mut world.nodes {
        if node.is_honest() {
            node.el.set_mood(Mood::Syncing, back);
        }
    }
    world.run(back, |_| false);
    let stood = world.checks.agreement.tip();
    wait(world, 10, "the next height", |world| world.lowest_head() > stood)
}
