//! This file knows how lanes take tasks, carry them out and answer: the tiles of the pipeline.
//!
//! ```text
//!   client ──jobs──▶ ┐         ┌─ task ─▶ lane: open, sum, settle, inquire ─┐
//!   client ──jobs──▶ ┤ foreman ┤                                            ├──verdicts──▶ the client that asked
//!                    ┘         └─ task ─▶ lane: open, sum, settle, inquire ─┘
//!                         ▲─────────── what a task gave ───────────┘
//! ```
//!
//! Leader and followers: of the idle lanes, one holds the links and waits on them. When a task comes up, it leaves the
//! links to the next lane and carries the task out. So there is no dispatcher, a blob moves between threads once, and
//! one lane or eight are the same code. A lane that comes back from a task needs only the foreman. The foreman stands
//! behind a lock that no lane holds while it waits or works. Jobs wait in the links while every lane works. If a link
//! is full, its sender waits. Links know no urgency and no senders, so a lane takes in all that is there: the foreman
//! has room for whatever may be under way.
//!
//! A client must go on taking verdicts while it waits to send. A node that halts drops what has no verdict yet. When
//! the clients are gone, the lanes still judge what they sent.
//!
//! Keeps: one verdict per job, to the client that sent it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use ultramarine_runtime::{Receiver, Sender, TileContext};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{BLOBS_PER_BLOCK_MAX, VALUES_IN_ASSEMBLY_MAX};
use ultramarine_types::verify::{Finding, Verdict, VerifyJob, WRONG_CLAIMS_MAX};
use ultramarine_types::{Machine, Nanos, Outbox, PeerId, ValueKey};

use self::metrics::Metrics;
use crate::account::{Piece, Settlement};
use crate::foreman::{self, Blame, Foreman, Policy};
use crate::former::{Batch, QueuedTicket, Ticket};
use crate::inquiry::{Case, Inquiry};
use crate::opening::{OpenedClaim, Opening, Summed};
use crate::verifier::Verifier;

/// The lanes' ends of one client's links.
#[derive(Debug)]
pub struct LaneClientEnd {
    /// What the client wants verified.
    pub jobs: Receiver<VerifyJob>,
    /// Where its verdicts go.
    pub verdicts: Sender<Verdict>,
}

/// A lane that cannot wait for deadlines cannot work.
#[derive(Debug, thiserror::Error)]
#[error("lane {lane}: no timer: {source}")]
pub struct NoTimer {
    lane: &'static str,
    source: io::Error,
}

/// The sizes that lanes work by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOptions {
    /// Sizes of tasks and waits.
    pub policy: Policy,
    /// Jobs taken off the links ahead of their batch.
    pub waiting_max: usize,
}

/// Limits of the chain with the largest blocks.
const LARGEST: Limits = Limits {
    blobs_per_block: BLOBS_PER_BLOCK_MAX,
};

/// One job per blob that the network may have in assembly, plus two of our own bundles (one may already be abandoned).
/// So no job waits on a link behind those of another sender. (A value that is given up in assembly frees its bytes
/// there, while its jobs still wait here. If such jobs fill the room, the links wait.)
const WAITING_MAX: usize = LARGEST.assembly_blobs() + 2 * BLOBS_PER_BLOCK_MAX as usize;

const _: () = assert!(WAITING_MAX >= (VALUES_IN_ASSEMBLY_MAX + 2 + 2) * BLOBS_PER_BLOCK_MAX as usize);
// Tickets wait here; the bytes of their blobs are the network's and count there.
const _: () = assert!(WAITING_MAX * size_of::<QueuedTicket>() <= 4 << 20);

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            waiting_max: WAITING_MAX,
        }
    }
}

/// What all lanes share. Give each tile a clone of the `Arc` and call [`run`](Self::run) in it.
pub struct Lanes {
    /// The lane that holds it is the leader. Locked before `office` if both are needed.
    links: Mutex<Links>,
    /// Held for as long as a decision takes.
    office: Mutex<Office>,
    /// For the leader: there is a task, room, or another deadline.
    news: Notify,
    verdicts: Vec<Sender<Verdict>>,
    /// For each client, its jobs that were taken off its link and have no verdict yet.
    owed: Vec<AtomicUsize>,
    /// Lanes that run.
    running: AtomicUsize,
    verifier: Arc<dyn Verifier>,
    steps_max: usize,
    waiting_max: usize,
}

struct Links {
    jobs: Vec<Receiver<VerifyJob>>,
}

struct Office {
    foreman: Foreman<Held, HeldSum, HeldInquiry>,
    /// At most one for each lane that is free.
    tasks: Outbox<Task>,
}

/// Where the finding of a claim goes: the client that waits for it, and the names that it has for the claim.
#[derive(Clone, Copy, Debug)]
struct ReplyTo {
    client: usize,
    key: ValueKey,
    index: u16,
    sender: Option<PeerId>,
}

impl ReplyTo {
    fn of(ticket: &Ticket) -> Self {
        let Ticket { client, job } = ticket;
        Self {
            client: *client,
            key: job.key,
            index: job.index,
            sender: job.sender,
        }
    }
}

/// An opened claim, and where its finding goes. Its blob is let go.
type Held = (ReplyTo, OpenedClaim);

/// Sums, and where the findings of their claims go, in the same order.
type HeldSum = (Vec<ReplyTo>, Summed);

/// An inquiry, and where the findings of each piece's claims go.
type HeldInquiry = (Vec<Vec<ReplyTo>>, Inquiry);

type Input = foreman::Input<Held, HeldSum, HeldInquiry>;
type Task = foreman::Task<Held, HeldSum, HeldInquiry>;

impl Lanes {
    /// Lanes that serve these clients.
    pub fn new(clients: Vec<LaneClientEnd>, verifier: Arc<dyn Verifier>, options: LaneOptions) -> Arc<Self> {
        let owed = clients.iter().map(|_| AtomicUsize::new(0)).collect();
        let (jobs, verdicts) = clients.into_iter().map(|client| (client.jobs, client.verdicts)).unzip();
        Arc::new(Self {
            links: Mutex::new(Links { jobs }),
            office: Mutex::new(Office {
                foreman: Foreman::new(options.policy),
                tasks: Outbox::new(),
            }),
            news: Notify::new(),
            verdicts,
            owed,
            running: AtomicUsize::new(0),
            verifier,
            steps_max: options.policy.steps_max,
            waiting_max: options.waiting_max.max(1),
        })
    }

    /// Is one lane, until the node halts or every client is gone.
    pub fn run(&self, ctx: &TileContext) -> Result<(), NoTimer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| NoTimer { lane: ctx.name, source })?;
        let metrics = Metrics::new(&ctx.registry, ctx.name, self.verifier.name());
        self.running.fetch_add(1, Ordering::Relaxed);
        let mut done = Input::LaneFree;
        while let Some(task) = self.next_task(ctx, &runtime, done, &metrics) {
            ctx.pulse.beat();
            done = ctx.busy.during(|| self.carry_out(ctx, task, &metrics));
        }
        let is_last = self.running.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && !ctx.halt.is_stopped() {
            self.check_whole();
        }
        Ok(())
    }

    /// Asserts that every job has its verdict: for the last lane, when all clients are gone.
    fn check_whole(&self) {
        for (client, owed) in self.owed.iter().enumerate() {
            let owed = owed.load(Ordering::Relaxed);
            assert_eq!(owed, 0, "jobs of client {client} have no verdict");
        }
    }

    /// Hands in what the last task gave, then waits for the next one. `None` when the node halts or no client is left.
    fn next_task(&self, ctx: &TileContext, runtime: &Runtime, done: Input, metrics: &Metrics) -> Option<Task> {
        if ctx.halt.is_stopped() {
            return None;
        }
        // This lane takes in the jobs that came meanwhile before it is given to something less urgent. If another lane
        // leads, that one has them already.
        let links = match self.links.try_lock() {
            Ok(links) => Some(links),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let jobs = links.map(|mut links| self.take_in(&mut links, None));
        let task = self.tell(ctx, jobs.into_iter().chain([done]));
        metrics.watch(&self.office().foreman);
        if task.is_some() {
            return task;
        }
        // The lane rests until there is a task, as a leader or behind one.
        ctx.pulse.rest();
        // A lane that panicked has stopped the node already; the links are whole between calls.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = None;
        loop {
            if ctx.halt.is_stopped() {
                return None;
            }
            let jobs = self.take_in(&mut links, first.take());
            if let Some(task) = self.tell(ctx, [jobs]) {
                return Some(task);
            }
            let deadline = self.office().foreman.deadline();
            match runtime.block_on(self.wait(ctx, &mut links, deadline)) {
                Event::Job(ticket) => first = Some(ticket),
                Event::News => {}
                // The other lanes settle what they hold. If this lane gets nothing now, the rest waits for an inquiry
                // that one of them has in its hands.
                Event::Alone => return self.tell(ctx, [Input::Closed]),
            }
        }
    }

    /// How many more jobs may be taken off the links. Only the lane that holds the links takes jobs, so the room never
    /// shrinks in between.
    fn room(&self, office: &Office) -> usize {
        self.waiting_max.saturating_sub(office.foreman.waiting())
    }

    /// Takes jobs off the links, one per client in turn, after `first`, for which there is room.
    fn take_in(&self, links: &mut Links, first: Option<Ticket>) -> Input {
        let mut tickets: Vec<_> = first.into_iter().collect();
        let room = self.room(&self.office());
        assert!(tickets.len() <= room, "more jobs wait than may");
        let mut more = true;
        while more {
            more = false;
            for (client, jobs) in links.jobs.iter_mut().enumerate() {
                if tickets.len() >= room {
                    break;
                }
                if let Some(job) = jobs.try_recv() {
                    tickets.push(Ticket { client, job });
                    more = true;
                }
            }
        }
        for ticket in &tickets {
            self.owed[ticket.client].fetch_add(1, Ordering::Relaxed);
        }
        Input::Jobs(tickets)
    }

    /// Tells the foreman, takes a task for the calling lane if there is one, and wakes the leader for the rest.
    fn tell(&self, ctx: &TileContext, inputs: impl IntoIterator<Item = Input>) -> Option<Task> {
        let mut guard = self.office();
        let office = &mut *guard;
        let before = (office.foreman.deadline(), self.room(office) > 0);
        for input in inputs {
            office.foreman.handle(ctx.clock.now(), input, &mut office.tasks);
        }
        let task = office.tasks.pop();
        let after = (office.foreman.deadline(), self.room(office) > 0);
        let news = !office.tasks.is_empty() || after != before;
        drop(guard);
        if news {
            self.news.notify_one();
        }
        task
    }

    async fn wait(&self, ctx: &TileContext, links: &mut Links, deadline: Option<Nanos>) -> Event {
        // Without room, this lane waits for a task only: the jobs wait for an inquiry in another lane's hands.
        let has_room = self.room(&self.office()) > 0;
        let mut deadline = pin!(sleep_until(deadline, ctx));
        let mut halted = pin!(ctx.halt.stopped());
        // A notice given since the deadline was read is kept by `Notify` and found here.
        let mut news = pin!(self.news.notified());
        poll_fn(|context| {
            if halted.as_mut().poll(context).is_ready() || news.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::News);
            }
            let mut open = !has_room;
            for (client, jobs) in links.jobs.iter_mut().enumerate().filter(|_| has_room) {
                match jobs.poll_recv(context) {
                    Poll::Ready(Some(job)) => return Poll::Ready(Event::Job(Ticket { client, job })),
                    Poll::Ready(None) => {}
                    Poll::Pending => open = true,
                }
            }
            if !open {
                return Poll::Ready(Event::Alone);
            }
            deadline.as_mut().poll(context).map(|()| Event::News)
        })
        .await
    }

    /// Carries a task out, and returns the answer for the foreman.
    fn carry_out(&self, ctx: &TileContext, task: Task, metrics: &Metrics) -> Input {
        let began = ctx.clock.now();
        let took = || ctx.clock.now().since(began);
        match task {
            Task::Open(batch) => {
                let lot = batch.lot;
                metrics.opening(&batch);
                let (claims, convicted) = self.open(batch, metrics);
                metrics.open_time.record(took());
                Input::Opened { lot, claims, convicted }
            }
            Task::Sum(urgency, Piece { claims, mark }) => {
                let sum = self.sum(claims);
                metrics.sum_time.record(took());
                Input::Summed {
                    urgency,
                    claims_count: sum.0.len(),
                    sum,
                    mark,
                }
            }
            Task::Settle(urgency, settlement) => {
                let (left, convicted) = self.inquire(self.inquiry(settlement), metrics);
                metrics.settle_time.record(took());
                Input::Inquired {
                    urgency,
                    before: Case::default(),
                    left,
                    convicted,
                }
            }
            Task::Inquire(urgency, blame) => {
                let (left, convicted) = self.inquire(blame.inquiry, metrics);
                metrics.inquire_time.record(took());
                Input::Inquired {
                    urgency,
                    before: blame.case,
                    left,
                    convicted,
                }
            }
            Task::Return(tickets) => {
                for ticket in &tickets {
                    self.answer(&ReplyTo::of(ticket), Finding::Unjudged, metrics);
                }
                Input::LaneFree
            }
        }
    }

    /// Opens a batch. Returns the claims that have no finding yet, and the peers that their bad claims in it convict.
    fn open(&self, batch: Batch, metrics: &Metrics) -> (Vec<Held>, Vec<PeerId>) {
        let claims: Vec<_> = batch.tickets.iter().map(Ticket::claim).collect();
        let openings = self.verifier.open(&claims);
        assert_eq!(openings.len(), claims.len(), "a verifier opens every claim");
        let mut held = Vec::with_capacity(openings.len());
        let mut bad: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (ticket, opening) in batch.tickets.iter().zip(openings) {
            let reply_to = ReplyTo::of(ticket);
            match opening {
                Opening::Settled(finding) => {
                    self.answer(&reply_to, finding, metrics);
                    if finding.is_senders_fault()
                        && let Some(peer) = reply_to.sender
                    {
                        *bad.entry(peer).or_default() += 1;
                    }
                }
                Opening::Open(opened) => held.push((reply_to, opened)),
            }
        }
        bad.retain(|_, count| *count >= WRONG_CLAIMS_MAX);
        (held, bad.into_keys().collect())
    }

    fn sum(&self, claims: Vec<Held>) -> HeldSum {
        let (replies_to, opened): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
        let sum = self.verifier.sum(opened);
        assert_eq!(sum.len(), replies_to.len(), "a sum keeps its claims");
        (replies_to, sum)
    }

    fn inquiry(&self, settlement: Settlement<Held, HeldSum>) -> HeldInquiry {
        let Settlement { mut sums, loose } = settlement;
        if !loose.is_empty() {
            sums.push(self.sum(loose));
        }
        let (replies_to, sums): (Vec<Vec<ReplyTo>>, _) = sums.into_iter().unzip();
        let inquiry = Inquiry::of_senders(sums, |piece, position| replies_to[piece][position].sender);
        (replies_to, inquiry)
    }

    /// Gives an inquiry a turn. Returns what is left of it, and the peers that it has convicted.
    fn inquire(&self, inquiry: HeldInquiry, metrics: &Metrics) -> (Option<Blame<HeldInquiry>>, Vec<PeerId>) {
        let (replies_to, mut inquiry) = inquiry;
        let (before, mut told_count) = (inquiry.claims_left(), 0);
        self.verifier.inquire(&mut inquiry, self.steps_max, &mut |told| {
            let replies_to: &Vec<ReplyTo> = &replies_to[told.piece];
            for reply_to in &replies_to[told.positions()] {
                self.answer(reply_to, told.finding, metrics);
                told_count += 1;
            }
        });
        let case = inquiry.case();
        assert_eq!(
            before - case.claims_count,
            told_count,
            "a verifier tells of every claim that it has judged"
        );
        let convicted = inquiry.convicted().collect();
        let left = (case.claims_count > 0).then_some(Blame {
            inquiry: (replies_to, inquiry),
            case,
        });
        (left, convicted)
    }

    fn answer(&self, reply_to: &ReplyTo, finding: Finding, metrics: &Metrics) {
        metrics.judged(finding);
        let verdict = Verdict {
            key: reply_to.key,
            index: reply_to.index,
            sender: reply_to.sender,
            finding,
        };
        let owed = self.owed[reply_to.client].fetch_sub(1, Ordering::Relaxed);
        assert!(owed > 0, "a client gets a verdict that it is not owed");
        if let Some(client) = self.verdicts.get(reply_to.client) {
            // A client that is gone wants no verdict; the halt is on its way to us.
            let _ = client.send(verdict);
        }
    }

    /// A panic elsewhere has stopped the node already; a foreman is whole between calls.
    fn office(&self) -> MutexGuard<'_, Office> {
        self.office.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} clients, {})", self.verdicts.len(), self.verifier.name())
    }
}

/// Why a leader woke.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Event {
    Job(Ticket),
    /// A task, room, a deadline, or the halt.
    News,
    /// Every client is gone.
    Alone,
}

async fn sleep_until(deadline: Option<Nanos>, ctx: &TileContext) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(ctx.clock.now()).as_duration()).await,
        None => std::future::pending().await,
    }
}

mod metrics;
#[cfg(test)]
mod tests;
