use super::*;
use bytes::Bytes;
use ultramarine_runtime::{Halt, Reason, Registry, link};
use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw, Urgency, WRONG_CLAIMS_MAX};

use crate::claim::Claim;
use crate::field::Fr;
use crate::fixtures::{self, Seeded};
use crate::group::Point;
use crate::inquiry::{Judge, Tell};
use crate::memo::Memo;

/// Calls a blob true if it begins with 1, malformed if with 9, and remembers how many were opened at a time. What it
/// opens it settles in the second phase only.
#[derive(Default)]
struct FirstByte(Mutex<Vec<usize>>);

impl Verifier for FirstByte {
    fn name(&self) -> &'static str {
        "first-byte"
    }

    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening> {
        self.0.lock().expect("no panic").push(claims.len());
        let open = |claim: &Claim<'_>| match claim.blob.first() {
            Some(9) => Opening::Settled(Finding::Malformed(Malformed::Blob(BlobFlaw::Length(1)))),
            first => Opening::Open(OpenedClaim {
                name: ([first.copied().unwrap_or(0); 32], [0; 48], [0; 48]),
                commitment: Point::default(),
                proof: Point::default(),
                z: Fr::ZERO,
                y: Fr::ZERO,
            }),
        };
        claims.iter().map(open).collect()
    }

    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        Summed::without_sums(claims)
    }

    fn inquire(&self, inquiry: &mut Inquiry, steps_max: usize, tell: &mut Tell<'_>) {
        inquiry.ask(steps_max, self, tell);
    }
}

impl Judge for FirstByte {
    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        Summed::without_sums(claims)
    }

    fn pieces_hold(&self, pieces: &[&Summed]) -> bool {
        pieces.iter().all(|piece| self.claims_hold(&piece.claims))
    }

    fn claims_hold(&self, claims: &[OpenedClaim]) -> bool {
        claims.iter().all(|claim| claim.name.0[0] == 1)
    }
}

fn job(sender: u8, index: u16, last: bool, blob: impl Into<Bytes>) -> VerifyJob {
    VerifyJob {
        blob: blob.into(),
        ..fixtures::job(sender, index, last)
    }
}

struct Client {
    jobs: Sender<VerifyJob>,
    verdicts: Receiver<Verdict>,
}

fn client() -> (Client, LaneClientEnd) {
    let (jobs, jobs_end) = link("jobs", 64).expect("a link");
    let (verdicts_end, verdicts) = link("verdicts", 64).expect("a link");
    (
        Client { jobs, verdicts },
        LaneClientEnd {
            jobs: jobs_end,
            verdicts: verdicts_end,
        },
    )
}

fn context(halt: &Halt, name: &'static str) -> TileContext {
    TileContext::new(name, halt, &Registry::new())
}

/// One lane by itself, until the node halts or every client is gone.
fn run(
    ctx: TileContext,
    clients: Vec<LaneClientEnd>,
    verifier: Arc<dyn Verifier>,
    options: LaneOptions,
) -> Result<(), NoTimer> {
    Lanes::new(clients, verifier, options).run(&ctx)
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

#[test]
fn each_client_gets_a_verdict_for_each_of_its_jobs_from_any_lane() {
    // Two of forty are too few to convict a peer.
    let is_good = |sender: u8, index: u16, round: u16| !(index + round + u16::from(sender)).is_multiple_of(20);
    for lanes_count in [1, 3] {
        let (mut first, first_end) = client();
        let (mut second, second_end) = client();
        let (halt, verifier) = (Halt::new(), Arc::new(FirstByte::default()));
        let lanes = Lanes::new(vec![first_end, second_end], verifier, LaneOptions::default());
        std::thread::scope(|scope| {
            let _stops = Stops(&halt);
            for _ in 0..lanes_count {
                let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
                scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
            }
            for round in 0..20 {
                for index in 0..40u16 {
                    let (good, last) = (is_good(1, index, round), index == 39);
                    first
                        .jobs
                        .send(job(1, index, last, vec![u8::from(good)]))
                        .expect("the lanes live");
                    second
                        .jobs
                        .send(job(2, index, last, vec![u8::from(is_good(2, index, round))]))
                        .expect("the lanes live");
                }
                for (client, sender) in [(&mut first, 1u8), (&mut second, 2)] {
                    let mut verdicts = take(client, 40);
                    verdicts.sort_by_key(|verdict| verdict.index);
                    for (index, verdict) in (0u16..).zip(&verdicts) {
                        let good = is_good(sender, index, round);
                        assert_eq!((verdict.index, verdict.sender), (index, Some(PeerId([sender; 32]))));
                        assert_eq!(verdict.finding == Finding::Holds, good);
                    }
                }
            }
        });
    }
}

#[test]
fn lanes_end_when_every_client_is_gone_and_still_judge_what_waited() {
    let (client, end) = client();
    let (halt, verifier) = (Halt::new(), Arc::new(FirstByte::default()));
    for index in 0..3 {
        client.jobs.try_send(job(1, index, false, vec![1])).expect("room");
    }
    let Client { jobs, mut verdicts } = client;
    drop(jobs);
    run(context(&halt, "lane"), vec![end], verifier, LaneOptions::default()).expect("it ends well");
    assert_eq!(std::iter::from_fn(|| verdicts.try_recv()).count(), 3);
}

/// One lane opens the only job while another waits on the links. The waiting one must learn the new deadline.
#[test]
fn a_stalled_stream_has_its_verdicts_all_the_same() {
    let (mut client, end) = client();
    let halt = Halt::new();
    let mut options = LaneOptions::default();
    options.policy.current.wait = Nanos::from_millis(2);
    let lanes = Lanes::new(vec![end], Arc::new(FirstByte::default()), options);
    std::thread::scope(|scope| {
        let _stops = Stops(&halt);
        for _ in 0..2 {
            let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
            scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
        }
        for round in 0..60 {
            let jobs_count = if round % 4 == 0 { 3 } else { 1 };
            for index in 0..jobs_count {
                client.jobs.send(job(1, index, false, vec![1])).expect("the lanes live");
            }
            take(&mut client, usize::from(jobs_count));
        }
    });
}

/// However many of sync's wait, as many as the network may have in assembly.
#[test]
fn a_job_of_the_current_height_is_opened_before_all_of_sync_that_came_earlier() {
    let depth = LARGEST.assembly_blobs();
    let (jobs, jobs_end) = link("jobs", depth).expect("a link");
    let (verdicts_end, mut verdicts) = link("verdicts", depth).expect("a link");
    let end = LaneClientEnd {
        jobs: jobs_end,
        verdicts: verdicts_end,
    };
    for index in 0..depth - 1 {
        let sync = VerifyJob {
            urgency: Urgency::Sync,
            ..job(1, index as u16, false, vec![1])
        };
        jobs.try_send(sync).expect("room");
    }
    jobs.try_send(job(2, 0, true, vec![1])).expect("room");
    drop(jobs);
    let verifier = Arc::new(FirstByte::default());
    run(
        context(&Halt::new(), "lane"),
        vec![end],
        verifier,
        LaneOptions::default(),
    )
    .expect("it ends well");
    let first = verdicts.try_recv().expect("a verdict");
    assert_eq!(first.sender, Some(PeerId([2; 32])));
    assert_eq!(std::iter::from_fn(|| verdicts.try_recv()).count(), depth - 1);
}

/// Lets an inquiry into wrong claims wait for leave.
struct Slow {
    verdict: FirstByte,
    asks: Mutex<std::sync::mpsc::Sender<()>>,
    leave: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Verifier for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening> {
        self.verdict.open(claims)
    }

    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        Summed::without_sums(claims)
    }

    fn inquire(&self, inquiry: &mut Inquiry, steps_max: usize, tell: &mut Tell<'_>) {
        if inquiry.case().claims_count > 1 && !inquiry.case().others_wait {
            self.asks.lock().expect("no panic").send(()).expect("the test waits");
            // If the other end is gone, that is leave too.
            let _ = self.leave.lock().expect("no panic").recv();
        }
        self.verdict.inquire(inquiry, steps_max, tell);
    }
}

/// One lane has an inquiry in its hands, and another is free and may open nothing until it is over.
#[test]
fn no_more_jobs_are_taken_in_than_may_wait_though_a_lane_is_free() {
    let (mut client, end) = client();
    let halt = Halt::new();
    let (asks, asked) = std::sync::mpsc::channel();
    let (leave, may) = std::sync::mpsc::channel();
    let mut options = LaneOptions {
        waiting_max: 5,
        ..LaneOptions::default()
    };
    options.policy.steps_max = 1;
    let verifier = Slow {
        verdict: FirstByte::default(),
        asks: Mutex::new(asks),
        leave: Mutex::new(may),
    };
    let lanes = Lanes::new(vec![end], Arc::new(verifier), options);
    std::thread::scope(|scope| {
        let _stops = Stops(&halt);
        // Before the lanes are waited for, also when the test fails.
        let leave = leave;
        for _ in 0..2 {
            let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
            scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
        }
        for index in 0..8 {
            client
                .jobs
                .send(job(1, index, index == 7, vec![0]))
                .expect("the lanes live");
        }
        asked
            .recv()
            .expect("an inquiry that names nobody by its first question");
        // The same sender's: they wait for the inquiry.
        for index in 8..40 {
            client
                .jobs
                .send(job(1, index, index == 39, vec![0]))
                .expect("the lanes live");
        }
        let patience = ultramarine_runtime::Clock::start();
        while lanes.office().foreman.waiting() < 5 && patience.now() < Nanos::from_millis(30_000) {
            std::thread::yield_now();
        }
        for _ in 0..200 {
            assert_eq!(lanes.office().foreman.waiting(), 5, "as many as may wait");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        drop(leave);
        let wrong = take(&mut client, 40)
            .iter()
            .filter(|verdict| verdict.finding == Finding::Wrong)
            .count();
        // Of eight, and of what was opened later, but not of the five that waited when their sender was convicted.
        assert!((WRONG_CLAIMS_MAX..=40 - 5).contains(&wrong), "{wrong} are named");
    });
}

#[test]
fn a_halt_drops_what_is_not_settled_yet() {
    let (mut client, end) = client();
    let (halt, verifier) = (Halt::new(), Arc::new(FirstByte::default()));
    let mut options = LaneOptions::default();
    options.policy.current.wait = Nanos::NEVER;
    let lanes = Lanes::new(vec![end], verifier.clone(), options);
    std::thread::scope(|scope| {
        let (running, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
        let lane = scope.spawn(move || running.run(&ctx));
        client.jobs.send(job(1, 0, false, vec![1])).expect("the lane lives");
        while verifier.0.lock().expect("no panic").is_empty() {
            std::thread::yield_now();
        }
        halt.stop(Reason::Asked);
        assert!(lane.join().expect("no panic").is_ok());
    });
    assert_eq!(client.verdicts.try_recv(), None);
}

/// Several senders send blocks at once, some of their streams stall, and one to three lanes of the real verifier judge
/// them. Each job has one verdict: the one that it has alone, or unjudged if its sender is convicted.
#[test]
fn any_interleaving_gives_each_job_the_verdict_it_has_alone_or_gives_it_back() {
    let verifier: Arc<dyn Verifier> = Arc::new(crate::fast::Fast::new(Memo::new(0)));
    let mut pool = fixtures::lines(12);
    for (at, (_, spoil, _)) in crate::suite::SPOILERS.iter().enumerate().step_by(3) {
        spoil(&mut pool[at % 12]);
    }
    let alone: Vec<_> = pool.iter().map(|claim| verifier.verify(&[claim.claim()])[0]).collect();
    let pool: Vec<_> = pool
        .into_iter()
        .map(|claim| (Bytes::from(claim.blob), claim.commitment, claim.proof))
        .collect();
    for lanes_count in [1, 2, 3] {
        let (mut client, end) = client();
        let halt = Halt::new();
        let mut options = LaneOptions::default();
        options.policy.current.sum_claims = 5;
        // So that blame takes several turns, and is a crowd at times.
        options.policy.steps_max = 1 + lanes_count as usize;
        options.policy.inquiry_claims_max = 6;
        let lanes = Lanes::new(vec![end], Arc::clone(&verifier), options);
        std::thread::scope(|scope| {
            let _stops = Stops(&halt);
            for _ in 0..lanes_count {
                let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
                scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
            }
            let mut seeded = Seeded(lanes_count);
            for _ in 0..12 {
                let mut expected = Vec::new();
                for index in 0..1 + seeded.below(30) as u16 {
                    let sender = seeded.below(3) as u8;
                    let (which, last) = (seeded.below(pool.len()), seeded.below(8) == 0);
                    let (blob, commitment, proof) = pool[which].clone();
                    let urgency = if sender == 2 { Urgency::Sync } else { Urgency::Current };
                    let real = VerifyJob {
                        commitment,
                        proof,
                        urgency,
                        ..job(sender, index, last, blob)
                    };
                    client.jobs.send(real).expect("the lanes live");
                    expected.push((index, Some(PeerId([sender; 32])), alone[which]));
                }
                let mut verdicts = take(&mut client, expected.len());
                verdicts.sort_by_key(|verdict| verdict.index);
                let is_convicted = |sender| {
                    let bad = |verdict: &&Verdict| verdict.sender == sender && verdict.finding.is_senders_fault();
                    verdicts.iter().filter(bad).count() >= WRONG_CLAIMS_MAX
                };
                for (verdict, (index, sender, alone)) in verdicts.iter().zip(expected) {
                    assert_eq!((verdict.index, verdict.sender), (index, sender));
                    let is_given_back = verdict.finding == Finding::Unjudged && is_convicted(sender);
                    assert!(
                        is_given_back || verdict.finding == alone,
                        "{verdict:?}, alone {alone:?}"
                    );
                }
            }
        });
        assert_eq!(client.verdicts.try_recv(), None, "and no second one");
    }
}

#[test]
fn a_halt_ends_a_lane_that_waits() {
    let (_client, end) = client();
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let ctx = context(&halt, "lane");
        let lane = scope
            .spawn(move || Lanes::new(vec![end], Arc::new(FirstByte::default()), LaneOptions::default()).run(&ctx));
        halt.stop(Reason::Asked);
        assert!(lane.join().expect("no panic").is_ok());
    });
}

#[test]
fn jobs_that_wait_together_are_judged_together() {
    let (client, end) = client();
    let verifier = Arc::new(FirstByte::default());
    for index in 0..10 {
        client.jobs.try_send(job(1, index, index == 9, vec![1])).expect("room");
    }
    drop(client.jobs);
    let shared: Arc<dyn Verifier> = verifier.clone();
    run(context(&Halt::new(), "lane"), vec![end], shared, LaneOptions::default()).expect("it ends well");
    assert_eq!(*verifier.0.lock().expect("no panic"), [10]);
}

#[test]
fn what_waits_of_a_peer_with_a_batch_of_malformed_blobs_is_given_back_unopened() {
    let (mut client, end) = client();
    let verifier = Arc::new(FirstByte::default());
    for index in 0..40 {
        client.jobs.try_send(job(1, index, index == 39, vec![9])).expect("room");
    }
    client.jobs.try_send(job(2, 0, true, vec![1])).expect("room");
    let jobs = std::mem::replace(&mut client.jobs, link("jobs", 1).expect("a link").0);
    drop(jobs);
    let shared: Arc<dyn Verifier> = verifier.clone();
    run(context(&Halt::new(), "lane"), vec![end], shared, LaneOptions::default()).expect("it ends well");
    assert_eq!(*verifier.0.lock().expect("no panic"), [16]);
    let findings: Vec<_> = take(&mut client, 41).iter().map(|verdict| verdict.finding).collect();
    let count = |finding| findings.iter().filter(|found| **found == finding).count();
    let counts = (
        count(Finding::Malformed(Malformed::Blob(BlobFlaw::Length(1)))),
        count(Finding::Unjudged),
        count(Finding::Holds),
    );
    assert_eq!(counts, (15, 25, 1));
}

#[test]
fn real_blobs_pass_through_a_lane_and_the_bad_ones_are_named_and_counted() {
    pass_and_count(Arc::new(crate::ckzg::CKzg::new(Memo::new(16))));
    pass_and_count(Arc::new(crate::fast::Fast::new(Memo::new(16))));
}

fn pass_and_count(verifier: Arc<dyn Verifier>) {
    let (client, end) = client();
    let mut claims = fixtures::random().to_vec();
    claims[1].blob[31] ^= 1;
    claims[3].blob.truncate(7);
    claims[4].proof.0 = [0; 48];
    for (index, claim) in (0..).zip(&claims) {
        let real = VerifyJob {
            commitment: claim.commitment,
            proof: claim.proof,
            ..job(1, index, index == 5, claim.blob.clone())
        };
        client.jobs.try_send(real).expect("room");
    }
    let Client { jobs, mut verdicts } = client;
    drop(jobs);
    let (halt, registry) = (Halt::new(), Registry::new());
    let ctx = TileContext::new("kzg-0", &halt, &registry);
    Lanes::new(vec![end], verifier, LaneOptions::default())
        .run(&ctx)
        .expect("it ends well");
    let mut found: Vec<_> = std::iter::from_fn(|| verdicts.try_recv()).collect();
    found.sort_by_key(|verdict| verdict.index);
    let found: Vec<_> = found.iter().map(|verdict| verdict.finding).collect();
    let (holds, wrong, malformed) = (Finding::Holds, Finding::Wrong, Finding::Malformed);
    assert_eq!(
        found,
        [
            holds,
            wrong,
            holds,
            malformed(Malformed::Blob(BlobFlaw::Length(7))),
            malformed(Malformed::Proof(PointFlaw::Encoding)),
            holds
        ]
    );
    let text = registry.render();
    for (finding, count) in [
        ("holds", 3),
        ("wrong", 1),
        ("malformed_blob", 1),
        ("malformed_proof", 1),
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with("ultramarine_kzg_blobs_total") && line.contains(finding));
        assert!(
            line.is_some_and(|line| line.ends_with(&format!(" {count}"))),
            "{finding}: {line:?}"
        );
    }
}
