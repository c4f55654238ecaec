//! This file knows when opened claims of one urgency are summed, and when they are settled.
//!
//! ```text
//!   opened ──▶ loose ──sum_claims are there──▶ being summed ──▶ sums ─┐
//!                └────────────────────────────────────────────────────┴─▶ one settlement
//! ```
//!
//! Settling costs a pairing however many claims there are, so it waits until somebody needs the verdicts:
//!
//! - a batch with a `last` job has been opened, so its block is complete. A lane may still be opening or summing claims
//!   of an earlier batch then. Whatever comes back from batches numbered up to that one is settled as it comes;
//! - or the oldest claim has waited long enough: a stream that stalls does not hold up the verdicts of others;
//! - or there are many claims: memory is bounded.
//!
//! Keeps: every claim put in leaves in exactly one settlement, loose or in a sum.

use ultramarine_types::Nanos;

use crate::former::Lot;

/// When to sum and when to settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountPolicy {
    /// Loose claims from which a sum of their own pays.
    pub sum_claims: usize,
    /// Claims at which the account is settled, whether or not a block is complete.
    pub claims_max: usize,
    /// How long a claim may wait for its block to be complete.
    pub wait: Nanos,
}

/// Where claims stand in the account's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Lowest number of their batches.
    number: u64,
    /// When the first of them was put in.
    since: Nanos,
}

impl Mark {
    fn with(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            number: self.number.min(other.number),
            since: self.since.min(other.since),
        })
    }
}

/// Claims that are to be summed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece<O> {
    /// The claims; at least one.
    pub claims: Vec<O>,
    /// To be given back with their sum.
    pub mark: Mark,
}

/// Claims to settle together: at least one, loose or in a sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement<O, S> {
    /// Sums that are taken already.
    pub sums: Vec<S>,
    /// Claims that are in no sum.
    pub loose: Vec<O>,
}

/// What the account wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due<O, S> {
    Sum(Piece<O>),
    Settle(Settlement<O, S>),
}

/// Claims opened and not settled, of one urgency. `O` is an opened claim, `S` a sum of some.
#[derive(Debug)]
pub struct Account<O, S> {
    policy: AccountPolicy,
    loose: Vec<O>,
    loose_mark: Option<Mark>,
    sums: Vec<S>,
    sums_mark: Option<Mark>,
    summed_claims: usize,
    /// The newest batch with a `last` job that was opened.
    last: u64,
    /// Nothing will come to complete a block.
    closed: bool,
}

impl<O, S> Account<O, S> {
    pub fn new(policy: AccountPolicy) -> Self {
        assert!(policy.sum_claims > 0, "a sum has at least one claim");
        assert!(policy.claims_max > 0, "an account has room for at least one claim");
        Self {
            policy,
            loose: Vec::new(),
            loose_mark: None,
            sums: Vec::new(),
            sums_mark: None,
            summed_claims: 0,
            last: 0,
            closed: false,
        }
    }

    /// Claims at hand. Those being summed or settled are with their lanes.
    pub fn len(&self) -> usize {
        self.loose.len() + self.summed_claims
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A batch was opened; `claims` are those of it that have no finding yet.
    pub fn put(&mut self, now: Nanos, lot: Lot, claims: Vec<O>) {
        if lot.last {
            self.last = self.last.max(lot.number);
        }
        if claims.is_empty() {
            return;
        }
        let mark = Mark {
            number: lot.number,
            since: now,
        };
        self.loose_mark = Some(mark.with(self.loose_mark));
        self.loose.extend(claims);
    }

    /// The sum of a piece is taken; `claims_count` are in it.
    pub fn put_sum(&mut self, sum: S, claims_count: usize, mark: Mark) {
        self.sums.push(sum);
        self.summed_claims += claims_count;
        self.sums_mark = Some(mark.with(self.sums_mark));
    }

    /// No further batch will come.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// When something is due; `None` if only a batch or a sum can change anything.
    pub fn due_at(&self) -> Option<Nanos> {
        if self.loose.len() >= self.policy.sum_claims {
            Some(Nanos::ZERO)
        } else {
            self.settle_at()
        }
    }

    /// What is due now, for a lane that is free.
    pub fn take_due(&mut self, now: Nanos) -> Option<Due<O, S>> {
        if self.settle_at()? <= now {
            self.loose_mark = None;
            self.sums_mark = None;
            self.summed_claims = 0;
            return Some(Due::Settle(Settlement {
                sums: std::mem::take(&mut self.sums),
                loose: std::mem::take(&mut self.loose),
            }));
        }
        if self.loose.len() < self.policy.sum_claims {
            return None;
        }
        let mark = self.loose_mark.take()?;
        let claims = std::mem::take(&mut self.loose);
        Some(Due::Sum(Piece { claims, mark }))
    }

    fn settle_at(&self) -> Option<Nanos> {
        let mark = self
            .loose_mark
            .map(|mark| mark.with(self.sums_mark))
            .or(self.sums_mark)?;
        let complete = self.closed || mark.number <= self.last;
        Some(if complete || self.len() >= self.policy.claims_max {
            Nanos::ZERO
        } else {
            mark.since + self.policy.wait
        })
    }
}

#[cfg(test)]
mod tests;
