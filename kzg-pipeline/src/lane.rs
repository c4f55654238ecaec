//! This file knows how lanes take tasks, carry them out and answer: the tiles of the pipeline.
//!
//! ```text
//!   client ──requests──▶ ┐         ┌─ task ─▶ lane: open, sum, settle, confirm ┐
//!   client ──requests──▶ ┤ foreman ┤                                           ├──verdicts──▶ the client that asked
//!                        ┘         └─ task ─▶ lane: open, sum, settle, confirm ┘
//!                             ▲─────────── what a task gave ──────────┘
//! ```
//!
//! Leader and followers: of the idle lanes, one holds the links and waits on them. When a task comes up, it leaves the
//! links to the next lane and carries the task out. So there is no dispatcher, a blob moves between threads once, and
//! one lane or eight are the same code. A lane that comes back from a task needs only the foreman. The foreman stands
//! behind a lock that no lane holds while it waits or works. Jobs wait in the links while every lane works. If a link
//! is full, its sender waits. Links know no urgency and no senders, so a lane takes in all that is there: the foreman
//! has room for whatever may be under way.
//!
//! A job is answered as soon as its bytes are hashed. A value is answered when the foreman has let go of it: what its
//! client sends after that verdict begins the value again. So a client that has sent a place twice also sends a
//! `Forget` after the verdict. Without it, the late one would be kept for a value that never gets whole.
//!
//! Keeps:
//!
//! - One verdict per job and per value, to the client that sent it. A value's comes after those of its jobs.
//! - A client must go on taking verdicts while it waits to send.
//! - A node that halts drops what has no verdict yet. When the clients are gone, the lanes still judge what they sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use ultramarine_runtime::{Receiver, Sender, TileContext};
use ultramarine_types::verify::{ValueOutcome, Verdict, VerifyRequest};
use ultramarine_types::{Hash, Machine, Outbox, ValueKey};

use self::metrics::Metrics;
use crate::account::WholeValue;
use crate::ckzg;
use crate::foreman::{self, BLOBS_MAX, Foreman, Policy, Request};
use crate::former::Batch;
use crate::opening::{OpenedClaim, Opening, Sums};
use crate::ticket::{Name, Ticket};
use crate::verifier::Verifier;

/// Questions to `c-kzg` in one turn of a value that fails: 1.5 to 2.3 ms each.
const QUESTIONS_PER_TURN: usize = 8;

/// The lanes' ends of one client's links.
#[derive(Debug)]
pub struct LaneClientEnd {
    /// What the client wants.
    pub requests: Receiver<VerifyRequest>,
    /// Where its verdicts go.
    pub verdicts: Sender<Verdict>,
}

/// The sizes that lanes work by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOptions {
    /// Sizes of tasks and waits.
    pub policy: Policy,
    /// Jobs taken off the links ahead of their batch.
    pub waiting_max: usize,
}

// Tickets wait here; the bytes of their blobs are the network's and count there.
const _: () = assert!(BLOBS_MAX * size_of::<Ticket>() <= 4 << 20);

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            waiting_max: BLOBS_MAX,
        }
    }
}

/// What all lanes share. Give each tile a clone of the `Arc` and call [`run`](Self::run) in it.
pub struct Lanes {
    /// The lane that holds it is the leader. Locked before `office` if both are needed.
    links: Mutex<Links>,
    /// Held for as long as a decision takes.
    office: Mutex<Office>,
    /// For the leader: there is a task.
    news: Notify,
    verdicts: Vec<Sender<Verdict>>,
    verifier: Arc<dyn Verifier>,
    waiting_max: usize,
}

struct Links {
    requests: Vec<Receiver<VerifyRequest>>,
}

struct Office {
    foreman: Foreman<OpenedClaim, Sums>,
    out: Outbox<foreman::Output<OpenedClaim, Sums>>,
    /// At most one for each lane that is free.
    tasks: VecDeque<Task>,
}

type Input = foreman::Input<OpenedClaim, Sums>;
type Task = foreman::Task<OpenedClaim, Sums>;

impl Lanes {
    /// Lanes that serve these clients.
    pub fn new(clients: Vec<LaneClientEnd>, verifier: Arc<dyn Verifier>, options: LaneOptions) -> Arc<Self> {
        let (requests, verdicts) = clients
            .into_iter()
            .map(|client| (client.requests, client.verdicts))
            .unzip();
        Arc::new(Self {
            links: Mutex::new(Links { requests }),
            office: Mutex::new(Office {
                foreman: Foreman::new(options.policy),
                out: Outbox::new(),
                tasks: VecDeque::new(),
            }),
            news: Notify::new(),
            verdicts,
            verifier,
            waiting_max: options.waiting_max.max(1),
        })
    }

    /// Is one lane, until the node halts or every client is gone.
    pub fn run(&self, ctx: &TileContext) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| format!("lane {}: no runtime: {error}", ctx.name))?;
        let metrics = Metrics::new(&ctx.registry, ctx.name, self.verifier.name());
        let mut done = Input::LaneFree;
        while let Some(task) = self.next_task(ctx, &runtime, done, &metrics) {
            ctx.pulse.beat();
            done = ctx.busy.during(|| self.carry_out(ctx, task, &metrics));
        }
        Ok(())
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
        let requests = links.map(|mut links| self.take_in(&mut links, None));
        let task = self.tell(ctx, requests.into_iter().chain([done]), metrics);
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
            let requests = self.take_in(&mut links, first.take());
            if let Some(task) = self.tell(ctx, [requests], metrics) {
                return Some(task);
            }
            match runtime.block_on(self.wait(ctx, &mut links)) {
                Event::Request(request) => first = Some(request),
                Event::News => {}
                // The other lanes do what is left to do.
                Event::Alone => return None,
            }
        }
    }

    /// Takes requests off the links, one per client in turn, after `first`. Only the lane that holds the links takes
    /// any, so the room never shrinks in between.
    fn take_in(&self, links: &mut Links, first: Option<Request>) -> Input {
        let mut requests: Vec<_> = first.into_iter().collect();
        let room = self.waiting_max.saturating_sub(self.office().foreman.waiting());
        assert!(requests.len() <= room, "more jobs wait than may");
        let mut more = true;
        while more {
            more = false;
            for (client, link) in links.requests.iter_mut().enumerate() {
                if requests.len() >= room {
                    break;
                }
                if let Some(request) = link.try_recv() {
                    requests.push(Request { client, request });
                    more = true;
                }
            }
        }
        Input::Requests(requests)
    }

    /// Tells the foreman, takes a task for the calling lane if there is one, and wakes the leader for the rest.
    fn tell(&self, ctx: &TileContext, inputs: impl IntoIterator<Item = Input>, metrics: &Metrics) -> Option<Task> {
        let mut guard = self.office();
        let office = &mut *guard;
        for input in inputs {
            office.foreman.handle(ctx.clock.now(), input, &mut office.out);
        }
        let mut verdicts = Vec::new();
        while let Some(output) = office.out.pop() {
            match output {
                foreman::Output::Task(task) => office.tasks.push_back(task),
                foreman::Output::Verdict { client, key, outcome } => verdicts.push((client, key, outcome)),
            }
        }
        let task = office.tasks.pop_front();
        let news = !office.tasks.is_empty();
        drop(guard);
        if news {
            self.news.notify_one();
        }
        for (client, key, outcome) in verdicts {
            self.answer_value(client, key, outcome, metrics);
        }
        task
    }

    async fn wait(&self, ctx: &TileContext, links: &mut Links) -> Event {
        let mut halted = pin!(ctx.halt.stopped());
        // A notice given since the foreman was told is kept by `Notify` and found here.
        let mut news = pin!(self.news.notified());
        poll_fn(|context| {
            if halted.as_mut().poll(context).is_ready() || news.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::News);
            }
            let mut open = false;
            for (client, link) in links.requests.iter_mut().enumerate() {
                match link.poll_recv(context) {
                    Poll::Ready(Some(request)) => return Poll::Ready(Event::Request(Request { client, request })),
                    Poll::Ready(None) => {}
                    Poll::Pending => open = true,
                }
            }
            if open { Poll::Pending } else { Poll::Ready(Event::Alone) }
        })
        .await
    }

    /// Carries a task out, and returns the answer for the foreman.
    fn carry_out(&self, ctx: &TileContext, task: Task, metrics: &Metrics) -> Input {
        let began = ctx.clock.now();
        let (answer, time) = match task {
            Task::Open(batch) => {
                metrics.opening(&batch);
                (Input::Opened(self.open(batch, metrics)), &metrics.open_time)
            }
            Task::Sum(name, claims) => (Input::Summed(name, self.verifier.sum(&claims)), &metrics.sum_time),
            Task::Settle(values) => (Input::Settled(settle(&*self.verifier, values)), &metrics.settle_time),
            Task::Confirm(name, doubt) => {
                let turn = doubt.go_on(QUESTIONS_PER_TURN, ckzg::ask);
                (Input::Confirmed(name, turn), &metrics.confirm_time)
            }
        };
        time.record(ctx.clock.now().since(began));
        answer
    }

    /// Hashes a batch, answers each job, and opens those that are right and wanted.
    fn open(&self, batch: Batch, metrics: &Metrics) -> Vec<(Ticket, Opening)> {
        let mut tickets = batch.tickets;
        let claims: Vec<_> = tickets.iter().map(Ticket::claim).collect();
        let mut digests = Vec::with_capacity(tickets.len());
        let openings = self.verifier.open(&claims, &mut |index, digest| {
            assert_eq!(index, digests.len(), "a verifier hashes claims in their order");
            digests.push(digest);
            let ticket = &tickets[index];
            let is_right = ticket.is_right(&digest);
            self.answer_job(ticket, digest, is_right, metrics);
            is_right && ticket.is_wanted
        });
        assert!(
            openings.len() == tickets.len() && digests.len() == tickets.len(),
            "a verifier hashes every claim"
        );
        for (ticket, digest) in tickets.iter_mut().zip(digests) {
            ticket.job.digest = Some(digest);
        }
        tickets.into_iter().zip(openings).collect()
    }

    fn answer_job(&self, ticket: &Ticket, digest: Hash, is_right: bool, metrics: &Metrics) {
        metrics.hashed(is_right);
        let verdict = Verdict::Part {
            key: ticket.name.key,
            index: ticket.job.index,
            sender: ticket.job.sender,
            digest,
            is_right,
        };
        self.answer(ticket.name.client, verdict);
    }

    fn answer_value(&self, client: usize, key: ValueKey, outcome: ValueOutcome, metrics: &Metrics) {
        metrics.settled(&outcome);
        if let ValueOutcome::Withheld { why } = outcome {
            tracing::error!(%key, "a value's verdict is withheld, by a fault of this node's own: {why}");
        }
        self.answer(client, Verdict::Value { key, outcome });
    }

    fn answer(&self, client: usize, verdict: Verdict) {
        if let Some(client) = self.verdicts.get(client) {
            // A client that is gone wants no verdict; the halt is on its way to us.
            let _ = client.send(verdict);
        }
    }

    /// A panic elsewhere has stopped the node already; a foreman is whole between calls.
    fn office(&self) -> MutexGuard<'_, Office> {
        self.office.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks about all values together, by one pairing, and about each by itself if not all hold.
pub(crate) fn settle(verifier: &dyn Verifier, values: Vec<WholeValue<OpenedClaim, Sums>>) -> Vec<(Name, bool)> {
    let values: Vec<_> = values
        .into_iter()
        .map(|WholeValue { name, mut sums, loose }| {
            if !loose.is_empty() {
                sums.push(verifier.sum(&loose));
            }
            (name, sums)
        })
        .collect();
    let all: Vec<_> = values.iter().flat_map(|(_, sums)| sums).collect();
    let all_hold = verifier.hold(&all);
    let holds = |sums: &Vec<Sums>| {
        let is_alone = values.len() == 1;
        all_hold || (!is_alone && verifier.hold(&sums.iter().collect::<Vec<_>>()))
    };
    values.iter().map(|(name, sums)| (*name, holds(sums))).collect()
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} clients, {})", self.verdicts.len(), self.verifier.name())
    }
}

/// Why a leader woke.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Event {
    Request(Request),
    /// A task, or the halt.
    News,
    /// Every client is gone.
    Alone,
}

mod metrics;
pub use metrics::register_metrics;
#[cfg(test)]
mod tests;
