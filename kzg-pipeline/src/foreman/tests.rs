use std::collections::BTreeMap;

use bytes::Bytes;
use ultramarine_types::verify::{Refutation as Why, VerifyJob};
use ultramarine_types::{Hash, KzgProof};

use super::*;
use crate::fixtures::{Seeded, job};

/// An opened claim is its index here, and a sum a list of them.
type Crew = Foreman<u16, Vec<u16>>;
type Work = Task<u16, Vec<u16>>;
type Answer = Input<u16, Vec<u16>>;
type Told = (ValueKey, ValueOutcome);

const MS: u64 = 1_000_000;
/// A digest that no job asks for: bytes of it are wrong.
const WRONG: Hash = Hash([9; 32]);

fn small() -> Crew {
    Foreman::new(Policy {
        current_blobs_max: 4,
        sync_blobs_max: 2,
        tasks_between_turns: 4,
        accounts: AccountPolicy {
            sum_claims: 4,
            values_max: 2,
            blobs_max: 100,
        },
    })
}

fn sync(job: VerifyJob) -> VerifyJob {
    VerifyJob {
        urgency: Urgency::Sync,
        ..job
    }
}

fn requests(jobs: impl IntoIterator<Item = VerifyJob>) -> Answer {
    let request = |job| Request {
        client: 0,
        request: VerifyRequest::Job(job),
    };
    Input::Requests(jobs.into_iter().map(request).collect())
}

fn forget(height: u64) -> Answer {
    Input::Requests(vec![Request {
        client: 0,
        request: VerifyRequest::Forget(job(height, 0, 0, 1).key),
    }])
}

fn feed(foreman: &mut Crew, input: Answer) -> (Vec<Work>, Vec<Told>) {
    let mut out = Outbox::new();
    foreman.handle(Nanos::ZERO, input, &mut out);
    foreman.check_whole();
    let (mut tasks, mut told) = (Vec::new(), Vec::new());
    for output in out.drain() {
        match output {
            Output::Task(task) => tasks.push(task),
            Output::Verdict { key, outcome, .. } => told.push((key, outcome)),
        }
    }
    (tasks, told)
}

/// The one task that an input leads to.
fn task(foreman: &mut Crew, input: Answer) -> Work {
    let (mut tasks, told) = feed(foreman, input);
    let task = tasks.pop().expect("a task");
    assert!(
        tasks.is_empty() && told.is_empty(),
        "one task, not also {tasks:?}, {told:?}"
    );
    task
}

fn opened(task: &Work) -> Vec<u16> {
    match task {
        Task::Open(batch) => batch.tickets.iter().map(|ticket| ticket.job.index).collect(),
        other => panic!("not a batch: {other:?}"),
    }
}

/// What a lane answers. Jobs with the digest `WRONG` have other bytes; blobs of which `fails` says so fail.
fn answer(task: Work, fails: impl Fn(u64, u16) -> bool) -> Answer {
    match task {
        Task::Open(batch) => {
            let open = |ticket: Ticket| {
                let opens = ticket.is_wanted && ticket.job.digest != Some(WRONG);
                let index = ticket.job.index;
                (ticket, if opens { Opening::Open(index) } else { Opening::Hashed })
            };
            Input::Opened(batch.tickets.into_iter().map(open).collect())
        }
        Task::Sum(name, claims) => Input::Summed(name, claims),
        Task::Settle(values) => {
            let holds = |value: &WholeValue<u16, Vec<u16>>| {
                let claims = value.sums.iter().flatten().chain(&value.loose);
                !claims.into_iter().any(|index| fails(value.name.key.height.0, *index))
            };
            Input::Settled(values.iter().map(|value| (value.name, holds(value))).collect())
        }
        Task::Confirm(name, doubt) => {
            let first = doubt.blobs().iter().find(|job| fails(job.key.height.0, job.index));
            let (index, proof) = first.map(|job| (job.index, job.proof)).expect("one of its blobs fails");
            let why = Why::Wrong;
            Input::Confirmed(name, ControlFlow::Break(ValueOutcome::Fails { index, why, proof }))
        }
    }
}

fn done(task: Work) -> Answer {
    answer(task, |_, _| false)
}

#[test]
fn a_free_lane_takes_what_waits_and_no_job_waits_for_company() {
    let mut foreman = small();
    assert!(feed(&mut foreman, Input::LaneFree).0.is_empty());
    let first = task(&mut foreman, requests([job(1, 1, 0, 9)]));
    assert_eq!(opened(&first), [0]);
    assert!(
        feed(&mut foreman, requests((1..7).map(|index| job(1, 1, index, 9))))
            .0
            .is_empty(),
        "no lane is free"
    );
    let next = task(&mut foreman, done(first));
    assert_eq!(opened(&next), [1, 2, 3, 4], "they found company while waiting");
    assert_eq!(foreman.waiting(), 2);
}

#[test]
fn free_lanes_share_what_waits() {
    let mut foreman = small();
    for _ in 0..3 {
        feed(&mut foreman, Input::LaneFree);
    }
    let (tasks, _) = feed(&mut foreman, requests((0..6).map(|index| job(1, 1, index, 9))));
    let sizes: Vec<_> = tasks.iter().map(|task| opened(task).len()).collect();
    assert_eq!(sizes, [2, 2, 2]);
}

#[test]
fn the_current_height_goes_before_sync_in_everything() {
    let mut foreman = small();
    feed(&mut foreman, requests((0..3).map(|index| sync(job(9, 1, index, 3)))));
    let next = task(&mut foreman, Input::LaneFree);
    assert_eq!(opened(&next), [0, 1], "sync's batches are short");
    feed(&mut foreman, requests([job(1, 2, 0, 1)]));
    let next = task(&mut foreman, done(next));
    assert_eq!(next_height(&next), 1);
    let next = task(&mut foreman, done(next));
    assert!(matches!(&next, Task::Settle(values) if values[0].name.key.height.0 == 1));
    let (mut tasks, told) = feed(&mut foreman, done(next));
    assert_eq!(told.len(), 1);
    assert_eq!(opened(&tasks.remove(0)), [2]);
}

fn next_height(task: &Work) -> u64 {
    match task {
        Task::Open(batch) => batch.tickets[0].job.key.height.0,
        other => panic!("not a batch: {other:?}"),
    }
}

#[test]
fn a_block_is_summed_on_the_way_and_settled_by_one_task_at_its_end() {
    let mut foreman = small();
    feed(&mut foreman, Input::LaneFree);
    let (mut tasks, mut verdicts) = (Vec::new(), Vec::new());
    for index in 0..10 {
        let mut next = vec![task(&mut foreman, requests([job(1, 1, index, 10)]))];
        while let Some(task) = next.pop() {
            tasks.push(match &task {
                Task::Open(_) => "open",
                Task::Sum(..) => "sum",
                Task::Settle(values) => {
                    assert_eq!((values[0].sums.len(), values[0].loose.len()), (2, 2));
                    "settle"
                }
                Task::Confirm(..) => panic!("all hold"),
            });
            let (more, told) = feed(&mut foreman, done(task));
            next.extend(more);
            verdicts.extend(told);
        }
    }
    let (open, sum) = (["open"; 4], ["sum"]);
    assert_eq!(tasks, [&open[..], &sum, &open, &sum, &open[..2], &["settle"]].concat());
    assert_eq!(verdicts, [(job(1, 1, 0, 10).key, ValueOutcome::Holds)]);
    assert_eq!(foreman.unsettled(), 0, "nothing is left");
}

#[test]
fn a_job_whose_place_is_filled_is_hashed_alone() {
    let mut foreman = small();
    feed(&mut foreman, Input::LaneFree);
    let first = task(&mut foreman, requests([job(1, 1, 0, 2)]));
    feed(&mut foreman, requests([job(1, 2, 0, 2), job(1, 2, 1, 2)]));
    let Task::Open(batch) = task(&mut foreman, done(first)) else {
        panic!("two wait");
    };
    let wanted: Vec<_> = batch.tickets.iter().map(|ticket| ticket.is_wanted).collect();
    assert_eq!(wanted, [false, true]);
}

/// However garbage is mixed among them, right bytes wait for nothing but their turn.
#[test]
fn garbage_of_three_senders_for_every_place_delays_no_right_part() {
    let mut foreman = small();
    let blobs = 8;
    for index in 0..blobs {
        for sender in 1..=3 {
            let garbage = VerifyJob {
                digest: Some(WRONG),
                ..job(1, sender, index, blobs)
            };
            feed(&mut foreman, requests([garbage]));
        }
        feed(&mut foreman, requests([job(1, 4, index, blobs)]));
    }
    let (mut next, mut opened_count, mut verdicts) = (feed(&mut foreman, Input::LaneFree).0, 0, Vec::new());
    while let Some(task) = next.pop() {
        if let Task::Open(batch) = &task {
            opened_count += batch.tickets.len();
            assert_eq!(batch.tickets.len(), 4, "one of each sender");
        }
        let (more, told) = feed(&mut foreman, done(task));
        next.extend(more);
        verdicts.extend(told);
    }
    assert_eq!(opened_count, 32);
    assert_eq!(verdicts, [(job(1, 1, 0, 8).key, ValueOutcome::Holds)]);
}

#[test]
fn a_forgotten_value_has_no_verdict_and_its_jobs_are_answered() {
    let mut foreman = small();
    feed(&mut foreman, Input::LaneFree);
    let first = task(&mut foreman, requests([job(1, 1, 0, 2)]));
    feed(&mut foreman, requests([job(1, 1, 1, 2)]));
    feed(&mut foreman, forget(1));
    let second = task(&mut foreman, done(first));
    assert!(matches!(&second, Task::Open(batch) if !batch.tickets[0].is_wanted));
    assert_eq!(foreman.unsettled(), 0);
    // Its blobs may come again.
    feed(&mut foreman, requests([job(1, 1, 0, 2), job(1, 1, 1, 2)]));
    let both = task(&mut foreman, done(second));
    assert_eq!(opened(&both), [0, 1]);
    let settle = task(&mut foreman, done(both));
    feed(&mut foreman, forget(1));
    assert_eq!(
        feed(&mut foreman, done(settle)).1,
        [],
        "it was forgotten in the lane's hands"
    );
}

/// A value that fails has its turns beside a flood of jobs, and no job waits for more than one.
#[test]
fn a_flood_of_jobs_neither_hides_a_false_value_nor_waits_for_it() {
    let mut foreman = small();
    feed(&mut foreman, Input::LaneFree);
    let mut next = task(&mut foreman, requests([job(1, 1, 0, 1)]));
    let (mut turns, mut since) = (0, Vec::new());
    for round in 0..60 {
        feed(&mut foreman, requests((0..4).map(|index| job(2 + round, 1, index, 40))));
        let (turn, told) = match next {
            Task::Confirm(name, doubt) => {
                turns += 1;
                since.push(round);
                feed(&mut foreman, Input::Confirmed(name, ControlFlow::Continue(doubt)))
            }
            other => feed(&mut foreman, answer(other, |height, _| height == 1)),
        };
        assert_eq!(told.len(), 0);
        next = turn.into_iter().next().expect("the lane is never idle");
        if round % 8 == 7 {
            (2..=2 + round).for_each(|height| drop(feed(&mut foreman, forget(height))));
        }
    }
    assert!(turns >= 10, "{turns} turns");
    assert!(since.windows(2).all(|turns| turns[1] - turns[0] == 5), "{since:?}");
}

#[test]
fn what_gives_way_to_others_is_withheld() {
    let mut foreman = small();
    feed(&mut foreman, Input::LaneFree);
    let mut verdicts = Vec::new();
    let mut send = |jobs: Vec<VerifyJob>| {
        let mut next = feed(&mut foreman, requests(jobs)).0;
        while let Some(task) = next.pop() {
            let (more, told) = feed(&mut foreman, done(task));
            next.extend(more);
            verdicts.extend(told);
        }
    };
    send(vec![job(1, 1, 0, 2)]);
    send((0..100).map(|index| job(2, 1, index, 200)).collect());
    assert!(
        matches!(verdicts[..], [(key, ValueOutcome::Withheld { .. })] if key.height.0 == 1),
        "{verdicts:?}"
    );
}

/// Jobs of several senders and values arrive in any order, right and wrong ones and twice, and one to four lanes finish
/// in any order. Each job is opened or hashed once. Each value that gets whole has its one verdict, by its own blobs.
#[test]
fn every_interleaving_gives_each_whole_value_its_verdict_and_keeps_nothing() {
    for seed in 0..300 {
        let mut seeded = Seeded(seed);
        let lanes = 1 + seeded.below(4);
        let mut run = Run::new(lanes);
        // Values of one to twelve blobs, some of them short of one.
        for height in 1..=8 {
            let blobs = 1 + seeded.below(12) as u16;
            let sent = blobs - u16::from(seeded.below(4) == 0 && blobs > 1);
            let bad = (seeded.below(3) == 0).then(|| seeded.below(usize::from(sent)) as u16);
            run.values.insert(height, (sent == blobs, bad));
            for index in 0..sent {
                for _ in 0..1 + seeded.below(3) {
                    let right = job(height, seeded.below(5) as u8, index, blobs);
                    let digest = (seeded.below(2) == 0).then_some(WRONG);
                    run.to_send.push(VerifyJob { digest, ..right });
                }
                run.to_send.push(job(height, 7, index, blobs));
            }
        }
        for last in (1..run.to_send.len()).rev() {
            run.to_send.swap(last, seeded.below(last + 1));
        }
        while !run.to_send.is_empty() || !run.working.is_empty() {
            if seeded.below(3) == 0 || run.working.is_empty() {
                run.arrive(&mut seeded);
            } else {
                run.finish(&mut seeded);
            }
        }
        for (height, (is_whole, bad)) in &run.values {
            let why = Why::Wrong;
            let expected = bad.map_or(ValueOutcome::Holds, |index| ValueOutcome::Fails {
                index,
                why,
                proof: KzgProof::ZERO,
            });
            let found = run.found.get(height).copied();
            assert_eq!(found, is_whole.then_some(expected), "seed {seed}, value {height}");
        }
        (1..=8).for_each(|height| drop(feed(&mut run.foreman, forget(height))));
        assert_eq!(run.foreman.waiting() + run.foreman.unsettled(), 0, "seed {seed}");
        assert_eq!(
            shape(&run.foreman),
            shape(&Run::new(lanes).foreman),
            "nothing is kept of what passed through"
        );
    }
}

/// Everything that a foreman holds shows in its `Debug`, so this is a law about all its containers.
fn shape(foreman: &Crew) -> String {
    let text = format!("{foreman:?}");
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

struct Run {
    foreman: Crew,
    lanes: usize,
    working: Vec<Work>,
    to_send: Vec<VerifyJob>,
    /// Whether all blobs of a value come, and which of them fails.
    values: BTreeMap<u64, (bool, Option<u16>)>,
    found: BTreeMap<u64, ValueOutcome>,
}

impl Run {
    fn new(lanes: usize) -> Self {
        let mut foreman = small();
        for _ in 0..lanes {
            assert!(feed(&mut foreman, Input::LaneFree).0.is_empty());
        }
        Self {
            foreman,
            lanes,
            working: Vec::new(),
            to_send: Vec::new(),
            values: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }

    fn arrive(&mut self, seeded: &mut Seeded) {
        let count = seeded.below(7).min(self.to_send.len());
        // What comes after a verdict would begin the value anew: a client sends no more then.
        let mut jobs: Vec<_> = self.to_send.drain(..count).collect();
        jobs.retain(|job| !self.found.contains_key(&job.key.height.0));
        let mut jobs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                if job.key.height.0.is_multiple_of(2) {
                    sync(job)
                } else {
                    job
                }
            })
            .collect();
        jobs.iter_mut().for_each(|job| job.blob = Bytes::from_static(b"kept"));
        self.tell(requests(jobs));
    }

    fn finish(&mut self, seeded: &mut Seeded) {
        let task = self.working.swap_remove(seeded.below(self.working.len()));
        let values = &self.values;
        let answer = answer(task, |height, index| values[&height].1 == Some(index));
        self.tell(answer);
    }

    fn tell(&mut self, input: Answer) {
        let (tasks, told) = feed(&mut self.foreman, input);
        self.working.extend(tasks);
        assert!(self.working.len() <= self.lanes, "a lane has one task");
        let idle = self.working.len() < self.lanes;
        assert!(!idle || self.foreman.waiting() == 0, "a lane is idle while a job waits");
        for (key, outcome) in told {
            let before = self.found.insert(key.height.0, outcome);
            assert_eq!(before, None, "{key} has two verdicts");
        }
    }
}

mod pace;
