//! What an input costs: as much with hundreds of peers as with few.

use ultramarine_types::network::NetEvent;
use ultramarine_types::{ConsensusMessage, Height, Machine, Nanos, PeerId, Round, ValueId, ValueKey, fixtures};

use super::offers::{hand, proposal, running};
use super::world::{self, World};

/// Statuses that are handed in while peers are counted.
const INPUTS: u64 = 400;

/// Records of peers that a core with so many strangers looks at, while they send statuses with tips as `tip` says.
fn visited(strangers: u64, tip: impl Fn(Height, u64) -> Height) -> u64 {
    let (mut world, height) = running();
    let name = |index: u64| {
        let mut peer = PeerId([0x77; 32]);
        peer.0[..8].copy_from_slice(&index.to_le_bytes());
        peer
    };
    let status = |input: u64| fixtures::status(tip(height.prev(), input));
    for index in 0..strangers {
        let (peer, validator) = (name(index), None);
        hand(&mut world, NetEvent::PeerUp { peer, validator });
        let status = status(0);
        hand(&mut world, NetEvent::Status { peer, status });
    }
    // Beyond every grace, so that what may be asked for is asked for.
    world.now = world.now + Nanos::from_millis(400);
    let core = |world: &World| world.nodes[0].core.as_ref().unwrap().peers.visited.get();
    let before = core(&world);
    for input in 1..=INPUTS {
        let (peer, status) = (name(input % strangers), status(input));
        hand(&mut world, NetEvent::Status { peer, status });
        world.nodes[0].core.as_ref().unwrap().deadline();
    }
    core(&world) - before
}

/// Asserts that 400 strangers more are each looked at a few times, and not once an input.
fn assert_constant(tip: impl Fn(Height, u64) -> Height + Copy) {
    let [few, many] = [100, 500].map(|strangers| visited(strangers, tip));
    let looks = many.saturating_sub(few) / 400;
    assert!(
        looks <= INPUTS / 40,
        "{few} records with 100 peers and {many} with 500: each was looked at {looks} times in {INPUTS} statuses"
    );
}

#[test]
fn a_status_costs_as_much_with_500_peers_as_with_100() {
    assert_constant(|tip, _| tip);
}

#[test]
fn a_tip_that_rises_costs_as_much_with_500_peers_as_with_100() {
    assert_constant(|_, input| Height(1_000_000 + input));
}

/// Records of validators' nodes that a core looks at in so many inputs, while it does or does not search for a value.
fn visited_in_search(searches: bool) -> u64 {
    let (mut world, height) = running();
    let origin = world.node_of(world::validators(4).proposer(height, Round(1)));
    let peer = world::peer_id(origin);
    if searches {
        let id = ValueId([7; 32]);
        let message = ConsensusMessage::Proposal(proposal(origin, &ValueKey { height, id }, Round(1)));
        hand(&mut world, NetEvent::Message { peer, message });
    }
    // The first one is asked.
    world.now = world.now + Nanos::from_millis(200);
    hand(
        &mut world,
        NetEvent::Status {
            peer,
            status: fixtures::status(height.prev()),
        },
    );
    let core = world.nodes[0].core.as_ref().unwrap();
    let searching = core.values.keys_at(height).into_iter();
    let searching = searching.filter(|key| core.values.get(key).is_some_and(|value| value.search.is_some()));
    assert_eq!(searching.count(), usize::from(searches));
    let before = core.peers.visited.get();
    for _ in 0..INPUTS {
        hand(
            &mut world,
            NetEvent::Status {
                peer,
                status: fixtures::status(height.prev()),
            },
        );
    }
    world.nodes[0].core.as_ref().unwrap().peers.visited.get() - before
}

#[test]
fn a_value_that_is_missing_costs_no_look_at_each_validator_an_input() {
    let [quiet, searching] = [false, true].map(visited_in_search);
    assert!(
        searching <= quiet + INPUTS / 40,
        "{INPUTS} inputs look at {quiet} records, and at {searching} while a value is missing"
    );
}
