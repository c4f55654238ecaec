//! This file knows when an inquiry has its turn: who is to blame must be found out, and nobody else may wait long for that.
//!
//! - While jobs wait to be opened, inquiries have one turn in as long as a claim may wait for its block. They take turns among each
//!   other.
//! - They are *crowded* once very many claims are under inquiry. Then a batch is opened, a small one, for each turn: no more claims
//!   come in than go out, so memory is bounded whatever peers send.
//!
//! Keeps: every inquiry put in is taken again until nothing of it is left.

use std::collections::VecDeque;

use ultramarine_types::Nanos;

/// Claims that do not all hold, and an inquiry that has not named every wrong one yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blame<I> {
    /// The inquiry.
    pub inquiry: I,
    /// Claims of it that have no finding.
    pub claims_count: usize,
}

/// The inquiries of one urgency.
#[derive(Debug)]
pub(super) struct Inquiries<I> {
    /// From one turn to the next while jobs wait.
    pause: Nanos,
    /// So many claims are a crowd.
    claims_max: usize,
    waiting: VecDeque<Blame<I>>,
    /// Claims under inquiry, waiting or in a lane's hands.
    claims_count: usize,
    /// When there may be a turn though jobs wait.
    next_at: Nanos,
    /// Whether there was a turn and no batch was opened since.
    had_turn: bool,
}

impl<I> Inquiries<I> {
    pub fn new(pause: Nanos, claims_max: usize) -> Self {
        Self {
            pause,
            claims_max,
            waiting: VecDeque::new(),
            claims_count: 0,
            next_at: Nanos::ZERO,
            had_turn: false,
        }
    }

    /// Claims under inquiry.
    pub fn claims_count(&self) -> usize {
        self.claims_count
    }

    /// Whether they are a crowd.
    pub fn are_crowded(&self) -> bool {
        self.claims_count >= self.claims_max
    }

    /// A turn is over, before which so many claims were under this inquiry.
    pub fn put(&mut self, claims_before: usize, left: Option<Blame<I>>) {
        assert!(claims_before <= self.claims_count, "a turn is of an inquiry handed out");
        self.claims_count -= claims_before;
        if let Some(blame) = left {
            self.claims_count += blame.claims_count;
            self.waiting.push_back(blame);
        }
    }

    /// The next one, if it is its turn.
    pub fn take(&mut self, now: Nanos, jobs_wait: bool) -> Option<Blame<I>> {
        let presses = self.next_at <= now || (self.are_crowded() && !self.had_turn);
        if jobs_wait && !presses {
            return None;
        }
        let blame = self.waiting.pop_front()?;
        self.next_at = now + self.pause;
        self.had_turn = true;
        Some(blame)
    }

    /// Whether a batch may be opened now, which then begins.
    pub fn begin_opening(&mut self) -> bool {
        // If they are crowded and none waits, a lane has one in its hands and will come back with it soon.
        let may = self.had_turn || !self.are_crowded();
        self.had_turn &= !may;
        may
    }
}
