use std::collections::BTreeMap;

use bytes::Bytes;
use ultramarine_runtime::{Halt, Reason, Registry, link};
use ultramarine_types::digest::blob_digest;
use ultramarine_types::verify::{Refutation as Why, Urgency, VerifyJob};
use ultramarine_types::{Nanos, PeerId};

use super::*;
use crate::challenge::tests::HASHED_BYTES;
use crate::check::tests::COUNTS;
use crate::claim::Claim;
use crate::fast::Fast;
use crate::field::Fr;
use crate::fixtures::{self, Owned, Seeded, lines};
use crate::group::Point;

/// Opens every claim and lets it hold. Remembers how many it was given at a time. The digest is the first byte.
#[derive(Default)]
struct FirstByte(Mutex<Vec<usize>>);

impl Verifier for FirstByte {
    fn name(&self) -> &'static str {
        "first-byte"
    }

    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening> {
        self.0.lock().expect("no panic").push(claims.len());
        let open = |(at, claim): (usize, &Claim<'_>)| match hashed(at, Hash([claim.blob[0]; 32])) {
            false => Opening::Hashed,
            true => Opening::Open(OpenedClaim {
                commitment: Point::default(),
                proof: Point::default(),
                z: Fr::ZERO,
                y: Fr::ZERO,
            }),
        };
        claims.iter().enumerate().map(open).collect()
    }

    fn sum(&self, _: &[OpenedClaim]) -> Sums {
        Sums::default()
    }

    fn hold(&self, _: &[&Sums]) -> bool {
        true
    }
}

/// A job of which [`FirstByte`] says whether its bytes are right.
fn job(height: u64, sender: u8, index: u16, blobs_count: u16, is_right: bool) -> VerifyJob {
    VerifyJob {
        blob: Bytes::from(vec![u8::from(is_right)]),
        digest: Some(Hash([1; 32])),
        ..fixtures::job(height, sender, index, blobs_count)
    }
}

/// A job with the digest that the value binds, whatever bytes are sent.
fn real(height: u64, sender: u8, at: usize, value: &[Owned]) -> VerifyJob {
    let claim = &value[at];
    VerifyJob {
        blob: Bytes::from(claim.blob.clone()),
        commitment: claim.commitment,
        proof: claim.proof,
        digest: Some(blob_digest(&claim.blob, &claim.commitment)),
        ..fixtures::job(height, sender, at as u16, value.len() as u16)
    }
}

struct Client {
    requests: Sender<VerifyRequest>,
    verdicts: Receiver<Verdict>,
}

impl Client {
    fn send(&self, job: VerifyJob) {
        self.requests.send(VerifyRequest::Job(job)).expect("the lanes live");
    }
}

fn client(depth: usize) -> (Client, LaneClientEnd) {
    let (requests, requests_end) = link("requests", depth).expect("a link");
    let (verdicts_end, verdicts) = link("verdicts", 2 * depth).expect("a link");
    let end = LaneClientEnd {
        requests: requests_end,
        verdicts: verdicts_end,
    };
    (Client { requests, verdicts }, end)
}

fn context(halt: &Halt, name: &'static str) -> TileContext {
    TileContext::new(name, halt, &Registry::new())
}

/// One lane, on this thread, until it has judged all that was sent. What it answered.
fn run(client: Client, end: LaneClientEnd, verifier: Arc<dyn Verifier>, options: LaneOptions) -> Vec<Verdict> {
    let Client { requests, mut verdicts } = client;
    drop(requests);
    Lanes::new(vec![end], verifier, options)
        .run(&context(&Halt::new(), "lane"))
        .expect("it ends well");
    std::iter::from_fn(|| verdicts.try_recv()).collect()
}

/// The verdicts of these jobs by one lane.
fn judge(jobs: impl IntoIterator<Item = VerifyJob>, verifier: Arc<dyn Verifier>) -> Vec<Verdict> {
    let (client, end) = client(256);
    jobs.into_iter().for_each(|job| client.send(job));
    run(client, end, verifier, LaneOptions::default())
}

/// The outcomes of values, by height.
fn outcomes(verdicts: &[Verdict]) -> Vec<(u64, ValueOutcome)> {
    let outcome = |verdict: &Verdict| match verdict {
        Verdict::Value { key, outcome } => Some((key.height.0, *outcome)),
        Verdict::Part { .. } => None,
    };
    verdicts.iter().filter_map(outcome).collect()
}

/// Stops the lanes when a test is done with them, also when it fails.
struct Stops<'a>(&'a Halt);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stop(Reason::Asked);
    }
}

/// Takes `count` verdicts, with patience of half a minute.
fn take(client: &mut Client, count: usize) -> Vec<Verdict> {
    let clock = ultramarine_runtime::Clock::start();
    let until = clock.now() + Nanos::from_millis(30_000);
    let mut verdicts = Vec::new();
    while verdicts.len() < count && clock.now() < until {
        verdicts.extend(client.verdicts.recv_until(Some(until), &clock));
    }
    assert_eq!(verdicts.len(), count, "verdicts are missing");
    verdicts
}

/// Runs this many lanes for as long as a test's work takes.
fn with_lanes(lanes_count: usize, ends: Vec<LaneClientEnd>, verifier: Arc<dyn Verifier>, work: impl FnOnce()) {
    let halt = Halt::new();
    let lanes = Lanes::new(ends, verifier, LaneOptions::default());
    std::thread::scope(|scope| {
        let _stops = Stops(&halt);
        for _ in 0..lanes_count {
            let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
            scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
        }
        work();
    });
}

#[test]
fn each_client_gets_a_verdict_for_each_of_its_jobs_and_values_from_any_lane() {
    let is_right =
        |sender: u8, index: u16, round: u64| !(u64::from(index) + round + u64::from(sender)).is_multiple_of(3);
    for lanes_count in [1, 3] {
        let (mut first, first_end) = client(128);
        let (mut second, second_end) = client(128);
        with_lanes(
            lanes_count,
            vec![first_end, second_end],
            Arc::new(FirstByte::default()),
            || {
                for round in 0..20 {
                    for index in 0..40u16 {
                        // Both send the same value: each has its own places in it.
                        for (client, sender) in [(&first, 1u8), (&second, 2)] {
                            let right = is_right(sender, index, round);
                            client.send(job(round, sender, index, 40, right));
                            if !right {
                                client.send(job(round, sender + 2, index, 40, true));
                            }
                        }
                    }
                    for (client, sender) in [(&mut first, 1u8), (&mut second, 2)] {
                        let wrong_count = (0..40).filter(|index| !is_right(sender, *index, round)).count();
                        let verdicts = take(client, 40 + wrong_count + 1);
                        // Wrong bytes may still be in another lane's hands.
                        let value_at = verdicts
                            .iter()
                            .position(|verdict| matches!(verdict, Verdict::Value { .. }));
                        let is_right_part = |verdict: &Verdict| matches!(verdict, Verdict::Part { is_right: true, .. });
                        let last_right = verdicts.iter().rposition(is_right_part);
                        assert!(last_right < value_at, "the value's is behind those of all its parts");
                        assert_eq!(outcomes(&verdicts), [(round, ValueOutcome::Holds)]);
                        for verdict in verdicts {
                            if let Verdict::Part {
                                index,
                                sender: from,
                                is_right: right,
                                ..
                            } = verdict
                            {
                                let is_theirs = from == Some(PeerId([sender; 32]));
                                assert_eq!(right, !is_theirs || is_right(sender, index, round));
                            }
                        }
                    }
                }
            },
        );
    }
}

#[test]
fn lanes_end_when_every_client_is_gone_and_still_judge_what_waited() {
    let verdicts = judge(
        (0..3).map(|index| job(1, 1, index, 3, true)),
        Arc::new(FirstByte::default()),
    );
    assert_eq!(verdicts.len(), 4);
    assert_eq!(outcomes(&verdicts), [(1, ValueOutcome::Holds)]);
}

/// However many of sync's wait, as many as the network may have in assembly.
#[test]
fn a_job_of_the_current_height_is_opened_before_all_of_sync_that_came_earlier() {
    let depth = BLOBS_MAX;
    let (client, end) = client(depth);
    for index in 0..depth - 1 {
        client.send(VerifyJob {
            urgency: Urgency::Sync,
            ..job(1, 1, index as u16, u16::MAX, true)
        });
    }
    client.send(job(2, 2, 0, 1, true));
    let verdicts = run(client, end, Arc::new(FirstByte::default()), LaneOptions::default());
    assert!(matches!(verdicts[0], Verdict::Part { key, .. } if key.height.0 == 2));
    assert!(matches!(verdicts[1], Verdict::Value { .. }));
    assert_eq!(verdicts.len(), depth + 1);
}

#[test]
fn no_more_jobs_are_taken_in_than_may_wait() {
    let (client, end) = client(64);
    (0..40).for_each(|index| client.send(job(1, 1, index, 40, true)));
    let verifier = Arc::new(FirstByte::default());
    let options = LaneOptions {
        waiting_max: 5,
        ..LaneOptions::default()
    };
    assert_eq!(run(client, end, verifier.clone(), options).len(), 41);
    assert_eq!(*verifier.0.lock().expect("no panic"), [5; 8]);
}

#[test]
fn jobs_that_wait_together_are_opened_together_up_to_sixteen() {
    let verifier = Arc::new(FirstByte::default());
    judge((0..36).map(|index| job(1, 1, index, 36, true)), verifier.clone());
    assert_eq!(*verifier.0.lock().expect("no panic"), [16, 16, 4]);
}

#[test]
fn a_halt_drops_what_is_not_settled_yet() {
    let (mut client, end) = client(8);
    let halt = Halt::new();
    let lanes = Lanes::new(vec![end], Arc::new(FirstByte::default()), LaneOptions::default());
    std::thread::scope(|scope| {
        let (running, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
        let lane = scope.spawn(move || running.run(&ctx));
        client.send(job(1, 1, 0, 2, true));
        take(&mut client, 1);
        halt.stop(Reason::Asked);
        assert_eq!(lane.join().expect("no panic"), Ok(()));
    });
    assert_eq!(client.verdicts.try_recv(), None);
}

#[test]
fn a_halt_ends_a_lane_that_waits() {
    let (_client, end) = client(8);
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let ctx = context(&halt, "lane");
        let lane = scope
            .spawn(move || Lanes::new(vec![end], Arc::new(FirstByte::default()), LaneOptions::default()).run(&ctx));
        halt.stop(Reason::Asked);
        assert_eq!(lane.join().expect("no panic"), Ok(()));
    });
}

/// Its challenge is its digest: no byte is read by a hash a second time.
#[test]
fn each_blob_is_hashed_once_if_all_hold() {
    let value = lines(37);
    let jobs: Vec<_> = (0..37).map(|at| real(1, 1, at, &value)).collect();
    HASHED_BYTES.take();
    let verdicts = judge(jobs, Arc::new(Fast::new()));
    assert_eq!(outcomes(&verdicts), [(1, ValueOutcome::Holds)]);
    assert_eq!(HASHED_BYTES.take(), 37 * 131_072);
}

#[test]
fn wrong_bytes_are_hashed_and_nothing_else() {
    let value = lines(1);
    let mut wrong = real(1, 1, 0, &value);
    // Well-formed, and with a proof that holds: but it is another blob.
    wrong.blob = Bytes::from(lines(2)[1].blob.clone());
    COUNTS.take();
    let verdicts = judge([wrong.clone()], Arc::new(Fast::new()));
    let digest = blob_digest(&wrong.blob, &wrong.commitment);
    assert!(
        matches!(verdicts[..], [Verdict::Part { is_right: false, digest: found, .. }] if found == digest),
        "{verdicts:?}"
    );
}

#[test]
fn whatever_a_blob_of_our_own_hashes_to_is_right() {
    for verifier in [
        Arc::new(Fast::new()) as Arc<dyn Verifier>,
        Arc::new(crate::ckzg::CKzg::new()),
    ] {
        let value = lines(2);
        let jobs = (0..2).map(|at| VerifyJob {
            sender: None,
            digest: None,
            ..real(1, 1, at, &value)
        });
        let verdicts = judge(jobs, verifier);
        assert_eq!(outcomes(&verdicts), [(1, ValueOutcome::Holds)]);
        for verdict in verdicts {
            let Verdict::Part {
                index,
                digest,
                is_right,
                ..
            } = verdict
            else {
                continue;
            };
            let claim = &value[usize::from(index)];
            assert_eq!(digest, blob_digest(&claim.blob, &claim.commitment));
            assert!(is_right);
        }
    }
}

/// Three peers fill every place with garbage, before and beside the right bytes.
#[test]
fn garbage_from_three_senders_for_all_places_is_wrong_and_delays_no_right_part() {
    let value = lines(24);
    let mut jobs = Vec::new();
    for at in 0..24 {
        for sender in 1..=3 {
            let mut garbage = value[at].blob.clone();
            garbage[1000 * usize::from(sender)] ^= 1;
            jobs.push(VerifyJob {
                blob: Bytes::from(garbage),
                ..real(1, sender, at, &value)
            });
        }
        jobs.push(real(1, 4, at, &value));
    }
    let verdicts = judge(jobs, Arc::new(Fast::new()));
    let parts = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Part { sender, is_right, .. } => Some((*sender == Some(PeerId([4; 32])), *is_right)),
        Verdict::Value { .. } => None,
    });
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts.len(), 96);
    assert!(parts.iter().all(|(is_fourth, is_right)| is_fourth == is_right));
    assert_eq!(outcomes(&verdicts), [(1, ValueOutcome::Holds)]);
}

#[test]
fn the_same_place_twice_is_answered_twice_and_counts_once() {
    let value = lines(2);
    let jobs = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1)].map(|(sender, at)| real(1, sender, at, &value));
    let verdicts = judge(jobs, Arc::new(Fast::new()));
    assert_eq!(verdicts.len(), 6);
    assert_eq!(outcomes(&verdicts), [(1, ValueOutcome::Holds)]);
}

/// Several values at once, some with a fault, garbage beside them, one to three lanes: each has the outcome that it has
/// alone.
#[test]
fn any_interleaving_gives_each_value_the_outcome_it_has_alone() {
    let verifier: Arc<dyn Verifier> = Arc::new(Fast::new());
    let pool = lines(12);
    for lanes_count in [1, 2, 3] {
        let (mut client, end) = client(512);
        with_lanes(lanes_count, vec![end], Arc::clone(&verifier), || {
            let mut seeded = Seeded(lanes_count as u64);
            for round in 0..6 {
                let (mut jobs, mut expected) = (Vec::new(), BTreeMap::new());
                for value in 0..4 {
                    let mut owned = pool[..1 + seeded.below(12)].to_vec();
                    let mut outcome = ValueOutcome::Holds;
                    if seeded.below(2) == 0 {
                        let at = seeded.below(owned.len());
                        let (_, spoil, finding) = crate::suite::SPOILERS[seeded.below(17)];
                        spoil(&mut owned[at]);
                        let (index, why) = (at as u16, finding.expect_err("spoiled"));
                        let proof = owned[at].proof;
                        outcome = ValueOutcome::Fails { index, why, proof };
                    }
                    let height = 4 * round + value;
                    expected.insert(height, outcome);
                    for at in 0..owned.len() {
                        let urgency = if value == 3 { Urgency::Sync } else { Urgency::Current };
                        let right = real(height, seeded.below(3) as u8, at, &owned);
                        let mut wrong = right.clone();
                        wrong.blob = Bytes::from(vec![seeded.next() as u8; 131_072]);
                        let some = if seeded.below(3) == 0 {
                            vec![right, wrong]
                        } else {
                            vec![right]
                        };
                        jobs.extend(some.into_iter().map(|job| VerifyJob { urgency, ..job }));
                    }
                }
                let count = jobs.len() + 4;
                for last in (1..jobs.len()).rev() {
                    jobs.swap(last, seeded.below(last + 1));
                }
                jobs.into_iter().for_each(|job| client.send(job));
                let found: BTreeMap<_, _> = outcomes(&take(&mut client, count)).into_iter().collect();
                assert_eq!(found, expected, "{lanes_count} lanes, round {round}");
            }
        });
        assert_eq!(client.verdicts.try_recv(), None, "and no second one");
    }
}

/// Bytes that say how many hold them.
#[derive(Clone)]
struct Counted(Arc<Vec<u8>>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn bytes_are_kept_until_the_value_is_forgotten_or_settled() {
    let value = lines(2);
    let counted: Vec<_> = value
        .iter()
        .map(|claim| Counted(Arc::new(claim.blob.clone())))
        .collect();
    let send = |client: &Client, at: usize| {
        client.send(VerifyJob {
            blob: Bytes::from_owner(counted[at].clone()),
            ..real(1, 1, at, &value)
        });
    };
    let kept = || {
        counted
            .iter()
            .map(|bytes| Arc::strong_count(&bytes.0) - 1)
            .sum::<usize>()
    };
    let wait_until_free = || {
        let clock = ultramarine_runtime::Clock::start();
        while kept() > 0 && clock.now() < Nanos::from_millis(10_000) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(kept(), 0);
    };
    let (mut client, end) = client(8);
    with_lanes(2, vec![end], Arc::new(Fast::new()), || {
        send(&client, 0);
        take(&mut client, 1);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(kept(), 1);
        let key = real(1, 1, 0, &value).key;
        client
            .requests
            .send(VerifyRequest::Forget(key))
            .expect("the lanes live");
        wait_until_free();
        send(&client, 0);
        send(&client, 1);
        assert_eq!(outcomes(&take(&mut client, 3)), [(1, ValueOutcome::Holds)]);
        wait_until_free();
    });
}

mod faults;
