use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, PeerId, PublicKey, Validator, ValidatorSet, ValueId, fixtures};

use super::{Peers, honest_height, is_quorum};

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
fn a_validator_with_two_nodes_tells_one_height() {
    let (set, mut peers) = peers(&[3, 4]);
    let (first, third) = (*set.at(0).unwrap().0, *set.at(2).unwrap().0);
    peers.up(PeerId([8; 32]), Some(first));
    peers.up(PeerId([9; 32]), Some(third));
    peers.up(PeerId([10; 32]), None);
    assert!(peers.heard(&PeerId([8; 32]), status(7)) && peers.heard(&PeerId([10; 32]), status(9)));
    let tips = peers.tips_of_validators();
    assert_eq!(tips.get(&first), Some(&Height(7)));
    assert_eq!((tips.len(), tips.get(&third)), (2, None), "connected is not heard");
}

#[test]
fn a_quorum_of_four_is_three() {
    let set = set();
    let first = |count: usize| set.iter().take(count).map(|(address, _)| address);
    assert!(!is_quorum(&set, first(2)) && is_quorum(&set, first(3)));
    let told: BTreeMap<Address, Height> = first(3).copied().zip([Height(9), Height(5), Height(4)]).collect();
    assert_eq!(honest_height(&set, &told), Height(5), "one may lie");
}
