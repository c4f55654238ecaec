//! This file knows what a free lane does next: the one place where work is handed out.
//!
//! A claim is opened, usually summed with others, and settled; each step is a task for whichever lane is free. The rules:
//!
//! - the current height goes before sync in everything, and sync's tasks are short, because a block of the current height may
//!   arrive while one runs;
//! - what is due in the account goes before opening more: a verdict that somebody waits for first, then sums, which must not pile
//!   up behind the last blob of a block;
//! - no job waits for company: a free lane takes what waits, and free lanes share it evenly. Under load, jobs wait because no lane is
//!   free, and so find company by themselves.
//!
//! Keeps: every job is in exactly one `Open` task, and every claim that it left open in exactly one `Settle` task after it; a task
//! is handed out only to a lane that is free.

use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::verify::Urgency;
use ultramarine_types::{Machine, Nanos, Outbox};

use crate::account::{Account, AccountPolicy, Due, Mark, Piece, Settlement};
use crate::former::{Batch, Former, Lot, Ticket};

/// How large tasks are and how long claims wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Most blobs that a lane opens at a time for the current height.
    pub current_blobs_max: usize,
    /// Most blobs that a lane opens at a time for sync: what a block of the current height may have to wait for.
    pub sync_blobs_max: usize,
    /// When claims of the current height are summed and settled.
    pub current: AccountPolicy,
    /// The same for sync.
    pub sync: AccountPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        // On a Zen 5 core a lane opens 16 blobs in 4 ms and 8 in half of that, and sums 16 claims in 0.6 ms, which is what may be left
        // to do behind a block's last blob. A stream that stalls costs a pairing (0.55 ms) per wait: 1 % of a lane. See
        // benches/BUDGET.md for other sizes.
        let account = |wait_ms| AccountPolicy {
            sum_claims: 16,
            claims_max: 2 * BLOBS_PER_BLOCK_MAX as usize,
            wait: Nanos::from_millis(wait_ms),
        };
        Self {
            current_blobs_max: 16,
            sync_blobs_max: 8,
            current: account(50),
            sync: account(100),
        }
    }
}

/// What the foreman is told. `O` is an opened claim, `S` the sums of some.
#[derive(Clone, Debug)]
pub enum Input<O, S> {
    /// Jobs came.
    Jobs(Vec<Ticket>),
    /// A lane came to work, or has settled what it was given.
    LaneFree,
    /// A lane has opened a batch, and is free.
    Opened {
        /// Which.
        lot: Lot,
        /// Those claims of it that have no finding yet.
        claims: Vec<O>,
    },
    /// A lane has taken the sums of a piece, and is free.
    Summed {
        /// Whose account.
        urgency: Urgency,
        /// The sums.
        sum: S,
        /// How many claims are in them.
        claims_count: usize,
        /// The piece's.
        mark: Mark,
    },
    /// No job will ever come again.
    Closed,
}

/// What a lane shall do. It answers by an input when it is done.
#[derive(Clone, Debug)]
pub enum Task<O, S> {
    /// Open these; answered by [`Input::Opened`].
    Open(Batch),
    /// Take the sums of these; answered by [`Input::Summed`].
    Sum(Urgency, Piece<O>),
    /// Settle these; answered by [`Input::LaneFree`].
    Settle(Urgency, Settlement<O, S>),
}

/// Hands tasks to free lanes; see the module's text for its rules.
#[derive(Debug)]
pub struct Foreman<O, S> {
    policy: Policy,
    lanes_free: usize,
    former: Former,
    current: Account<O, S>,
    sync: Account<O, S>,
}

impl<O, S> Foreman<O, S> {
    /// A foreman with no lane yet: each lane announces itself by [`Input::LaneFree`].
    pub fn new(policy: Policy) -> Self {
        assert!(
            policy.current_blobs_max > 0 && policy.sync_blobs_max > 0,
            "a batch holds at least one blob"
        );
        Self {
            policy,
            lanes_free: 0,
            former: Former::default(),
            current: Account::new(policy.current),
            sync: Account::new(policy.sync),
        }
    }

    /// Jobs that wait to be opened.
    pub fn waiting(&self) -> usize {
        self.former.waiting()
    }

    /// Opened claims that wait to be settled. Those in a lane's hands are not counted.
    pub fn unsettled(&self) -> usize {
        self.current.len() + self.sync.len()
    }

    fn assign(&mut self, now: Nanos, out: &mut Outbox<Task<O, S>>) {
        while self.lanes_free > 0 {
            let Some(task) = self
                .task(now, Urgency::Current)
                .or_else(|| self.task(now, Urgency::Sync))
            else {
                return;
            };
            self.lanes_free -= 1;
            out.push(task);
        }
    }

    fn task(&mut self, now: Nanos, urgency: Urgency) -> Option<Task<O, S>> {
        match self.account(urgency).take_due(now) {
            Some(Due::Settle(settlement)) => Some(Task::Settle(urgency, settlement)),
            Some(Due::Sum(piece)) => Some(Task::Sum(urgency, piece)),
            None => {
                let share = self.former.waiting_of(urgency).div_ceil(self.lanes_free);
                let blobs_max = match urgency {
                    Urgency::Current => self.policy.current_blobs_max,
                    Urgency::Sync => self.policy.sync_blobs_max,
                };
                self.former.take(urgency, share.clamp(1, blobs_max)).map(Task::Open)
            }
        }
    }

    fn account(&mut self, urgency: Urgency) -> &mut Account<O, S> {
        match urgency {
            Urgency::Current => &mut self.current,
            Urgency::Sync => &mut self.sync,
        }
    }
}

impl<O, S> Machine for Foreman<O, S> {
    type Input = Input<O, S>;
    type Output = Task<O, S>;

    fn handle(&mut self, now: Nanos, input: Input<O, S>, out: &mut Outbox<Task<O, S>>) {
        match input {
            Input::Jobs(tickets) => tickets.into_iter().for_each(|ticket| self.former.push(ticket)),
            Input::LaneFree => self.lanes_free += 1,
            Input::Opened { lot, claims } => {
                self.lanes_free += 1;
                self.account(lot.urgency).put(now, lot, claims);
            }
            Input::Summed {
                urgency,
                sum,
                claims_count,
                mark,
            } => {
                self.lanes_free += 1;
                self.account(urgency).put_sum(sum, claims_count, mark);
            }
            Input::Closed => {
                self.current.close();
                self.sync.close();
            }
        }
        self.assign(now, out);
    }

    fn deadline(&self) -> Option<Nanos> {
        if self.lanes_free == 0 {
            return None;
        }
        self.current.due_at().into_iter().chain(self.sync.due_at()).min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Task<O, S>>) {
        self.assign(now, out);
    }
}

#[cfg(test)]
mod tests;
