//! This file knows how to measure lanes as if each had a core to itself, on a machine that is busy with other things.
//!
//! The foreman is a machine, so it can run on a clock of our own. This thread carries out every task for real. A task
//! takes as much of that clock as it took of the thread's CPU time. Blobs arrive by the same clock. What the system
//! adds is left out: handing a blob over and waking a lane, some 50 µs each.

use ultramarine_types::verify::{ValueOutcome, VerifyRequest};
use ultramarine_types::{Machine, Nanos, Outbox};

use super::Shared;
use crate::cpu_time;
use crate::foreman::{self, Foreman, Policy, Request};
use crate::lane::settle;
use crate::opening::{OpenedClaim, Sums};
use crate::ticket::Ticket;
use crate::verifier::Verifier;

/// What a replay found, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    /// From the first blob to the verdict.
    pub whole: f64,
    /// From the last blob to the verdict.
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

type Input = foreman::Input<OpenedClaim, Sums>;
type Task = foreman::Task<OpenedClaim, Sums>;
type Output = foreman::Output<OpenedClaim, Sums>;

struct Replay<'a> {
    verifier: &'a dyn Verifier,
    foreman: Foreman<OpenedClaim, Sums>,
    out: Outbox<Output>,
    now: Nanos,
    /// Tasks that lanes are at.
    working: Vec<Done>,
    is_settled: bool,
}

/// What a task gave; the foreman gets it when the task's time has passed.
struct Done {
    at: Nanos,
    answer: Input,
}

impl<'a> Replay<'a> {
    fn new(verifier: &'a dyn Verifier, lanes: usize) -> Self {
        let mut this = Self {
            verifier,
            foreman: Foreman::new(Policy::default()),
            out: Outbox::new(),
            now: Nanos::ZERO,
            working: Vec::new(),
            is_settled: false,
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
        while !self.is_settled {
            let done = self.working.iter().map(|done| done.at).min();
            let next = (arrived < blobs).then(|| arrival(arrived));
            let at = [done, next].into_iter().flatten().min();
            self.now = self
                .now
                .max(at.expect("the verdict is missing and nothing is under way"));
            let due = (arrived..blobs).take_while(|index| arrival(*index) <= self.now);
            let requests: Vec<_> = due
                .map(|index| Request {
                    client: 0,
                    request: VerifyRequest::Job(samples[index % samples.len()].job(index, blobs)),
                })
                .collect();
            arrived += requests.len();
            self.tell(Input::Requests(requests));
            while let Some(place) = self.working.iter().position(|done| done.at <= self.now) {
                let done = self.working.swap_remove(place);
                self.tell(done.answer);
            }
        }
        Replayed {
            whole: self.now.as_duration().as_secs_f64(),
            waited: self.now.since(arrival(blobs - 1)).as_duration().as_secs_f64(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.foreman.handle(self.now, input, &mut self.out);
        while let Some(output) = self.out.pop() {
            match output {
                Output::Task(task) => {
                    let before = cpu_time::thread();
                    let answer = self.carry_out(task);
                    let took = Nanos::from(cpu_time::thread() - before);
                    let at = self.now + took;
                    self.working.push(Done { at, answer });
                }
                Output::Verdict { outcome, .. } => {
                    assert_eq!(outcome, ValueOutcome::Holds, "the samples are true claims");
                    self.is_settled = true;
                }
            }
        }
    }

    fn carry_out(&self, task: Task) -> Input {
        match task {
            Task::Open(batch) => {
                let claims: Vec<_> = batch.tickets.iter().map(Ticket::claim).collect();
                let openings = self
                    .verifier
                    .open(&claims, &mut |at, digest| batch.tickets[at].is_right(&digest));
                Input::Opened(batch.tickets.into_iter().zip(openings).collect())
            }
            Task::Sum(name, claims) => Input::Summed(name, self.verifier.sum(&claims)),
            Task::Settle(values) => Input::Settled(settle(self.verifier, values)),
            Task::Confirm(..) => unreachable!("the samples are true claims"),
        }
    }
}
