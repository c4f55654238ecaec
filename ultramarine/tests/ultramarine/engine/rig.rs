//! A real execution client in this process and a driver before it, each on threads of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use ultramarine::publish::rpc::Rpc;
use ultramarine::publish::transaction::{SignedTransaction, Terms, sign};
use ultramarine::publish::{Prover, encode};
use ultramarine_dev_el::{DevElOptions, Running};
use ultramarine_engine::{Endpoint, EngineOptions, LaneClient, Secret, Waiting, run};
use ultramarine_node::genesis::execution::{ExecutionGenesis, GenesisOptions, dev_account, execution_genesis};
use ultramarine_runtime::{Clock, Halt, Io, Receiver, Registry, Sender, TileContext, block_on_net, link};
use ultramarine_types::chain::Limits;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::execution::{Built, EngineCall, EngineReply, Executed, ParentBlock, PayloadStatus};
use ultramarine_types::verify::{Refutation, ValueOutcome, Verdict, VerifyJob, VerifyRequest};
use ultramarine_types::{Address, Hash, Height, Init, Nanos, Round, ValueKey, ValueMetadata, fixtures};

use crate::harness::turn::Turn;

/// Nothing here takes longer, on a machine busy with other tests too.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const JWT: [u8; 32] = [0x42; 32];

pub fn genesis(blobs_per_block: u32, prague_time: Option<u64>) -> Value {
    execution_genesis(&GenesisOptions {
        chain_id: 20_250,
        blobs_per_block,
        gas_limit: 36_000_000,
        genesis_time: 1_700_000_000,
        prague_time,
        accounts: 4,
    })
}

/// The embedded execution client, with its own runtime.
pub struct El {
    pub http: SocketAddr,
    pub auth: SocketAddr,
    pub runtime: Runtime,
    running: Option<Running>,
    cancel: CancellationToken,
    _turn: Turn,
}

impl El {
    pub fn start(genesis: &Value) -> Self {
        Self::start_on(genesis, "127.0.0.1:0".parse().expect("an address"))
    }

    pub fn start_on(genesis: &Value, auth: SocketAddr) -> Self {
        let turn = Turn::shared();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let cancel = CancellationToken::new();
        let options = DevElOptions {
            genesis: genesis.clone(),
            http: "127.0.0.1:0".parse().expect("an address"),
            auth,
            jwt: JWT,
            wait_for_setup: false,
        };
        let running = runtime
            .block_on(ultramarine_dev_el::run(options, cancel.clone()))
            .expect("it starts");
        Self {
            http: running.http,
            auth: running.auth,
            runtime,
            running: Some(running),
            cancel,
            _turn: turn,
        }
    }

    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.http)
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Http {
            url: format!("http://{}", self.auth),
            secret: Secret::new(JWT),
        }
    }

    /// Puts a transaction with `blobs` blobs into the pool.
    pub fn feed(&self, prover: &Prover, nonce: u64, blobs: usize) -> SignedTransaction {
        self.feed_as(prover, nonce, blobs, SignedTransaction::clone)
    }

    /// The same, sent in another form.
    pub fn feed_as(
        &self,
        prover: &Prover,
        nonce: u64,
        blobs: usize,
        form: impl Fn(&SignedTransaction) -> SignedTransaction,
    ) -> SignedTransaction {
        self.runtime.block_on(async {
            let rpc = Rpc::new(&self.rpc_url()).expect("a URL");
            let contents: Vec<Bytes> = (0..blobs)
                .flat_map(|blob| encode::encode(format!("{blob} of {blobs}, {nonce}").as_bytes()).expect("small"))
                .collect();
            let proven = prover.prove(&contents).await.expect("proven");
            let terms = Terms {
                chain_id: rpc.chain_id().await.expect("a chain id"),
                nonce,
                fees: rpc.fees().await.expect("fees"),
            };
            let transaction = form(&sign(&dev_account(0), &terms, &proven).expect("signed"));
            rpc.send(&transaction.raw).await.expect("pooled");
            transaction
        })
    }
}

impl Drop for El {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(running) = self.running.take() {
            // It has nothing to save; whether its tasks end in order does not matter to a test.
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(5), running.stopped()).await });
        }
    }
}

/// A driver on its own thread, with c-kzg as its lanes.
pub struct Driver {
    calls: Sender<EngineCall>,
    replies: Receiver<EngineReply>,
    clock: Clock,
    halt: Halt,
    pub registry: Arc<Registry>,
    threads: Vec<std::thread::JoinHandle<Result<(), String>>>,
}

pub fn options(endpoint: Endpoint, genesis: &Value, blobs_per_block: u32) -> EngineOptions {
    let chain = ExecutionGenesis::of(genesis).expect("a genesis");
    EngineOptions {
        endpoint,
        io: Io::Fallback,
        timeout: Duration::from_secs(30),
        waiting: Waiting::default(),
        build_wait: Duration::ZERO,
        fee_recipient: Address([0xfe; 20]),
        chain_id: chain.chain_id,
        genesis_hash: chain.hash,
        prague_time: chain.prague_time,
        limits: Limits { blobs_per_block },
    }
}

impl Driver {
    pub fn start(options: EngineOptions) -> Self {
        let (calls, driver_calls) = link("calls", 64).expect("a link");
        let (driver_replies, replies) = link("replies", 64).expect("a link");
        let (jobs, lane_requests) = link("requests", 64).expect("a link");
        let (lane_verdicts, verdicts) = link("verdicts", 64).expect("a link");
        let (halt, registry, clock) = (Halt::new(), Registry::new(), Clock::start());
        let ctx = TileContext::new("engine", &halt, &registry);
        let io = options.io;
        let driver = std::thread::spawn(move || {
            block_on_net(io, |io| {
                let lanes = LaneClient { jobs, verdicts };
                let work = run(
                    EngineOptions { io, ..options },
                    driver_calls,
                    driver_replies,
                    lanes,
                    ctx,
                );
                async move { work.await.map_err(|error| error.to_string()) }
            })
        });
        let lane_halt = halt.clone();
        let lane = std::thread::spawn(move || lane(lane_requests, &lane_verdicts, &lane_halt));
        Self {
            calls,
            replies,
            clock,
            halt,
            registry,
            threads: vec![driver, lane],
        }
    }

    pub fn send(&self, call: EngineCall) {
        self.calls.send(call).expect("the driver runs");
    }

    pub fn receive(&mut self) -> EngineReply {
        let deadline = self.clock.now() + Nanos::from(PATIENCE);
        loop {
            // Comes back empty-handed every now and then, so that tiles can look at their halt.
            if let Some(reply) = self.replies.recv_until(Some(deadline), &self.clock) {
                return reply;
            }
            assert!(!self.replies.is_closed(), "the driver has stopped");
            assert!(self.clock.now() < deadline, "no answer in time");
        }
    }

    pub fn ask(&mut self, call: EngineCall) -> EngineReply {
        self.send(call);
        self.receive()
    }

    /// Asks until the client is up.
    pub fn forkchoice(&mut self, head: Hash, height: Height) -> PayloadStatus {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            match self.ask(EngineCall::Forkchoice { head, height }) {
                EngineReply::Forkchoice {
                    status: PayloadStatus::Unavailable { reason },
                    ..
                } => {
                    assert!(std::time::Instant::now() < until, "{reason}");
                    std::thread::yield_now();
                }
                EngineReply::Forkchoice { status, .. } => return status,
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn build(&mut self, parent: ParentBlock, timestamp: u64) -> Result<Box<Built>, String> {
        let height = Height(parent.number + 1);
        match self.ask(EngineCall::Build {
            height,
            round: Round(0),
            parent,
            parent_beacon_block_root: root_above(&parent.hash),
            timestamp,
        }) {
            EngineReply::Built { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn execute(&mut self, built: &Built) -> Executed {
        self.execute_as(built, &built.payload)
    }

    /// Has these bytes executed as those of a block.
    pub fn execute_as(&mut self, built: &Built, payload: &Bytes) -> Executed {
        let init = init_of(built);
        match self.ask(EngineCall::Execute {
            key: init.key(),
            init,
            lists: Arc::new(built.lists.clone()),
            payload: payload.clone(),
        }) {
            EngineReply::Executed { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn import(&mut self, built: &Built) -> (PayloadStatus, PayloadStatus) {
        match self.ask(EngineCall::Import {
            height: Height(built.header.number),
            init: init_of(built),
            lists: Arc::new(built.lists.clone()),
            payload: built.payload.clone(),
        }) {
            EngineReply::Imported {
                payload, forkchoice, ..
            } => (payload, forkchoice),
            other => panic!("{other:?}"),
        }
    }

    pub fn newest(&mut self) -> Option<u64> {
        match self.ask(EngineCall::Newest) {
            EngineReply::Newest { number } => number,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the driver to end by itself and returns why.
    pub fn verdict(mut self) -> Result<(), String> {
        let until = std::time::Instant::now() + PATIENCE;
        while !self.threads[0].is_finished() {
            assert!(std::time::Instant::now() < until, "the driver does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.threads.remove(0).join().expect("no panic")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.halt.stop(ultramarine_runtime::Reason::Asked);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                let _ = ended.expect("no panic");
            }
        }
    }
}

/// Hashes each blob and verifies each proof with c-kzg, as lanes would.
fn lane(mut requests: Receiver<VerifyRequest>, verdicts: &Sender<Verdict>, halt: &Halt) -> Result<(), String> {
    let clock = Clock::start();
    // What was found of each blob of the values that are not whole yet.
    let mut open: HashMap<ValueKey, Vec<Option<bool>>> = HashMap::new();
    while !halt.is_stopped() {
        let job = match requests.recv_until(Some(clock.now() + Nanos::from_millis(100)), &clock) {
            Some(VerifyRequest::Job(job)) => job,
            Some(VerifyRequest::Forget(key)) => {
                open.remove(&key);
                continue;
            }
            None => continue,
        };
        let digest = blob_digest(&job.blob, &job.commitment);
        let is_right = job.digest.is_none_or(|wanted| wanted == digest);
        let mut said = vec![Verdict::Part {
            key: job.key,
            index: job.index,
            sender: job.sender,
            digest,
            is_right,
        }];
        let found = open
            .entry(job.key)
            .or_insert_with(|| vec![None; job.blobs_count.into()]);
        found[usize::from(job.index)] = is_right.then(|| holds(&job));
        if found.iter().all(Option::is_some) {
            let outcome = match found.iter().position(|holds| *holds == Some(false)) {
                None => ValueOutcome::Holds,
                Some(index) => ValueOutcome::Fails {
                    index: u16::try_from(index).expect("a block has few"),
                    why: Refutation::Wrong,
                    proof: job.proof,
                },
            };
            open.remove(&job.key);
            said.push(Verdict::Value { key: job.key, outcome });
        }
        if said.into_iter().any(|verdict| verdicts.send(verdict).is_err()) {
            break;
        }
    }
    Ok(())
}

fn holds(job: &VerifyJob) -> bool {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let blob = Box::new(c_kzg::Blob::from_bytes(&job.blob).expect("the driver has counted its bytes"));
    let holds = settings.verify_blob_kzg_proof(&blob, &job.commitment.0.into(), &job.proof.0.into());
    matches!(holds, Ok(true))
}

/// The root that stands for the sidecar header of this block. A client takes any, and only carries it.
pub fn root_above(block_hash: &Hash) -> Hash {
    let mut root = *block_hash;
    // No hash that anything else has.
    root.0[0] ^= 0xff;
    root
}

/// The genesis block as a parent.
pub fn first_parent(genesis: &Value) -> ParentBlock {
    let chain = ExecutionGenesis::of(genesis).expect("a genesis");
    ParentBlock {
        hash: chain.hash,
        number: 0,
        timestamp: chain.timestamp,
    }
}

/// The parent that a built block is.
pub fn parent_of(built: &Built) -> ParentBlock {
    ParentBlock {
        hash: built.header.block_hash,
        number: built.header.number,
        timestamp: built.header.timestamp,
    }
}

/// An `Init` around a built block, as its proposer would sign it (here with no key).
pub fn init_of(built: &Built) -> Arc<Init> {
    Arc::new(fixtures::unsigned(ValueMetadata {
        header: built.header.clone(),
        ..fixtures::metadata(built.header.number, &built.payload, &built.lists)
    }))
}

pub fn unix_seconds() -> u64 {
    Clock::unix_ns() / 1_000_000_000
}
