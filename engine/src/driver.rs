//! This file knows how to carry out what the core asks of the execution client.
//!
//! Calls of different kinds overlap, each in a task of its own. Forkchoice updates keep their order. The `newPayload`
//! of an import keeps that order too, because the client cannot execute a block before its parent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;
use ultramarine_runtime::{Clock, Histogram, Mark, Receiver, RingOps, Sender, StageLog, StageTime, TileContext};
use ultramarine_types::execution::{EngineCall, EngineReply, Executed, PayloadStatus};
use ultramarine_types::verify::{Verdict, VerifyRequest};
use ultramarine_types::{Hash, Init, Lists, Nanos, Stage};

use crate::build::{self, Order};
use crate::client::Client;
use crate::client_time;
use crate::foreign::bounded;
use crate::http::UrlError;
use crate::inspect::inspect;
use crate::options::EngineOptions;
use crate::own_bundles::OwnBundles;
use crate::payload::{BrokenPayload, Payload};
use crate::proofs::Proofs;
use crate::startup::{self, StartError};
use crate::transport::Transport;
use crate::turns::{Turn, Turns};

/// Calls under way at one time: a build, an execution for each value in assembly, and imports that wait for their turn.
const TASKS_MAX: usize = 64;

/// The driver's ends of the links to and from the verifier's lanes.
#[derive(Debug)]
pub struct LaneClient {
    /// Blobs of our own bundles, to be verified.
    pub jobs: Sender<VerifyRequest>,
    /// The verdicts on those blobs.
    pub verdicts: Receiver<Verdict>,
}

/// Why the driver stops the node.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("engine.url: {0}")]
    Url(#[from] UrlError),
    /// The execution client is there and is not ours to work with.
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("a call to the execution client panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// Carries out calls until the node stops or the core is gone.
///
/// Must run inside [`block_on_net`](ultramarine_runtime::block_on_net), or on a `LocalSet`.
pub async fn run(
    options: EngineOptions,
    mut calls: Receiver<EngineCall>,
    replies: Sender<EngineReply>,
    lanes: LaneClient,
    ctx: TileContext,
) -> Result<(), EngineError> {
    let LaneClient { jobs, mut verdicts } = lanes;
    let engine = Rc::new(Engine::new(options, jobs, &ctx)?);
    let starting = Rc::clone(&engine);
    let mut start = Box::pin(async move {
        let away = |why: &str| *starting.away.borrow_mut() = format!(": {}", bounded(why));
        startup::wait(&starting.client, &starting.options.expected(), away).await
    });
    let mut turns = Turns::default();
    let mut tasks: JoinSet<Result<(), ultramarine_runtime::Closed>> = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = ctx.halt.stopped() => return Ok(()),
            started = &mut start, if !engine.ready.get() => match started {
                Ok(()) => engine.ready.set(true),
                Err(error) => return Err(error.into()),
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok(Ok(())) => {}
                // The core is gone, so the node stops.
                Ok(Err(_)) => return Ok(()),
                Err(error) => return Err(EngineError::Panicked(error)),
            },
            Some(verdict) = verdicts.recv() => engine.own_bundles.settle(&verdict),
            call = calls.recv(), if tasks.len() < TASKS_MAX => {
                let Some(call) = call else { return Ok(()) };
                let turn = turn_of(&call, &mut turns);
                let (engine, replies) = (Rc::clone(&engine), replies.clone());
                tasks.spawn_local(async move {
                    let (reply, open) = client_time::of(engine.carry_out(call, turn)).await;
                    engine.shares.record(&reply, open);
                    replies.send_async(reply).await
                });
            }
        }
    }
}

/// Takes a position in the order of forkchoice updates, for calls that make one.
fn turn_of(call: &EngineCall, turns: &mut Turns) -> Option<Turn> {
    match call {
        EngineCall::Forkchoice { .. } | EngineCall::Build { .. } | EngineCall::Import { .. } => Some(turns.take()),
        EngineCall::Execute { .. } | EngineCall::Inspect { .. } | EngineCall::Newest => None,
    }
}

struct Engine {
    options: EngineOptions,
    client: Client,
    own_bundles: OwnBundles,
    /// Whether the client was found to be the right one.
    ready: Cell<bool>,
    /// Why we have not found it yet: a text that begins with a colon.
    away: RefCell<String>,
    proofs: Proofs,
    clock: ultramarine_runtime::Clock,
    build_stage: Histogram,
    execute_stage: Histogram,
    shares: ClientShares,
}

/// How long calls to the client were open in each stage that waits for it.
struct ClientShares {
    build: Histogram,
    execute: Histogram,
    log: Arc<StageLog>,
    clock: Clock,
}

impl ClientShares {
    /// What a reply took of its stage. Whoever measures import and commit finds it in the log of stages.
    fn record(&self, reply: &EngineReply, open: Nanos) {
        let (stage, height) = match reply {
            EngineReply::Built {
                height, result: Ok(_), ..
            } => {
                self.build.record(open);
                (Stage::Build, *height)
            }
            EngineReply::Executed {
                key,
                outcome: Executed::Answered(status),
            } if !matches!(status, PayloadStatus::Unavailable { .. }) => {
                self.execute.record(open);
                (Stage::Execute, key.height)
            }
            EngineReply::Imported {
                height,
                forkchoice: PayloadStatus::Valid { .. },
                ..
            } => (Stage::Import, *height),
            _ => return,
        };
        let moment = StageTime::before(self.clock.now(), open);
        self.log.note(Mark::Client(stage), height, moment);
    }
}

impl Engine {
    fn new(options: EngineOptions, jobs: Sender<VerifyRequest>, ctx: &TileContext) -> Result<Self, UrlError> {
        let ring = RingOps::new(&ctx.registry, "engine");
        let transport = Transport::new(&options.endpoint, options.io, ring, options.answer_bytes_max())?;
        let blobs_max = options.limits.blobs_per_block as usize;
        let waiting = options.waiting.clone();
        let client = Client::new(transport, options.timeout, blobs_max, waiting, ctx.clock, &ctx.registry);
        let stage = |stage: Stage| {
            let help = "Time a block spent in each stage of its life on this node.";
            ctx.registry
                .histogram("ultramarine_stage_seconds", help, &[("stage", stage.name())])
        };
        let share = |stage: Stage| client_time::share(&ctx.registry, stage);
        Ok(Self {
            shares: ClientShares {
                build: share(Stage::Build),
                execute: share(Stage::Execute),
                log: ctx.registry.stage_log(),
                clock: ctx.clock,
            },
            client,
            own_bundles: OwnBundles::new(jobs),
            ready: Cell::new(false),
            away: RefCell::default(),
            proofs: Proofs::default(),
            clock: ctx.clock,
            build_stage: stage(Stage::Build),
            execute_stage: stage(Stage::Execute),
            options,
        })
    }

    async fn carry_out(&self, call: EngineCall, turn: Option<Turn>) -> EngineReply {
        match (call, turn) {
            (EngineCall::Forkchoice { head, height: _ }, turn) => EngineReply::Forkchoice {
                head,
                status: self.forkchoice(head, turn).await,
            },
            (
                EngineCall::Build {
                    height,
                    round,
                    parent,
                    parent_beacon_block_root,
                    timestamp,
                },
                Some(turn),
            ) => {
                let result = self
                    .build(
                        &Order {
                            height,
                            parent,
                            parent_beacon_block_root,
                            timestamp,
                        },
                        turn,
                    )
                    .await;
                EngineReply::Built { height, round, result }
            }
            (EngineCall::Build { .. }, None) => unreachable!("`turn_of` gives every build a turn"),
            (
                EngineCall::Execute {
                    key,
                    init,
                    lists,
                    payload,
                },
                _,
            ) => EngineReply::Executed {
                key,
                outcome: self.execute(&init, &lists, &payload).await,
            },
            (
                EngineCall::Inspect {
                    key,
                    init,
                    lists,
                    payload,
                },
                _,
            ) => {
                let result = self.inspect(&init, &lists, &payload);
                EngineReply::Inspected {
                    key,
                    result: result.map(|_| ()).map_err(|broken| bounded(&broken.to_string())),
                }
            }
            (
                EngineCall::Import {
                    height,
                    init,
                    lists,
                    payload,
                },
                turn,
            ) => {
                let (payload, forkchoice) = self.import(&init, &lists, &payload, turn).await;
                EngineReply::Imported {
                    height,
                    payload,
                    forkchoice,
                }
            }
            (EngineCall::Newest, _) => EngineReply::Newest {
                number: self.newest().await,
            },
        }
    }

    async fn forkchoice(&self, head: Hash, turn: Option<Turn>) -> PayloadStatus {
        let mut turn = turn;
        if let Some(turn) = &mut turn {
            turn.begin().await;
        }
        if let Some(unavailable) = self.unavailable() {
            return unavailable;
        }
        match self.client.forkchoice_updated(head, None).await {
            Ok(answer) => answer.status,
            Err(error) => error.into_status(),
        }
    }

    async fn build(&self, order: &Order, turn: Turn) -> Result<Box<ultramarine_types::execution::Built>, String> {
        if let Some(PayloadStatus::Unavailable { reason }) = self.unavailable() {
            return Err(reason);
        }
        let started = self.clock.now();
        let built = build::build(
            &self.client,
            &self.own_bundles,
            &self.proofs,
            &self.options,
            order,
            turn,
        )
        .await
        .map_err(|error| bounded(&error.to_string()))?;
        self.build_stage.record(self.clock.now().since(started));
        Ok(built)
    }

    async fn execute(&self, init: &Init, lists: &Lists, bytes: &Bytes) -> Executed {
        let payload = match self.inspect(init, lists, bytes) {
            Ok(payload) => payload,
            Err(broken) => {
                return Executed::Broken {
                    reason: bounded(&broken.to_string()),
                };
            }
        };
        let started = self.clock.now();
        let status = self.new_payload(init, lists, &payload).await;
        if !matches!(status, PayloadStatus::Unavailable { .. }) {
            self.execute_stage.record(self.clock.now().since(started));
        }
        Executed::Answered(status)
    }

    async fn import(
        &self,
        init: &Init,
        lists: &Lists,
        bytes: &Bytes,
        turn: Option<Turn>,
    ) -> (PayloadStatus, PayloadStatus) {
        let mut turn = turn;
        if let Some(turn) = &mut turn {
            turn.begin().await;
        }
        let payload = match self.inspect(init, lists, bytes) {
            Ok(payload) => payload,
            // It is stored and decided, and not what its metadata says: the core must hear of it, our client must not.
            Err(broken) => {
                let reason = bounded(&format!("the stored payload is broken: {broken}"));
                let skipped = PayloadStatus::Unavailable {
                    reason: "the payload was not sent".to_owned(),
                };
                return (PayloadStatus::Invalid { latest: None, reason }, skipped);
            }
        };
        let status = self.new_payload(init, lists, &payload).await;
        // A client that lags needs the target more than the block, so we name it the head whatever it says. Only a
        // block that it calls invalid is not named.
        let forkchoice = match &status {
            PayloadStatus::Invalid { .. } => PayloadStatus::Unavailable {
                reason: "not sent: the block is INVALID".to_owned(),
            },
            PayloadStatus::Valid { .. }
            | PayloadStatus::Syncing
            | PayloadStatus::Accepted
            | PayloadStatus::Unavailable { .. } => self.forkchoice(init.metadata.header.block_hash, None).await,
        };
        (status, forkchoice)
    }

    fn inspect(&self, init: &Init, lists: &Lists, bytes: &Bytes) -> Result<Payload, BrokenPayload> {
        let payload = inspect(&init.metadata, lists, bytes)?;
        // The fork follows from the time. The header binds both: the fork shows in its requests hash.
        if payload.requests.is_some() != self.options.is_prague(init.metadata.header.timestamp) {
            return Err(BrokenPayload::Header("requests_hash"));
        }
        Ok(payload)
    }

    async fn new_payload(&self, init: &Init, lists: &Lists, payload: &Payload) -> PayloadStatus {
        if let Some(unavailable) = self.unavailable() {
            return unavailable;
        }
        let hashes: Vec<_> = lists
            .commitments
            .iter()
            .map(|commitment| alloy_eips::eip4844::kzg_to_versioned_hash(&commitment.0))
            .collect();
        let root = init.metadata.header.parent_beacon_block_root;
        match self.client.new_payload(payload, &hashes, root).await {
            Ok(status) => status,
            Err(error) => error.into_status(),
        }
    }

    async fn newest(&self) -> Option<u64> {
        if !self.ready.get() {
            return None;
        }
        match self.client.block("latest").await {
            Ok(block) => block.map(|block| block.number),
            Err(error) => {
                tracing::debug!("the execution client's newest block is unknown: {error}");
                None
            }
        }
    }

    /// Why we cannot ask the client yet; `None` if we can.
    fn unavailable(&self) -> Option<PayloadStatus> {
        (!self.ready.get()).then(|| PayloadStatus::Unavailable {
            reason: bounded(&format!(
                "the execution client at {} has not answered yet{}",
                self.client.address(),
                self.away.borrow()
            )),
        })
    }
}
