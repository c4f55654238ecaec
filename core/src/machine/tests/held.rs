//! What peers can make a core hold.

use ultramarine_types::network::{NetEvent, OfferKind, Refusal};
use ultramarine_types::{
    ConsensusMessage, Height, Nanos, PeerId, PolkaCertificate, Round, ValueId, ValueKey, Vote, VoteKind, fixtures, sign,
};

use super::offers::{hand, offer, proposal, quorum, running, skip_to};
use super::world::{self, World};
use super::{MINUTE, heads};
use crate::held::Ceilings;
use crate::signing::Signer;
use crate::values::ROUNDS_KEPT;

#[test]
fn values_of_rounds_long_past_are_let_go_and_fetched_again_once_a_polka_names_one() {
    let mut world = World::new(4);
    // Nobody votes for what is so far ahead of every clock, and nobody calls it invalid: the height stands still.
    world.spoil = Box::new(|_, height, _, built| {
        if height >= Height(3) {
            built.header.timestamp += 1_000_000;
        }
    });
    world.start_all();
    let round = |world: &World| world.nodes[0].core.as_ref().and_then(crate::Core::round);
    // Proposers repeat what is valid to them. Those values are let go that they have given up.
    let let_go = |world: &World| {
        let core = world.nodes[0].core.as_ref()?;
        let values = world.nodes[0].disk.undecided.values();
        let mut others = values
            .map(|(assembly, _)| assembly.init.clone())
            .filter(|init| init.metadata.height == Height(3) && init.metadata.origin_proposer != world::address_of(0));
        others.find(|init| core.values.get(&init.key()).is_none())
    };
    let stands = |world: &World| {
        world.head(0) == Height(2) && round(world) >= Some(Round(ROUNDS_KEPT + 6)) && let_go(world).is_some()
    };
    let limit = Nanos(MINUTE.0 * 10);
    assert!(world.run(limit, stands), "stuck at {:?}", heads(&world));
    let held = world.nodes[0].core.as_ref().unwrap().held();
    // The round that just began may have its value already.
    assert!(held.payloads <= ROUNDS_KEPT as usize + 2, "{held:?}");
    assert!(held.payloads > 2, "recent ones are kept: {held:?}");

    let init = let_go(&world).expect("one was let go");
    let key = init.key();
    let known = |world: &World| world.nodes[0].core.as_ref().unwrap().values.get(&key).is_some();
    assert!(!known(&world), "of round {}", init.metadata.origin_round);
    let again = offer(&mut world, 1, &init, OfferKind::Proposal, None);
    assert_eq!(again, Err(Refusal::Height), "its round is over");
    let polka = PolkaCertificate {
        height: key.height,
        round: Round(0),
        value_id: key.id,
        signatures: quorum(&key, VoteKind::Prevote),
    };
    let (peer, message) = (world::peer_id(1), ConsensusMessage::Polka(polka));
    hand(&mut world, NetEvent::Message { peer, message });
    let back = |world: &World| {
        let core = world.nodes[0].core.as_ref().unwrap();
        core.values.get(&key).is_some_and(|value| value.is_stored())
    };
    assert!(world.run(MINUTE, back), "who has it was asked for it");
}

#[test]
fn a_proposal_of_a_round_long_past_has_nothing_fetched() {
    let (mut world, height) = running();
    let node = world.node_of(world::validators(4).proposer(height, Round(1)));
    for (id, now, wanted) in [(7, Round(1 + ROUNDS_KEPT), true), (8, Round(2 + ROUNDS_KEPT), false)] {
        skip_to(&mut world, height, now);
        let key = ValueKey {
            height,
            id: ValueId([id; 32]),
        };
        let (peer, message) = (
            world::peer_id(node),
            ConsensusMessage::Proposal(proposal(node, &key, Round(1))),
        );
        hand(&mut world, NetEvent::Message { peer, message });
        let core = world.nodes[0].core.as_ref().unwrap();
        let value = core.values.get(&key);
        assert_eq!(
            value.is_some_and(|value| value.search.is_some()),
            wanted,
            "in round {now}"
        );
    }
}

#[test]
fn a_slow_log_piles_up_no_more_than_a_batch_beyond_the_bound() {
    let (mut world, height) = running();
    // The log gets a record, and as nobody carries out what node 0 wants, it never becomes durable.
    let signer = Signer::new(&world::seed(3));
    let id = ValueId([7; 32]);
    let vote = Vote {
        kind: VoteKind::Precommit,
        height,
        round: Round(0),
        value_id: Some(id),
        voter: signer.address(),
        signature: signer.sign(&sign::vote(
            &fixtures::CHAIN,
            VoteKind::Precommit,
            height,
            Round(0),
            Some(&id),
        )),
    };
    let (peer, message) = (world::peer_id(3), ConsensusMessage::Vote(vote));
    hand(&mut world, NetEvent::Message { peer, message });
    let peers: Vec<_> = (100..140).map(|byte| PeerId([byte; 32])).collect();
    for peer in &peers {
        let (peer, validator) = (*peer, None);
        hand(&mut world, NetEvent::PeerUp { peer, validator });
    }
    for _ in 0..300 {
        world.now = world.now + Nanos::from_millis(1000);
        for peer in &peers {
            let status = fixtures::status(height.prev());
            hand(&mut world, NetEvent::Status { peer: *peer, status });
        }
    }
    let held = world.nodes[0].core.as_ref().unwrap().held();
    assert_eq!(held.beyond(&Ceilings::of(4, 1)), None);
    assert!(held.resends > 900, "they do pile up: {held:?}");
}
