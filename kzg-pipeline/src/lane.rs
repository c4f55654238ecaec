//! This file knows how lanes take batches, judge them and answer: the tiles of the pipeline.
//!
//! ```text
//!   client ──jobs──▶ ┐                        ┌─▶ lane: verify ─┐
//!   client ──jobs──▶ ┤ former (one at a time) ┤                 ├──verdicts──▶ the client that asked
//!                    ┘                        └─▶ lane: verify ─┘
//! ```
//!
//! Leader and followers: whichever lane is free and first takes the former, waits on the links for a batch, leaves the
//! former to the next free lane, and only then verifies. So there is no dispatcher, a blob moves between threads once, and
//! one lane or eight are the same code. Jobs wait in the links while every lane works; a full link is its sender's to wait.
//!
//! Keeps: one verdict per job, to the client that sent it. A client must go on taking verdicts while it waits to send.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::runtime::Runtime;
use ultramarine_runtime::{Counter, Gauge, Histogram, Receiver, Registry, Sender, TileContext};
use ultramarine_types::verify::{Finding, Urgency, Verdict, VerifyJob};
use ultramarine_types::{Machine, Nanos, Outbox};

use crate::former::{Batch, Former, Input, Policy, Ticket};
use crate::verifier::{Claim, LABELS, Verifier, label_index};

/// The lanes' ends of one client's links.
#[derive(Debug)]
pub struct LaneClientEnd {
    /// What the client wants verified.
    pub jobs: Receiver<VerifyJob>,
    /// Where its verdicts go.
    pub verdicts: Sender<Verdict>,
}

/// How lanes work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Batch sizes and waits.
    pub policy: Policy,
    /// Jobs taken off the links ahead of their batch: enough that the former sees every sender and both urgencies.
    pub waiting_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        // Two of the largest blocks from each of two clients.
        Self {
            policy: Policy::default(),
            waiting_max: 4 * ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize,
        }
    }
}

/// Runs a single lane until the node halts or every client is gone.
pub fn run(
    ctx: TileContext,
    clients: Vec<LaneClientEnd>,
    verifier: Arc<dyn Verifier>,
    options: Options,
) -> Result<(), String> {
    Lanes::new(clients, verifier, options).run(&ctx)
}

/// What all lanes share. Give each tile a clone of the `Arc` and call [`run`](Self::run) in it.
pub struct Lanes {
    intake: Mutex<Intake>,
    verdicts: Vec<Sender<Verdict>>,
    verifier: Arc<dyn Verifier>,
}

/// The former and its links; whoever holds it is the leader.
struct Intake {
    former: Former,
    batches: Outbox<Batch>,
    jobs: Vec<Receiver<VerifyJob>>,
    waiting_max: usize,
}

impl Lanes {
    /// Lanes that serve these clients.
    pub fn new(clients: Vec<LaneClientEnd>, verifier: Arc<dyn Verifier>, options: Options) -> Arc<Self> {
        let (jobs, verdicts) = clients.into_iter().map(|client| (client.jobs, client.verdicts)).unzip();
        let intake = Intake {
            former: Former::new(options.policy),
            batches: Outbox::new(),
            jobs,
            waiting_max: options.waiting_max.max(1),
        };
        Arc::new(Self {
            intake: Mutex::new(intake),
            verdicts,
            verifier,
        })
    }

    /// Is one lane, until the node halts or every client is gone.
    pub fn run(&self, ctx: &TileContext) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| format!("lane {}: no timer: {error}", ctx.name))?;
        let metrics = Metrics::new(&ctx.registry, ctx.name, self.verifier.name());
        loop {
            let batch = {
                // A lane that panicked has stopped the node already; the intake's own state is whole between calls.
                let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
                let batch = intake.next_batch(ctx, &runtime);
                metrics
                    .waiting
                    .set(i64::try_from(intake.former.waiting()).unwrap_or(i64::MAX));
                batch
            };
            let Some(batch) = batch else { return Ok(()) };
            ctx.busy.during(|| self.judge(ctx, &batch, &metrics));
        }
    }

    fn judge(&self, ctx: &TileContext, batch: &Batch, metrics: &Metrics) {
        let claims: Vec<_> = batch.tickets.iter().map(|ticket| claim(&ticket.job)).collect();
        let began = ctx.clock.now();
        let findings = self.verifier.verify(&claims);
        assert_eq!(findings.len(), claims.len(), "a verifier gives one finding per claim");
        metrics.record(batch, &findings, ctx.clock.now().since(began));
        for (ticket, finding) in batch.tickets.iter().zip(findings) {
            let job = &ticket.job;
            let verdict = Verdict {
                key: job.key,
                index: job.index,
                sender: job.sender,
                finding,
            };
            if let Some(client) = self.verdicts.get(ticket.client) {
                // A client that is gone wants no verdict; the halt is on its way to us.
                let _ = client.send(verdict);
            }
        }
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} clients, {})", self.verdicts.len(), self.verifier.name())
    }
}

impl Intake {
    /// The calling lane's next batch, waiting for it; `None` when the node halts or nobody can send any more.
    fn next_batch(&mut self, ctx: &TileContext, runtime: &Runtime) -> Option<Batch> {
        self.former.handle(ctx.clock.now(), Input::LaneFree, &mut self.batches);
        loop {
            if ctx.halt.is_stopped() {
                return None;
            }
            self.take_what_waits(ctx.clock.now());
            self.former.wake(ctx.clock.now(), &mut self.batches);
            if let Some(batch) = self.batches.pop() {
                return Some(batch);
            }
            match runtime.block_on(self.wait(ctx)) {
                Event::Job(ticket) => self
                    .former
                    .handle(ctx.clock.now(), Input::Job(ticket), &mut self.batches),
                Event::Deadline | Event::Halted => {}
                Event::Alone if self.former.waiting() == 0 && self.batches.is_empty() => return None,
                // What waits goes when it is due; nothing can come to hurry it.
                Event::Alone => runtime.block_on(sleep_until(self.former.deadline(), ctx)),
            }
        }
    }

    /// Takes jobs off the links, a turn for each client at a time.
    fn take_what_waits(&mut self, now: Nanos) {
        let mut more = true;
        while more {
            more = false;
            for (client, jobs) in self.jobs.iter_mut().enumerate() {
                if self.former.waiting() >= self.waiting_max {
                    return;
                }
                if let Some(job) = jobs.try_recv() {
                    self.former
                        .handle(now, Input::Job(Ticket { client, job }), &mut self.batches);
                    more = true;
                }
            }
        }
    }

    async fn wait(&mut self, ctx: &TileContext) -> Event {
        let mut deadline = pin!(sleep_until(self.former.deadline(), ctx));
        let mut halted = pin!(ctx.halt.stopped());
        poll_fn(|context| {
            if halted.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Halted);
            }
            let mut open = false;
            for (client, jobs) in self.jobs.iter_mut().enumerate() {
                match jobs.poll_recv(context) {
                    Poll::Ready(Some(job)) => return Poll::Ready(Event::Job(Ticket { client, job })),
                    Poll::Ready(None) => {}
                    Poll::Pending => open = true,
                }
            }
            if !open {
                return Poll::Ready(Event::Alone);
            }
            deadline.as_mut().poll(context).map(|()| Event::Deadline)
        })
        .await
    }
}

/// Why a leader woke.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Event {
    Job(Ticket),
    Deadline,
    Halted,
    /// Every client is gone.
    Alone,
}

async fn sleep_until(deadline: Option<Nanos>, ctx: &TileContext) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(ctx.clock.now()).as_duration()).await,
        None => std::future::pending().await,
    }
}

fn claim(job: &VerifyJob) -> Claim<'_> {
    Claim {
        blob: &job.blob,
        commitment: &job.commitment,
        proof: &job.proof,
    }
}

/// One lane's series.
struct Metrics {
    blobs: [Counter; LABELS.len()],
    batches: [Counter; 2],
    batch_blobs: Gauge,
    batch_time: Histogram,
    waiting: Gauge,
}

impl Metrics {
    fn new(registry: &Registry, lane: &'static str, verifier: &'static str) -> Self {
        let batches = |urgency| {
            let help = "Batches verified; blobs divided by batches is the mean batch size.";
            registry.counter(
                "ultramarine_kzg_batches_total",
                help,
                &[("lane", lane), ("urgency", urgency)],
            )
        };
        Self {
            blobs: LABELS.map(|finding| {
                let labels = [("lane", lane), ("verifier", verifier), ("finding", finding)];
                registry.counter(
                    "ultramarine_kzg_blobs_total",
                    "Blobs judged, by what was found.",
                    &labels,
                )
            }),
            batches: [batches("current"), batches("sync")],
            batch_blobs: registry.gauge(
                "ultramarine_kzg_batch_blobs",
                "Blobs of the newest batch.",
                &[("lane", lane)],
            ),
            batch_time: registry.histogram(
                "ultramarine_kzg_batch_seconds",
                "Time to judge a batch.",
                &[("lane", lane)],
            ),
            waiting: registry.gauge(
                "ultramarine_kzg_waiting_blobs",
                "Blobs taken off the links and not yet in a batch.",
                &[],
            ),
        }
    }

    fn record(&self, batch: &Batch, findings: &[Finding], took: Nanos) {
        for finding in findings {
            self.blobs[label_index(*finding)].inc();
        }
        self.batches[match batch.urgency {
            Urgency::Current => 0,
            Urgency::Sync => 1,
        }]
        .inc();
        self.batch_blobs.set(i64::try_from(findings.len()).unwrap_or(i64::MAX));
        self.batch_time.record(took);
    }
}

#[cfg(test)]
mod tests;
