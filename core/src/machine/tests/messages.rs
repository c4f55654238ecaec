//! What a message from a peer may cost, and whom.

use ultramarine_types::network::{Fault, NetEvent};
use ultramarine_types::{
    ChainIdentity, ConsensusMessage, Height, Nanos, PolkaCertificate, Round, ValueId, ValueKey, Vote, VoteKind,
    fixtures, sign,
};

use super::MINUTE;
use super::world::{self, World};
use crate::Input;
use crate::signing::Signer;

#[test]
fn old_and_far_messages_cost_nothing() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(5)));
    for height in [1, 2, 3, 400, u64::MAX] {
        let vote = ultramarine_types::Vote {
            kind: VoteKind::Prevote,
            height: Height(height),
            round: Round(0),
            value_id: None,
            voter: world::address_of(1),
            signature: ultramarine_types::Signature([7; 64]),
        };
        let message = ConsensusMessage::Vote(vote);
        world.tell(
            0,
            Input::Net(NetEvent::Message {
                peer: world::peer_id(1),
                message,
            }),
        );
    }
    assert_eq!(world.charges, [], "their signatures were not even looked at");
}

#[test]
fn a_forged_vote_costs_its_sender() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let vote = ultramarine_types::Vote {
        kind: VoteKind::Prevote,
        height: world.head(0).next(),
        round: Round(0),
        value_id: None,
        voter: world::address_of(1),
        signature: ultramarine_types::Signature([7; 64]),
    };
    world.tell(
        0,
        Input::Net(NetEvent::Message {
            peer: world::peer_id(2),
            message: ConsensusMessage::Vote(vote),
        }),
    );
    assert_eq!(
        world.charges,
        [(0, 2, Fault::Signature)],
        "who sent it, not whose name it bears"
    );
}

#[test]
fn messages_of_another_chain_with_the_same_keys_cost_their_sender() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let key = ValueKey {
        height: world.head(0).next(),
        id: ValueId([5; 32]),
    };
    let round = Round(0);
    let elected = world.node_of(world::validators(4).proposer(key.height, round));
    let said = |chain: &ChainIdentity| {
        let vote = |node: usize, kind| {
            let signer = Signer::new(&world::seed(node));
            ultramarine_types::Vote {
                kind,
                height: key.height,
                round,
                value_id: Some(key.id),
                voter: signer.address(),
                signature: signer.sign(&sign::vote(chain, kind, key.height, round, Some(&key.id))),
            }
        };
        let signer = Signer::new(&world::seed(elected));
        let proposal = ultramarine_types::Proposal {
            height: key.height,
            round,
            value_id: key.id,
            valid_round: None,
            proposer: signer.address(),
            signature: signer.sign(&sign::proposal(chain, key.height, round, &key.id, None)),
        };
        let signatures = (1..4).map(|node| vote(node, VoteKind::Prevote)).map(|vote| {
            ultramarine_types::consensus::CertificateSignature {
                address: vote.voter,
                signature: vote.signature,
            }
        });
        let polka = PolkaCertificate {
            height: key.height,
            round,
            value_id: key.id,
            signatures: signatures.collect(),
        };
        [
            ConsensusMessage::Vote(vote(1, VoteKind::Prevote)),
            ConsensusMessage::Vote(vote(2, VoteKind::Precommit)),
            ConsensusMessage::Proposal(proposal),
            ConsensusMessage::Polka(polka),
        ]
    };
    let peer = world::peer_id(3);
    for message in said(&ChainIdentity([8; 32])) {
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
    }
    let (signature, certificate) = ((0, 3, Fault::Signature), (0, 3, Fault::Certificate));
    assert_eq!(world.charges, [signature, signature, signature, certificate]);
    for message in said(&fixtures::CHAIN) {
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
    }
    assert_eq!(world.charges.len(), 4, "the same messages of our chain are welcome");
}

/// What becomes of a burst of votes, of which some have signatures that do not hold.
fn fate(bad: u32, is_ahead: bool) -> (Vec<(usize, usize, Fault)>, String) {
    let mut world = World::new(7);
    world.start_all();
    let in_round = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        core.is_some_and(|core| core.head() >= Height(2) && core.round() == Some(Round(0)))
    };
    assert!(world.run(MINUTE, in_round));
    let height = world.head(0).next();
    let vote = |node: usize| {
        let signer = Signer::new(&world::seed(node));
        let bytes = sign::vote(&fixtures::CHAIN, VoteKind::Precommit, height, Round(0), None);
        let mut signature = signer.sign(&bytes);
        signature.0[3] ^= u8::from(bad >> node & 1 == 1);
        let vote = Vote {
            kind: VoteKind::Precommit,
            height,
            round: Round(0),
            value_id: None,
            voter: signer.address(),
            signature,
        };
        (node, ConsensusMessage::Vote(vote))
    };
    let burst: Vec<_> = (1..7).map(vote).collect();
    if is_ahead {
        let core = world.nodes[0].core.as_mut().unwrap();
        core.verify_ahead(burst.iter().map(|(_, message)| message));
    }
    for (node, message) in burst {
        let peer = world::peer_id(node);
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
    }
    world.run(Nanos::from_millis(500), |_| false);
    (
        std::mem::take(&mut world.charges),
        format!("{:?}", world.nodes[0].events),
    )
}

#[test]
fn a_burst_verified_ahead_has_the_fate_of_its_votes_alone() {
    for bad in [0, 0b10, 0b100_0000, 0b10_1000, 0b111_1110] {
        let (charges, events) = fate(bad, true);
        assert_eq!(charges.len(), bad.count_ones() as usize, "{bad:b}");
        assert!(
            charges
                .iter()
                .all(|(by, peer, fault)| *by == 0 && bad >> peer & 1 == 1 && *fault == Fault::Signature)
        );
        assert_eq!((charges, events), fate(bad, false), "{bad:b}");
    }
}
