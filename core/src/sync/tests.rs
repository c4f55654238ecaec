use ultramarine_types::chain::Limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{CommitCertificate, Height, Nanos, PeerId, Round, ValueId, fixtures};

use super::{HeldOfHeight, Sync};
use crate::peers::Peers;

const T: Nanos = Nanos(1);

fn peers(tips: &[u64]) -> Peers {
    let mut peers = Peers::default();
    for (index, tip) in tips.iter().enumerate() {
        let id = PeerId([index as u8; 32]);
        peers.up(id, None);
        let status = fixtures::status(Height(*tip));
        peers.heard(&id, status);
    }
    peers
}

fn sync() -> Sync {
    Sync::new(&Limits { blobs_per_block: 6 }, 1_000)
}

fn certificate(height: u64) -> CommitCertificate {
    CommitCertificate {
        height: Height(height),
        round: Round(0),
        value_id: ValueId([1; 32]),
        signatures: Vec::new(),
    }
}

fn nothing(_: Height) -> HeldOfHeight {
    HeldOfHeight::Nothing
}

#[test]
fn several_heights_are_asked_for_at_one_time_and_of_several_peers() {
    let mut sync = sync();
    let asks = sync.plan(T, Height(5), &peers(&[100, 100, 100]), nothing);
    let heights: Vec<u64> = asks.iter().map(|(_, height, _)| height.0).collect();
    assert_eq!(heights, [5, 6, 7, 8, 9, 10, 11, 12]);
    for byte in 0..3 {
        assert!(asks.iter().filter(|(peer, ..)| peer.0[0] == byte).count() >= 2);
    }
    assert!(
        sync.plan(T, Height(5), &peers(&[100, 100, 100]), nothing).is_empty(),
        "in flight already"
    );
}

#[test]
fn large_blocks_are_asked_for_two_at_a_time() {
    let mut sync = Sync::new(&Limits { blobs_per_block: 1024 }, 1_000);
    assert_eq!(sync.plan(T, Height(5), &peers(&[100]), nothing).len(), 2);
}

#[test]
fn nobody_is_asked_for_what_it_does_not_have() {
    let mut sync = sync();
    assert!(sync.plan(T, Height(5), &peers(&[4, 3]), nothing).is_empty());
    let asks = sync.plan(T, Height(5), &peers(&[4, 6]), nothing);
    assert!(
        asks.iter()
            .all(|(peer, height, _)| *peer == PeerId([1; 32]) && height.0 <= 6)
    );
}

#[test]
fn held_bytes_need_only_their_certificate() {
    let mut sync = sync();
    let held = |height: Height| match height.0 {
        5 => HeldOfHeight::Bytes,
        6 => HeldOfHeight::All,
        7 => HeldOfHeight::Certificate,
        _ => HeldOfHeight::Nothing,
    };
    let asks = sync.plan(T, Height(5), &peers(&[8]), held);
    let wants: Vec<_> = asks.iter().map(|(_, height, want)| (height.0, *want)).collect();
    assert_eq!(
        wants,
        [
            (5, SyncWant::Certificate),
            (7, SyncWant::Package),
            (8, SyncWant::Package)
        ]
    );
}

#[test]
fn a_peer_that_failed_is_left_alone_for_a_while() {
    let mut sync = sync();
    let peers = peers(&[5, 5]);
    let first = sync.plan(T, Height(5), &peers, nothing)[0].0;
    sync.failed(T, Height(5), first);
    let second = sync.plan(T, Height(5), &peers, nothing)[0].0;
    assert_ne!(first, second);
    sync.failed(T, Height(5), second);
    assert!(
        sync.plan(T, Height(5), &peers, nothing).is_empty(),
        "both are left alone"
    );
    let later = sync.deadline().unwrap();
    assert!(sync.expire(later).is_empty());
    assert_eq!(sync.plan(later, Height(5), &peers, nothing).len(), 1);
}

#[test]
fn a_request_that_takes_too_long_goes_to_another_peer() {
    let mut sync = sync();
    let peers = peers(&[5, 5]);
    let first = sync.plan(T, Height(5), &peers, nothing)[0].0;
    let due = sync.deadline().unwrap();
    assert!(due >= Nanos::from_millis(2_000));
    assert_eq!(sync.expire(due)[0].1.peer, first);
    assert_ne!(sync.plan(due, Height(5), &peers, nothing)[0].0, first);
}

#[test]
fn old_heights_may_lack_blobs_only_below_a_certified_tip() {
    let mut sync = sync();
    assert!(!sync.may_lack_blobs(Height(1)), "no certificate proves that it is old");
    let asks = sync.plan(T, Height(1), &peers(&[5_000]), nothing);
    assert_eq!(
        (asks[0].1, asks[0].2),
        (Height(5_000), SyncWant::Certificate),
        "the proof is asked for first"
    );
    sync.certify(certificate(5_000));
    assert!(sync.may_lack_blobs(Height(3_999)));
    assert!(!sync.may_lack_blobs(Height(4_000)));
}

#[test]
fn a_commit_forgets_the_height() {
    let mut sync = sync();
    sync.certify(certificate(5));
    sync.certify(certificate(6));
    assert!(sync.certifies(Height(5), &ValueId([1; 32])));
    assert!(!sync.certifies(Height(5), &ValueId([2; 32])));
    sync.plan(T, Height(5), &peers(&[5]), nothing);
    sync.commit(Height(5));
    assert!(sync.certificate(Height(5)).is_none() && sync.flight(Height(5)).is_none());
    assert!(sync.certificate(Height(6)).is_some());
}

#[test]
fn requests_to_a_lost_peer_are_free_again() {
    let mut sync = sync();
    let peers = peers(&[5]);
    let (peer, ..) = sync.plan(T, Height(5), &peers, nothing)[0];
    sync.lose(&peer);
    assert!(sync.flight(Height(5)).is_none());
}

#[test]
fn a_peer_that_never_delivers_is_asked_last() {
    let mut sync = sync();
    let peers = peers(&[100, 100]);
    let liar = sync.plan(T, Height(5), &peers, nothing)[0].0;
    sync.failed(T, Height(5), liar);
    let asks = sync.plan(T, Height(5), &peers, nothing);
    assert!(asks.iter().all(|(peer, ..)| *peer != liar));
}

#[test]
fn a_tip_that_is_a_lie_does_not_stand_before_the_others() {
    let mut sync = sync();
    let peers = peers(&[u64::MAX, 10_000, 10_000]);
    let certificates = |asks: &[(PeerId, Height, SyncWant)]| -> Vec<Height> {
        let certificates = asks.iter().filter(|(.., want)| *want == SyncWant::Certificate);
        certificates.map(|(_, height, _)| *height).collect()
    };
    let asks = sync.plan(T, Height(1), &peers, nothing);
    assert_eq!(certificates(&asks), [Height(u64::MAX), Height(10_000)]);
    // The liar has nothing to show, and whoever was asked for the other is gone: the other tip is asked for again.
    for (peer, height, want) in asks {
        if want == SyncWant::Certificate {
            sync.failed(T, height, peer);
        }
    }
    assert_eq!(
        certificates(&sync.plan(T, Height(1), &peers, nothing)),
        [Height(10_000)]
    );
}
