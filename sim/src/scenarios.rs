//! This file knows the named scenarios: runs with a script, each proving one sentence.

mod all_places_taken;
mod catch_up;
mod clocks;
mod everything_killed;
mod far;
mod first_height;
mod garbage_flood;
mod hollow_holders;
mod killed;
mod locked_value;
mod long_height;
mod lying_lanes;
mod many_blobs;
mod mute_servers;
mod other_head;
mod pace;
mod package_pullers;
mod parent_root;
mod pause;
mod payload_error;
mod proposer_killed;
mod relaunch;
mod rising_tip;
mod rot;
mod slow_client;
mod slow_line;
mod slow_links;
mod status_flood;
mod strangers;
mod thousands_of_rounds;
mod wiped;

use ultramarine_types::{Height, Nanos, Round};

use crate::RunConfig;
use crate::run::{self, RunReport};
use crate::shown::Shown;
use crate::world::World;

#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    pub claim: &'static str,
    pub config: fn(u64) -> RunConfig,
    /// Its script; the error says what did not happen.
    pub script: fn(&mut World) -> Result<(), String>,
}

pub const ALL: &[Scenario] = &[
    proposer_killed::SCENARIO,
    locked_value::SCENARIO,
    parent_root::SCENARIO,
    everything_killed::SCENARIO,
    catch_up::SCENARIO,
    catch_up::PRUNED,
    many_blobs::SCENARIO,
    garbage_flood::SCENARIO,
    lying_lanes::SCENARIO,
    hollow_holders::SCENARIO,
    mute_servers::SCENARIO,
    rising_tip::STRANGERS,
    rising_tip::VALIDATOR,
    other_head::SCENARIO,
    payload_error::SCENARIO,
    pace::ONE_DOWN,
    pace::ONE_CLAIMED,
    pace::GATE_CLOSED,
    pace::FAST,
    pace::GAS,
    pace::PROOFS,
    slow_client::NEEDED,
    slow_client::BUILDS,
    slow_client::AWAY,
    slow_client::AWAY_WITHOUT_ONE,
    slow_line::SCENARIO,
    slow_links::SCENARIO,
    slow_links::MESSAGES,
    status_flood::SCENARIO,
    package_pullers::SCENARIO,
    all_places_taken::SCENARIO,
    strangers::SCENARIO,
    rot::SCENARIO,
    rot::PRUNED,
    wiped::SCENARIO,
    relaunch::SCENARIO,
    clocks::SCENARIO,
    clocks::ALL_AHEAD,
    first_height::SCENARIO,
    first_height::ONE_MISSING,
    first_height::BY_HAND,
    killed::SCENARIO,
    everything_killed::NO_ROUND_LOST,
    thousands_of_rounds::SCENARIO,
    far::MISSING_EDGE,
    far::RING,
    far::RING_LEFT,
    far::STAR,
    far::RESTART,
    far::REPLAYED,
    far::WIPED,
    pause::SCENARIO,
    pause::SHORT,
    pause::BEHIND,
    long_height::SCENARIO,
];

/// Runs a scenario from a seed.
pub fn report(scenario: Scenario, seed: u64, shown: Option<Shown>) -> RunReport {
    let config = RunConfig {
        shown,
        ..(scenario.config)(seed)
    };
    report_of(scenario, config)
}

/// Runs a scenario's script in a world of this configuration.
pub fn report_of(scenario: Scenario, config: RunConfig) -> RunReport {
    let target = Height(config.target);
    let mut world = World::new(config);
    let outcome = (scenario.script)(&mut world);
    if let Err(what) = outcome {
        let now = world.now;
        world.checks.note(now, 0, Err(("scenario", what)));
    }
    run::recover(&mut world, target);
    run::report(world)
}

/// The first round of a height whose proposer runs.
fn first_running(world: &World, height: Height) -> Round {
    let runs = |round: &Round| {
        let proposer = world.node_of(world.validators.proposer(height, *round));
        proposer.is_some_and(|node| world.nodes[node].is_running())
    };
    (0..).map(Round).find(runs).unwrap_or_default()
}

/// Waits in simulated time, and says what was waited for when it does not come.
fn wait(world: &mut World, seconds: u64, what: &str, done: impl FnMut(&World) -> bool) -> Result<(), String> {
    let deadline = world.now + Nanos::from_millis(seconds * 1000);
    if world.run(deadline, done) {
        Ok(())
    } else {
        Err(format!("{what}: not within {seconds} s"))
    }
}
