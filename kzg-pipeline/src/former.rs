//! This file knows how to form batches from waiting jobs: which jobs go first, and which together.
//!
//! - A batch holds jobs of one urgency, of whatever values. Its taker says how many, and of which senders. If a batch
//!   of the current height has room left, sync's jobs do not fill them. Only the hash costs the same however many of
//!   its sixteen lanes are filled, and it is a quarter of what opening costs. A lane opens sixteen blobs in 2 ms and
//!   one in 0.3 (`benches/BUDGET.md`), and the current height would wait for that.
//! - Senders take turns, blob by blob. A sender that floods waits for itself, and delays any other by less than one
//!   batch.
//! - Batches are numbered in the order in which they were formed.
//!
//! Keeps: every job leaves once, in a batch or with all jobs of its sender. Jobs of one sender and urgency leave in the
//! order in which they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ultramarine_types::PeerId;
use ultramarine_types::verify::{Urgency, VerifyJob};

use crate::claim::Claim;

/// A job with the number of the client that waits for its verdict.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Position in the lanes' list of clients.
    pub client: usize,
    pub job: VerifyJob,
}

impl Ticket {
    /// What the job claims.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            blob: &self.job.blob,
            commitment: &self.job.commitment,
            proof: &self.job.proof,
        }
    }
}

/// What the account must know of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lot {
    /// The urgency of all its jobs.
    pub urgency: Urgency,
    /// Larger than that of any batch formed before, of either urgency.
    pub number: u64,
    /// Whether one of its jobs is the last its sender has for now.
    pub last: bool,
}

/// Jobs to open together.
#[derive(Clone, Debug)]
pub struct Batch {
    pub lot: Lot,
    /// The jobs with their clients; at least one.
    pub tickets: Vec<Ticket>,
}

/// Waiting jobs; see the module's text for its rules.
#[derive(Debug, Default)]
pub struct Former {
    current: Queue,
    sync: Queue,
    formed: u64,
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

    /// Jobs of one urgency that wait, of senders that may have theirs opened.
    pub fn waiting_of(&self, urgency: Urgency, may: impl Fn(Option<PeerId>) -> bool) -> usize {
        let senders = match urgency {
            Urgency::Current => self.current.senders.iter(),
            Urgency::Sync => self.sync.senders.iter(),
        };
        senders
            .filter(|(sender, _)| may(**sender))
            .map(|(_, jobs)| jobs.len())
            .sum()
    }

    /// A batch of at most `blobs_max` of these jobs; `None` if there are none.
    pub fn take(&mut self, urgency: Urgency, blobs_max: usize, may: impl Fn(Option<PeerId>) -> bool) -> Option<Batch> {
        assert!(blobs_max > 0, "a batch holds at least one blob");
        let tickets = self.queue(urgency).take(blobs_max, may);
        if tickets.is_empty() {
            return None;
        }
        self.formed += 1;
        self.left += tickets.len() as u64;
        let lot = Lot {
            urgency,
            number: self.formed,
            last: tickets.iter().any(|ticket| ticket.job.last),
        };
        Some(Batch { lot, tickets })
    }

    /// Takes out all jobs of one sender.
    pub fn take_all_of(&mut self, sender: Option<PeerId>) -> Vec<Ticket> {
        let jobs = [&mut self.current, &mut self.sync].map(|queue| queue.take_all_of(sender));
        let tickets: Vec<_> = jobs.into_iter().flatten().collect();
        self.left += tickets.len() as u64;
        tickets
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

/// A job that waits, with its number in the order in which the jobs of its urgency came.
#[derive(Debug)]
pub struct QueuedTicket {
    number: u64,
    ticket: Ticket,
}

/// The waiting jobs of one urgency.
#[derive(Debug, Default)]
struct Queue {
    /// Jobs by sender. A sender without jobs is not in the map, so it is as small as the queue.
    senders: BTreeMap<Option<PeerId>, VecDeque<QueuedTicket>>,
    /// The senders in the order of their turns; exactly the keys of `senders`.
    turns: VecDeque<Option<PeerId>>,
    count: usize,
    /// Jobs that ever came.
    came: u64,
}

impl Queue {
    fn push(&mut self, ticket: Ticket) {
        let sender = ticket.job.sender;
        self.count += 1;
        self.came += 1;
        let number = self.came;
        let jobs = self.senders.entry(sender).or_insert_with(|| {
            self.turns.push_back(sender);
            VecDeque::new()
        });
        jobs.push_back(QueuedTicket { number, ticket });
    }

    fn take(&mut self, blobs_max: usize, may: impl Fn(Option<PeerId>) -> bool) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(self.count.min(blobs_max));
        // Senders in a row that may not. Once there are as many as senders, nobody may.
        let mut passed_over = 0;
        while tickets.len() < blobs_max && passed_over < self.turns.len() {
            let Some(sender) = self.turns.pop_front() else { break };
            if !may(sender) {
                self.turns.push_back(sender);
                passed_over += 1;
                continue;
            }
            passed_over = 0;
            let Some(jobs) = self.senders.get_mut(&sender) else {
                continue;
            };
            if let Some(first) = jobs.pop_front() {
                assert!(
                    jobs.front().is_none_or(|next| first.number < next.number),
                    "a sender's jobs leave in the order in which they came"
                );
                self.count -= 1;
                tickets.push(first.ticket);
            }
            if jobs.is_empty() {
                self.senders.remove(&sender);
            } else {
                self.turns.push_back(sender);
            }
        }
        tickets
    }

    fn take_all_of(&mut self, sender: Option<PeerId>) -> Vec<Ticket> {
        let Some(jobs) = self.senders.remove(&sender) else {
            return Vec::new();
        };
        self.turns.retain(|next| *next != sender);
        self.count -= jobs.len();
        jobs.into_iter().map(|waiting| waiting.ticket).collect()
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
        assert!(
            self.senders
                .values()
                .all(|jobs| jobs.iter().is_sorted_by_key(|job| job.number)),
            "a sender's jobs wait in the order in which they came"
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
