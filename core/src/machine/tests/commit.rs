//! How long a height took here, as it is told.

use std::collections::BTreeMap;

use ultramarine_types::{Height, Nanos, Stage};

use super::world::World;
use super::{MINUTE, heads};
use crate::io::Event;

/// Of each height of a node: how long it took from proposal to decision, if that was told.
fn commits(world: &World, node: usize) -> BTreeMap<Height, Nanos> {
    let events = world.nodes[node].events.iter();
    events
        .filter_map(|event| match event {
            Event::Stage {
                key,
                stage: Stage::Commit,
                took,
            } => Some((key.height, *took)),
            _ => None,
        })
        .collect()
}

/// The heights that a node decided, with the round, and whether they came by sync.
fn decisions(world: &World, node: usize) -> Vec<(Height, u32, bool)> {
    let events = world.nodes[node].events.iter();
    events
        .filter_map(|event| match event {
            Event::Decided {
                certificate, synced, ..
            } => Some((certificate.height, certificate.round.0, *synced)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_height_that_came_decided_took_no_time_and_one_that_was_seen_under_way_did() {
    let mut world = World::with_full_nodes(4, 1);
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(20)));
    world.start(4);
    assert!(
        world.run(MINUTE, |world| world.head(4) >= Height(32)),
        "stuck at {:?}",
        heads(&world)
    );
    let late = commits(&world, 4);
    let synced = decisions(&world, 4);
    let synced: Vec<_> = synced.iter().filter(|(_, _, synced)| *synced).collect();
    assert!(synced.len() >= 15, "{synced:?}");
    for (height, ..) in synced.iter().take(15) {
        assert_eq!(late.get(height), None, "height {height} came decided");
    }
    assert!(
        late.keys().any(|height| *height > Height(25)),
        "it follows at last: {late:?}"
    );
    for node in 0..5 {
        for (height, took) in commits(&world, node) {
            assert!(
                took > Nanos(1_000_000),
                "{took:?} for height {height} on node {node}: a message takes longer"
            );
        }
    }
    let decided = decisions(&world, 0).len();
    assert!(
        commits(&world, 0).len() * 10 >= decided * 9,
        "those who vote tell almost all"
    );
}

#[test]
fn a_lost_round_is_part_of_the_time_that_a_height_took() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.crash(3);
    let others = |world: &World, height| (0..3).all(|node| world.head(node) >= Height(height));
    assert!(
        world.run(MINUTE, |world| others(world, 14)),
        "stuck at {:?}",
        heads(&world)
    );
    let (mut usual, mut late) = (Nanos::ZERO, Nanos(u64::MAX));
    for node in 0..3 {
        let commits = commits(&world, node);
        for (height, round, synced) in decisions(&world, node) {
            let Some(took) = commits.get(&height).filter(|_| !synced && height > Height(3)) else {
                continue;
            };
            if round == 0 {
                usual = usual.max(*took);
            } else {
                late = late.min(*took);
            }
        }
    }
    assert!(late < Nanos(u64::MAX), "a round was lost");
    assert!(
        late > Nanos(usual.0 + 50_000_000),
        "{late:?} with a lost round, {usual:?} without"
    );
}
