//! Which offered streams a core takes, asked directly.

use std::sync::Arc;

use ultramarine_types::execution::{Built, ParentBlock};
use ultramarine_types::network::{NetCommand, NetEvent, OfferId, OfferKind, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::{
    ChainIdentity, CommitCertificate, ConsensusMessage, Hash, Height, Init, Machine, Nanos, Outbox, PolkaCertificate,
    Proposal, Round, ValueKey, ValueMetadata, Vote, VoteKind, consensus::CertificateSignature, fixtures, sidecar, sign,
};

use super::MINUTE;
use super::world::{self, World};
use crate::signing::Signer;
use crate::values::ROUNDS_KEPT;
use crate::{Input, Output};

/// A network whose node 0 is in round 0 of a height above 2. Another node proposes in the next round and at the next
/// height, so that tests can make up values of that node.
pub fn running() -> (World, Height) {
    let mut world = World::new(4);
    world.start_all();
    let set = world::validators(4);
    let is_ours = |height, round| *set.proposer(height, round) == world::address_of(0);
    let in_round = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        let height = world.head(0).next();
        core.is_some_and(|core| core.round() == Some(Round(0)))
            && !is_ours(height, Round(1))
            && !is_ours(height.next(), Round(0))
    };
    assert!(world.run(MINUTE, |world| world.all_at(2) && in_round(world)));
    let height = world.head(0).next();
    (world, height)
}

/// A value of the elected proposer; `salt` makes it another one.
fn init(height: Height, round: Round, salt: u8) -> Init {
    let set = world::validators(4);
    let proposer = *set.proposer(height, round);
    let node = (0..4).find(|node| world::address_of(*node) == proposer).unwrap();
    init_by(node, height, round, salt)
}

pub fn init_by(node: usize, height: Height, round: Round, salt: u8) -> Init {
    let parent = ParentBlock {
        hash: Hash([salt; 32]),
        number: height.0 - 1,
        timestamp: 9,
    };
    let built = world::build(
        node,
        height,
        round,
        &parent,
        world::GENESIS_TIME + 1,
        2,
        Nanos(u64::from(salt)),
    );
    sign_init(node, height, round, built)
}

/// The `Init` of a block, signed by its proposer.
pub fn sign_init(node: usize, height: Height, round: Round, built: Built) -> Init {
    let set = world::validators(4);
    let signer = Signer::new(&world::seed(node));
    let metadata = ValueMetadata {
        chain: fixtures::CHAIN,
        height,
        origin_proposer: signer.address(),
        origin_proposer_index: set.index_of(&signer.address()).unwrap(),
        origin_round: round,
        validator_set_hash: set.hash(),
        header: built.header,
        payload_bytes: built.payload.len() as u32,
        blobs_count: built.blobs.len() as u32,
        roots: built.lists.roots(),
    };
    sign_metadata(node, metadata)
}

/// The `Init` of a value with this metadata, signed by a node.
pub fn sign_metadata(node: usize, metadata: ValueMetadata) -> Init {
    let signer = Signer::new(&world::seed(node));
    let signature = signer.sign(&sign::init(&fixtures::CHAIN, &metadata.id()));
    let header_signature = signer.sign(&sign::sidecar_header(
        &fixtures::CHAIN,
        &sidecar::header(&metadata, world::GENESIS_TIME).root(),
    ));
    Init {
        metadata,
        signature,
        header_signature,
    }
}

/// Offers a stream to node 0 and returns its answer.
pub fn offer(
    world: &mut World,
    from: usize,
    init: &Init,
    kind: OfferKind,
    certificate: Option<CommitCertificate>,
) -> Result<Tag, Refusal> {
    let event = NetEvent::Offer {
        offer: OfferId(1 << 60),
        peer: world::peer_id(from),
        key: init.key(),
        init: Arc::new(init.clone()),
        kind,
        certificate,
    };
    hand(world, event)
        .into_iter()
        .find_map(|output| match output {
            Output::Net(NetCommand::Admit { tag, .. }) => Some(Ok(tag)),
            Output::Net(NetCommand::Refuse { why, .. }) => Some(Err(why)),
            _ => None,
        })
        .expect("every offer is answered at once")
}

pub fn hand(world: &mut World, event: NetEvent) -> Vec<Output> {
    feed(world, Input::Net(event))
}

/// Hands node 0 an input and returns what it wants.
pub fn feed(world: &mut World, input: Input) -> Vec<Output> {
    let (now, mut out) = (world.now, Outbox::new());
    world.nodes[0].core.as_mut().unwrap().handle(now, input, &mut out);
    out.drain().collect()
}

/// The proposal of a value in a round, signed by a node.
pub fn proposal(node: usize, key: &ValueKey, round: Round) -> Proposal {
    let signer = Signer::new(&world::seed(node));
    let bytes = sign::proposal(&fixtures::CHAIN, key.height, round, &key.id, None);
    Proposal {
        height: key.height,
        round,
        value_id: key.id,
        valid_round: None,
        proposer: signer.address(),
        signature: signer.sign(&bytes),
    }
}

/// More than a third vote in a round, and node 0 follows them there.
pub fn skip_to(world: &mut World, height: Height, round: Round) {
    for node in [1, 2] {
        let signer = Signer::new(&world::seed(node));
        let vote = Vote {
            kind: VoteKind::Prevote,
            height,
            round,
            value_id: None,
            voter: signer.address(),
            signature: signer.sign(&sign::vote(&fixtures::CHAIN, VoteKind::Prevote, height, round, None)),
        };
        let (peer, message) = (world::peer_id(node), ConsensusMessage::Vote(vote));
        hand(world, NetEvent::Message { peer, message });
    }
    assert_eq!(world.nodes[0].core.as_ref().unwrap().round(), Some(round));
}

pub fn quorum(key: &ValueKey, kind: VoteKind) -> Vec<CertificateSignature> {
    (1..4)
        .map(|node| {
            let signer = Signer::new(&world::seed(node));
            let bytes = sign::vote(&fixtures::CHAIN, kind, key.height, Round(0), Some(&key.id));
            CertificateSignature {
                address: signer.address(),
                signature: signer.sign(&bytes),
            }
        })
        .collect()
}

#[test]
fn two_values_a_round_are_admitted_and_a_third_only_with_a_polka() {
    let (mut world, height) = running();
    let next = height.next();
    for salt in 1..=2 {
        assert_eq!(
            offer(&mut world, 1, &init(next, Round(0), salt), OfferKind::Proposal, None),
            Ok(Tag::Streamed)
        );
    }
    let third = init(next, Round(0), 3);
    assert_eq!(
        offer(&mut world, 1, &third, OfferKind::Proposal, None),
        Err(Refusal::Full)
    );
    // The same at the current height, and then a polka names it.
    for salt in 1..=2 {
        let _ = offer(&mut world, 1, &init(height, Round(1), salt), OfferKind::Proposal, None);
    }
    let third = init(height, Round(1), 3);
    assert_eq!(
        offer(&mut world, 1, &third, OfferKind::Proposal, None),
        Err(Refusal::Full)
    );
    let polka = PolkaCertificate {
        height,
        round: Round(0),
        value_id: third.key().id,
        signatures: quorum(&third.key(), VoteKind::Prevote),
    };
    hand(
        &mut world,
        NetEvent::Message {
            peer: world::peer_id(1),
            message: ConsensusMessage::Polka(polka),
        },
    );
    assert_eq!(
        offer(&mut world, 1, &third, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
}

#[test]
fn old_far_and_unelected_values_are_refused() {
    let (mut world, height) = running();
    for far in [Height(1), height.prev(), Height(height.0 + 2), Height(u64::MAX - 1)] {
        let init = init(far, Round(0), 1);
        assert_eq!(
            offer(&mut world, 1, &init, OfferKind::Proposal, None),
            Err(Refusal::Height),
            "{far}"
        );
    }
    let early = init(height, Round(2), 1);
    assert_eq!(
        offer(&mut world, 1, &early, OfferKind::Proposal, None),
        Err(Refusal::Height)
    );
    let set = world::validators(4);
    let elected = *set.proposer(height, Round(1));
    let usurper = (0..4).find(|node| world::address_of(*node) != elected).unwrap();
    let init = init_by(usurper, height, Round(1), 1);
    assert!(matches!(
        offer(&mut world, 1, &init, OfferKind::Proposal, None),
        Err(Refusal::Invalid { .. })
    ));
}

#[test]
fn a_value_of_a_round_long_past_is_refused_until_a_newer_proposal_names_it() {
    let (mut world, height) = running();
    let [kept, past] = [1, 2].map(|salt| init(height, Round(1), salt));
    skip_to(&mut world, height, Round(1 + ROUNDS_KEPT));
    assert_eq!(
        offer(&mut world, 1, &kept, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    skip_to(&mut world, height, Round(2 + ROUNDS_KEPT));
    assert_eq!(
        offer(&mut world, 1, &past, OfferKind::Proposal, None),
        Err(Refusal::Height)
    );
    // Proposed once more, by whoever's turn it is but node 0's own.
    let set = world::validators(4);
    let (round, node) = (2..=3)
        .map(|round| (Round(round), world.node_of(set.proposer(height, Round(round)))))
        .find(|(_, node)| *node != 0)
        .unwrap();
    let message = ConsensusMessage::Proposal(proposal(node, &past.key(), round));
    let peer = world::peer_id(node);
    hand(&mut world, NetEvent::Message { peer, message });
    assert_eq!(
        offer(&mut world, 1, &past, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
}

#[test]
fn a_value_in_flight_is_not_taken_twice() {
    let (mut world, height) = running();
    let value = init(height.next(), Round(0), 1);
    assert!(offer(&mut world, 1, &value, OfferKind::Proposal, None).is_ok());
    assert_eq!(
        offer(&mut world, 2, &value, OfferKind::Proposal, None),
        Err(Refusal::Held)
    );
    hand(
        &mut world,
        NetEvent::Incomplete {
            key: value.key(),
            peer: world::peer_id(1),
        },
    );
    assert!(
        offer(&mut world, 2, &value, OfferKind::Proposal, None).is_ok(),
        "the first stream broke"
    );
}

#[test]
fn a_package_nobody_asked_for_is_refused() {
    let (mut world, height) = running();
    let value = init(height, Round(1), 1);
    let certificate = CommitCertificate {
        height,
        round: Round(0),
        value_id: value.key().id,
        signatures: quorum(&value.key(), VoteKind::Precommit),
    };
    assert_eq!(
        offer(&mut world, 1, &value, OfferKind::Full, Some(certificate)),
        Err(Refusal::Held)
    );
}

#[test]
fn a_package_of_another_validator_set_is_refused_before_any_signature_is_verified() {
    let (mut world, height) = running();
    let status = fixtures::status(Height(height.0 + 5));
    // More than a third of the power says so: that proves it.
    let claims = [1, 2].map(|node| NetEvent::Status {
        peer: world::peer_id(node),
        status: status.clone(),
    });
    let out: Vec<Output> = claims.into_iter().flat_map(|claim| hand(&mut world, claim)).collect();
    let asked = |node: &usize| {
        out.iter().any(|output| match output {
            Output::Net(NetCommand::Sync { peer, height: at, .. }) => (*peer, *at) == (world::peer_id(*node), height),
            _ => false,
        })
    };
    let asked = [1, 2].into_iter().find(asked).expect("somebody is asked");
    let mut value = init(height, Round(0), 1);
    value.metadata.validator_set_hash = Hash([9; 32]);
    // Its certificate is worth nothing: whoever looks at it finds that out first.
    let certificate = CommitCertificate {
        height,
        round: Round(0),
        value_id: value.key().id,
        signatures: Vec::new(),
    };
    assert_eq!(
        offer(&mut world, asked, &value, OfferKind::Full, Some(certificate)),
        Err(Refusal::Invalid {
            reason: "of another validator set"
        })
    );
}

#[test]
fn a_value_of_the_wrong_chain_is_invalid() {
    let (mut world, height) = running();
    let mut value = init(height, Round(1), 1);
    value.metadata.chain = ChainIdentity([8; 32]);
    let answer = offer(&mut world, 1, &value, OfferKind::Proposal, None);
    assert_eq!(
        answer,
        Err(Refusal::Invalid {
            reason: "of another chain"
        })
    );
    assert_ne!(value.key().id, init(height, Round(1), 1).key().id);
}

#[test]
fn everybody_gets_all_votes_again_in_turn_and_few_at_a_time() {
    let (mut world, _) = running();
    for byte in 100..137 {
        let peer = ultramarine_types::PeerId([byte; 32]);
        hand(&mut world, NetEvent::PeerUp { peer, validator: None });
    }
    let core = world.nodes[0].core.as_mut().unwrap();
    let peers: Vec<_> = core.peers.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(peers.len(), 40);
    let mut served = std::collections::BTreeSet::<ultramarine_types::PeerId>::new();
    for _ in 0..5 {
        let now: Vec<_> = peers.iter().copied().filter(|peer| core.is_turn(peer)).collect();
        assert_eq!(now.len(), 8);
        served.extend(now);
        core.now = core.now + ultramarine_types::limits::STATUS_INTERVAL;
    }
    assert_eq!(served.len(), 40, "five intervals reach everybody");
}
