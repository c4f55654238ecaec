//! What a status says of the links and of the turn to propose.

use ultramarine_types::network::{Fault, NetCommand, NetEvent, Status};
use ultramarine_types::{
    ConsensusMessage, Height, Machine, Nanos, Outbox, PeerId, Positions, ValueId, ValueKey, VoteKind, fixtures,
};

use super::MINUTE;
use super::offers::feed;
use super::world::{self, World};
use crate::{Core, Event, Input, Output};

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
fn who_is_about_to_decide_by_a_certificate_could_propose_next() {
    const BY_SYNC: Height = Height(3);
    let mut world = World::new(4);
    world.drop = Box::new(|_, to, message, _| {
        let is_precommit = matches!(message, ConsensusMessage::Vote(vote) if vote.kind == VoteKind::Precommit);
        to == 1 && message.height() == BY_SYNC && is_precommit
    });
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(BY_SYNC.0 - 1)));
    // From here on each of the others is needed, so nobody is further than it.
    world.crash(3);
    let could = |world: &World| world.nodes[1].core.as_ref().is_some_and(Core::could_propose);
    let by_sync = |event: &Event| match event {
        Event::Decided {
            synced, certificate, ..
        } => *synced && certificate.height == BY_SYNC,
        _ => false,
    };
    let is_synced = |world: &World| world.nodes[1].events.iter().any(by_sync);
    assert!(world.run(MINUTE, |world| is_synced(world) || !could(world)));
    assert!(could(&world), "there is nothing left to sign, and all to propose");
    assert!(is_synced(&world));
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

/// What peers are sent.
fn statuses(out: Vec<Output>) -> Vec<(PeerId, Status)> {
    let sent = out.into_iter().filter_map(|output| match output {
        Output::Net(NetCommand::Status { to, status }) => Some((to, status)),
        _ => None,
    });
    sent.collect()
}

#[test]
fn links_that_come_at_once_are_told_together_and_one_that_is_lost_at_once() {
    let mut world = World::new(40);
    world.start(0);
    world.now = world.now + Nanos::from_millis(1);
    let up = |world: &mut World, node: usize| {
        let (peer, validator) = (world::peer_id(node), Some(world::address_of(node)));
        statuses(feed(world, Input::Net(NetEvent::PeerUp { peer, validator })))
    };
    let to_first = |sent: &[(PeerId, Status)]| {
        let of_first = sent.iter().filter(|(to, _)| *to == world::peer_id(1));
        of_first
            .map(|(_, status)| status.links.iter().count())
            .collect::<Vec<_>>()
    };
    world.now = world.now + Nanos::from_millis(200);
    assert_eq!(
        to_first(&up(&mut world, 1)),
        [1],
        "one link after a rest is told at once"
    );
    let mut told = Vec::new();
    for node in 2..32 {
        world.now = world.now + Nanos::from_millis(3);
        let sent = up(&mut world, node);
        let own = sent.iter().find(|(to, _)| *to == world::peer_id(node));
        assert_eq!(
            own.map(|(_, status)| status.links.iter().count()),
            Some(node),
            "whoever comes hears all"
        );
        told.extend(to_first(&sent));
    }
    assert!(
        told.len() <= 2,
        "90 ms, and a status of links alone each 50 ms: {told:?}"
    );
    // The last of them are told without anybody's doing.
    let core = world.nodes[0].core.as_mut().unwrap();
    let mut out = Outbox::new();
    while told.last() != Some(&31) {
        let at = core.deadline().expect("something is due");
        assert!(at <= world.now + Nanos::from_millis(50), "nothing is told: {told:?}");
        core.wake(at, &mut out);
        told.extend(to_first(&statuses(out.drain().collect())));
    }
    let peer = world::peer_id(5);
    let sent = statuses(feed(&mut world, Input::Net(NetEvent::PeerDown { peer })));
    assert_eq!(to_first(&sent), [30], "a link that is lost is told at once");
    assert_eq!(sent.len(), 30);
}
