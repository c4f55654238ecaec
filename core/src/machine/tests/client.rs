//! What a core does while its execution client lags, has lost its memory, or disagrees.

use ultramarine_types::{Height, Nanos};

use super::world::World;
use super::{MINUTE, heads};
use crate::{Event, Stop};

#[test]
fn a_client_that_lost_everything_is_brought_back() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(8)));
    world.nodes[0].client.lose_everything();
    assert!(
        world.run(MINUTE, |world| world.all_at(14)),
        "stuck at {:?}",
        heads(&world)
    );
    assert!(world.nodes[0].client.blocks.values().any(|number| *number >= 13));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_syncing_client_is_not_ready_and_nobody_else_waits() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.syncing = true;
    let from = world.head(3);
    let proposals = world.nodes[3].builds.len();
    assert!(
        world.run(MINUTE, |world| world.all_at(12)),
        "stuck at {:?}",
        heads(&world)
    );
    let unready = world.nodes[3]
        .events
        .iter()
        .any(|event| matches!(event, Event::Readiness { ready: false, .. }));
    assert!(unready);
    assert!(
        world.nodes[3].builds.len() <= proposals + 1,
        "it proposes nothing while its client lags"
    );
    let voted: Vec<_> = world
        .signed
        .iter()
        .filter(|((node, height, _, kind), id)| {
            *node == 3 && *height > from.next() && *kind == "prevote" && id.is_some()
        })
        .collect();
    assert!(voted.is_empty(), "I9: it votes only nil: {voted:?}");
    world.nodes[3].client.syncing = false;
    let tip = world.head(0).0;
    assert!(world.run(MINUTE, |world| world.all_at(tip + 10)));
    let ready = world.nodes[3].events.iter().rev().find_map(|event| match event {
        Event::Readiness { ready, .. } => Some(*ready),
        _ => None,
    });
    assert_eq!(ready, Some(true));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn clients_that_build_slower_than_any_round_lasts_do_not_stop_the_chain() {
    let mut world = World::new(4);
    for node in &mut world.nodes {
        node.client.build_micros = 22_000_000;
    }
    world.start_all();
    assert!(
        world.run(Nanos(10 * MINUTE.0), |world| world.all_at(3)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_decided_block_the_client_calls_invalid_stops_the_node() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.condemns = Some(Height(4));
    assert!(
        world.run(MINUTE, |world| world.nodes[3].stopped.is_some()),
        "stuck at {:?}",
        heads(&world)
    );
    assert!(matches!(world.nodes[3].stopped, Some(Stop::DecidedInvalid(_))));
    assert!(
        world.run(MINUTE, |world| world.head(0) >= Height(8)),
        "the others go on"
    );
}

/// What people were told of a node's client, from this event on.
fn told(world: &World, node: usize, from: usize) -> Vec<(bool, String)> {
    let readiness = |event: &Event| match event {
        Event::Readiness { ready, why, .. } => Some((*ready, why.clone())),
        _ => None,
    };
    world.nodes[node].events[from..].iter().filter_map(readiness).collect()
}

fn lines(world: &World, node: usize, from: usize) -> usize {
    let is_line = |event: &&Event| matches!(event, Event::Readiness { is_news: true, .. });
    world.nodes[node].events[from..].iter().filter(is_line).count()
}

#[test]
fn a_lone_client_that_only_accepts_is_named_and_never_called_ready() {
    let mut world = World::new(1);
    world.nodes[0].client.accepts = true;
    world.start_all();
    world.run(Nanos::from_millis(5_000), |_| false);
    let from = world.nodes[0].events.len();
    world.run(Nanos(3 * MINUTE.0), |_| false);
    assert_eq!(world.head(0), Height(0));
    let told = told(&world, 0, from);
    assert!(told.iter().all(|(ready, _)| !ready), "it flaps: {told:?}");
    let why = world.nodes[0].events.iter().rev().find_map(|event| match event {
        Event::Stalled { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.as_ref().is_some_and(|why| why.contains("ACCEPTED")), "{why:?}");
    assert!(lines(&world, 0, 0) <= 4, "{} lines", lines(&world, 0, 0));
}

#[test]
fn one_of_four_clients_that_only_accepts_is_named_until_it_says_valid() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.accepts = true;
    world.run(Nanos::from_millis(5_000), |_| false);
    let from = world.nodes[3].events.len();
    let head = world.head(0).0;
    world.run(Nanos(3 * MINUTE.0), |_| false);
    assert!(
        world.head(3) > Height(head + 20),
        "the chain goes on: {:?}",
        heads(&world)
    );
    let during = told(&world, 3, from);
    assert!(during.iter().all(|(ready, _)| !ready), "it flaps: {during:?}");
    assert!(lines(&world, 3, 0) <= 6, "{} lines", lines(&world, 3, 0));
    let last = told(&world, 3, 0).pop().expect("something was told");
    assert!(last.1.contains("ACCEPTED"), "{last:?}");
    world.nodes[3].client.accepts = false;
    assert!(world.run(MINUTE, |world| {
        told(world, 3, from).last().is_some_and(|(ready, _)| *ready)
    }));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_client_that_confirms_heads_without_naming_them_is_named_while_the_chain_goes_on() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.nameless = true;
    world.run(Nanos::from_millis(5_000), |_| false);
    let from = world.nodes[3].events.len();
    assert!(
        world.run(Nanos(3 * MINUTE.0), |world| world.all_at(20)),
        "{:?}",
        heads(&world)
    );
    let during = told(&world, 3, from);
    assert!(during.iter().all(|(ready, _)| !ready), "it flaps: {during:?}");
    let last = told(&world, 3, 0).pop().expect("something was told");
    assert!(last.1.contains("latestValidHash"), "{last:?}");
}
