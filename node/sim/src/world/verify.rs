//! This file knows a node's verifier: the real batch former, and two lanes that take their time and compare numbers.

use ultramarine_kzg_pipeline::former::{Batch, Former, Input, Policy, Ticket};
use ultramarine_types::verify::{Verdict, VerifyJob};
use ultramarine_types::{Machine, Nanos, Outbox};

use super::{Event, World};
use crate::blobs;

/// Lanes of one node.
const LANES: usize = 2;

impl World {
    pub(crate) fn start_lanes(&mut self, index: usize) {
        let mut out = Outbox::new();
        let node = &mut self.nodes[index];
        node.former = Former::new(Policy::default());
        for _ in 0..LANES {
            node.former
                .handle(node.clock.local(self.now), Input::LaneFree, &mut out);
        }
        assert!(out.is_empty(), "nothing waits for a lane yet");
    }

    pub(crate) fn verify(&mut self, index: usize, job: VerifyJob) {
        self.former_input(index, Input::Job(Ticket { client: 0, job }));
    }

    pub(crate) fn verified(&mut self, index: usize, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            self.join_input(index, ultramarine_net::streaming::Input::Verdict(verdict));
        }
        self.former_input(index, Input::LaneFree);
    }

    pub(crate) fn former_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        node.former.wake(node.clock.local(self.now), &mut out);
        self.batches(index, out);
    }

    fn former_input(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let mut out = Outbox::new();
        node.former.handle(node.clock.local(self.now), input, &mut out);
        self.batches(index, out);
    }

    fn batches(&mut self, index: usize, mut out: Outbox<Batch>) {
        let life = self.nodes[index].life;
        while let Some(batch) = out.pop() {
            // A pairing, and a share for each blob.
            let typical = Nanos(900_000 + 300_000 * batch.tickets.len() as u64);
            let verdicts = batch
                .tickets
                .into_iter()
                .map(|Ticket { job, .. }| {
                    let finding = blobs::finding(&job.blob, &job.commitment, &job.proof);
                    Verdict {
                        key: job.key,
                        index: job.index,
                        sender: job.sender,
                        finding,
                    }
                })
                .collect();
            let at = self.now + self.verify_dice.latency(typical);
            self.queue.plan(
                at,
                Event::Verified {
                    node: index,
                    life,
                    verdicts,
                },
            );
        }
        let node = &mut self.nodes[index];
        match node.former.deadline() {
            None => node.former_wake_at = None,
            Some(deadline) => {
                let at = node.clock.simulated(deadline).max(self.now);
                if node.former_wake_at != Some(at) && at != Nanos::NEVER {
                    node.former_wake_at = Some(at);
                    self.queue.plan(at, Event::FormerWake { node: index, life, at });
                }
            }
        }
    }
}
