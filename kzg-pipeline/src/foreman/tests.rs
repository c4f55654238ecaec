use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::fixtures::{Seeded, job};
use crate::inquiry::Inquiry;
use crate::inquiry::tests::{Knows, claim};
use crate::opening::Summed;
use ultramarine_types::PeerId;
use ultramarine_types::verify::VerifyJob;

/// An opened claim is its sender and index here, a sum a list of them; an inquiry is a real one, with the names of each
/// piece.
type Name = (u8, u16);
type Asked = (Vec<Vec<Name>>, Inquiry);
type Crew = Foreman<Name, Vec<Name>, Asked>;
type Work = Task<Name, Vec<Name>, Asked>;
type Answer = Input<Name, Vec<Name>, Asked>;

const MS: u64 = 1_000_000;

fn small() -> Crew {
    let account = |wait| AccountPolicy {
        sum_claims: 4,
        claims_max: 40,
        wait: Nanos(wait * MS),
    };
    Foreman::new(Policy {
        current_blobs_max: 4,
        sync_blobs_max: 2,
        steps_max: 6,
        inquiry_claims_max: 24,
        current: account(10),
        sync: account(20),
    })
}

fn ticket(sender: u8, index: u16, urgency: Urgency, last: bool) -> Ticket {
    let job = VerifyJob {
        urgency,
        ..job(sender, index, last)
    };
    Ticket { client: 0, job }
}

fn jobs(sender: u8, indices: std::ops::Range<u16>, urgency: Urgency) -> Answer {
    Input::Jobs(indices.map(|index| ticket(sender, index, urgency, false)).collect())
}

fn feed(foreman: &mut Crew, now: u64, input: Answer) -> Vec<Work> {
    let mut out = Outbox::new();
    foreman.handle(Nanos(now), input, &mut out);
    foreman.check_whole();
    out.drain().collect()
}

fn one(mut tasks: Vec<Work>) -> Work {
    let task = tasks.pop().expect("a task");
    assert!(tasks.is_empty(), "one task, not also {tasks:?}");
    task
}

fn names(batch: &Batch) -> Vec<Name> {
    batch.tickets.iter().map(name).collect()
}

fn name(ticket: &Ticket) -> Name {
    (ticket.job.sender.map_or(0, |peer| peer.0[0]), ticket.job.index)
}

/// What a lane answers that leaves every claim open.
fn done(task: Work) -> Answer {
    match task {
        Task::Open(batch) => Input::Opened {
            lot: batch.lot,
            claims: names(&batch),
            convicted: Vec::new(),
        },
        Task::Sum(urgency, piece) => Input::Summed {
            urgency,
            claims_count: piece.claims.len(),
            sum: piece.claims,
            mark: piece.mark,
        },
        Task::Settle(..) | Task::Return(_) => Input::LaneFree,
        Task::Inquire(..) => panic!("nobody is to blame"),
    }
}

/// What a turn of an inquiry gave.
struct Turn {
    told: Vec<Name>,
    steps: usize,
    answer: Answer,
}

/// Settles, or goes on with an inquiry, by at most `steps_max` steps.
fn inquire(task: Work, steps_max: usize, wrong: impl Fn(&Name) -> bool) -> Turn {
    let (urgency, before, (pieces, mut inquiry)) = match task {
        Task::Settle(urgency, Settlement { mut sums, loose }) => {
            sums.extend((!loose.is_empty()).then_some(loose));
            let claims = |names: &Vec<Name>| names.iter().map(|name| claim(wrong(name), name.0)).collect();
            let summed = sums.iter().map(|names| Summed::without_sums(claims(names))).collect();
            let sender = |piece: usize, at: usize| Some(PeerId([sums[piece][at].0; 32]));
            let inquiry = Inquiry::of_senders(summed, sender);
            (urgency, Case::default(), (sums, inquiry))
        }
        Task::Inquire(urgency, blame) => (urgency, blame.case, blame.inquiry),
        other => panic!("nothing to ask about: {other:?}"),
    };
    let (judge, mut told) = (Knows::default(), Vec::new());
    inquiry.ask(steps_max, &judge, &mut |some| {
        told.extend(&pieces[some.piece][some.positions()])
    });
    let (case, convicted) = (inquiry.case(), inquiry.convicted().collect());
    let answer = Input::Inquired {
        urgency,
        before,
        left: (case.claims_count > 0).then_some(Blame {
            inquiry: (pieces, inquiry),
            case,
        }),
        convicted,
    };
    let steps = judge.steps();
    Turn { told, steps, answer }
}

fn opened(task: &Work) -> Vec<Name> {
    match task {
        Task::Open(batch) => names(batch),
        other => panic!("not a batch: {other:?}"),
    }
}

fn settled(task: &Work) -> Vec<Name> {
    match task {
        Task::Settle(_, settlement) => [settlement.sums.concat(), settlement.loose.clone()].concat(),
        other => panic!("not a settlement: {other:?}"),
    }
}

#[test]
fn a_free_lane_takes_what_waits_and_no_job_waits_for_company() {
    let mut foreman = small();
    assert!(feed(&mut foreman, 0, Input::LaneFree).is_empty());
    let task = one(feed(&mut foreman, 1, jobs(1, 0..1, Urgency::Current)));
    assert_eq!(opened(&task), [(1, 0)]);
    assert!(
        feed(&mut foreman, 2, jobs(1, 1..7, Urgency::Current)).is_empty(),
        "no lane is free"
    );
    let next = one(feed(&mut foreman, 3, done(task)));
    assert_eq!(
        opened(&next),
        [(1, 1), (1, 2), (1, 3), (1, 4)],
        "they found company while waiting"
    );
    assert_eq!(foreman.waiting(), 2);
}

#[test]
fn free_lanes_share_what_waits() {
    let mut foreman = small();
    for _ in 0..3 {
        feed(&mut foreman, 0, Input::LaneFree);
    }
    let tasks = feed(&mut foreman, 1, jobs(1, 0..6, Urgency::Current));
    let sizes: Vec<_> = tasks.iter().map(|task| opened(task).len()).collect();
    assert_eq!(sizes, [2, 2, 2]);
}

#[test]
fn the_current_height_goes_before_sync_in_everything() {
    let mut foreman = small();
    feed(&mut foreman, 0, jobs(9, 0..4, Urgency::Sync));
    let sync = one(feed(&mut foreman, 0, Input::LaneFree));
    assert_eq!(opened(&sync), [(9, 0), (9, 1)], "sync's batches are short");
    let last = Input::Jobs(vec![ticket(1, 0, Urgency::Current, true)]);
    assert!(feed(&mut foreman, 1, last).is_empty());
    // Sync could open more, and its claims wait longer than they should.
    let current = one(feed(&mut foreman, 90 * MS, done(sync)));
    assert_eq!(opened(&current), [(1, 0)]);
    let verdict = one(feed(&mut foreman, 91 * MS, done(current)));
    assert_eq!(settled(&verdict), [(1, 0)], "sync's claims are not settled with it");
    let sync = one(feed(&mut foreman, 120 * MS, done(verdict)));
    assert_eq!(settled(&sync), [(9, 0), (9, 1)]);
    assert_eq!(opened(&one(feed(&mut foreman, 121 * MS, done(sync)))), [(9, 2), (9, 3)]);
}

#[test]
fn a_block_is_summed_on_the_way_and_settled_by_one_task_at_its_end() {
    let mut foreman = small();
    feed(&mut foreman, 0, Input::LaneFree);
    let mut tasks: Vec<&str> = Vec::new();
    for index in 0..10 {
        let last = index == 9;
        let mut task = one(feed(
            &mut foreman,
            1 + u64::from(index),
            Input::Jobs(vec![ticket(1, index, Urgency::Current, last)]),
        ));
        loop {
            tasks.push(match &task {
                Task::Open(_) => "open",
                Task::Sum(..) => "sum",
                Task::Settle(_, settlement) => {
                    assert_eq!((settlement.sums.len(), settlement.loose.len()), (2, 2));
                    "settle"
                }
                Task::Inquire(..) | Task::Return(_) => panic!("nobody is to blame"),
            });
            let mut next = feed(&mut foreman, 1 + u64::from(index), done(task));
            match next.pop() {
                Some(more) => task = more,
                None => break,
            }
        }
    }
    let (open, sum) = (["open"; 4], ["sum"]);
    assert_eq!(tasks, [&open[..], &sum, &open, &sum, &open[..2], &["settle"]].concat());
    assert_eq!(foreman.deadline(), None, "nothing is left");
}

#[test]
fn a_free_lane_settles_a_stalled_stream_at_the_deadline() {
    let mut foreman = small();
    feed(&mut foreman, 0, Input::LaneFree);
    let task = one(feed(&mut foreman, 0, jobs(1, 0..2, Urgency::Current)));
    assert_eq!(foreman.deadline(), None, "no lane could do anything");
    assert!(feed(&mut foreman, 5, done(task)).is_empty());
    assert_eq!(foreman.deadline(), Some(Nanos(5 + 10 * MS)));
    let mut out = Outbox::new();
    foreman.wake(Nanos(4 + 10 * MS), &mut out);
    assert!(out.is_empty(), "waking early changes nothing");
    foreman.wake(Nanos(5 + 10 * MS), &mut out);
    assert_eq!(settled(&one(out.drain().collect())), [(1, 0), (1, 1)]);
}

/// Jobs of several senders arrive in any order, and one to four lanes finish in any order. Each job is opened once, and
/// each claim that stays open is settled once. A lane has one task at a time, and nothing is kept beyond its wait.
#[test]
fn every_interleaving_settles_every_claim_once() {
    for seed in 0..300 {
        let mut seeded = Seeded(seed);
        let mut run = Run::new(1 + seeded.below(4));
        for _ in 0..400 {
            run.now += seeded.below(3 * MS as usize) as u64;
            match seeded.below(3) {
                0 => run.arrive(&mut seeded),
                _ => run.finish(&mut seeded),
            }
        }
        while !run.working.is_empty() {
            run.finish(&mut seeded);
        }
        // Nothing more comes: deadlines alone bring the rest out.
        while run.foreman.deadline().is_some() {
            run.wake();
            while !run.working.is_empty() {
                run.finish(&mut seeded);
            }
        }
        assert_eq!(run.foreman.waiting() + run.foreman.unsettled(), 0, "seed {seed}");
        let sent: u16 = run.sent.values().sum();
        assert_eq!(
            run.found.len(),
            usize::from(sent),
            "seed {seed}: a finding for each job"
        );
    }
}

/// Everything that a foreman holds shows in its `Debug`, so this is a law about all its containers.
#[test]
fn memory_is_flat_in_the_number_of_batches() {
    let flood = |blocks: usize| {
        let mut seeded = Seeded(13);
        let mut run = Run::new(3);
        let (mut most, mut sent) = (0, 0);
        while sent < blocks || !run.working.is_empty() || run.foreman.deadline().is_some() {
            run.now += MS / 4;
            if sent < blocks && run.foreman.waiting() < 16 {
                run.arrive(&mut seeded);
                sent += 1;
            }
            match run.working.len() {
                0 => run.wake(),
                _ => run.finish(&mut seeded),
            }
            most = most.max(run.foreman.waiting() + run.foreman.unsettled());
        }
        (most, shape(&run.foreman), run.found.len())
    };
    let (most, at_rest, found) = flood(4000);
    assert!(found > 10_000, "{found} found");
    assert_eq!(
        at_rest,
        shape(&Run::new(3).foreman),
        "nothing is kept of what passed through"
    );
    // What waits, an account of each urgency and a crowd in each: of 400 blocks as of 4000.
    assert!(
        most.max(flood(400).0) <= 16 + 6 + 2 * (40 + 24 + 40),
        "{most} at a time"
    );
}

/// What a foreman holds, whatever numbers it counts by and whether an inquiry had the last turn.
fn shape(foreman: &Crew) -> String {
    let text = format!("{foreman:?}").replace("had_turn: true", "had_turn: false");
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

struct Run {
    now: u64,
    foreman: Crew,
    lanes: usize,
    working: Vec<Work>,
    sent: BTreeMap<u8, u16>,
    found: BTreeSet<Name>,
}

impl Run {
    fn new(lanes: usize) -> Self {
        let mut foreman = small();
        for _ in 0..lanes {
            assert!(feed(&mut foreman, 0, Input::LaneFree).is_empty());
        }
        Self {
            now: 0,
            foreman,
            lanes,
            working: Vec::new(),
            sent: BTreeMap::new(),
            found: BTreeSet::new(),
        }
    }

    fn arrive(&mut self, seeded: &mut Seeded) {
        let tickets = (0..seeded.below(7)).map(|_| {
            let sender = seeded.below(5) as u8;
            let index = self.sent.entry(sender).or_default();
            *index += 1;
            let urgency = if sender < 3 { Urgency::Current } else { Urgency::Sync };
            ticket(sender, *index, urgency, seeded.below(9) == 0)
        });
        let input = Input::Jobs(tickets.collect());
        let tasks = feed(&mut self.foreman, self.now, input);
        self.assign(tasks);
    }

    /// Lets the time come at which something is due.
    fn wake(&mut self) {
        if let Some(deadline) = self.foreman.deadline() {
            self.now = self.now.max(deadline.0);
            let mut out = Outbox::new();
            self.foreman.wake(Nanos(self.now), &mut out);
            self.assign(out.drain().collect());
        }
    }

    fn assign(&mut self, tasks: Vec<Work>) {
        self.working.extend(tasks);
        assert!(self.working.len() <= self.lanes, "a lane has one task");
        let idle = self.working.len() < self.lanes;
        let inquiring = self.working.iter().any(|task| matches!(task, Task::Inquire(..)));
        assert!(
            !idle || self.foreman.waiting() == 0 || inquiring,
            "a lane is idle while a job waits"
        );
    }

    fn finish(&mut self, seeded: &mut Seeded) {
        if self.working.is_empty() {
            return;
        }
        let task = self.working.swap_remove(seeded.below(self.working.len()));
        let mut answer = match task {
            Task::Settle(urgency, ref settlement) => {
                assert!(settlement.sums.iter().all(|sum| !sum.is_empty()));
                let names = settled(&task);
                assert!(!names.is_empty(), "a settlement has claims");
                assert!(names.iter().all(|name| (name.0 < 3) == (urgency == Urgency::Current)));
                // Most hold.
                if seeded.below(3) > 0 {
                    self.find(names);
                    Input::LaneFree
                } else {
                    self.inquire(task)
                }
            }
            Task::Inquire(..) => self.inquire(task),
            Task::Return(ref tickets) => {
                self.find(tickets.iter().map(name).collect());
                done(task)
            }
            other => done(other),
        };
        if let Input::Opened { claims, .. } = &mut answer {
            // Some have their finding at once.
            let (keep, at_once): (Vec<_>, Vec<_>) = claims.iter().partition(|(_, index)| index % 5 != 0);
            *claims = keep;
            self.find(at_once);
        }
        let tasks = feed(&mut self.foreman, self.now, answer);
        self.assign(tasks);
    }

    fn inquire(&mut self, task: Work) -> Answer {
        let turn = inquire(task, 6, |name| name.1.is_multiple_of(2));
        self.find(turn.told);
        turn.answer
    }

    fn find(&mut self, names: Vec<Name>) {
        for name in names {
            assert!(self.found.insert(name), "{name:?} was found twice");
        }
    }
}

mod blame;
mod pace;
