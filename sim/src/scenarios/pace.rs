//! How fast blocks follow each other when a validator is away, or cannot propose.

use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::engine::Mood;
use crate::world::World;

/// Heights that each scenario measures.
const HEIGHTS: u64 = 60;

pub const ONE_DOWN: Scenario = Scenario {
    name: "one-down",
    claim: "with one of four validators down, 58 blocks a minute are decided at an interval of a second",
    config,
    script: one_down,
};

pub const ONE_CLAIMED: Scenario = Scenario {
    name: "one-down-and-claimed",
    claim: "with one of seven down, and another validator that claims a link to it, 58 blocks a minute are decided",
    config: |seed| RunConfig {
        validators: 7,
        adversaries: vec![(CLAIMS, AdversaryKind::FalseLinks)],
        ..config(seed)
    },
    script: one_claimed,
};

/// The validator that claims links.
const CLAIMS: usize = 6;

pub const GATE_CLOSED: Scenario = Scenario {
    name: "gate-closed",
    claim: "a proposer whose client does not confirm our head is not waited for: 58 blocks a minute",
    config,
    script: gate_closed,
};

pub const FAST: Scenario = Scenario {
    name: "fast-chain",
    claim: "a chain faster than its timestamps goes on at its interval: parent + 1 is withheld by nobody",
    config: |seed| {
        let mut config = config(seed);
        config.chain.block_interval_ms = 100;
        config
    },
    script: fast,
};

pub const GAS: Scenario = Scenario {
    name: "gas-limit",
    claim: "a proposer whose client aims above the chain's gas limit is not waited for: 58 blocks a minute",
    config,
    script: above_the_gas_limit,
};

pub const PROOFS: Scenario = Scenario {
    name: "proof-counts",
    claim: "a bundle with another number of proofs is proposed by nobody, costs nobody, and is not waited for",
    config: |seed| RunConfig {
        blobs_range: (1, 3),
        ..config(seed)
    },
    script: doubled_proofs,
};

fn config(seed: u64) -> RunConfig {
    let mut config = RunConfig {
        blobs_range: (0, 2),
        target: 10,
        ..RunConfig::quiet(seed)
    };
    config.chain.block_interval_ms = 1000;
    config
}

/// How long `HEIGHTS` more heights may take.
fn measure(world: &mut World, most_ms: u64) -> Result<(), String> {
    let from = world.checks.agreement.tip();
    let (goal, began) = (Height(from.0 + HEIGHTS), world.now);
    wait(world, 300, "the heights", |world| world.checks.agreement.tip() >= goal)?;
    let took = world.now.since(began).0 / 1_000_000;
    match took <= most_ms {
        true => Ok(()),
        false => Err(format!("{HEIGHTS} blocks took {took} ms, not {most_ms}")),
    }
}

/// 58 blocks in 60 seconds.
const MOST_MS: u64 = HEIGHTS * 60_000 / 58;

fn one_down(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let dead = world.config.seed as usize % 4;
    world.crash(dead);
    measure(world, MOST_MS)?;
    world.restart(dead);
    Ok(())
}

fn one_claimed(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let dead = world.config.seed as usize % CLAIMS;
    world.crash(dead);
    let until = world.now + Nanos::from_millis(5_000);
    world.run(until, |_| false);
    measure(world, MOST_MS)?;
    world.restart(dead);
    match world.nodes[CLAIMS].deeds.contains_key("false-link") {
        true => Ok(()),
        false => Err("nobody claimed a link".to_owned()),
    }
}

fn gate_closed(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let victim = world.config.seed as usize % 4;
    let until = world.now + Nanos::from_millis(300_000);
    world.nodes[victim].el.set_mood(Mood::Syncing, until);
    measure(world, MOST_MS)
}

/// The same with another validator killed, so that the victim is needed for the quorum.
fn measure_without_one_more(world: &mut World, victim: usize) -> Result<(), String> {
    let dead = (victim + 1 + world.config.seed as usize / 4 % 3) % 4;
    world.crash(dead);
    let measured = measure(world, MOST_MS).map_err(|what| format!("without node {dead}: {what}"));
    world.restart(dead);
    measured
}

fn above_the_gas_limit(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let victim = world.config.seed as usize % 4;
    world.nodes[victim].el.gas_limit = world.config.chain.gas_limit_max + 1;
    measure(world, MOST_MS)?;
    measure_without_one_more(world, victim)
}

fn doubled_proofs(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let victim = world.config.seed as usize % 4;
    world.nodes[victim].el.doubles_proofs = true;
    measure(world, MOST_MS)?;
    measure_without_one_more(world, victim)
}

fn fast(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    let interval = world.config.chain.block_interval_ms;
    // The block's own way through the network comes on top of the interval now and then.
    measure(world, HEIGHTS * interval * 5 / 4)
}
