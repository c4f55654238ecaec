use ultramarine_types::{Nanos, PeerId};

use super::{ANSWER, PATIENCE_ANSWERS, PATIENCE_MAX, PATIENCE_MIN, REMEMBERED_MAX, Reputation};

const PEER: PeerId = PeerId([1; 32]);

fn ms(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

#[test]
fn a_stall_is_charged_once_however_many_requests_it_broke() {
    let mut reputation = Reputation::default();
    let charges = |reputation: &mut Reputation, now, asked: std::ops::Range<u64>| {
        asked.filter(|at| reputation.charge(ms(now), PEER, ms(*at))).count()
    };
    assert_eq!(charges(&mut reputation, 4_000, 0..8), 1);
    assert_eq!(charges(&mut reputation, 4_010, 0..8), 0, "of the same stall");
    assert_eq!(charges(&mut reputation, 9_000, 4_100..4_108), 1, "of the next");
}

#[test]
fn our_patience_follows_what_a_peer_needs_within_bounds() {
    let mut reputation = Reputation::default();
    assert_eq!(reputation.patience(&PEER), Nanos(ANSWER.0 * PATIENCE_ANSWERS));
    reputation.answered(ms(1), PEER, ms(0));
    assert_eq!(
        reputation.patience(&PEER),
        PATIENCE_MIN,
        "an answer may wait for a disk"
    );
    for _ in 0..100 {
        reputation.answered(ms(60_000), PEER, ms(0));
    }
    assert_eq!(
        reputation.patience(&PEER),
        PATIENCE_MAX,
        "no peer chooses how long we wait"
    );
    let unknown = PeerId([2; 32]);
    assert_eq!(reputation.patience(&unknown), PATIENCE_MAX, "as the others are");
}

#[test]
fn a_failure_ends_trust_until_the_peer_serves_again() {
    let mut reputation = Reputation::default();
    assert!(!reputation.is_trusted(&PEER));
    reputation.served(ms(1), PEER);
    assert!(reputation.is_trusted(&PEER));
    reputation.failed(ms(2), PEER);
    assert!(!reputation.is_trusted(&PEER) && reputation.failures(&PEER) == 1);
    reputation.check_whole();
    reputation.served(ms(3), PEER);
    assert!(reputation.is_trusted(&PEER) && reputation.failures(&PEER) == 0);
}

#[test]
fn new_keys_wash_out_no_failures_and_memory_is_bounded() {
    let mut reputation = Reputation::default();
    reputation.failed(ms(0), PEER);
    for name in 0..3 * REMEMBERED_MAX as u64 {
        let mut peer = PeerId([7; 32]);
        peer.0[..8].copy_from_slice(&name.to_le_bytes());
        reputation.served(ms(1 + name), peer);
        reputation.check();
    }
    assert_eq!(reputation.failures(&PEER), 1);
}
