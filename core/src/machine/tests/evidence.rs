//! What a core keeps against a validator that signed two things, and what it does not.

use ultramarine_types::network::{NetEvent, OfferKind};
use ultramarine_types::{ConsensusMessage, Evidence, Height, Round, ValueId, Vote, VoteKind, fixtures, sign};

use super::offers::proposal;
use super::payload::good;
use super::world::{self, World};
use super::{MINUTE, heads};
use crate::log::LogRecord;
use crate::signing::Signer;
use crate::{Event, Input};

#[test]
fn two_votes_of_one_validator_for_one_round_are_kept_as_evidence() {
    let mut world = World::new(4);
    world.start_all();
    let in_round = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        core.is_some_and(|core| core.head() >= Height(2) && core.round() == Some(Round(0)))
    };
    assert!(world.run(MINUTE, in_round));
    let height = world.head(0).next();
    let signer = Signer::new(&world::seed(3));
    let vote = |value_id: Option<ValueId>| {
        let bytes = sign::vote(
            &fixtures::CHAIN,
            VoteKind::Precommit,
            height,
            Round(0),
            value_id.as_ref(),
        );
        Vote {
            kind: VoteKind::Precommit,
            height,
            round: Round(0),
            value_id,
            voter: signer.address(),
            signature: signer.sign(&bytes),
        }
    };
    let both = [vote(None), vote(Some(ValueId([7; 32])))];
    for vote in &both {
        let message = ConsensusMessage::Vote(vote.clone());
        let peer = world::peer_id(3);
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(height.0 + 1)));
    // Its real vote contradicts one of them as well.
    let evidence = &world.nodes[0].disk.evidence;
    let convicts = |piece: &Evidence| {
        (piece.height(), piece.validator(), piece.is_contradiction(1)) == (height, signer.address(), true)
    };
    assert!(!evidence.is_empty() && evidence.iter().all(convicts), "{evidence:?}");
    let as_signed = |piece: &Evidence| match piece {
        Evidence::Votes(first, second) => both.contains(first) && both.contains(second),
        Evidence::Proposals(..) | Evidence::Value(_) => false,
    };
    assert!(evidence.iter().any(as_signed), "{evidence:?}");
    let told = |event: &&Event| matches!(event, Event::Evidence(_));
    assert_eq!(world.nodes[0].events.iter().filter(told).count(), evidence.len());
}

#[test]
fn a_proposal_beside_itself_is_no_evidence() {
    let mut world = World::new(4);
    world.start_all();
    let set = world::validators(4);
    // Node 3 dies before it proposes; what it signs from then on is ours to say.
    let liar = 3;
    let its_turn = |world: &World| {
        let next = world.head(0).next();
        world.all_at(2) && world.all_at(world.head(0).0) && *set.proposer(next, Round(0)) == world::address_of(liar)
    };
    assert!(world.run(MINUTE, its_turn));
    world.crash(liar);
    let height = world.head(0).next();
    let begun = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        core.is_some_and(|core| core.round() == Some(Round(0)) && core.is_execution_ready())
    };
    assert!(world.run(MINUTE, begun));
    // Two proposals for one round, both judged; the client of node 0 is mistaken about the first.
    let both = [1, 2].map(|salt| good(&world, height, Round(0), salt));
    world.nodes[0].client.rejects = Some(both[0].init.metadata.header.block_hash);
    for value in &both {
        let message = ConsensusMessage::Proposal(proposal(liar, &value.key, Round(0)));
        let peer = world::peer_id(liar);
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
        world.offer(liar, 0, value.clone(), OfferKind::Proposal, None);
    }
    let logged = |world: &World| {
        let records = world.nodes[0].disk.records.iter();
        let verdicts = records.filter_map(|bytes| match LogRecord::decode(bytes) {
            Ok(LogRecord::Value { value_id, valid, .. }) => Some((value_id, valid)),
            _ => None,
        });
        verdicts.eq([(both[0].key.id, false), (both[1].key.id, true)])
    };
    assert!(world.run(MINUTE, logged), "stuck at {:?}", heads(&world));
    // Mended and started again, the client executes the first as well: consensus changes its mind about it.
    world.crash(0);
    world.nodes[0].client.rejects = None;
    world.start(0);
    let verdict = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        core.filter(|core| core.round().is_some())
            .and_then(|core| core.host.verdict(&both[0].key.id))
    };
    assert!(
        world.run(MINUTE, |world| verdict(world) == Some(true)),
        "stuck at {:?}",
        heads(&world)
    );
    assert_eq!(world.head(0), height.prev(), "before the height ends");
    assert!(world.run(MINUTE, |world| world.head(0) == height));
    let [first, second] = both.map(|value| proposal(liar, &value.key, Round(0)));
    assert_eq!(world.nodes[0].disk.evidence, [Evidence::Proposals(first, second)]);
}
