//! This file knows how to form batches from waiting jobs: which jobs go first, and which together.
//!
//! - A batch holds jobs of one urgency, of whatever values. Its taker says how many. If a batch of the current height
//!   has places left, sync's jobs do not fill them. Only the hash costs the same however many of its sixteen lanes are
//!   filled, and it is a quarter of what opening costs. A lane opens sixteen blobs in 2 ms and one in 0.3
//!   (`benches/BUDGET.md`), and the current height would wait for that.
//! - Senders take turns, blob by blob. A sender that floods waits for itself, and delays any other by less than one
//!   batch.
//!
//! Keeps: every job leaves once, in a batch. Jobs of one sender and urgency leave in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ultramarine_types::PeerId;
use ultramarine_types::verify::Urgency;

use crate::ticket::Ticket;

/// Jobs to open together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The urgency of all its jobs.
    pub urgency: Urgency,
    /// At least one.
    pub tickets: Vec<Ticket>,
}

/// Waiting jobs; see the module's text for its rules.
#[derive(Debug, Default)]
pub struct Former {
    current: Queue,
    sync: Queue,
    /// Jobs that ever came, and those of them that left: for [`check`](Self::check).
    came: u64,
    left: u64,
}

impl Former {
    /// Takes a job in.
    pub fn push(&mut self, ticket: Ticket) {
        self.came += 1;
        self.queue(ticket.job.urgency).push(ticket);
    }

    pub fn waiting(&self) -> usize {
        self.current.count + self.sync.count
    }

    /// Jobs of one urgency that wait.
    pub fn waiting_of(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Current => self.current.count,
            Urgency::Sync => self.sync.count,
        }
    }

    /// A batch of at most `blobs_max` jobs; `None` if there are none.
    pub fn take(&mut self, urgency: Urgency, blobs_max: usize) -> Option<Batch> {
        assert!(blobs_max > 0, "a batch holds at least one blob");
        let tickets = self.queue(urgency).take(blobs_max);
        self.left += tickets.len() as u64;
        (!tickets.is_empty()).then_some(Batch { urgency, tickets })
    }

    /// Asserts that every job leaves once, and that each sender with jobs has one turn.
    pub fn check(&self) {
        assert_eq!(self.came, self.left + self.waiting() as u64, "every job leaves once");
        self.current.check();
        self.sync.check();
    }

    /// The same for each job and each sender, which takes as long as there are jobs.
    pub fn check_whole(&self) {
        self.check();
        self.current.check_whole();
        self.sync.check_whole();
    }

    fn queue(&mut self, urgency: Urgency) -> &mut Queue {
        match urgency {
            Urgency::Current => &mut self.current,
            Urgency::Sync => &mut self.sync,
        }
    }
}

/// The waiting jobs of one urgency.
#[derive(Debug, Default)]
struct Queue {
    /// Jobs by sender. A sender without jobs is not in the map, so it is as small as the queue.
    senders: BTreeMap<Option<PeerId>, VecDeque<Ticket>>,
    /// The senders in the order of their turns; exactly the keys of `senders`.
    turns: VecDeque<Option<PeerId>>,
    count: usize,
}

impl Queue {
    fn push(&mut self, ticket: Ticket) {
        let sender = ticket.job.sender;
        self.count += 1;
        let jobs = self.senders.entry(sender).or_insert_with(|| {
            self.turns.push_back(sender);
            VecDeque::new()
        });
        jobs.push_back(ticket);
    }

    fn take(&mut self, blobs_max: usize) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(self.count.min(blobs_max));
        while tickets.len() < blobs_max {
            let Some(sender) = self.turns.pop_front() else { break };
            let Some(jobs) = self.senders.get_mut(&sender) else {
                continue;
            };
            if let Some(ticket) = jobs.pop_front() {
                self.count -= 1;
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

    fn check(&self) {
        assert_eq!(
            self.turns.len(),
            self.senders.len(),
            "each sender with jobs has one turn"
        );
        assert!(self.senders.len() <= self.count, "each sender in the map has a job");
    }

    fn check_whole(&self) {
        let jobs: usize = self.senders.values().map(VecDeque::len).sum();
        assert_eq!(jobs, self.count, "the count is that of the jobs");
        assert!(
            self.senders.values().all(|jobs| !jobs.is_empty()),
            "each sender in the map has a job"
        );
        let turns: BTreeSet<_> = self.turns.iter().collect();
        assert!(
            turns.into_iter().eq(self.senders.keys()),
            "the turns are those of the senders with jobs"
        );
    }
}

#[cfg(test)]
mod tests;
