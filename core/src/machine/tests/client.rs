//! What a core does while its execution client lags, has lost its memory, or disagrees.

use ultramarine_types::{Height, Nanos};

use super::world::{World, chain};
use super::{MINUTE, heads};
use crate::timers::Durations;
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
fn a_syncing_client_closes_the_gate_and_nobody_else_waits() {
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
    let closed = world.nodes[3]
        .events
        .iter()
        .any(|event| matches!(event, Event::Readiness { ready: false, .. }));
    assert!(closed);
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
    let longest = Durations::of(&chain()).ceiling;
    for node in &mut world.nodes {
        node.client.build_micros = longest.0 / 1000 + 1_000_000;
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
