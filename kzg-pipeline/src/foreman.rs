//! This file knows what a free lane does next: the one place where work is handed out.
//!
//! A claim is opened, usually summed with others, and settled. Each of these is a task for whichever lane is free. If
//! claims do not hold together, settling leaves an *inquiry* behind, which goes on a turn at a time. The rules:
//!
//! - The current height goes before sync in everything. Sync's tasks are short, because a block of the current height
//!   may arrive while one runs.
//! - What is due in the account goes before opening more. A verdict that somebody waits for goes first, then sums,
//!   which must not pile up behind the last blob of a block.
//! - Inquiries have few turns while jobs wait (`inquiries.rs`). So a job of the current height waits 48 steps at most
//!   until it is opened, whatever there is to blame. These are a turn under way when it comes, a settlement that is
//!   due, and a turn that is due.
//! - A good claim settled alongside bad ones gets its finding once each sender in that settlement has been tested
//!   (`inquiry.rs`). If the senders are few, that is in the settlement's own turn. If two senders share the fullest
//!   account, it takes five turns at most and a batch after each.
//! - A sender at fault has no more jobs opened until the inquiry that found it out is over. Once it is convicted, all
//!   its waiting jobs are given back unjudged, so that other peers can be asked for those blobs.
//! - No job waits for company. A free lane takes what waits, and free lanes share it evenly. Under load, jobs wait
//!   because no lane is free, and so they find company by themselves.
//!
//! An inquiry goes on until it is over: `inquiries.rs` keeps that.
//!
//! Keeps:
//!
//! - Every job is in exactly one `Open` or `Return` task.
//! - Every claim that was left open is in exactly one `Settle` task after it.
//! - A task is handed out only to a lane that is free.
//! - No lane is free while something is due in an account.

use std::convert::Infallible;

use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::verify::Urgency;
use ultramarine_types::{Machine, Nanos, Outbox, PeerId};

use crate::account::{Account, AccountPolicy, Due, Mark, Piece, Settlement};
use crate::former::{Batch, Former, Lot, Ticket};
use crate::inquiry::Case;

pub use self::inquiries::Blame;
use self::inquiries::Inquiries;

/// The sizes of tasks, and how long claims wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Most blobs that a lane opens at a time for the current height.
    pub current_blobs_max: usize,
    /// Most blobs that a lane opens at a time for sync. A block of the current height may have to wait for them.
    pub sync_blobs_max: usize,
    /// Most steps of an inquiry in one turn, and of a settlement. Each takes as long as a pairing.
    pub steps_max: usize,
    /// Claims of one urgency that may be under inquiry before they hold up the opening of more.
    pub inquiry_claims_max: usize,
    /// When claims of the current height are summed and settled.
    pub current: AccountPolicy,
    /// The same for sync.
    pub sync: AccountPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        // On a Zen 4 core a lane opens 16 blobs in 2 ms, and 8 in a little more than half of that. It sums 16 claims in
        // 0.4 ms, which may be left to do behind a block's last blob. Without AVX-512 all this takes about twice as
        // long. A stream that stalls costs a pairing (0.75 ms) per wait: 1.5 % of a lane. See benches/BUDGET.md for
        // other sizes.
        let account = |wait_ms| AccountPolicy {
            sum_claims: 16,
            claims_max: 2 * BLOBS_PER_BLOCK_MAX as usize,
            wait: Nanos::from_millis(wait_ms),
        };
        // A step takes a pairing and, within a piece, some small sums: 1 ms on that core. A job of the current height
        // waits for three turns at most until it is opened: 48 ms there, and about 75 on a slow core. The hand-over
        // between turns costs a thousandth of that.
        Self {
            current_blobs_max: 16,
            sync_blobs_max: 8,
            steps_max: 16,
            // Sixteen of the largest blocks, 9 MB. Only an attack by many senders brings as many claims under inquiry.
            // Few claims of each are named, and no more are opened until its inquiry is over.
            inquiry_claims_max: 16 * BLOBS_PER_BLOCK_MAX as usize,
            current: account(50),
            sync: account(100),
        }
    }
}

/// What happens to the foreman. `O` is an opened claim, `S` the sums of some, `I` an inquiry. A caller that never
/// inquires leaves `I` out.
#[derive(Clone, Debug)]
pub enum Input<O, S, I = Infallible> {
    /// These jobs came off the links.
    Jobs(Vec<Ticket>),
    /// A lane came to work, or has given jobs back, or has settled claims of which all held.
    LaneFree,
    /// A lane has opened a batch, and is free.
    Opened {
        /// The batch, by its number and urgency.
        lot: Lot,
        /// The claims of it that have no finding yet.
        claims: Vec<O>,
        /// Peers that are convicted by their bad claims in it alone.
        convicted: Vec<PeerId>,
    },
    /// A lane has taken the sums of a piece, and is free.
    Summed {
        /// The urgency of the account.
        urgency: Urgency,
        sum: S,
        /// How many claims are in them.
        claims_count: usize,
        /// The mark that came with the piece.
        mark: Mark,
    },
    /// A lane has asked its questions, and is free.
    Inquired {
        /// The urgency of its claims.
        urgency: Urgency,
        /// What the inquiry was about when its task began. Empty if the task was to settle.
        before: Case,
        /// What is not settled yet.
        left: Option<Blame<I>>,
        /// Peers that it has convicted so far.
        convicted: Vec<PeerId>,
    },
    /// No job will ever come again.
    Closed,
}

/// What a lane shall do. The lane answers by an input when it is done.
#[derive(Clone, Debug)]
pub enum Task<O, S, I = Infallible> {
    /// Open these; answered by [`Input::Opened`].
    Open(Batch),
    /// Take the sums of these; answered by [`Input::Summed`].
    Sum(Urgency, Piece<O>),
    /// Settle these by at most [`steps_max`](Policy::steps_max) steps; answered by [`Input::Inquired`], even if nothing
    /// is left, as it may have convicted a peer. Where all claims hold, [`Input::LaneFree`] says the same.
    Settle(Urgency, Settlement<O, S>),
    /// Go on with this inquiry by as many steps; answered by [`Input::Inquired`].
    Inquire(Urgency, Blame<I>),
    /// Answer these as unjudged; answered by [`Input::LaneFree`].
    Return(Vec<Ticket>),
}

/// Hands tasks to free lanes; see the module's text for its rules.
#[derive(Debug)]
pub struct Foreman<O, S, I = Infallible> {
    policy: Policy,
    lanes_free: usize,
    former: Former,
    current: Desk<O, S, I>,
    sync: Desk<O, S, I>,
}

/// Claims of one urgency that are open.
#[derive(Debug)]
struct Desk<O, S, I> {
    account: Account<O, S>,
    inquiries: Inquiries<I>,
    /// Claims that were left open so far.
    opened: u64,
    /// Those of them that are in a lane's hands to be summed.
    summing: u64,
    /// Those of them that were handed out in a settlement.
    settled: u64,
}

impl<O, S, I> Desk<O, S, I> {
    fn new(account: AccountPolicy, inquiry_claims_max: usize) -> Self {
        Self {
            account: Account::new(account),
            inquiries: Inquiries::new(account.wait, inquiry_claims_max),
            opened: 0,
            summing: 0,
            settled: 0,
        }
    }

    /// What is due in the account, for a lane that is free.
    fn take_due(&mut self, now: Nanos) -> Option<Due<O, S>> {
        let before = self.account.len();
        let due = self.account.take_due(now);
        let taken = (before - self.account.len()) as u64;
        match due {
            Some(Due::Settle(_)) => self.settled += taken,
            Some(Due::Sum(_)) => self.summing += taken,
            None => {}
        }
        due
    }

    fn put_sum(&mut self, sum: S, claims_count: usize, mark: Mark) {
        self.summing -= claims_count as u64;
        self.account.put_sum(sum, claims_count, mark);
    }

    /// Asserts that every claim left open is in one settlement, or on its way to one.
    fn check(&self) {
        assert_eq!(
            self.opened,
            self.settled + self.summing + self.account.len() as u64,
            "a claim left open is settled once"
        );
    }
}

impl<O, S, I> Foreman<O, S, I> {
    /// A foreman with no lane yet: each lane announces itself by [`Input::LaneFree`].
    pub fn new(policy: Policy) -> Self {
        assert!(
            policy.current_blobs_max > 0 && policy.sync_blobs_max > 0,
            "a batch holds at least one blob"
        );
        assert!(policy.steps_max > 0, "an inquiry comes to an end");
        Self {
            policy,
            lanes_free: 0,
            former: Former::default(),
            current: Desk::new(policy.current, policy.inquiry_claims_max),
            sync: Desk::new(policy.sync, policy.inquiry_claims_max),
        }
    }

    /// Jobs that wait to be opened.
    pub fn waiting(&self) -> usize {
        self.former.waiting()
    }

    /// Opened claims that wait to be settled, or are under inquiry. It does not count the claims that lanes are summing
    /// or settling.
    pub fn unsettled(&self) -> usize {
        let of = |desk: &Desk<O, S, I>| desk.account.len() + desk.inquiries.claims_count();
        of(&self.current) + of(&self.sync)
    }

    fn assign(&mut self, now: Nanos, out: &mut Outbox<Task<O, S, I>>) {
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

    /// Asserts what this module keeps, as far as that takes no time.
    fn check(&self, now: Nanos) {
        self.former.check();
        self.current.check();
        self.sync.check();
        let is_due = |desk: &Desk<O, S, I>| desk.account.due_at().is_some_and(|at| at <= now);
        assert!(
            self.lanes_free == 0 || !(is_due(&self.current) || is_due(&self.sync)),
            "no lane is free while something is due"
        );
    }

    /// Asserts that each lane that was free before, or has become so, is free still or has one task.
    fn check_lanes(&self, lanes_free: usize, tasks_count: usize) {
        assert_eq!(
            lanes_free,
            self.lanes_free + tasks_count,
            "a task is handed out to a lane that is free"
        );
    }

    /// Asserts the rest too, which takes as long as there are jobs: for tests and simulators.
    pub fn check_whole(&self) {
        self.former.check_whole();
    }

    fn task(&mut self, now: Nanos, urgency: Urgency) -> Option<Task<O, S, I>> {
        let desk = match urgency {
            Urgency::Current => &mut self.current,
            Urgency::Sync => &mut self.sync,
        };
        match desk.take_due(now) {
            Some(Due::Settle(settlement)) => return Some(Task::Settle(urgency, settlement)),
            Some(Due::Sum(piece)) => return Some(Task::Sum(urgency, piece)),
            None => {}
        }
        let waiting = self
            .former
            .waiting_of(urgency, |sender| desk.inquiries.may_send(sender));
        if let Some(blame) = desk.inquiries.take(now, waiting > 0) {
            return Some(Task::Inquire(urgency, blame));
        }
        let crowded = desk.inquiries.are_crowded();
        if waiting == 0 || !desk.inquiries.begin_opening() {
            return None;
        }
        let blobs_max = match urgency {
            Urgency::Current => self.policy.current_blobs_max,
            Urgency::Sync => self.policy.sync_blobs_max,
        };
        // In the long run, a turn of 16 steps settles more than five claims. So no more than five are opened.
        let blobs_max = if crowded {
            blobs_max.min((self.policy.steps_max / 3).max(1))
        } else {
            blobs_max
        };
        let share = waiting.div_ceil(self.lanes_free);
        let blobs_max = share.clamp(1, blobs_max);
        let batch = self
            .former
            .take(urgency, blobs_max, |sender| desk.inquiries.may_send(sender));
        batch.map(Task::Open)
    }

    /// A lane has done its task. If that convicted peers, it gives their waiting jobs back first.
    fn free_lane(&mut self, convicted: Vec<PeerId>, out: &mut Outbox<Task<O, S, I>>) {
        let tickets: Vec<_> = convicted
            .into_iter()
            .flat_map(|peer| self.former.take_all_of(Some(peer)))
            .collect();
        if tickets.is_empty() {
            self.lanes_free += 1;
        } else {
            out.push(Task::Return(tickets));
        }
    }

    fn desk(&mut self, urgency: Urgency) -> &mut Desk<O, S, I> {
        match urgency {
            Urgency::Current => &mut self.current,
            Urgency::Sync => &mut self.sync,
        }
    }
}

impl<O, S, I> Machine for Foreman<O, S, I> {
    type Input = Input<O, S, I>;
    type Output = Task<O, S, I>;

    fn handle(&mut self, now: Nanos, input: Input<O, S, I>, out: &mut Outbox<Task<O, S, I>>) {
        let lane_came = !matches!(input, Input::Jobs(_) | Input::Closed);
        let (lanes_free, tasks_before) = (self.lanes_free + usize::from(lane_came), out.len());
        match input {
            Input::Jobs(tickets) => tickets.into_iter().for_each(|ticket| self.former.push(ticket)),
            Input::LaneFree => self.lanes_free += 1,
            Input::Opened { lot, claims, convicted } => {
                let desk = self.desk(lot.urgency);
                desk.opened += claims.len() as u64;
                desk.account.put(now, lot, claims);
                self.free_lane(convicted, out);
            }
            Input::Summed {
                urgency,
                sum,
                claims_count,
                mark,
            } => {
                self.lanes_free += 1;
                self.desk(urgency).put_sum(sum, claims_count, mark);
            }
            Input::Inquired {
                urgency,
                before,
                left,
                convicted,
            } => {
                self.desk(urgency).inquiries.put(&before, left);
                self.free_lane(convicted, out);
            }
            Input::Closed => {
                self.current.account.close();
                self.sync.account.close();
            }
        }
        self.assign(now, out);
        self.check_lanes(lanes_free, out.len() - tasks_before);
        self.check(now);
    }

    fn deadline(&self) -> Option<Nanos> {
        if self.lanes_free == 0 {
            return None;
        }
        [&self.current, &self.sync]
            .into_iter()
            .filter_map(|desk| desk.account.due_at())
            .min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Task<O, S, I>>) {
        let (lanes_free, tasks_before) = (self.lanes_free, out.len());
        self.assign(now, out);
        self.check_lanes(lanes_free, out.len() - tasks_before);
        self.check(now);
    }
}

mod inquiries;
#[cfg(test)]
mod tests;
