//! This file knows one run from a seed to its report: faults until the target height, then calm, then everybody must
//! come along.

use std::collections::BTreeMap;

use ultramarine_types::{Hash, Height, Nanos};

use crate::checks::{Violation, storage};
use crate::config::RunConfig;
use crate::world::{Node, World};

/// Faults last no longer than this, whatever the height.
const FAULTS_MAX: Nanos = Nanos::from_millis(180_000);
/// After the last fault, every honest node reaches the target within this.
const RECOVERY_MAX: Nanos = Nanos::from_millis(180_000);
/// Heights that the network must decide after the last fault.
const HEIGHTS_AFTER: u64 = 3;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    pub seed: u64,
    /// SHA-256 over the trace.
    pub hash: Hash,
    pub height: Height,
    /// Blobs in decided blocks.
    pub blobs: u64,
    /// Heights decided above round 0.
    pub rounds_above_zero: u64,
    /// Distinct messages signed by honest nodes.
    pub signed: usize,
    pub events: u64,
    pub simulated: Nanos,
    /// Faults that happened, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// The last lines of the trace, if something did.
    pub recent: Vec<String>,
}

/// Runs a seed's configuration.
pub fn run(config: RunConfig) -> RunReport {
    let mut world = World::new(config);
    let target = Height(world.config.target);
    let start = world.now;
    world.run(start + FAULTS_MAX, |world| world.checks.agreement.tip() >= target);
    recover(&mut world, target);
    report(world)
}

/// Ends all faults and waits until every honest node has come along.
pub fn recover(world: &mut World, target: Height) {
    if world.checks.violation.is_some() {
        return;
    }
    world.calm();
    let goal = target.max(Height(world.checks.agreement.tip().0 + HEIGHTS_AFTER));
    let is_healed = |world: &World| world.honest().all(|(_, node)| node.disk.rotten().next().is_none());
    let reached = world.run(world.now + RECOVERY_MAX, |world| {
        world.lowest_head() >= goal && is_healed(world)
    });
    if !reached && world.checks.violation.is_none() && world.lowest_head() >= goal {
        let mut rotten = world
            .honest()
            .filter_map(|(index, node)| Some((index, node.disk.rotten().next()?)));
        let (index, height) = rotten.next().unwrap_or_default();
        let what = format!(
            "height {height} is still rotten {} s after the last fault",
            RECOVERY_MAX.0 / 1_000_000_000
        );
        drop(rotten);
        let now = world.now;
        world.checks.note(now, index, Err(("I16", what)));
    } else if !reached && world.checks.violation.is_none() {
        let heads: Vec<u64> = world.nodes.iter().map(|node| node.head().0).collect();
        let slowest = world
            .honest()
            .min_by_key(|(_, node)| node.head())
            .map_or(0, |(index, _)| index);
        let what = format!(
            "{} s after the last fault the heads are {heads:?}, not {goal}",
            RECOVERY_MAX.0 / 1_000_000_000
        );
        let now = world.now;
        world.checks.note(now, slowest, Err(("liveness", what)));
    }
    audit(world);
}

/// Looks at every honest disk on which nothing is rotten, and compares the blobs on them.
pub fn audit(world: &mut World) {
    let is_whole = |(_, node): &(usize, &Node)| node.disk.rotten().next().is_none();
    let honest: Vec<usize> = world.honest().filter(is_whole).map(|(index, _)| index).collect();
    for index in &honest {
        let checked = storage::audit(&world.nodes[*index].disk);
        world.checks.note(world.now, *index, checked);
    }
    let tip = world.checks.agreement.tip();
    for height in 1..=tip.0 {
        let mut held = honest
            .iter()
            .filter_map(|index| Some((index, world.nodes[*index].disk.blob_digest(Height(height))?)))
            .filter(|(_, blobs)| !blobs.is_empty());
        let Some((_, first)) = held.next() else { continue };
        if let Some((index, _)) = held.find(|(_, blobs)| *blobs != first) {
            let index = *index;
            world.checks.note(
                world.now,
                index,
                Err(("I6", format!("blobs of height {height} differ from another node's"))),
            );
            return;
        }
    }
}

pub fn report(world: World) -> RunReport {
    let mut faults = world.faults.clone();
    let mut add = |more: &BTreeMap<&'static str, u64>| {
        for (name, count) in more {
            *faults.entry(name).or_default() += count;
        }
    };
    add(&world.network.faults);
    for node in &world.nodes {
        add(&node.disk.damage);
        add(&node.el.lies);
        add(&node.deeds);
    }
    let violation = world.checks.violation.clone();
    RunReport {
        seed: world.config.seed,
        hash: world.trace.hash(),
        height: world.checks.agreement.tip(),
        blobs: world.checks.agreement.blobs,
        rounds_above_zero: world.checks.agreement.rounds_above_zero,
        signed: world.checks.signing.count(),
        events: world.events,
        simulated: world.now,
        recent: if violation.is_some() {
            world.trace.recent().map(str::to_owned).collect()
        } else {
            Vec::new()
        },
        faults,
        violation,
    }
}
