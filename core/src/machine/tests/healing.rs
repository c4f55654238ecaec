//! How decided heights that rotted come back from the others.

use ultramarine_types::network::{NetEvent, OfferKind};
use ultramarine_types::storage::{Blobs, StoreReply};
use ultramarine_types::{Height, Nanos};

use super::world::World;
use super::{MINUTE, heads};
use crate::{Event, Input};

/// Four nodes at height 12 or above.
fn at_twelve() -> World {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(12)));
    world
}

/// A height rots at a node, and its store finds that.
fn rot(world: &mut World, node: usize, height: u64) {
    let height = Height(height);
    let (_, assembly) = world.nodes[node].disk.decided.get_mut(&height).unwrap();
    assembly.blobs.clear();
    assembly.payload = Vec::new().into();
    world.nodes[node].disk.rotten.insert(height);
    world.tell(node, Input::Store(StoreReply::Damaged { height }));
}

fn is_whole(world: &World, node: usize) -> bool {
    world.nodes[node].disk.rotten.is_empty()
}

fn assert_same(world: &World, node: usize, other: usize) {
    for (height, (decided, assembly)) in &world.nodes[node].disk.decided {
        let Some((_, theirs)) = world.nodes[other].disk.decided.get(height) else {
            continue;
        };
        assert_eq!(decided.blobs, Blobs::Held);
        assert_eq!((&assembly.payload, &assembly.blobs), (&theirs.payload, &theirs.blobs));
    }
}

#[test]
fn a_rotten_height_is_restored_from_a_peer_while_heights_go_by() {
    let mut world = at_twelve();
    let before = world.head(0);
    for height in [1, 5, 6, 11] {
        rot(&mut world, 2, height);
    }
    assert!(world.run(MINUTE, |world| is_whole(world, 2)));
    assert_same(&world, 2, 0);
    assert!(
        world.run(MINUTE, |world| world.all_at(before.0 + 3)),
        "stuck at {:?}",
        heads(&world)
    );
    let counts = world.nodes[2].events.iter().filter_map(|event| match event {
        Event::Damaged { damaged_count, .. } | Event::Restored { damaged_count, .. } => Some(*damaged_count),
        _ => None,
    });
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [1, 2, 3, 4, 3, 2, 1, 0],
        "each is told once"
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_peer_whose_copy_rotted_as_well_is_passed_over_and_not_charged() {
    let mut world = at_twelve();
    for node in [0, 1, 2] {
        rot(&mut world, node, 5);
    }
    let whole = |world: &World| [0, 1, 2].iter().all(|node| is_whole(world, *node));
    assert!(world.run(MINUTE, whole));
    assert_same(&world, 0, 3);
    world.assert_nobody_stopped();
}

#[test]
fn a_package_of_a_decided_height_that_nobody_asked_for_is_refused() {
    let mut world = at_twelve();
    let (decided, assembly) = world.nodes[1].disk.decided[&Height(5)].clone();
    world.offer(1, 0, assembly, OfferKind::Full, Some(decided));
    world.run(Nanos::from_millis(500), |_| false);
    assert!(world.nodes[0].disk.vouched.is_empty());
    world.assert_nobody_stopped();
}

#[test]
fn a_package_with_a_certificate_that_does_not_hold_restores_nothing_and_another_peer_is_asked() {
    let mut world = at_twelve();
    // The copies of all but node 3 are decided by a certificate that lacks its signatures.
    for node in [0, 1] {
        let (decided, _) = world.nodes[node].disk.decided.get_mut(&Height(5)).unwrap();
        decided.certificate.signatures.truncate(2);
    }
    rot(&mut world, 2, 5);
    assert!(world.run(MINUTE, |world| is_whole(world, 2)));
    assert_same(&world, 2, 3);
}

#[test]
fn a_full_disk_restores_later() {
    let mut world = at_twelve();
    world.nodes[2].disk.full = true;
    rot(&mut world, 2, 5);
    world.run(Nanos::from_millis(2_000), |_| false);
    assert!(!is_whole(&world, 2));
    world.nodes[2].disk.full = false;
    assert!(world.run(MINUTE, |world| is_whole(world, 2)));
    assert_same(&world, 2, 0);
    world.assert_nobody_stopped();
}

#[test]
fn a_client_that_needs_a_rotten_payload_gets_it_once_it_is_restored() {
    let mut world = at_twelve();
    // Nobody has found it yet: the client's replay does.
    let rotten = Height(5);
    world.nodes[2].disk.rotten.insert(rotten);
    // The others are away: the replay waits.
    for other in [0, 1, 3] {
        world.disconnect(2, other);
    }
    world.nodes[2].client.lose_everything();
    world.run(Nanos::from_millis(3_000), |_| false);
    let newest = |world: &World| world.nodes[2].client.blocks.values().max().copied();
    assert_eq!(newest(&world), Some(4), "it waits below the rotten height");
    let told = world.nodes[2].events.iter().any(|event| {
        let Event::Readiness { ready: false, why, .. } = event else {
            return false;
        };
        why.contains("block 5") && why.contains("fetched")
    });
    assert!(told, "and says for what");
    for other in [0, 1, 3] {
        world.connect(2, other);
    }
    let tip = world.head(0).0 + 4;
    let follows = |world: &World| newest(world).is_some_and(|number| number >= tip);
    assert!(
        world.run(MINUTE, follows),
        "stuck at {:?}: {:?}",
        newest(&world),
        heads(&world)
    );
    assert!(is_whole(&world, 2));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn what_is_not_decided_is_not_damaged() {
    let mut world = at_twelve();
    for height in [Height::GENESIS, Height(1_000)] {
        world.tell(0, Input::Store(StoreReply::Damaged { height }));
    }
    let told = |event: &Event| matches!(event, Event::Damaged { .. });
    assert!(!world.nodes[0].events.iter().any(told));
    // An answer to nothing.
    let peer = super::world::peer_id(1);
    let end = ultramarine_types::network::SyncEnd::Unavailable;
    let height = Height(5);
    world.tell(0, Input::Net(NetEvent::SyncEnded { peer, height, end }));
    world.assert_nobody_stopped();
}

#[test]
fn a_height_past_everybodys_retention_is_restored_without_its_blobs() {
    let mut world = World::new(4);
    world.retention_min = 10;
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(40)));
    world.pruned_below = Height(20);
    rot(&mut world, 2, 5);
    rot(&mut world, 2, 25);
    assert!(
        world.run(Nanos::from_millis(30_000), |world| world.nodes[2].disk.rotten.len()
            == 1)
    );
    assert!(
        world.nodes[2].disk.rotten.contains(&Height(5)),
        "blobs are looked for a while"
    );
    assert!(world.run(Nanos::from_millis(120_000), |world| is_whole(world, 2)));
    let (decided, assembly) = &world.nodes[2].disk.decided[&Height(5)];
    assert_eq!((decided.blobs, assembly.blobs.len()), (Blobs::NeverHeld, 0));
    assert_eq!(assembly.payload, world.nodes[0].disk.decided[&Height(5)].1.payload);
    world.assert_nobody_stopped();
}
