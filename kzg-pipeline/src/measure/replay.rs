//! This file knows how to measure lanes as if each had a core to itself, on a machine that is busy with other things.
//!
//! The foreman is a machine, so it can run on a clock of our own. This thread carries out every task for real. A task
//! takes as much of that clock as it took of the thread's CPU time. Blobs arrive by the same clock. What the system
//! adds is left out: handing a blob over and waking a lane, some 50 µs each.

use ultramarine_types::verify::Finding;
use ultramarine_types::{Machine, Nanos, Outbox};

use super::Shared;
use crate::cpu_time;
use crate::foreman::{self, Foreman, Policy};
use crate::former::Ticket;
use crate::inquiry::Inquiry;
use crate::opening::{OpenedClaim, Opening, Summed};
use crate::verifier::Verifier;

/// What a replay found, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    /// From the first blob to the last verdict.
    pub whole: f64,
    /// From the last blob to the last verdict.
    pub waited: f64,
}

/// A block of `blobs`, one every `pause`, with a core for each of `lanes`.
pub(super) fn replay(
    verifier: &dyn Verifier,
    lanes: usize,
    samples: &[Shared],
    blobs: usize,
    pause: Nanos,
) -> Replayed {
    Replay::new(verifier, lanes).run(samples, blobs, pause)
}

type Input = foreman::Input<OpenedClaim, Summed>;
type Task = foreman::Task<OpenedClaim, Summed>;

struct Replay<'a> {
    verifier: &'a dyn Verifier,
    foreman: Foreman<OpenedClaim, Summed>,
    tasks: Outbox<Task>,
    now: Nanos,
    /// Tasks that lanes are at.
    working: Vec<Done>,
    verdicts: usize,
}

/// What a task gave; the foreman gets it when the task's time has passed.
struct Done {
    at: Nanos,
    verdicts: usize,
    answer: Input,
}

impl<'a> Replay<'a> {
    fn new(verifier: &'a dyn Verifier, lanes: usize) -> Self {
        let mut this = Self {
            verifier,
            foreman: Foreman::new(Policy::default()),
            tasks: Outbox::new(),
            now: Nanos::ZERO,
            working: Vec::new(),
            verdicts: 0,
        };
        for _ in 0..lanes {
            this.tell(Input::LaneFree);
        }
        this
    }

    /// A block of `blobs`, one every `pause`.
    fn run(mut self, samples: &[Shared], blobs: usize, pause: Nanos) -> Replayed {
        let arrival = |index: usize| Nanos(pause.0 * index as u64);
        let mut arrived = 0;
        while self.verdicts < blobs {
            let done = self.working.iter().map(|done| done.at).min();
            let next = (arrived < blobs).then(|| arrival(arrived));
            let deadline = self.foreman.deadline();
            let at = [done, next, deadline].into_iter().flatten().min();
            self.now = self.now.max(at.expect("a verdict is missing and nothing is under way"));
            let due = (arrived..blobs).take_while(|index| arrival(*index) <= self.now);
            let tickets: Vec<_> = due
                .map(|index| Ticket {
                    client: 0,
                    job: samples[index % samples.len()].job(index, index + 1 == blobs),
                })
                .collect();
            arrived += tickets.len();
            self.tell(Input::Jobs(tickets));
            while let Some(at) = self.working.iter().position(|done| done.at <= self.now) {
                let done = self.working.swap_remove(at);
                self.verdicts += done.verdicts;
                self.tell(done.answer);
            }
        }
        Replayed {
            whole: self.now.as_duration().as_secs_f64(),
            waited: self.now.since(arrival(blobs - 1)).as_duration().as_secs_f64(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.foreman.handle(self.now, input, &mut self.tasks);
        while let Some(task) = self.tasks.pop() {
            let before = cpu_time::thread();
            let (verdicts, answer) = self.carry_out(task);
            let took = Nanos::from(cpu_time::thread() - before);
            self.working.push(Done {
                at: self.now + took,
                verdicts,
                answer,
            });
        }
    }

    fn carry_out(&self, task: Task) -> (usize, Input) {
        match task {
            Task::Open(batch) => {
                let claims: Vec<_> = batch.tickets.iter().map(Ticket::claim).collect();
                let open = |opening| match opening {
                    Opening::Open(opened) => Some(opened),
                    Opening::Settled(finding) => {
                        assert_eq!(finding, Finding::Holds, "the samples are true claims");
                        None
                    }
                };
                let openings = self.verifier.open(&claims);
                let claims: Vec<_> = openings.into_iter().filter_map(open).collect();
                let settled = batch.tickets.len() - claims.len();
                let (lot, convicted) = (batch.lot, Vec::new());
                (settled, Input::Opened { lot, claims, convicted })
            }
            Task::Sum(urgency, piece) => {
                let summed = Input::Summed {
                    urgency,
                    claims_count: piece.claims.len(),
                    sum: self.verifier.sum(piece.claims),
                    mark: piece.mark,
                };
                (0, summed)
            }
            Task::Settle(_, settlement) => {
                let mut sums = settlement.sums;
                if !settlement.loose.is_empty() {
                    sums.push(self.verifier.sum(settlement.loose));
                }
                let (mut settled, mut inquiry) = (0, Inquiry::new(sums));
                self.verifier.inquire(&mut inquiry, 1, &mut |told| {
                    assert_eq!(told.finding, Finding::Holds, "the samples are true claims");
                    settled += told.positions().len();
                });
                assert_eq!(inquiry.claims_left(), 0, "one question settles true claims");
                (settled, Input::LaneFree)
            }
            Task::Return(_) => unreachable!("the samples are true claims"),
        }
    }
}
