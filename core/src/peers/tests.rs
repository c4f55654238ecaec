use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_types::network::{ClockReading, Echo, Status};
use ultramarine_types::{
    Address, Height, Nanos, PeerId, Positions, PublicKey, Validator, ValidatorSet, ValueId, fixtures,
};

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

#[test]
fn a_claim_of_a_link_counts_until_it_is_taken_back_or_its_node_is_gone() {
    let (set, mut peers) = peers(&[4, 4, 4]);
    let claims = |peers: &mut Peers, byte: u8, links: Positions| {
        let status = Status { links, ..status(4) };
        peers.heard(&PeerId([byte; 32]), status);
    };
    let links: Positions = [3].into_iter().collect();
    for byte in 0..3 {
        claims(&mut peers, byte, links);
        assert_eq!(peers.power_linked_to(&set, 3), u64::from(byte) + 1);
        assert_eq!(peers.power_linked_to(&set, 2), 0, "each position by itself");
    }
    assert_eq!(peers.power_linked_to(&set, 3), 3);
    peers.down(&PeerId([0; 32]));
    assert_eq!(peers.power_linked_to(&set, 3), 2, "its node is gone");
    claims(&mut peers, 1, Positions::NONE);
    assert_eq!(peers.power_linked_to(&set, 3), 1, "it takes its claim back");
}

#[test]
fn a_third_cannot_choose_the_usual_way() {
    for liar in [0, 1_900] {
        let (_, mut peers) = peers(&[4, 4, 4]);
        peers.up(PeerId([50; 32]), None);
        let now = Nanos::from_millis(5_000);
        for (byte, way_ms) in [(0, liar), (1, 20), (2, 30), (50, 1_000)] {
            let echo = Some(Echo {
                token: Nanos::from_millis(5_000 - way_ms).0,
                held_ns: 0,
            });
            let (token, unix_ns) = (1, 0);
            let reading = ClockReading { token, unix_ns, echo };
            let peer = peers.get_mut(&PeerId([byte; 32])).expect("it is connected");
            peer.clock.hear(now, 0, &reading);
        }
        let usual = peers.usual_way(now).expect("it was measured");
        let honest = Nanos::from_millis(20)..=Nanos::from_millis(30);
        assert!(honest.contains(&usual), "{usual:?} where one claims {liar} ms");
        assert_eq!(peers.usual_way(now + Nanos::from_millis(10_001)), None, "long ago");
    }
}
