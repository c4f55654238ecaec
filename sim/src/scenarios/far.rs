//! Some pairs of validators are never connected. Votes, proposals and blocks take the way over the others, and heights
//! are decided as if all were.

use ultramarine_core::io::Event as CoreEvent;
use ultramarine_types::{Height, Nanos};

use super::{Scenario, first_running, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::world::{World, WorldNotice};

pub const MISSING_EDGE: Scenario = Scenario {
    name: "missing-edge",
    claim: "three of four validators decide every height of theirs in round 0 though two of them are never connected",
    config: |seed| RunConfig {
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script: missing_edge,
};

/// Two validators never connect.
fn never_connect(world: &mut World, a: usize, b: usize) {
    world.network.block(a, b);
    world.network.block(b, a);
}

fn missing_edge(world: &mut World) -> Result<(), String> {
    never_connect(world, 0, 1);
    wait(world, 60, "height 3", |world| world.lowest_head() >= Height(3))?;
    world.crash(3);
    wait(world, 20, "the crash is noticed", |world| {
        (0..3).all(|node| !world.nodes[node].sees.contains_key(&3))
    })?;
    let from = world.checks.agreement.tip().next();
    decide(world, &[0, 1, 2], from, 12, 1)
}

/// Most that a height may take beyond its interval if its first proposer runs, for each node that its block passes on
/// its way. A message that waits for the next status takes half a second more.
const A_NODE_BETWEEN: Nanos = Nanos::from_millis(450);

/// So many heights from `from` on are decided by all of these nodes, and soon: with at most `between` nodes between any
/// two. Each is decided in the first round whose proposer runs, or in the next one if its block passes two nodes.
fn decide(world: &mut World, nodes: &[usize], from: Height, heights: u64, between: u64) -> Result<(), String> {
    let through = Height(from.0 + heights);
    let (mut late, mut last) = (None, None);
    let within = Nanos::from_millis(world.config.chain.block_interval_ms) + Nanos(between * A_NODE_BETWEEN.0);
    let done = |world: &World| {
        for notice in &world.notices {
            let WorldNotice::Core { event, .. } = notice else {
                continue;
            };
            let CoreEvent::Decided { certificate, .. } = &**event else {
                continue;
            };
            let (height, round) = (certificate.height, certificate.round);
            let first = first_running(world, height).0;
            let (known, since) = last.unwrap_or((height, world.now));
            if height > known || last.is_none() {
                last = Some((height, world.now));
            }
            let took = world.now.since(since);
            let is_slow = height > known && first == 0 && took > within;
            if height > from && (u64::from(round.0) >= u64::from(first) + between || is_slow) {
                late.get_or_insert((height, round, took));
            }
        }
        late.is_some() || nodes.iter().all(|node| world.nodes[*node].head() >= through)
    };
    wait(world, 60, "the heights", done)?;
    match late {
        Some((height, round, took)) => Err(format!(
            "height {height} was decided in round {round}, {took:?} after the last"
        )),
        None => Ok(()),
    }
}

pub const RING: Scenario = Scenario {
    name: "ring",
    claim: "seven validators of which each is connected to two begin and decide, and so do they after all were killed",
    config: |seed| RunConfig {
        validators: 7,
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script: |world| {
        let edges: Vec<_> = (0..7).map(|node| (node, (node + 1) % 7)).collect();
        sparse(world, &edges, 2)
    },
};

pub const RING_LEFT: Scenario = Scenario {
    name: "ring-left",
    claim: "seven validators that were all connected, and lose all links but those of a ring, decide as a ring does",
    config: RING.config,
    script: |world| {
        wait(world, 60, "height 3", |world| world.lowest_head() >= Height(3))?;
        for (a, b) in (0..7).flat_map(|a| (a + 1..7).map(move |b| (a, b))) {
            if b - a != 1 && (a, b) != (0, 6) {
                world.sever(a, b);
            }
        }
        // Links are given up once they were idle, and a height or two pass before all know who is there.
        let until = world.now + Nanos::from_millis(10_000);
        world.run(until, |_| false);
        let from = world.checks.agreement.tip().next();
        decide(world, &[0, 1, 2, 3, 4, 5, 6], from, 6, 2)
    },
};

pub const STAR: Scenario = Scenario {
    name: "star",
    claim: "validators that are connected to one of them alone begin and decide, and so do they after all were killed",
    config: |seed| RunConfig {
        validators: 5,
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script: |world| sparse(world, &[(0, 1), (0, 2), (0, 3), (0, 4)], 1),
};

pub const RESTART: Scenario = Scenario {
    name: "restart-behind-a-missing-edge",
    claim: "a validator that hears one other alone after its start, and a quorum through that one, signs again",
    config: |seed| RunConfig {
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script: restart,
};

pub const REPLAYED: Scenario = Scenario {
    name: "restart-behind-replayed-calls",
    claim: "a validator behind a missing link signs again though a fourth one repeats the calls of its earlier starts",
    config: |seed| RunConfig {
        target: 16,
        adversaries: vec![(3, AdversaryKind::OldCaller)],
        ..RunConfig::quiet(seed)
    },
    script: replayed,
};

/// Only these pairs ever connect.
fn connect_only(world: &mut World, edges: &[(usize, usize)]) {
    let nodes = world.nodes.len();
    for (a, b) in (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))) {
        if !edges.contains(&(a, b)) && !edges.contains(&(b, a)) {
            never_connect(world, a, b);
        }
    }
}

fn sparse(world: &mut World, edges: &[(usize, usize)], between: u64) -> Result<(), String> {
    connect_only(world, edges);
    let nodes = world.nodes.len();
    let all: Vec<usize> = (0..nodes).collect();
    wait(world, 60, "height 2", |world| world.lowest_head() >= Height(2))?;
    let from = world.checks.agreement.tip().next();
    decide(world, &all, from, 6, between)?;
    for node in 0..nodes {
        world.crash(node);
    }
    for node in 0..nodes {
        world.restart(node);
    }
    let tip = world.checks.agreement.tip();
    wait(world, 20, "heights after the restart", |world| {
        world.lowest_head() >= tip.next().next().next()
    })
}

fn restart(world: &mut World) -> Result<(), String> {
    never_connect(world, 0, 1);
    wait(world, 60, "height 3", |world| world.lowest_head() >= Height(3))?;
    world.crash(3);
    sign_again(world)
}

/// Node 0 listens to node 2, and through it to node 1. Node 3, which neither votes nor answers, is connected to node 2
/// alone, and has calls of three starts of node 0.
fn replayed(world: &mut World) -> Result<(), String> {
    connect_only(world, &[(0, 2), (2, 1), (2, 3)]);
    wait(world, 60, "height 3", |world| world.lowest_head() >= Height(3))?;
    for _ in 0..3 {
        sign_again(world)?;
    }
    match world.nodes[3].deeds.get("old-call").copied().unwrap_or(0) {
        0..10 => Err("no old call was repeated".to_owned()),
        _ => Ok(()),
    }
}

/// Node 0 is killed and starts. Nothing is decided without it.
fn sign_again(world: &mut World) -> Result<(), String> {
    world.crash(0);
    world.restart(0);
    world.notices.clear();
    let since = world.now;
    let mut signed_at = None;
    wait(world, 20, "it signs again", |world| {
        let signs = |notice: &WorldNotice| matches!(notice, WorldNotice::Sent { node: 0, .. });
        if world.notices.iter().any(signs) {
            signed_at.get_or_insert(world.now);
        }
        signed_at.is_some()
    })?;
    let took = world.now.since(since);
    let tip = world.checks.agreement.tip();
    wait(world, 20, "the chain goes on", |world| {
        (0..3).all(|node| world.nodes[node].head() >= Height(tip.0 + 4))
    })?;
    // The dead one is waited for as long as anybody may still be starting.
    if took > Nanos::from_millis(6_000) {
        return Err(format!("it signed again after {took:?}"));
    }
    Ok(())
}

pub const WIPED: Scenario = Scenario {
    name: "wiped-in-a-ring",
    claim: "a wiped validator that reaches most others through two contradicts nothing, and takes part again",
    config: |seed| RunConfig {
        validators: 5,
        target: 16,
        ..RunConfig::quiet(seed)
    },
    script: wiped,
};

fn wiped(world: &mut World) -> Result<(), String> {
    let nodes = world.nodes.len();
    let edges: Vec<_> = (0..nodes).map(|node| (node, (node + 1) % nodes)).collect();
    connect_only(world, &edges);
    wait(world, 60, "height 4", |world| world.lowest_head() >= Height(4))?;
    // Any moment: in the middle of a round as well.
    for _ in 0..world.config.seed * 13 % 211 {
        world.step();
    }
    world.crash(0);
    world.nodes[0].disk.wipe();
    world.checks.agreement.wiped(0);
    if world.config.seed % 2 == 1 {
        // Longer than it would wait for others before it began, if it did not listen first.
        let neighbours = [1, nodes - 1];
        let cut = neighbours.into_iter().flat_map(|other| [(0, other), (other, 0)]);
        world.cut(cut.collect(), Nanos::from_millis(20_000));
    }
    world.restart(0);
    let tip = world.checks.agreement.tip();
    wait(world, 90, "it takes part again", |world| {
        let signs = |notice: &WorldNotice| matches!(notice, WorldNotice::Sent { node: 0, .. });
        world.nodes[0].head() > tip && world.notices.iter().any(signs)
    })
}
