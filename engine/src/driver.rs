//! This file knows how to carry out what the core asks of the execution client.
//!
//! Calls of different kinds overlap, each in a task of its own. Forkchoice updates keep their order, and an import
//! keeps its `newPayload` in that order too, because a block cannot be executed before its parent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use ultramarine_runtime::{Histogram, Io, Receiver, RingOps, Sender, TileContext};
use ultramarine_types::chain::Limits;
use ultramarine_types::execution::{EngineCall, EngineReply, Executed, PayloadStatus};
use ultramarine_types::limits::{PAYLOAD_BYTES_MAX, PROOFS_PER_BLOB_MAX};
use ultramarine_types::verify::{Verdict, VerifyJob};
use ultramarine_types::{Address, Hash, Init, Stage};

use super::build::{self, Order};
use super::call::bounded;
use super::client::Client;
use super::lanes::Lanes;
use super::payload::{self, Broken, Payload};
use super::proofs::Proofs;
use super::startup::{self, Expected};
use super::transport::{Endpoint, Transport};
use super::turns::{Turn, Turns};
use super::waiting::Waiting;

/// Calls carried out at one time: a build, an execution per value in assembly, and imports waiting for their turn.
const TASKS_MAX: usize = 64;

/// What the driver is told once, at start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the execution client is.
    pub endpoint: Endpoint,
    /// What this thread runs on: decides how the Unix socket is driven.
    pub io: Io,
    /// Longest time one call may take.
    pub timeout: Duration,
    /// Where calls that take long are shown.
    pub waiting: Waiting,
    /// How long a build may collect transactions before it is fetched. Zero suits clients that pack the pool at once
    /// (ethrex, EthereumJS); geth and reth improve a build for some hundred milliseconds.
    pub build_wait: Duration,
    /// Receives priority fees.
    pub fee_recipient: Address,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the execution genesis block.
    pub genesis_hash: Hash,
    /// Unix time in seconds from which Engine API V4 is spoken.
    pub prague_time: Option<u64>,
    /// The chain's ceilings.
    pub limits: Limits,
}

impl EngineOptions {
    /// Whether a block of this time follows Prague.
    pub fn is_prague(&self, timestamp: u64) -> bool {
        self.prague_time.is_some_and(|time| timestamp >= time)
    }

    /// Largest answer: a built block's blobs, their proofs and the payload in hex, with quotes around each, and a mebibyte
    /// for names and brackets.
    pub const fn answer_bytes_max(&self) -> usize {
        let proofs = self.limits.blobs_per_block as usize * PROOFS_PER_BLOB_MAX * (48 + 4);
        2 * (self.limits.block_blob_bytes() + proofs + PAYLOAD_BYTES_MAX) + 1024 * 1024
    }

    /// What the client must be.
    pub const fn expected(&self) -> Expected {
        Expected {
            chain_id: self.chain_id,
            genesis_hash: self.genesis_hash,
            prague: self.prague_time.is_some(),
        }
    }
}

/// The driver's ends of the links to and from the verifier's lanes.
#[derive(Debug)]
pub struct LaneClient {
    /// Blobs of our own bundles.
    pub jobs: Sender<VerifyJob>,
    /// What was found.
    pub verdicts: Receiver<Verdict>,
}

/// Carries out calls until the node stops or the core is gone. An error is one that stops the node: the execution
/// client is there and is not ours to work with.
///
/// Must run inside [`block_on_net`](ultramarine_runtime::block_on_net), or on a `LocalSet`.
pub async fn run(
    options: EngineOptions,
    mut calls: Receiver<EngineCall>,
    replies: Sender<EngineReply>,
    lanes: LaneClient,
    ctx: TileContext,
) -> Result<(), String> {
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
                Err(error) => return Err(error.to_string()),
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok(Ok(())) => {}
                // The core is gone: the node is stopping.
                Ok(Err(_)) => return Ok(()),
                Err(error) => return Err(format!("a call to the execution client panicked: {error}")),
            },
            Some(verdict) = verdicts.recv() => engine.lanes.settle(&verdict),
            call = calls.recv(), if tasks.len() < TASKS_MAX => {
                let Some(call) = call else { return Ok(()) };
                let turn = turn_of(&call, &mut turns);
                let (engine, replies) = (Rc::clone(&engine), replies.clone());
                tasks.spawn_local(async move {
                    let reply = engine.carry_out(call, turn).await;
                    replies.send_async(reply).await
                });
            }
        }
    }
}

/// The place in the order of forkchoice updates, for calls that make one.
fn turn_of(call: &EngineCall, turns: &mut Turns) -> Option<Turn> {
    match call {
        EngineCall::Forkchoice { .. } | EngineCall::Build { .. } | EngineCall::Import { .. } => Some(turns.take()),
        EngineCall::Execute { .. } | EngineCall::Inspect { .. } | EngineCall::Newest => None,
    }
}

struct Engine {
    options: EngineOptions,
    client: Client,
    lanes: Lanes,
    /// Whether the client was found to be the right one.
    ready: Cell<bool>,
    /// Why it was not found yet, behind a colon.
    away: RefCell<String>,
    proofs: Proofs,
    clock: ultramarine_runtime::Clock,
    build_stage: Histogram,
    execute_stage: Histogram,
}

impl Engine {
    fn new(options: EngineOptions, jobs: Sender<VerifyJob>, ctx: &TileContext) -> Result<Self, String> {
        let ring = RingOps::new(&ctx.registry, "engine");
        let transport = Transport::new(&options.endpoint, options.io, ring, options.answer_bytes_max())
            .map_err(|error| format!("engine.url: {error}"))?;
        let blobs_max = options.limits.blobs_per_block as usize;
        let waiting = options.waiting.clone();
        let client = Client::new(transport, options.timeout, blobs_max, waiting, ctx.clock, &ctx.registry);
        let stage = |stage: Stage| {
            let help = "Time a block spent in each stage of its life on this node.";
            ctx.registry
                .histogram("ultramarine_stage_seconds", help, &[("stage", stage.name())])
        };
        Ok(Self {
            client,
            lanes: Lanes::new(jobs),
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
                    timestamp,
                },
                Some(turn),
            ) => {
                let result = self
                    .build(
                        &Order {
                            height,
                            parent,
                            timestamp,
                        },
                        turn,
                    )
                    .await;
                EngineReply::Built { height, round, result }
            }
            (EngineCall::Build { .. }, None) => unreachable!("`turn_of` gives every build a turn"),
            (EngineCall::Execute { key, init, payload }, _) => EngineReply::Executed {
                key,
                outcome: self.execute(&init, &payload).await,
            },
            (EngineCall::Inspect { key, init, payload }, _) => {
                let result = self.inspect(&init, &payload);
                EngineReply::Inspected {
                    key,
                    result: result.map(|_| ()).map_err(|broken| bounded(&broken.to_string())),
                }
            }
            (EngineCall::Import { height, init, payload }, turn) => {
                let (payload, forkchoice) = self.import(&init, &payload, turn).await;
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
        let built = build::build(&self.client, &self.lanes, &self.proofs, &self.options, order, turn).await?;
        self.build_stage.record(self.clock.now().since(started));
        Ok(built)
    }

    async fn execute(&self, init: &Init, bytes: &Bytes) -> Executed {
        let payload = match self.inspect(init, bytes) {
            Ok(payload) => payload,
            Err(broken) => {
                return Executed::Broken {
                    reason: bounded(&broken.to_string()),
                };
            }
        };
        let started = self.clock.now();
        let status = self.new_payload(init, &payload).await;
        if !matches!(status, PayloadStatus::Unavailable { .. }) {
            self.execute_stage.record(self.clock.now().since(started));
        }
        Executed::Answered(status)
    }

    async fn import(&self, init: &Init, bytes: &Bytes, turn: Option<Turn>) -> (PayloadStatus, PayloadStatus) {
        let mut turn = turn;
        if let Some(turn) = &mut turn {
            turn.begin().await;
        }
        let payload = match self.inspect(init, bytes) {
            Ok(payload) => payload,
            // Stored and decided, and not what its metadata says: the core must hear of it, and our client must not.
            Err(broken) => {
                let reason = bounded(&format!("the stored payload is broken: {broken}"));
                let skipped = PayloadStatus::Unavailable {
                    reason: "the payload was not sent".to_owned(),
                };
                return (PayloadStatus::Invalid { latest: None, reason }, skipped);
            }
        };
        let status = self.new_payload(init, &payload).await;
        // While the client lags it needs the target more than the block, so whatever it says it is told the head;
        // only a block it calls invalid is not offered as one.
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

    fn inspect(&self, init: &Init, bytes: &Bytes) -> Result<Payload, Broken> {
        let payload = payload::inspect(&init.metadata, bytes)?;
        // The fork follows from the time, which the header binds; the header says which by its requests hash.
        if payload.requests.is_some() != self.options.is_prague(init.metadata.header.timestamp) {
            return Err(Broken::Header("requests_hash"));
        }
        Ok(payload)
    }

    async fn new_payload(&self, init: &Init, payload: &Payload) -> PayloadStatus {
        if let Some(unavailable) = self.unavailable() {
            return unavailable;
        }
        let hashes: Vec<_> = init
            .metadata
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

    /// Why the client cannot be asked yet.
    fn unavailable(&self) -> Option<PayloadStatus> {
        (!self.ready.get()).then(|| PayloadStatus::Unavailable {
            reason: bounded(&format!(
                "the execution client at {} has not answered yet{}",
                self.client.place(),
                self.away.borrow()
            )),
        })
    }
}
