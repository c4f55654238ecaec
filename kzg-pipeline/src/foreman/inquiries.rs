//! This file knows when an inquiry has its turn. It must find out who is to blame, and nobody else may wait long for
//! that.
//!
//! - While jobs wait to be opened, inquiries get at most one turn per maximum claim wait. They take turns with each
//!   other.
//! - Inquiries with a sender that has not been tested yet go first, and have a turn after each batch. Such a sender may
//!   be honest, and waits no longer than that.
//! - A sender of wrong claims has no more jobs opened until the inquiry that found it out is over. So it never has more
//!   under inquiry than was open before. Its other jobs wait, and keep their places in their values until then. That is
//!   not long, as an inquiry looks for few of its wrong claims (`inquiry.rs`).
//! - Inquiries are *crowded* once very many claims are under inquiry. Then one small batch is opened for each turn. No
//!   more claims come in than go out, so memory is bounded whatever peers send.
//!
//! Keeps: every inquiry put in is taken again until nothing of it is left.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::{Nanos, PeerId};

use crate::inquiry::Case;

/// Claims that do not all hold, and an inquiry that has not named every wrong one yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blame<I> {
    pub inquiry: I,
    /// What is left of it.
    pub case: Case,
}

/// The inquiries of one urgency.
#[derive(Debug)]
pub(super) struct Inquiries<I> {
    /// From one turn to the next while jobs wait.
    pause: Nanos,
    /// Claims under inquiry from which they are crowded.
    claims_max: usize,
    waiting: VecDeque<Blame<I>>,
    /// Claims under inquiry, waiting or in a lane's hands.
    claims_count: usize,
    /// In how many of these inquiries a sender is at fault.
    at_fault: BTreeMap<Option<PeerId>, usize>,
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
            at_fault: BTreeMap::new(),
            next_at: Nanos::ZERO,
            had_turn: false,
        }
    }

    pub fn claims_count(&self) -> usize {
        self.claims_count
    }

    /// Whether they are a crowd.
    pub fn are_crowded(&self) -> bool {
        self.claims_count >= self.claims_max
    }

    /// Whether a sender may have more of its jobs opened.
    pub fn may_send(&self, sender: Option<PeerId>) -> bool {
        !self.at_fault.contains_key(&sender)
    }

    /// A turn is over. Before it, the inquiry was about `before`.
    pub fn put(&mut self, before: &Case, left: Option<Blame<I>>) {
        assert!(
            before.claims_count <= self.claims_count,
            "a turn is of an inquiry handed out"
        );
        self.claims_count -= before.claims_count;
        for sender in &before.at_fault {
            let inquiries = self.at_fault.get_mut(sender).expect("counted when it was put in");
            *inquiries -= 1;
            if *inquiries == 0 {
                self.at_fault.remove(sender);
            }
        }
        if let Some(blame) = left {
            self.claims_count += blame.case.claims_count;
            for sender in &blame.case.at_fault {
                *self.at_fault.entry(*sender).or_default() += 1;
            }
            self.waiting.push_back(blame);
        }
    }

    /// The next one, if it is its turn.
    pub fn take(&mut self, now: Nanos, jobs_wait: bool) -> Option<Blame<I>> {
        let others_wait = self.waiting.iter().position(|blame| blame.case.others_wait);
        let presses = self.next_at <= now || ((self.are_crowded() || others_wait.is_some()) && !self.had_turn);
        if jobs_wait && !presses {
            return None;
        }
        let blame = self.waiting.remove(others_wait.unwrap_or(0))?;
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
