//! This file knows how to form batches from waiting jobs: who goes first, with whom, and when.
//!
//! A lane takes a whole batch, and a batch costs one pairing whatever its size; so company is worth a short wait, and a
//! long batch makes whoever comes next wait. The rules:
//!
//! - a batch holds jobs of one urgency; `Current` goes before `Sync`, and a `Sync` batch is short, because a block of the
//!   current height may arrive while it runs;
//! - a batch goes when a lane is free and it is full, or nobody's next blob is coming (`last`), or its oldest job has
//!   waited long enough;
//! - senders take turns, blob by blob: one that floods waits for itself, and delays any other by less than one batch.
//!
//! Keeps: every job leaves in exactly one batch; jobs of one sender and urgency leave in the order they came.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::verify::{Urgency, VerifyJob};
use ultramarine_types::{Machine, Nanos, Outbox, PeerId};

/// How large batches are and how long they wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Most blobs of a batch of the current height.
    pub current_blobs_max: usize,
    /// Most blobs of a sync batch: what a block of the current height may have to wait for.
    pub sync_blobs_max: usize,
    /// How long a `Current` job may wait for company.
    pub current_wait: Nanos,
    /// How long a `Sync` job may wait for company.
    pub sync_wait: Nanos,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            current_blobs_max: 64,
            sync_blobs_max: 32,
            current_wait: Nanos::from_millis(1),
            sync_wait: Nanos::from_millis(5),
        }
    }
}

/// A job with the number of the client that waits for its verdict.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Position in the lane's list of clients.
    pub client: usize,
    /// The job.
    pub job: VerifyJob,
}

/// What the former is told.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every input is a job; none is stored as this type"
)]
pub enum Input {
    /// A job came.
    Job(Ticket),
    /// A lane has room for one batch more.
    LaneFree,
}

/// Jobs to verify together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// At least one.
    pub tickets: Vec<Ticket>,
    /// Of all of them.
    pub urgency: Urgency,
}

/// Forms batches; see the module's text for its rules.
#[derive(Debug)]
pub struct Former {
    policy: Policy,
    lanes_free: usize,
    current: Queue,
    sync: Queue,
}

impl Former {
    /// A former with no lane yet: each lane announces itself by [`Input::LaneFree`].
    pub fn new(policy: Policy) -> Self {
        assert!(
            policy.current_blobs_max > 0 && policy.sync_blobs_max > 0,
            "a batch holds at least one blob"
        );
        Self {
            lanes_free: 0,
            current: Queue::new(policy.current_blobs_max, policy.current_wait),
            sync: Queue::new(policy.sync_blobs_max, policy.sync_wait),
            policy,
        }
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.current.count + self.sync.count
    }

    /// The sizes and waits in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn form(&mut self, now: Nanos, out: &mut Outbox<Batch>) {
        while self.lanes_free > 0 {
            let (queue, urgency) = match (self.current.due_at(), self.sync.due_at()) {
                (Some(due), _) if due <= now => (&mut self.current, Urgency::Current),
                (_, Some(due)) if due <= now => (&mut self.sync, Urgency::Sync),
                _ => return,
            };
            let tickets = queue.take();
            assert!(!tickets.is_empty(), "a queue that is due has jobs");
            self.lanes_free -= 1;
            out.push(Batch { tickets, urgency });
        }
    }
}

impl Machine for Former {
    type Input = Input;
    type Output = Batch;

    fn handle(&mut self, now: Nanos, input: Input, out: &mut Outbox<Batch>) {
        match input {
            Input::Job(ticket) => match ticket.job.urgency {
                Urgency::Current => self.current.push(now, ticket),
                Urgency::Sync => self.sync.push(now, ticket),
            },
            Input::LaneFree => self.lanes_free += 1,
        }
        self.form(now, out);
    }

    fn deadline(&self) -> Option<Nanos> {
        if self.lanes_free == 0 {
            return None;
        }
        self.current.due_at().into_iter().chain(self.sync.due_at()).min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Batch>) {
        self.form(now, out);
    }
}

/// The waiting jobs of one urgency.
#[derive(Debug)]
struct Queue {
    blobs_max: usize,
    wait: Nanos,
    /// Jobs by sender, each with its arrival. A sender without jobs is not in the map, so it is as small as the queue.
    senders: BTreeMap<Option<PeerId>, VecDeque<(Nanos, Ticket)>>,
    /// Whose turn is next, first in front; exactly the keys of `senders`.
    turns: VecDeque<Option<PeerId>>,
    count: usize,
    /// How many of them are marked `last`.
    lasts: usize,
}

impl Queue {
    fn new(blobs_max: usize, wait: Nanos) -> Self {
        Self {
            blobs_max,
            wait,
            senders: BTreeMap::new(),
            turns: VecDeque::new(),
            count: 0,
            lasts: 0,
        }
    }

    fn push(&mut self, now: Nanos, ticket: Ticket) {
        let sender = ticket.job.sender;
        self.count += 1;
        self.lasts += usize::from(ticket.job.last);
        let jobs = self.senders.entry(sender).or_insert_with(|| {
            self.turns.push_back(sender);
            VecDeque::new()
        });
        jobs.push_back((now, ticket));
    }

    /// From when on the next batch may go; `None` if nothing waits.
    fn due_at(&self) -> Option<Nanos> {
        let oldest = self
            .senders
            .values()
            .filter_map(|jobs| jobs.front())
            .map(|(arrival, _)| *arrival)
            .min()?;
        Some(if self.count >= self.blobs_max || self.lasts > 0 {
            Nanos::ZERO
        } else {
            oldest + self.wait
        })
    }

    fn take(&mut self) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(self.count.min(self.blobs_max));
        while tickets.len() < self.blobs_max {
            let Some(sender) = self.turns.pop_front() else { break };
            let Some(jobs) = self.senders.get_mut(&sender) else {
                continue;
            };
            if let Some((_, ticket)) = jobs.pop_front() {
                self.count -= 1;
                self.lasts -= usize::from(ticket.job.last);
                tickets.push(ticket);
            }
            if jobs.is_empty() {
                self.senders.remove(&sender);
            } else {
                self.turns.push_back(sender);
            }
        }
        tickets
    }
}

#[cfg(test)]
mod tests;
