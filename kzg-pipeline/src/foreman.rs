//! This file knows what a free lane does next: the one place where work is handed out.
//!
//! A job is opened. Its claim is usually summed with others of its value, and the value is settled. Each of these is a
//! task for whichever lane is free. If a value seems to fail, that is confirmed, a turn at a time (`doubt.rs`). The
//! rules:
//!
//! - The current height goes before sync in everything. Sync's tasks are short, because a block of the current height
//!   may arrive while one runs.
//! - What is due in the accounts goes before opening more. A verdict that somebody waits for goes first, then sums,
//!   which must not pile up behind the last blob of a block.
//! - A value that fails has a turn when there is nothing else to do, and after some other tasks. So a job waits for one
//!   turn at most, and a flood of jobs does not hide what a proposer did.
//! - No job waits for company. A free lane takes what waits, and free lanes share it evenly. Under load, jobs wait
//!   because no lane is free, and so they find company by themselves.
//!
//! Keeps:
//!
//! - Every job is in exactly one `Open` task, also if its value was forgotten meanwhile.
//! - A value has one verdict from its first job to its end, and none once it was forgotten.
//! - A task is handed out only to a lane that is free. No lane is free while there is a task.

use std::ops::ControlFlow;

use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::verify::{Urgency, ValueOutcome, VerifyRequest};
use ultramarine_types::{Machine, Nanos, Outbox, ValueKey};

use crate::account::{AccountPolicy, Accounts, WholeValue};
use crate::doubt::Doubt;
use crate::former::{Batch, Former};
use crate::opening::Opening;
use crate::ticket::{Name, Ticket};

/// One blob for each that the network may have in assembly on the chain with the largest blocks, and two of our own
/// bundles (one may already be abandoned).
pub const BLOBS_MAX: usize = Limits {
    blobs_per_block: BLOBS_PER_BLOCK_MAX,
}
.assembly_blobs()
    + 2 * BLOBS_PER_BLOCK_MAX as usize;

/// The sizes of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Most blobs that a lane opens at a time for the current height.
    pub current_blobs_max: usize,
    /// Most blobs that a lane opens at a time for sync. A block of the current height may have to wait for them.
    pub sync_blobs_max: usize,
    /// Other tasks after which a value that fails has a turn.
    pub tasks_between_turns: usize,
    pub accounts: AccountPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        // On a Zen 4 core a lane opens 16 blobs in 2 ms, and 8 in a little more than half of that. It sums 16 claims in
        // 0.4 ms, which may be left to do behind a block's last blob. Without AVX-512 all this takes about twice as
        // long. See benches/BUDGET.md for other sizes. A turn takes 12 to 18 ms, so a value that fails has a third of
        // a busy lane.
        Self {
            current_blobs_max: 16,
            sync_blobs_max: 8,
            tasks_between_turns: 16,
            accounts: AccountPolicy {
                sum_claims: 16,
                values_max: 8,
                blobs_max: BLOBS_MAX,
            },
        }
    }
}

/// What a client wants, by its position in the lanes' list.
#[derive(Clone, Debug)]
pub struct Request {
    pub client: usize,
    pub request: VerifyRequest,
}

/// What happens to the foreman. `O` is an opened claim, `S` the sums of some.
#[derive(Clone, Debug)]
pub enum Input<O, S> {
    /// These came off the links, those of each client in order.
    Requests(Vec<Request>),
    /// A lane came to work.
    LaneFree,
    /// A lane has opened a batch, and is free. Jobs of right bytes name their digest now.
    Opened(Vec<(Ticket, Opening<O>)>),
    /// A lane has taken the sums of a piece, and is free.
    Summed(Name, S),
    /// A lane has settled values, and is free: each holds or does not.
    Settled(Vec<(Name, bool)>),
    /// A lane has given a value that fails its turn, and is free.
    Confirmed(Name, ControlFlow<ValueOutcome, Doubt>),
}

/// What a lane shall do. The lane answers by an input when it is done.
#[derive(Clone, Debug)]
pub enum Task<O, S> {
    /// Hash these, answer each by whether its bytes are right, and open those that are right and wanted; answered by
    /// [`Input::Opened`].
    Open(Batch),
    /// Take the sums of these; answered by [`Input::Summed`].
    Sum(Name, Vec<O>),
    /// Ask about these values together, and about each if not all hold; answered by [`Input::Settled`].
    Settle(Vec<WholeValue<O, S>>),
    /// Confirm that this value fails; answered by [`Input::Confirmed`].
    Confirm(Name, Doubt),
}

/// What the foreman wants done.
#[derive(Clone, Debug)]
pub enum Output<O, S> {
    Task(Task<O, S>),
    /// Tell a client the outcome of a value.
    Verdict {
        client: usize,
        key: ValueKey,
        outcome: ValueOutcome,
    },
}

/// Hands tasks to free lanes; see the module's text for its rules.
#[derive(Debug)]
pub struct Foreman<O, S> {
    policy: Policy,
    lanes_free: usize,
    former: Former,
    accounts: Accounts<O, S>,
    /// Tasks handed out since a value that fails had a turn.
    tasks_since_turn: usize,
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
            accounts: Accounts::new(policy.accounts),
            tasks_since_turn: 0,
        }
    }

    /// Jobs that wait to be opened.
    pub fn waiting(&self) -> usize {
        self.former.waiting()
    }

    /// Blobs that are kept until their values are settled.
    pub fn unsettled(&self) -> usize {
        self.accounts.blobs_count()
    }

    fn assign(&mut self, out: &mut Outbox<Output<O, S>>) {
        while self.lanes_free > 0 {
            let Some(task) = self.task() else { return };
            self.lanes_free -= 1;
            out.push(Output::Task(task));
        }
    }

    fn task(&mut self) -> Option<Task<O, S>> {
        let other = (self.tasks_since_turn < self.policy.tasks_between_turns)
            .then(|| self.task_of(Urgency::Current).or_else(|| self.task_of(Urgency::Sync)))
            .flatten();
        if other.is_some() {
            self.tasks_since_turn += 1;
            return other;
        }
        self.tasks_since_turn = 0;
        if let Some((name, doubt)) = self.accounts.take_doubt() {
            return Some(Task::Confirm(name, doubt));
        }
        self.task_of(Urgency::Current).or_else(|| self.task_of(Urgency::Sync))
    }

    fn task_of(&mut self, urgency: Urgency) -> Option<Task<O, S>> {
        let whole = self.accounts.take_whole(urgency);
        if !whole.is_empty() {
            return Some(Task::Settle(whole));
        }
        if let Some((name, claims)) = self.accounts.take_piece(urgency) {
            return Some(Task::Sum(name, claims));
        }
        let blobs_max = match urgency {
            Urgency::Current => self.policy.current_blobs_max,
            Urgency::Sync => self.policy.sync_blobs_max,
        };
        let share = self.former.waiting_of(urgency).div_ceil(self.lanes_free);
        let mut batch = self.former.take(urgency, share.clamp(1, blobs_max))?;
        for ticket in &mut batch.tickets {
            ticket.is_wanted = self.accounts.wants(&ticket.name, ticket.job.index);
        }
        Some(Task::Open(batch))
    }

    /// Asserts what this module keeps, as far as that takes no time.
    fn check(&self) {
        self.former.check();
        self.accounts.check();
        assert!(
            self.lanes_free == 0 || self.former.waiting() == 0,
            "no lane is free while a job waits"
        );
    }

    /// Asserts the rest too, which takes as long as there are jobs: for tests and simulators.
    pub fn check_whole(&self) {
        self.former.check_whole();
        self.accounts.check_whole();
    }
}

impl<O, S> Machine for Foreman<O, S> {
    type Input = Input<O, S>;
    type Output = Output<O, S>;

    fn handle(&mut self, _: Nanos, input: Input<O, S>, out: &mut Outbox<Output<O, S>>) {
        self.lanes_free += usize::from(!matches!(input, Input::Requests(_)));
        let mut tell = |name: &Name, outcome| {
            let Name { client, key, .. } = *name;
            out.push(Output::Verdict { client, key, outcome });
        };
        match input {
            Input::Requests(requests) => {
                for Request { client, request } in requests {
                    match request {
                        VerifyRequest::Job(job) => self.former.push(Ticket {
                            name: self.accounts.begin(client, &job),
                            is_wanted: true,
                            job,
                        }),
                        VerifyRequest::Forget(key) => self.accounts.forget(client, key),
                    }
                }
            }
            Input::LaneFree => {}
            Input::Opened(jobs) => {
                for (ticket, opening) in jobs {
                    if let Some(name) = self.accounts.put(ticket, opening) {
                        let why = "more blobs were sent than a node has in hand";
                        tell(&name, ValueOutcome::Withheld { why });
                    }
                }
            }
            Input::Summed(name, sums) => self.accounts.put_sums(&name, sums),
            Input::Settled(values) => {
                for (name, holds) in values {
                    if self.accounts.settled(&name, holds) {
                        tell(&name, ValueOutcome::Holds);
                    }
                }
            }
            Input::Confirmed(name, turn) => {
                if let Some(outcome) = self.accounts.confirmed(&name, turn) {
                    tell(&name, outcome);
                }
            }
        }
        self.assign(out);
        self.check();
    }

    /// It waits for nothing but inputs.
    fn deadline(&self) -> Option<Nanos> {
        None
    }

    fn wake(&mut self, _: Nanos, _: &mut Outbox<Output<O, S>>) {}
}

#[cfg(test)]
mod tests;
