//! How long a height took here, as it is told.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Height, Nanos, Round, Stage, ValueId};

use super::world::World;
use super::{MINUTE, heads};
use crate::io::Event;
use crate::machine::contest::Contest;

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

/// The heights that a node decided, and whether they came by sync.
fn decisions(world: &World, node: usize) -> Vec<(Height, bool)> {
    let events = world.nodes[node].events.iter();
    events
        .filter_map(|event| match event {
            Event::Decided {
                certificate, synced, ..
            } => Some((certificate.height, *synced)),
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
        world.run(MINUTE, |world| world.head(4) >= Height(40)),
        "stuck at {:?}",
        heads(&world)
    );
    let late = commits(&world, 4);
    let synced = decisions(&world, 4);
    let synced: Vec<_> = synced.iter().filter(|(_, synced)| *synced).collect();
    assert!(synced.len() >= 15, "{synced:?}");
    for (height, _) in synced.iter().take(15) {
        assert_eq!(late.get(height), None, "height {height} came decided");
    }
    assert!(
        late.keys().any(|height| *height > Height(25)),
        "it follows at last: {late:?}"
    );
    for node in 0..5 {
        for (height, took) in commits(&world, node) {
            assert!(took > Nanos::ZERO, "height {height} on node {node} took no time");
        }
    }
    let decided = decisions(&world, 0).len();
    assert!(commits(&world, 0).len() * 2 >= decided, "those who vote tell");
}

#[test]
fn a_lost_round_is_part_of_the_time_that_a_height_took() {
    let (mut contest, at) = (Contest::default(), Nanos::from_millis);
    let since = |contest: &Contest, now| contest.under_way_since(&ValueId::ZERO, now);
    assert_eq!(since(&contest, at(50)), None, "nothing has begun");
    contest.begin(Round(0), at(100), BTreeSet::new());
    assert_eq!(since(&contest, at(100)), None, "all was here already");
    assert_eq!(since(&contest, at(140)), Some(at(100)));
    // Our block is asked for once its parent is executed.
    contest.build(at(120));
    assert_eq!(since(&contest, at(140)), Some(at(120)));
    contest.begin(Round(1), at(900), BTreeSet::new());
    contest.build(at(950));
    assert_eq!(
        since(&contest, at(1_000)),
        Some(at(120)),
        "from the first round's proposal"
    );
    contest.certificate_fed = true;
    assert_eq!(since(&contest, at(1_000)), None, "a certificate came, and no proposal");
}
