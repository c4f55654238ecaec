//! How a core that is behind follows the others.

use ultramarine_types::storage::Blobs;
use ultramarine_types::{Height, Nanos};

use super::world::World;
use super::{MINUTE, heads};
use crate::io::Event;

#[test]
fn a_node_that_was_away_catches_up_and_signs_again() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.crash(1);
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(12)));
    world.start(1);
    assert!(
        world.run(MINUTE, |world| world.all_at(16)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    let tip = world.head(1);
    assert!(world.run(MINUTE, |world| {
        world
            .signed
            .keys()
            .any(|(node, height, _, _)| *node == 1 && *height > Height(tip.0 + 1))
    }));
}

#[test]
fn a_full_node_joins_late_and_never_signs() {
    let mut world = World::with_full_nodes(4, 1);
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(30)));
    world.start(4);
    assert!(
        world.run(MINUTE, |world| world.head(4) >= Height(34)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    assert!(!world.signed.keys().any(|(node, ..)| *node == 4));
    assert!(
        world.nodes[4].client.blocks.values().any(|number| *number >= 33),
        "its own client imports as well"
    );
}

#[test]
fn heights_past_retention_are_taken_without_blobs_and_no_others() {
    let mut world = World::with_full_nodes(4, 1);
    world.retention_min = 10;
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(40)));
    world.pruned_below = Height(25);
    world.start(4);
    assert!(
        world.run(MINUTE, |world| world.head(4) >= Height(45)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    for (height, (decided, assembly)) in &world.nodes[4].disk.decided {
        let held = if *height < Height(25) {
            Blobs::NeverHeld
        } else {
            Blobs::Held
        };
        assert_eq!(decided.blobs, held, "{height}");
        assert_eq!(assembly.blobs.is_empty(), held == Blobs::NeverHeld);
    }
}

#[test]
fn blobs_that_must_be_kept_are_not_done_without() {
    let mut world = World::with_full_nodes(4, 1);
    world.retention_min = 10;
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(20)));
    // Everybody dropped too much: height 15 would have to be served with blobs.
    world.pruned_below = Height(1_000);
    world.start(4);
    world.run(Nanos::from_millis(3_000), |_| false);
    let tip = world.head(0).0;
    assert!(world.head(4).0 > 5, "old heights are taken");
    assert!(
        world.head(4).0 <= tip - 10,
        "but none that must have blobs: {} of {tip}",
        world.head(4)
    );
}

/// Whether the client had called each block `VALID` when its decision was told.
fn word_of_the_client(world: &World, node: usize) -> Vec<bool> {
    let told = world.nodes[node].events.iter().filter_map(|event| match event {
        Event::Decided { client_valid, .. } => Some(*client_valid),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_decision_tells_whether_the_client_has_called_its_block_valid() {
    let mut world = World::with_full_nodes(4, 1);
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(30)));
    world.start(4);
    assert!(world.run(MINUTE, |world| world.head(4) >= Height(34)));
    let voted = word_of_the_client(&world, 0);
    let valid = voted.iter().filter(|valid| **valid).count();
    assert!(2 * valid > voted.len(), "a voter asked its client first: {voted:?}");
    let followed = word_of_the_client(&world, 4);
    assert!(
        followed[..20].iter().all(|valid| !valid),
        "a certificate vouched for these: {followed:?}"
    );
}
