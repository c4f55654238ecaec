use std::sync::Arc;

use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, PeerId, PublicKey, Validator, ValidatorSet, ValueId, fixtures};

use super::Peers;

fn set() -> Arc<ValidatorSet> {
    let list = (1..=4)
        .map(|byte| Validator {
            public_key: PublicKey([byte; 32]),
            power: 1,
        })
        .collect();
    Arc::new(ValidatorSet::new(list).unwrap())
}

fn status(tip: u64) -> Status {
    Status {
        holds: vec![ValueId([7; 32])],
        ..fixtures::status(Height(tip))
    }
}

fn peers(tips: &[u64]) -> (Arc<ValidatorSet>, Peers) {
    let set = set();
    let mut peers = Peers::default();
    for (index, tip) in tips.iter().enumerate() {
        let id = PeerId([index as u8; 32]);
        let address: Address = *set.at(index).unwrap().0;
        peers.up(id, Some(address));
        assert!(peers.heard(&id, status(*tip)));
    }
    (set, peers)
}

#[test]
fn one_liar_cannot_move_the_honest_tip() {
    let (set, peers) = peers(&[1_000_000, 5, 4]);
    assert_eq!(peers.best_tip(), Height(1_000_000));
    assert_eq!(
        peers.honest_tip(&set),
        Height(5),
        "two of four claim it: one of them is honest"
    );
}

#[test]
fn one_validator_with_two_nodes_counts_once() {
    let (set, mut peers) = peers(&[9, 3]);
    let twin = PeerId([77; 32]);
    peers.up(twin, Some(*set.at(0).unwrap().0));
    peers.heard(&twin, status(9));
    assert_eq!(peers.honest_tip(&set), Height(3));
}

#[test]
fn a_full_node_proves_nothing() {
    let (set, mut peers) = peers(&[2]);
    for byte in 50..60 {
        peers.up(PeerId([byte; 32]), None);
        peers.heard(&PeerId([byte; 32]), status(100));
    }
    assert_eq!(peers.honest_tip(&set), Height(0));
}

#[test]
fn holders_are_those_at_the_height() {
    let (_, peers) = peers(&[4, 5]);
    assert_eq!(peers.holders(Height(5), &ValueId([7; 32])), [PeerId([0; 32])]);
    assert!(peers.holders(Height(5), &ValueId([8; 32])).is_empty());
    assert_eq!(peers.with_tip(Height(5)), [PeerId([1; 32])]);
}

#[test]
fn all_heard_waits_for_every_other_validator() {
    let (set, mut peers) = peers(&[0, 0]);
    let ours = *set.at(3).unwrap().0;
    assert!(!peers.all_heard(&set, &ours));
    let third = PeerId([2; 32]);
    peers.up(third, Some(*set.at(2).unwrap().0));
    assert!(!peers.all_heard(&set, &ours), "connected is not heard");
    peers.heard(&third, status(0));
    assert!(peers.all_heard(&set, &ours));
    peers.down(&third);
    assert!(!peers.all_heard(&set, &ours));
}

#[test]
fn a_quorum_is_heard_with_ourselves_counted_once() {
    let (set, mut peers) = peers(&[0]);
    let ours = *set.at(3).unwrap().0;
    assert!(!peers.quorum_heard(&set, &ours), "two of four");
    peers.up(PeerId([9; 32]), Some(ours));
    peers.heard(&PeerId([9; 32]), status(0));
    assert!(!peers.quorum_heard(&set, &ours), "a peer in our own name adds nothing");
    let second = PeerId([1; 32]);
    peers.up(second, Some(*set.at(1).unwrap().0));
    assert!(!peers.quorum_heard(&set, &ours), "connected is not heard");
    peers.heard(&second, status(0));
    assert!(peers.quorum_heard(&set, &ours));
}
