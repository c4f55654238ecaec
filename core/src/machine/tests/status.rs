//! What a status says of the links and of the turn to propose.

use ultramarine_types::network::{Fault, NetEvent, Status};
use ultramarine_types::{Height, Nanos, Positions, ValueId, ValueKey, fixtures};

use super::MINUTE;
use super::world::{self, World};
use crate::Input;

/// The newest status that one node has of another.
fn told(world: &World, by: usize, to: usize) -> Option<Status> {
    let core = world.nodes[to].core.as_ref()?;
    core.peers.get(&world::peer_id(by))?.status.clone()
}

/// The positions of some nodes.
fn of_nodes<const N: usize>(nodes: [usize; N]) -> Positions {
    let set = world::validators(4);
    nodes
        .into_iter()
        .filter_map(|node| set.index_of(&world::address_of(node)))
        .collect()
}

#[test]
fn a_status_says_which_validators_are_linked() {
    let mut world = World::new(4);
    world.start_all();
    let linked = |world: &World, links| told(world, 1, 0).is_some_and(|status| status.links == links);
    assert!(world.run(MINUTE, |world| linked(world, of_nodes([0, 2, 3]))));
    world.crash(3);
    assert!(world.run(MINUTE, |world| linked(world, of_nodes([0, 2]))));
}

#[test]
fn a_value_of_our_own_is_named_once_the_log_has_its_choice() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    // Own values that a node holds without a choice in its log, and those that it has told of.
    let own = |world: &World, told: bool| {
        (0..4).any(|node| {
            let Some(core) = world.nodes[node].core.as_ref() else {
                return false;
            };
            let names = |id: &ValueId| core.told.as_ref().is_some_and(|status| status.holds.contains(id));
            let height = core.head().next();
            let held = core.values.held(height).into_iter().map(|id| ValueKey { height, id });
            let own = held.filter(|key| {
                let init = core.values.get(key).and_then(|value| value.init.as_ref());
                init.is_some_and(|init| init.metadata.origin_proposer == world.address(node))
            });
            let mut unlogged = own.filter(|key| !core.proposer.is_logged(key));
            unlogged.any(|key| !told || names(&key.id))
        })
    };
    assert!(
        world.run(MINUTE, |world| own(world, false)),
        "the store is the quicker one"
    );
    assert!(!world.run(Nanos::from_millis(10_000), |world| own(world, true)));
    assert!(world.all_at(8));
    // And it is named then.
    let is_named = |world: &World| {
        let status = told(world, 1, 0);
        let core = world.nodes[1].core.as_ref().expect("it runs");
        let height = core.head().next();
        status.is_some_and(|status| {
            status.holds.iter().any(|id| {
                let init = core
                    .values
                    .get(&ValueKey { height, id: *id })
                    .and_then(|value| value.init.clone());
                init.is_some_and(|init| init.metadata.origin_proposer == world.address(1))
            })
        })
    };
    assert!(world.run(MINUTE, is_named));
}

#[test]
fn a_status_says_whether_its_sender_could_propose() {
    let mut world = World::new(4);
    let proposes = |world: &World| told(world, 1, 0).is_some_and(|status| status.proposes);
    world.start_all();
    assert!(!proposes(&world), "it has not listened");
    assert!(world.run(MINUTE, |world| world.all_at(2) && proposes(world)));
    // A client that imports what was decided is no reason to say otherwise.
    assert!(world.run(MINUTE, |world| world.all_at(8) || !proposes(world)));
    assert!(proposes(&world));
    world.nodes[1].client.syncing = true;
    assert!(
        world.run(MINUTE, |world| !proposes(world)),
        "its client does not follow"
    );
    world.nodes[1].client.syncing = false;
    assert!(world.run(MINUTE, proposes), "it follows again");
}

#[test]
fn a_link_to_a_validator_that_the_set_does_not_have_costs_its_sender() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(1)));
    let tell = |world: &mut World, links| {
        let status = Status {
            links,
            ..fixtures::status(Height(1))
        };
        let peer = world::peer_id(2);
        world.tell(0, Input::Net(NetEvent::Status { peer, status }));
    };
    tell(&mut world, [0, 3].into_iter().collect());
    assert_eq!(world.charges, []);
    tell(&mut world, [4].into_iter().collect());
    assert_eq!(world.charges, [(0, 2, Fault::Protocol)]);
}
