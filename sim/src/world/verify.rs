//! This file knows a node's verifier: the real foreman, and two lanes that take their time and compare numbers.

use ultramarine_kzg_pipeline::foreman::{self, Policy, Request, Task};
use ultramarine_kzg_pipeline::former::Batch;
use ultramarine_kzg_pipeline::opening::Opening;
use ultramarine_kzg_pipeline::ticket::Ticket;
use ultramarine_types::verify::{Refutation, ValueOutcome, Verdict, VerifyRequest};
use ultramarine_types::{Machine, Nanos, Outbox, ValueKey};

use super::World;
use super::event::{Answer as Input, Done, Event};
use crate::blobs;

/// Lanes of one node.
const LANES: usize = 2;
/// Blobs asked about in a turn of a value that fails.
const QUESTIONS_PER_TURN: usize = 8;
/// Tasks in a thousand of which lanes that lie make something wrong.
const LIES: u32 = 300;
/// What one blob's work typically takes.
pub const OPEN: Nanos = Nanos(300_000);
/// What a blob's share of a sum typically takes.
pub const SUM: Nanos = Nanos(80_000);
/// What the pairing of a value typically takes.
pub const SETTLE: Nanos = Nanos(900_000);
/// What a turn typically takes.
const TURN: Nanos = Nanos::from_millis(16);

/// An opened claim is whether it holds, and a sum is whether all of them do.
pub(crate) type Foreman = foreman::Foreman<bool, bool>;
type Output = foreman::Output<bool, bool>;

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

    pub(crate) fn verify(&mut self, index: usize, request: VerifyRequest) {
        self.foreman_input(index, Input::Requests(vec![Request { client: 0, request }]));
    }

    pub(crate) fn lane_done(&mut self, index: usize, done: Done) {
        for verdict in done.verdicts {
            self.join_input(index, ultramarine_net::streaming::Input::Verdict(verdict));
        }
        self.foreman_input(index, done.answer);
    }

    fn foreman_input(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let life = node.life;
        let mut out = Outbox::new();
        node.foreman.handle(node.clock.local(self.now), input, &mut out);
        node.foreman.check_whole();
        while let Some(output) = out.pop() {
            match output {
                Output::Task(task) => {
                    let lies = self.now < self.nodes[index].lanes_lie_until && self.verify_dice.chance(LIES);
                    if lies {
                        self.count("lane-lies");
                        self.nodes[index].lied_about.extend(keys(&task));
                    }
                    let (typical, done) = carry_out(task, lies);
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
                Output::Verdict { key, outcome, .. } => {
                    match outcome {
                        ValueOutcome::Holds => {}
                        ValueOutcome::Fails { .. } => self.count("value-refuted"),
                        ValueOutcome::Withheld { .. } => self.count("verdict-withheld"),
                    }
                    self.join_input(
                        index,
                        ultramarine_net::streaming::Input::Verdict(Verdict::Value { key, outcome }),
                    );
                }
            }
        }
    }
}

/// The values that a task is about.
fn keys(task: &Task<bool, bool>) -> Vec<ValueKey> {
    match task {
        Task::Open(batch) => batch.tickets.iter().map(|ticket| ticket.name.key).collect(),
        Task::Settle(values) => values.iter().map(|whole| whole.name.key).collect(),
        Task::Sum(name, _) | Task::Confirm(name, _) => vec![name.key],
    }
}

/// What a task gives, and how long it typically takes: a share for each blob, and a pairing at the end.
///
/// `lies`: bytes rot behind their hash, sums are wrong, or the library fails.
fn carry_out(task: Task<bool, bool>, lies: bool) -> (Nanos, Done) {
    let (typical, verdicts, answer) = match task {
        Task::Open(Batch { tickets, .. }) => {
            let typical = Nanos(OPEN.0 * tickets.len() as u64);
            let (verdicts, mut opened): (_, Vec<_>) = tickets.into_iter().map(open).unzip();
            if lies {
                opened.iter_mut().for_each(rot);
            }
            (typical, verdicts, Input::Opened(opened))
        }
        Task::Sum(name, claims) => {
            let typical = Nanos(SUM.0 * claims.len() as u64);
            (
                typical,
                Vec::new(),
                Input::Summed(name, !lies && claims.into_iter().all(|holds| holds)),
            )
        }
        Task::Settle(values) => {
            let holds = values.into_iter().map(|whole| {
                let holds = whole.sums.into_iter().chain(whole.loose).all(|holds| holds);
                (whole.name, holds && !lies)
            });
            (SETTLE, Vec::new(), Input::Settled(holds.collect()))
        }
        Task::Confirm(name, doubt) => {
            let turn = doubt.go_on(QUESTIONS_PER_TURN, |claim| {
                if lies {
                    return Err("a lie");
                }
                Ok(blobs::finding(claim.blob, claim.commitment, claim.proof))
            });
            (TURN, Vec::new(), Input::Confirmed(name, turn))
        }
    };
    (typical, Done { verdicts, answer })
}

/// Hashes a job, and opens it if its bytes are right and wanted.
fn open(mut ticket: Ticket) -> (Verdict, (Ticket, Opening<bool>)) {
    let job = &mut ticket.job;
    let digest = blobs::digest(&job.blob, &job.commitment);
    let is_right = job.digest.is_none_or(|wanted| wanted == digest);
    job.digest = Some(digest);
    let verdict = Verdict::Part {
        key: job.key,
        index: job.index,
        sender: job.sender,
        digest,
        is_right,
    };
    let opening = match blobs::finding(&job.blob, &job.commitment, &job.proof) {
        _ if !is_right || !ticket.is_wanted => Opening::Hashed,
        Err(why @ Refutation::Malformed(_)) => Opening::Settled(Err(why)),
        found => Opening::Open(found.is_ok()),
    };
    (verdict, (ticket, opening))
}

/// The bytes of an opened job change where the lanes keep them.
fn rot((ticket, opening): &mut (Ticket, Opening<bool>)) {
    if let Opening::Open(holds) = opening {
        ticket.job.blob = blobs::spoiled(&ticket.job.blob);
        *holds = false;
    }
}
