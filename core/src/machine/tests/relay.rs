//! Whom a message reaches that is not connected to its signer.

use std::collections::BTreeMap;

use ultramarine_types::hearing::{Call, Hearing};
use ultramarine_types::network::{NetCommand, NetEvent, Recipients, Status};
use ultramarine_types::{
    ConsensusMessage, Height, Nanos, Nonce, PeerId, Positions, Round, ValueId, Vote, VoteKind, fixtures, sign,
};

use super::offers::{feed, running};
use super::world::{self, World};
use crate::held::ROUNDS_AHEAD;
use crate::machine::Parked;
use crate::signing::Signer;
use crate::{Input, Output};

/// A prevote of node 1.
fn vote(height: Height, round: u32, value: Option<u8>) -> ConsensusMessage {
    let signer = Signer::new(&world::seed(1));
    let (round, value_id) = (Round(round), value.map(|byte| ValueId([byte; 32])));
    let bytes = sign::vote(&fixtures::CHAIN, VoteKind::Prevote, height, round, value_id.as_ref());
    ConsensusMessage::Vote(Vote {
        kind: VoteKind::Prevote,
        height,
        round,
        value_id,
        voter: signer.address(),
        signature: signer.sign(&bytes),
    })
}

/// Those to whom node 0 passes a message on that a peer brings, at once or once its log is durable.
fn passed(world: &mut World, peer: PeerId, message: ConsensusMessage) -> Vec<PeerId> {
    let waits = |world: &World| {
        let core = world.nodes[0].core.as_ref().unwrap();
        let waiting = core.gate.parked().filter_map(|parked| match parked {
            Parked::Send(Recipients::One(to), waits) => (*waits == message).then_some(*to),
            _ => None,
        });
        waiting.collect::<Vec<_>>()
    };
    let before = waits(world).len();
    let input = Input::Net(NetEvent::Message {
        peer,
        message: message.clone(),
    });
    let sent = feed(world, input).into_iter().filter_map(|output| match output {
        Output::Net(NetCommand::Send {
            to: Recipients::One(to),
            message: sent,
        }) => (sent == message).then_some(to),
        _ => None,
    });
    let sent: Vec<_> = sent.collect();
    sent.into_iter().chain(waits(world).split_off(before)).collect()
}

/// A peer of node 0 says to whom it is linked.
fn link(world: &mut World, peer: PeerId, tip: Height, links: Positions) {
    let status = Status {
        links,
        ..fixtures::status(tip)
    };
    feed(world, Input::Net(NetEvent::Status { peer, status }));
}

#[test]
fn a_vote_is_passed_on_once_to_validators_without_a_link_to_its_signer() {
    let (mut world, height) = running();
    let [one, two, three] = [1, 2, 3].map(world::peer_id);
    let stranger = PeerId([200; 32]);
    let (peer, validator) = (stranger, None);
    feed(&mut world, Input::Net(NetEvent::PeerUp { peer, validator }));
    let set = world::validators(4);
    let links = |nodes: &[usize]| {
        let positions = nodes.iter().filter_map(|node| set.index_of(&world::address_of(*node)));
        positions.collect::<Positions>()
    };
    link(&mut world, two, height.prev(), links(&[0, 3]));
    link(&mut world, three, height.prev(), links(&[0, 1, 2]));
    link(&mut world, stranger, height.prev(), Positions::NONE);
    assert_eq!(passed(&mut world, one, vote(height, 0, None)), [two]);
    assert_eq!(passed(&mut world, one, vote(height, 0, None)), [], "once at a time");
    assert_eq!(
        passed(&mut world, three, vote(height, 0, None)),
        [],
        "whoever brings it"
    );
    assert_eq!(
        passed(&mut world, three, vote(height, 0, Some(1))),
        [two],
        "a second value convicts"
    );
    assert_eq!(
        passed(&mut world, three, vote(height, 0, Some(2))),
        [],
        "a third is nothing new"
    );
    assert_eq!(
        passed(&mut world, two, vote(height, 1, None)),
        [],
        "it brought the vote itself"
    );
    assert_eq!(
        passed(&mut world, one, vote(height, ROUNDS_AHEAD + 1, None)),
        [],
        "too far ahead"
    );
    assert_eq!(
        passed(&mut world, one, vote(height.next(), 0, None)),
        [two],
        "early, and kept there too"
    );
    link(&mut world, two, height, links(&[0, 3]));
    assert_eq!(
        passed(&mut world, one, vote(height, 2, None)),
        [],
        "it has decided the height"
    );
}

/// Node 0 of twelve, and who is connected to it: all but node 11. The status of node 5 has not come, and that of node 6
/// shows a link to node 11. All others show links to everybody but node 11.
fn one_of_twelve() -> World {
    let mut world = World::new(12);
    world.start(0);
    let set = world::validators(12);
    let positions = |nodes: std::ops::Range<usize>| {
        let positions = nodes.filter_map(|node| set.index_of(&world::address_of(node)));
        positions.collect::<Positions>()
    };
    for node in 1..11 {
        let (peer, validator) = (world::peer_id(node), Some(world::address_of(node)));
        feed(&mut world, Input::Net(NetEvent::PeerUp { peer, validator }));
        let links = match node {
            5 => continue,
            6 => positions(0..12),
            _ => positions(0..11),
        };
        link(&mut world, peer, Height(0), links);
    }
    world
}

/// How often node 0 passes on to each peer what node 1 brings it forty times, half a second apart.
fn turns(world: &mut World, mut bring: impl FnMut(&mut World) -> Vec<PeerId>) -> BTreeMap<u8, u32> {
    let mut turns = BTreeMap::new();
    for _ in 0..40 {
        for to in bring(world) {
            *turns.entry(to.0[0]).or_default() += 1;
        }
        world.now = world.now + Nanos::from_millis(500);
    }
    turns
}

#[test]
fn a_call_goes_by_few_relays_to_those_who_seem_not_to_have_it_and_by_others_each_time() {
    let mut world = one_of_twelve();
    let signer = Signer::new(&world::seed(11));
    let (listener, nonce) = (signer.address(), Nonce([9; 32]));
    let signature = signer.sign(&sign::call(&fixtures::CHAIN, &listener, &nonce));
    let turns = turns(&mut world, |world| {
        let call = Call {
            listener,
            nonce,
            signature,
        };
        let (peer, hearing) = (world::peer_id(1), Hearing::Call(call));
        let out = feed(world, Input::Net(NetEvent::Hearing { peer, hearing }));
        let passed = out.into_iter().filter_map(|output| match output {
            Output::Net(NetCommand::Hearing {
                to,
                hearing: Hearing::Call(_),
            }) => Some(to),
            _ => None,
        });
        passed.collect()
    });
    // Each of them has nine other neighbours than node 0, of whom three are drawn each time: 12 of 40 are ours.
    assert_eq!(
        turns.keys().copied().collect::<Vec<_>>(),
        [2, 3, 4, 7, 8, 9, 10],
        "{turns:?}"
    );
    assert!(turns.values().all(|turns| (4..=22).contains(turns)), "{turns:?}");
}

#[test]
fn a_vote_that_is_repeated_goes_by_other_relays() {
    let mut world = one_of_twelve();
    let signer = Signer::new(&world::seed(11));
    let (height, round) = (Height(1), Round(0));
    let message = ConsensusMessage::Vote(Vote {
        kind: VoteKind::Prevote,
        height,
        round,
        value_id: None,
        voter: signer.address(),
        signature: signer.sign(&sign::vote(&fixtures::CHAIN, VoteKind::Prevote, height, round, None)),
    });
    let turns = turns(&mut world, |world| {
        // A message that was passed on forty times rests for twenty seconds.
        world.now = world.now + Nanos::from_millis(20_000);
        passed(world, world::peer_id(1), message.clone())
    });
    assert_eq!(
        turns.keys().copied().collect::<Vec<_>>(),
        [2, 3, 4, 7, 8, 9, 10],
        "{turns:?}"
    );
    assert!(turns.values().all(|turns| (4..=22).contains(turns)), "{turns:?}");
}

#[test]
fn where_few_are_connected_to_the_signer_all_of_them_pass_its_votes_on() {
    let mut world = one_of_twelve();
    let set = world::validators(12);
    let links = |nodes: &[usize]| {
        let positions = nodes.iter().filter_map(|node| set.index_of(&world::address_of(*node)));
        positions.collect::<Positions>()
    };
    // Node 11 comes, and says that it is connected to us and to two others. Those do not say it yet.
    let (peer, validator) = (world::peer_id(11), Some(world::address_of(11)));
    feed(&mut world, Input::Net(NetEvent::PeerUp { peer, validator }));
    link(&mut world, peer, Height(0), links(&[0, 1, 2]));
    let signer = Signer::new(&world::seed(11));
    let (height, kind) = (Height(1), VoteKind::Prevote);
    for round in (0..3).map(Round) {
        let message = ConsensusMessage::Vote(Vote {
            kind,
            height,
            round,
            value_id: None,
            voter: signer.address(),
            signature: signer.sign(&sign::vote(&fixtures::CHAIN, kind, height, round, None)),
        });
        let mut to = passed(&mut world, peer, message);
        to.sort_unstable();
        let [first, second] = [1, 2].map(world::peer_id);
        to.retain(|to| *to != first && *to != second);
        assert_eq!(to, [3, 4, 7, 8, 9, 10].map(world::peer_id), "in {round}");
    }
}
