use ultramarine_types::chain::Limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{Address, CommitCertificate, Height, Nanos, PeerId, Round, ValueId, fixtures};

use super::{HeldOfHeight, SLOWEST_BYTES_PER_MS, Stretch, Sync, TIPS_AT_ONCE};
use crate::peers::Peers;
use crate::reputation::Reputation;

const T: Nanos = Nanos(1);

/// Sync, with what it goes by.
struct Rig {
    sync: Sync,
    peers: Peers,
    reputation: Reputation,
}

type Asks = Vec<(PeerId, Height, SyncWant)>;

impl Rig {
    /// Validators that claim these tips.
    fn new(tips: &[u64]) -> Self {
        Self::of(Sync::new(&Limits { blobs_per_block: 6 }, 1_000), tips)
    }

    fn of(sync: Sync, tips: &[u64]) -> Self {
        let mut rig = Self {
            sync,
            peers: Peers::default(),
            reputation: Reputation::default(),
        };
        for (index, tip) in (0u8..).zip(tips) {
            rig.up(index, true);
            rig.claim(index, *tip);
        }
        rig
    }

    fn up(&mut self, index: u8, is_validator: bool) {
        self.peers.up(peer(index), is_validator.then_some(Address([index; 20])));
    }

    fn claim(&mut self, index: u8, tip: u64) {
        self.peers.heard(&peer(index), fixtures::status(Height(tip)));
    }

    /// The plan, where all that is claimed is proven.
    fn plan(&mut self, now: Nanos, next: u64) -> Asks {
        let proven = self.peers.best_tip();
        self.plan_proven(now, next, proven.0, |_| HeldOfHeight::Nothing)
    }

    fn plan_proven(&mut self, now: Nanos, next: u64, proven: u64, held: impl Fn(Height) -> HeldOfHeight) -> Asks {
        let gap = Stretch {
            next: Height(next),
            proven: Height(proven),
        };
        let asks = self.sync.plan(now, gap, &self.peers, &mut self.reputation, held);
        self.sync.check(Height(next - 1));
        self.sync.check_whole(now, Height(next - 1), &self.peers);
        asks
    }

    fn failed(&mut self, now: Nanos, height: u64, peer: PeerId) {
        self.sync.failed(now, Height(height), peer);
        self.reputation.failed(now, peer);
    }
}

fn peer(index: u8) -> PeerId {
    PeerId([index; 32])
}

fn certificate(height: u64) -> CommitCertificate {
    CommitCertificate {
        height: Height(height),
        round: Round(0),
        value_id: ValueId([1; 32]),
        signatures: Vec::new(),
    }
}

fn heights(asks: &Asks) -> Vec<u64> {
    asks.iter().map(|(_, height, _)| height.0).collect()
}

/// The tips whose certificates are asked for, and of whom.
fn tips(asks: &Asks) -> Vec<(u8, u64)> {
    let certificates = asks.iter().filter(|(.., want)| *want == SyncWant::Certificate);
    certificates.map(|(peer, height, _)| (peer.0[0], height.0)).collect()
}

#[test]
fn several_heights_are_asked_for_at_one_time_and_of_several_peers() {
    let mut rig = Rig::new(&[100, 100, 100]);
    let asks = rig.plan(T, 5);
    assert_eq!(heights(&asks), [5, 6, 7, 8, 9, 10, 11, 12]);
    for byte in 0..3 {
        assert!(asks.iter().filter(|(peer, ..)| peer.0[0] == byte).count() >= 2);
    }
    assert!(rig.plan(T, 5).is_empty(), "in flight already");
}

#[test]
fn large_blocks_are_asked_for_two_at_a_time() {
    let mut rig = Rig::of(Sync::new(&Limits { blobs_per_block: 1024 }, 1_000), &[100]);
    assert_eq!(rig.plan(T, 5).len(), 2);
}

#[test]
fn nobody_is_asked_for_what_it_does_not_have() {
    assert!(Rig::new(&[4, 3]).plan(T, 5).is_empty());
    let asks = Rig::new(&[4, 6]).plan(T, 5);
    assert!(asks.iter().all(|(of, height, _)| *of == peer(1) && height.0 <= 6));
}

#[test]
fn held_bytes_need_only_their_certificate() {
    let mut rig = Rig::new(&[8]);
    let asks = rig.plan_proven(T, 5, 8, |height| match height.0 {
        5 => HeldOfHeight::Bytes,
        6 => HeldOfHeight::All,
        7 => HeldOfHeight::Certificate,
        _ => HeldOfHeight::Nothing,
    });
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
    let mut rig = Rig::new(&[5, 5]);
    let first = rig.plan(T, 5)[0].0;
    rig.failed(T, 5, first);
    let second = rig.plan(T, 5)[0].0;
    assert_ne!(first, second);
    rig.failed(T, 5, second);
    assert!(rig.plan(T, 5).is_empty(), "both are left alone");
    let later = rig.sync.deadline(T).unwrap();
    assert!(rig.sync.expire(later).is_empty());
    assert_eq!(rig.plan(later, 5).len(), 1);
}

#[test]
fn a_request_whose_time_is_up_is_given_up() {
    let mut rig = Rig::new(&[5]);
    let first = rig.plan(T, 5)[0].0;
    let due = Nanos(T.0 + Limits { blobs_per_block: 6 }.sync_timeout().0);
    assert!(rig.sync.expire(Nanos(due.0 - 1)).is_empty());
    assert_eq!(rig.sync.expire(due)[0].peer, first);
    assert!(!rig.sync.is_asked(Height(5)));
}

#[test]
fn heights_that_share_a_slow_line_have_time_for_all_of_them() {
    let mut rig = Rig::new(&[12]);
    let asks = rig.plan_proven(T, 5, 12, |_| HeldOfHeight::Nothing);
    assert_eq!(asks.len(), 8);
    let timeout = Limits { blobs_per_block: 6 }.sync_timeout();
    // One after the other is late, the last when all could have come.
    for turn in 1..8 {
        assert_eq!(rig.sync.expire(Nanos(T.0 + turn * timeout.0)).len(), 1);
    }
    let (peer, last) = (asks[7].0, asks[7].1);
    let began = Nanos(T.0 + 7 * timeout.0 + 1);
    rig.sync.answered(began, last, &peer, 800_000, Nanos(1));
    // It comes at a megabit a second.
    let comes = began + Nanos::from_millis(800_000 / SLOWEST_BYTES_PER_MS);
    assert!(rig.sync.expire(comes).is_empty());
    assert_eq!(rig.sync.expire(comes + timeout).len(), 1);
}

#[test]
fn on_a_line_that_is_slow_itself_no_second_peer_is_asked() {
    let mut rig = Rig::new(&[30, 30, 30]);
    let asks = rig.plan_proven(T, 5, 30, |_| HeldOfHeight::Nothing);
    for (peer, height, _) in &asks {
        rig.sync.answered(T, *height, peer, 100_000, Nanos(1));
    }
    // As long as we do not know whether it is the peer or our line, we try it with one height.
    let late = T + Nanos::from_millis(2_000);
    assert_eq!(heights(&rig.plan_proven(late, 5, 12, |_| HeldOfHeight::Nothing)), [5]);
    assert!(rig.plan_proven(late, 5, 12, |_| HeldOfHeight::Nothing).is_empty());
    // Four of eight are here: it is our line. The others have as much time, twice. What one more brings takes its time
    // as well.
    for height in 5..9 {
        rig.sync.finished(Height(height));
        rig.sync.came(late, 100_000);
    }
    assert!(rig.plan_proven(late, 9, 12, |_| HeldOfHeight::Nothing).is_empty());
    let line = Nanos(2 * 2_000_000_000);
    let soon = Nanos(T.0 + line.0 - 1_000_000);
    assert!(rig.plan_proven(soon, 9, 12, |_| HeldOfHeight::Nothing).is_empty());
    assert_eq!(rig.sync.deadline(soon), Some(T + line + Nanos(1)));
    let due = T + line + Nanos(1);
    assert_eq!(heights(&rig.plan_proven(due, 9, 12, |_| HeldOfHeight::Nothing)), [9]);
}

#[test]
fn a_second_peer_is_asked_when_the_first_is_slow_and_then_a_third() {
    let mut rig = Rig::new(&[5, 5, 5]);
    let first = rig.plan(T, 5)[0].0;
    let patience = rig.reputation.patience(&first);
    assert!(rig.plan(Nanos(patience.0), 5).is_empty());
    let due = T + patience;
    assert_eq!(rig.sync.deadline(T), Some(due));
    let second = rig.plan(due, 5)[0].0;
    assert_ne!(first, second);
    assert!(rig.sync.asked(Height(5), &first).is_some(), "its answer counts still");
    let third = rig.plan(due + patience, 5)[0].0;
    assert!(third != first && third != second);
    assert!(rig.sync.asked(Height(5), &first).is_none(), "two at one time");
    assert_eq!(rig.reputation.failures(&first), 1);
}

#[test]
fn a_slow_peer_is_not_asked_again_and_again_if_nobody_else_is_there() {
    let mut rig = Rig::new(&[5]);
    rig.plan(T, 5);
    let due = rig.sync.deadline(T).unwrap();
    assert!(rig.plan(due, 5).is_empty());
    assert!(rig.sync.deadline(due).unwrap() > due);
}

#[test]
fn the_second_peer_is_a_validator_though_it_failed_before() {
    let mut rig = Rig::new(&[5]);
    rig.reputation.failed(T, peer(0));
    for stranger in 10..40 {
        rig.up(stranger, false);
        rig.claim(stranger, 5);
    }
    let asks = rig.plan_proven(T, 5, 0, |_| HeldOfHeight::Nothing);
    assert!(asks[0].0.0[0] >= 10, "a stranger has a better record");
    let due = T + rig.reputation.patience(&asks[0].0);
    assert_eq!(rig.plan_proven(due, 5, 0, |_| HeldOfHeight::Nothing)[0].0, peer(0));
}

#[test]
fn a_height_that_only_a_stranger_claimed_is_asked_of_others_once_it_is_proven() {
    let mut rig = Rig::new(&[4]);
    rig.up(9, false);
    rig.claim(9, 1_000);
    let asks = rig.plan_proven(T, 5, 4, |_| HeldOfHeight::Nothing);
    assert_eq!(
        asks,
        [(peer(9), Height(5), SyncWant::Package)],
        "and only the next height"
    );
    rig.claim(0, 5);
    let asks = rig.plan_proven(T, 5, 5, |_| HeldOfHeight::Nothing);
    assert_eq!(asks, [(peer(0), Height(5), SyncWant::Package)]);
}

#[test]
fn if_we_slept_through_a_deadline_nobody_is_late() {
    let mut rig = Rig::new(&[5, 5]);
    rig.plan(T, 5);
    let woken = Nanos::from_millis(60_000);
    assert!(rig.sync.expire(woken).is_empty());
    assert!(rig.sync.is_asked(Height(5)));
}

#[test]
fn old_heights_may_lack_blobs_only_below_a_certified_tip() {
    let mut rig = Rig::new(&[5_000]);
    assert!(
        !rig.sync.may_lack_blobs(Height(1)),
        "no certificate proves that it is old"
    );
    let asks = rig.plan(T, 1);
    assert_eq!(tips(&asks), [(0, 5_000)], "the proof is asked for");
    rig.sync.certify(certificate(5_000));
    assert!(
        rig.sync.may_lack_blobs(Height(4_000)),
        "a node at 5,000 keeps the blobs of 1,000 heights"
    );
    assert!(!rig.sync.may_lack_blobs(Height(4_001)));
}

#[test]
fn a_commit_forgets_the_height() {
    let mut rig = Rig::new(&[5]);
    rig.sync.certify(certificate(5));
    rig.sync.certify(certificate(6));
    assert!(rig.sync.certifies(Height(5), &ValueId([1; 32])));
    assert!(!rig.sync.certifies(Height(5), &ValueId([2; 32])));
    rig.plan(T, 5);
    rig.sync.commit(Height(5));
    assert!(rig.sync.certificate(Height(5)).is_none() && !rig.sync.is_asked(Height(5)));
    assert!(rig.sync.certificate(Height(6)).is_some());
}

#[test]
fn requests_to_a_lost_peer_are_free_again_and_its_failures_are_not_forgotten() {
    let mut rig = Rig::new(&[5, 5]);
    let (first, ..) = rig.plan(T, 5)[0];
    rig.failed(T, 5, first);
    rig.sync.lose(&first);
    rig.peers.down(&first);
    rig.up(first.0[0], true);
    rig.claim(first.0[0], 5);
    assert_ne!(rig.plan(Nanos::from_millis(10_000), 5)[0].0, first);
}

#[test]
fn a_peer_that_never_delivers_is_asked_last() {
    let mut rig = Rig::new(&[100, 100]);
    let liar = rig.plan(T, 5)[0].0;
    rig.failed(T, 5, liar);
    assert!(rig.plan(T, 5).iter().all(|(of, ..)| *of != liar));
}

#[test]
fn a_tip_that_is_a_lie_does_not_stand_before_the_others() {
    let mut rig = Rig::new(&[u64::MAX, 10_000, 10_000]);
    let asks = rig.plan(T, 1);
    let asked = tips(&asks);
    assert_eq!(
        asked.iter().map(|(_, tip)| *tip).collect::<Vec<_>>(),
        [u64::MAX, 10_000]
    );
    // Whoever was asked for the true one is slow: the other one is asked.
    let slow = asked[1].0;
    let due = T + rig.reputation.patience(&peer(slow));
    let asks = rig.plan(due, 1);
    assert_eq!(tips(&asks), [(3 - slow, 10_000)]);
}

#[test]
fn rising_tips_take_no_place_of_a_height_and_few_of_their_own() {
    let mut rig = Rig::new(&[]);
    rig.up(0, true);
    rig.claim(0, 50);
    for stranger in 1..30 {
        rig.up(stranger, false);
    }
    let (mut asked, mut outstanding) = (0, 0);
    for step in 0..200u64 {
        let now = Nanos::from_millis(10 * step);
        (1..30).for_each(|stranger| rig.claim(stranger, 100_000 + 100 * step + u64::from(stranger)));
        let asks = rig.plan_proven(now, 5, 50, |_| HeldOfHeight::Nothing);
        if step == 0 {
            assert!(
                heights(&asks).starts_with(&[5, 6, 7, 8]),
                "heights come first: {asks:?}"
            );
        }
        asked += tips(&asks).len();
        outstanding = outstanding.max(rig.sync.asked_len());
    }
    assert!(asked <= 2 * super::TIPS_ASKED_MAX, "{asked} tips asked for");
    assert!(outstanding <= Sync::ASKED_MAX);
    assert!(TIPS_AT_ONCE < limits_heights());
    let next = rig.sync.flights.get(&Height(5)).expect("asked for");
    assert!(
        next.iter().any(|flight| flight.peer == peer(0)),
        "of the one that has it"
    );
}

fn limits_heights() -> usize {
    ultramarine_types::limits::SYNC_HEIGHTS_IN_FLIGHT
}
