//! This file knows a node's verifier: the real foreman, and two lanes that take their time and compare numbers.

use ultramarine_kzg_pipeline::foreman::{self, Policy, Task};
use ultramarine_kzg_pipeline::former::Ticket;
use ultramarine_types::verify::{Verdict, VerifyJob};
use ultramarine_types::{Machine, Nanos, Outbox};

use super::{Event, World};
use crate::blobs;

/// Lanes of one node.
const LANES: usize = 2;

/// An opened claim is the verdict that its settlement will give, and a sum is a list of them.
pub(crate) type Foreman = foreman::Foreman<Verdict, Vec<Verdict>>;
type Input = foreman::Input<Verdict, Vec<Verdict>>;

/// What a task gave: verdicts for whoever asked, and the answer for the foreman.
#[derive(Debug)]
pub(crate) struct Done {
    verdicts: Vec<Verdict>,
    answer: Input,
}

impl World {
    pub(crate) fn start_lanes(&mut self, index: usize) {
        let mut out = Outbox::new();
        let node = &mut self.nodes[index];
        node.foreman = Foreman::new(Policy::default());
        for _ in 0..LANES {
            node.foreman
                .handle(node.clock.local(self.now), Input::LaneFree, &mut out);
        }
        assert!(out.is_empty(), "nothing waits for a lane yet");
    }

    pub(crate) fn verify(&mut self, index: usize, job: VerifyJob) {
        self.foreman_input(index, Input::Jobs(vec![Ticket { client: 0, job }]));
    }

    pub(crate) fn lane_done(&mut self, index: usize, done: Done) {
        for verdict in done.verdicts {
            self.join_input(index, ultramarine_net::streaming::Input::Verdict(verdict));
        }
        self.foreman_input(index, done.answer);
    }

    pub(crate) fn foreman_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        node.foreman.wake(node.clock.local(self.now), &mut out);
        self.tasks(index, out);
    }

    fn foreman_input(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        node.foreman.handle(node.clock.local(self.now), input, &mut out);
        self.tasks(index, out);
    }

    fn tasks(&mut self, index: usize, mut out: Outbox<Task<Verdict, Vec<Verdict>>>) {
        let life = self.nodes[index].life;
        while let Some(task) = out.pop() {
            let (typical, done) = carry_out(task);
            let at = self.now + self.verify_dice.latency(typical);
            self.queue.plan(
                at,
                Event::LaneDone {
                    node: index,
                    life,
                    done: Box::new(done),
                },
            );
        }
        let node = &mut self.nodes[index];
        match node.foreman.deadline() {
            None => node.foreman_wake_at = None,
            Some(deadline) => {
                let at = node.clock.simulated(deadline).max(self.now);
                if node.foreman_wake_at != Some(at) && at != Nanos::NEVER {
                    node.foreman_wake_at = Some(at);
                    self.queue.plan(at, Event::ForemanWake { node: index, life, at });
                }
            }
        }
    }
}

/// What a task gives, and how long it typically takes: a share for each blob, and a pairing at the end.
fn carry_out(task: Task<Verdict, Vec<Verdict>>) -> (Nanos, Done) {
    match task {
        Task::Open(batch) => {
            let typical = Nanos(300_000 * batch.tickets.len() as u64);
            let claims = batch.tickets.iter().map(verdict).collect();
            let answer = Input::Opened { lot: batch.lot, claims };
            (
                typical,
                Done {
                    verdicts: Vec::new(),
                    answer,
                },
            )
        }
        Task::Sum(urgency, piece) => {
            let typical = Nanos(80_000 * piece.claims.len() as u64);
            let answer = Input::Summed {
                urgency,
                claims_count: piece.claims.len(),
                sum: piece.claims,
                mark: piece.mark,
            };
            (
                typical,
                Done {
                    verdicts: Vec::new(),
                    answer,
                },
            )
        }
        Task::Settle(_, settlement) => {
            let typical = Nanos(900_000 + 80_000 * settlement.loose.len() as u64);
            let verdicts = settlement.sums.into_iter().flatten().chain(settlement.loose).collect();
            let answer = Input::LaneFree;
            (typical, Done { verdicts, answer })
        }
    }
}

fn verdict(Ticket { job, .. }: &Ticket) -> Verdict {
    Verdict {
        key: job.key,
        index: job.index,
        sender: job.sender,
        finding: blobs::finding(&job.blob, &job.commitment, &job.proof),
    }
}
