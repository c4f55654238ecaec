use super::*;
use bytes::Bytes;
use ultramarine_runtime::{Halt, Reason, link};
use ultramarine_types::verify::Malformed;
use ultramarine_types::{Height, KzgCommitment, KzgProof, PeerId, ValueId, ValueKey};

use crate::fixtures;
use crate::memo::Memo;

/// Calls a blob true if it begins with 1 and remembers the size of each batch.
#[derive(Default)]
struct FirstByte(Mutex<Vec<usize>>);

impl Verifier for FirstByte {
    fn name(&self) -> &'static str {
        "first-byte"
    }

    fn verify(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        self.0.lock().expect("no panic").push(claims.len());
        claims
            .iter()
            .map(|claim| {
                if claim.blob.first() == Some(&1) {
                    Finding::Holds
                } else {
                    Finding::Wrong
                }
            })
            .collect()
    }
}

fn job(sender: u8, index: u16, last: bool, blob: impl Into<Bytes>) -> VerifyJob {
    VerifyJob {
        key: ValueKey {
            height: Height(u64::from(sender)),
            id: ValueId::ZERO,
        },
        index,
        sender: Some(PeerId([sender; 32])),
        urgency: Urgency::Current,
        last,
        blob: blob.into(),
        commitment: KzgCommitment::ZERO,
        proof: KzgProof::ZERO,
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
    for lanes_count in [1, 3] {
        let (mut first, first_end) = client();
        let (mut second, second_end) = client();
        let (halt, verifier) = (Halt::new(), Arc::new(FirstByte::default()));
        let lanes = Lanes::new(vec![first_end, second_end], verifier, Options::default());
        std::thread::scope(|scope| {
            for _ in 0..lanes_count {
                let (lanes, ctx) = (Arc::clone(&lanes), context(&halt, "lane"));
                scope.spawn(move || lanes.run(&ctx).expect("it ends well"));
            }
            for round in 0..20 {
                for index in 0..40u16 {
                    let good = (index + round) % 3 != 0;
                    let last = index == 39;
                    first
                        .jobs
                        .send(job(1, index, last, vec![u8::from(good)]))
                        .expect("the lanes live");
                    second
                        .jobs
                        .send(job(2, index, last, vec![u8::from(!good)]))
                        .expect("the lanes live");
                }
                for (client, sender) in [(&mut first, 1u8), (&mut second, 2)] {
                    let mut verdicts = take(client, 40);
                    verdicts.sort_by_key(|verdict| verdict.index);
                    for (index, verdict) in (0u16..).zip(&verdicts) {
                        let good = ((index + round) % 3 != 0) == (sender == 1);
                        assert_eq!((verdict.index, verdict.sender), (index, Some(PeerId([sender; 32]))));
                        assert_eq!(verdict.finding == Finding::Holds, good);
                    }
                }
            }
            halt.stop(Reason::Asked);
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
    run(context(&halt, "lane"), vec![end], verifier, Options::default()).expect("it ends well");
    assert_eq!(std::iter::from_fn(|| verdicts.try_recv()).count(), 3);
}

#[test]
fn a_halt_ends_a_lane_that_waits() {
    let (_client, end) = client();
    let halt = Halt::new();
    std::thread::scope(|scope| {
        let ctx = context(&halt, "lane");
        let lane = scope.spawn(move || run(ctx, vec![end], Arc::new(FirstByte::default()), Options::default()));
        halt.stop(Reason::Asked);
        assert_eq!(lane.join().expect("no panic"), Ok(()));
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
    run(context(&Halt::new(), "lane"), vec![end], shared, Options::default()).expect("it ends well");
    assert_eq!(*verifier.0.lock().expect("no panic"), [10]);
}

#[test]
fn real_blobs_pass_through_a_lane_and_the_bad_ones_are_named_and_counted() {
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
    let verifier = Arc::new(crate::ckzg::CKzg::new(Memo::new(16)));
    run(ctx, vec![end], verifier, Options::default()).expect("it ends well");
    let found: Vec<_> = std::iter::from_fn(|| verdicts.try_recv())
        .map(|verdict| verdict.finding)
        .collect();
    let (holds, wrong, malformed) = (Finding::Holds, Finding::Wrong, Finding::Malformed);
    assert_eq!(
        found,
        [
            holds,
            wrong,
            holds,
            malformed(Malformed::Blob),
            malformed(Malformed::Proof),
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
