use ultramarine_types::chain::Limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{Height, Nanos, PeerId, fixtures};

use super::{DAMAGED_MAX, Healing, HealingTerms, PATIENCE, PAUSE, REFUSED_PAUSE, Wanted};
use crate::peers::Peers;
use crate::reputation::Reputation;

const T: Nanos = Nanos(1);

/// Peers at height 100, each with the oldest height whose blobs it has.
fn peers(oldest_blobs: &[u64]) -> Peers {
    let mut peers = Peers::default();
    for (index, oldest) in oldest_blobs.iter().enumerate() {
        let id = PeerId([index as u8; 32]);
        peers.up(id, None);
        let mut status = fixtures::status(Height(100));
        status.oldest_blobs = Height(*oldest);
        peers.heard(&id, status);
    }
    peers
}

fn healing(heights: &[u64]) -> Healing {
    let mut healing = Healing::new(&Limits { blobs_per_block: 6 });
    for height in heights {
        assert!(healing.add(T, Height(*height)));
    }
    healing
}

/// Every height is wanted with its blobs.
const ALL: HealingTerms = HealingTerms {
    held_from: Height(1),
    kept_from: Height(1),
};

#[test]
fn a_damaged_height_is_asked_of_a_peer_that_has_its_blobs() {
    let (mut healing, peers) = (healing(&[40]), peers(&[90, 90, 30]));
    let asks = healing.plan(T, false, &peers, &Reputation::default(), &ALL);
    assert_eq!(asks, [(PeerId([2; 32]), Height(40), SyncWant::Package)]);
    assert!(
        healing.plan(T, false, &peers, &Reputation::default(), &ALL).is_empty(),
        "it is in flight"
    );
    assert!(!healing.add(T, Height(40)), "known");
    healing.check(Height(100));
    healing.check_whole(&peers);
}

#[test]
fn one_peer_after_another_is_asked_and_then_comes_a_pause_that_grows() {
    let (mut healing, peers) = (healing(&[40]), peers(&[1, 1, 90]));
    let mut now = T;
    for pause in [PAUSE, Nanos(2 * PAUSE.0), Nanos(4 * PAUSE.0)] {
        let mut asked = Vec::new();
        while let [(peer, height, _)] = healing.plan(now, false, &peers, &Reputation::default(), &ALL)[..] {
            asked.push(peer.0[0]);
            healing.failed(now, height, peer);
        }
        assert_eq!(asked.len(), 3, "each once: {asked:?}");
        assert_eq!(asked[2], 2, "the one without the blobs comes last");
        assert_eq!(healing.deadline(), Some(now + pause));
        now = now + pause;
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up_at_its_deadline() {
    let (mut healing, peers) = (healing(&[40]), peers(&[1, 1]));
    let first = healing.plan(T, false, &peers, &Reputation::default(), &ALL)[0].0;
    let deadline = healing.deadline().unwrap();
    assert!(
        healing
            .plan(Nanos(deadline.0 - 1), false, &peers, &Reputation::default(), &ALL)
            .is_empty()
    );
    let asks = healing.plan(deadline, false, &peers, &Reputation::default(), &ALL);
    assert_eq!(asks.len(), 1);
    assert_ne!(asks[0].0, first);
    // The first one's answer comes at last: it is not what we wait for.
    healing.failed(deadline, Height(40), first);
    assert_eq!(healing.asked(Height(40)), Some(asks[0].0));
}

#[test]
fn few_heights_are_in_flight_and_one_while_we_are_behind() {
    let heights: Vec<u64> = (1..=50).collect();
    let (mut healing, peers) = (healing(&heights), peers(&[1, 1]));
    assert_eq!(healing.plan(T, true, &peers, &Reputation::default(), &ALL).len(), 1);
    assert!(healing.plan(T, true, &peers, &Reputation::default(), &ALL).is_empty());
    assert!(
        healing.deadline().unwrap() > T,
        "nothing is due before the flight's end"
    );
    assert_eq!(healing.plan(T, false, &peers, &Reputation::default(), &ALL).len(), 1);
    assert!(healing.healed(Height(1)));
    assert_eq!(healing.plan(T, false, &peers, &Reputation::default(), &ALL).len(), 1);
    assert_eq!(healing.len(), 49);
}

#[test]
fn the_height_that_the_client_waits_for_comes_first() {
    let (mut healing, peers) = (healing(&[1, 2, 3, 77]), peers(&[1]));
    healing.hurry(Height(77));
    assert_eq!(
        healing.plan(T, true, &peers, &Reputation::default(), &ALL)[0].1,
        Height(77)
    );
}

#[test]
fn a_height_past_retention_is_asked_for_without_its_blobs_of_anybody() {
    let (mut healing, peers) = (healing(&[40]), peers(&[90]));
    let asks = healing.plan(
        T,
        false,
        &peers,
        &Reputation::default(),
        &HealingTerms {
            held_from: Height(41),
            ..ALL
        },
    );
    assert_eq!(asks, [(PeerId([0; 32]), Height(40), SyncWant::Payload)]);
}

#[test]
fn what_the_store_had_no_room_for_is_fetched_again_later() {
    let (mut healing, peers) = (healing(&[40]), peers(&[1]));
    assert_eq!(healing.plan(T, false, &peers, &Reputation::default(), &ALL).len(), 1);
    healing.refused(T, Height(40));
    assert!(healing.plan(T, false, &peers, &Reputation::default(), &ALL).is_empty());
    assert_eq!(healing.deadline(), Some(T + REFUSED_PAUSE));
    // Its peer was asked in this turn: the next one begins after a short pause.
    let mut now = T + REFUSED_PAUSE;
    while healing
        .plan(now, false, &peers, &Reputation::default(), &ALL)
        .is_empty()
    {
        assert!(now < T + REFUSED_PAUSE + PAUSE + PAUSE, "never again");
        now = healing.deadline().unwrap();
    }
}

#[test]
fn a_peer_that_left_is_not_waited_for() {
    let mut peers = peers(&[1, 1]);
    let mut healing = healing(&[40]);
    let peer = healing.plan(T, false, &peers, &Reputation::default(), &ALL)[0].0;
    peers.down(&peer);
    healing.lose(T, &peer);
    healing.check_whole(&peers);
    assert_ne!(healing.plan(T, false, &peers, &Reputation::default(), &ALL)[0].0, peer);
}

#[test]
fn heights_that_nobody_has_cost_little() {
    let heights: Vec<u64> = (101..=60_000).collect();
    let (mut healing, peers) = (healing(&heights), peers(&[1, 1]));
    let mut plans = 0;
    let mut now = T;
    while now < Nanos::from_millis(10_000) {
        plans += 1;
        assert!(
            healing
                .plan(now, false, &peers, &Reputation::default(), &ALL)
                .is_empty()
        );
        now = healing.deadline().unwrap().max(Nanos(now.0 + 1));
    }
    assert!(plans < 20, "{plans} plans in ten seconds");
    // A height that somebody has is found all the same.
    healing.add(now, Height(7));
    healing.hurry(Height(7));
    assert_eq!(
        healing.plan(now, false, &peers, &Reputation::default(), &ALL)[0].1,
        Height(7)
    );
}

#[test]
fn damage_without_end_is_remembered_up_to_a_bound() {
    let mut healing = healing(&[]);
    for height in 1..=DAMAGED_MAX as u64 {
        assert!(healing.add(T, Height(height)));
    }
    assert!(!healing.add(T, Height(1 << 40)));
    healing.check(Height(DAMAGED_MAX as u64));
}

#[test]
fn blobs_are_looked_for_a_while_even_where_nobody_has_to_keep_them() {
    let (healing, height) = (healing(&[40]), Height(40));
    let (past, kept) = (
        HealingTerms {
            kept_from: Height(41),
            ..ALL
        },
        ALL,
    );
    assert_eq!(healing.wanted(T, height, &past), Wanted::Blobs);
    assert_eq!(healing.wanted(T + PATIENCE, height, &past), Wanted::BlobsIfAny);
    assert_eq!(
        healing.wanted(T + PATIENCE, height, &kept),
        Wanted::Blobs,
        "everybody has them"
    );
    let freed = HealingTerms {
        held_from: Height(41),
        ..past
    };
    assert_eq!(healing.wanted(T, height, &freed), Wanted::Payload);
}
