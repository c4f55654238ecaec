//! This file knows a node's verifier: the real foreman, and two lanes that take their time and compare numbers.
//!
//! Their inquiries name a few wrong claims a turn, as many as the real one does at its slowest.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_kzg_pipeline::foreman::{self, Blame, Policy, Task};
use ultramarine_kzg_pipeline::former::Ticket;
use ultramarine_kzg_pipeline::inquiry::Case;
use ultramarine_types::verify::{Finding, Urgency, Verdict, VerifyJob, WRONG_CLAIMS_MAX};
use ultramarine_types::{Machine, Nanos, Outbox, PeerId};

use super::{Event, World};
use crate::blobs;

/// Lanes of one node.
const LANES: usize = 2;

/// Wrong claims named in a turn of an inquiry.
const NAMED_A_TURN: usize = 2;
/// What a turn typically takes.
const TURN: Nanos = Nanos::from_millis(16);

/// An opened claim is the verdict that its settlement will give, and a sum is a list of them.
pub(crate) type Foreman = foreman::Foreman<Verdict, Vec<Verdict>, Inquiry>;
type Input = foreman::Input<Verdict, Vec<Verdict>, Inquiry>;
type Work = Task<Verdict, Vec<Verdict>, Inquiry>;

/// Claims that do not all hold.
#[derive(Debug)]
pub(crate) struct Inquiry {
    claims: Vec<Verdict>,
    /// How many wrong ones of a peer are named.
    named: BTreeMap<PeerId, usize>,
}

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
            if verdict.finding == Finding::Unjudged {
                self.count("unjudged");
            }
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
        node.foreman.check_whole();
        self.tasks(index, out);
    }

    fn tasks(&mut self, index: usize, mut out: Outbox<Work>) {
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
fn carry_out(task: Work) -> (Nanos, Done) {
    match task {
        Task::Open(batch) => {
            let typical = Nanos(300_000 * batch.tickets.len() as u64);
            let is_open = |claim: &Verdict| !matches!(claim.finding, Finding::Malformed(_));
            let (claims, verdicts): (_, Vec<Verdict>) = batch.tickets.iter().map(verdict).partition(is_open);
            let (lot, convicted) = (batch.lot, convicted(&verdicts));
            let answer = Input::Opened { lot, claims, convicted };
            (typical, Done { verdicts, answer })
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
        Task::Settle(urgency, settlement) => {
            let typical = Nanos(900_000 + 80_000 * settlement.loose.len() as u64);
            let claims: Vec<_> = settlement.sums.into_iter().flatten().chain(settlement.loose).collect();
            if claims.iter().all(|claim| claim.finding == Finding::Holds) {
                let (verdicts, answer) = (claims, Input::LaneFree);
                return (typical, Done { verdicts, answer });
            }
            let named = BTreeMap::new();
            (TURN, inquire(urgency, Case::default(), Inquiry { claims, named }))
        }
        Task::Inquire(urgency, blame) => (TURN, inquire(urgency, blame.case, blame.inquiry)),
        Task::Return(tickets) => {
            let verdicts = tickets.iter().map(verdict).map(unjudged).collect();
            let answer = Input::LaneFree;
            (Nanos(1000 * tickets.len() as u64), Done { verdicts, answer })
        }
    }
}

/// A turn of an inquiry.
fn inquire(urgency: Urgency, before: Case, inquiry: Inquiry) -> Done {
    let Inquiry { mut claims, mut named } = inquiry;
    let mut verdicts = Vec::new();
    for _ in 0..NAMED_A_TURN {
        let Some(at) = claims.iter().position(|claim| claim.finding == Finding::Wrong) else {
            break;
        };
        let wrong = claims.remove(at);
        verdicts.push(wrong);
        let Some(sender) = wrong.sender else { continue };
        let count = named.entry(sender).or_default();
        *count += 1;
        if *count == WRONG_CLAIMS_MAX {
            let theirs = claims.extract_if(.., |claim| claim.sender == Some(sender));
            verdicts.extend(theirs.map(unjudged));
        }
    }
    let is_wrong = |claim: &&Verdict| claim.finding == Finding::Wrong;
    let at_fault: BTreeSet<_> = claims.iter().filter(is_wrong).map(|claim| claim.sender).collect();
    verdicts.extend(claims.extract_if(.., |claim| !at_fault.contains(&claim.sender)));
    let convicted: Vec<PeerId> = named
        .iter()
        .filter(|(_, count)| **count >= WRONG_CLAIMS_MAX)
        .map(|(peer, _)| *peer)
        .collect();
    let named_too = named.keys().map(|peer| Some(*peer));
    let at_fault: BTreeSet<_> = at_fault.into_iter().chain(named_too).collect();
    let answer = Input::Inquired {
        urgency,
        before,
        convicted,
        left: (!claims.is_empty()).then(|| Blame {
            case: Case {
                claims_count: claims.len(),
                at_fault: at_fault.into_iter().collect(),
                others_wait: false,
            },
            inquiry: Inquiry { claims, named },
        }),
    };
    Done { verdicts, answer }
}

/// Peers of which so many of these are bad.
fn convicted(verdicts: &[Verdict]) -> Vec<PeerId> {
    let mut bad: BTreeMap<PeerId, usize> = BTreeMap::new();
    let is_bad = |verdict: &&Verdict| verdict.finding.is_senders_fault();
    for peer in verdicts.iter().filter(is_bad).filter_map(|verdict| verdict.sender) {
        *bad.entry(peer).or_default() += 1;
    }
    bad.retain(|_, count| *count >= WRONG_CLAIMS_MAX);
    bad.into_keys().collect()
}

fn unjudged(claim: Verdict) -> Verdict {
    Verdict {
        finding: Finding::Unjudged,
        ..claim
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
