//! What a message from a peer may cost, and whom.

use ultramarine_types::network::{Fault, NetEvent};
use ultramarine_types::{ConsensusMessage, Height, Round, VoteKind};

use super::MINUTE;
use super::world::{self, World};
use crate::Input;

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
