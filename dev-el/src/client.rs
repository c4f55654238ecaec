//! This file knows how to start ethrex with a genesis, two ports and a secret, and how to stop it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use ethrex_blockchain::{Blockchain, BlockchainOptions};
use ethrex_common::types::Genesis;
use ethrex_rpc::{BoundRpc, ClientVersion, DEFAULT_HTTP_API, RpcRole, bind_api};
use ethrex_storage::{EngineType, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::peerless::Peerless;

/// Attempts to find free ports: between finding and binding one, another process may take it.
const PORT_ATTEMPTS: usize = 16;

/// What the client is started with.
#[derive(Clone, Debug)]
pub struct DevElOptions {
    /// A geth-style genesis.
    pub genesis: serde_json::Value,
    /// Public JSON-RPC; with port 0 a free one is chosen.
    pub http: SocketAddr,
    /// Engine API; with port 0 a free one is chosen.
    pub auth: SocketAddr,
    /// The secret shared with the node.
    pub jwt: [u8; 32],
    /// Whether to answer only once the trusted setup is loaded, which takes seconds. A chain that begins with it has
    /// blobs from its first heights on. Without it, blocks are empty until then.
    pub wait_for_setup: bool,
}

/// An address that the client was given and cannot have. Whoever gave it knows which flag or setting holds it; the
/// client's own words would name flags of another program.
#[derive(Debug, thiserror::Error)]
#[error("the execution client cannot listen on {address} for {service}: {source}")]
pub struct ListenError {
    pub service: Service,
    pub address: SocketAddr,
    pub source: io::Error,
}

/// What the client listens for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    JsonRpc,
    EngineApi,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonRpc => "JSON-RPC",
            Self::EngineApi => "the Engine API",
        })
    }
}

/// A client that runs.
#[derive(Debug)]
pub struct Running {
    pub http: SocketAddr,
    pub auth: SocketAddr,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Waits until the client has stopped, which it does when its token is cancelled or when it fails.
    pub async fn stopped(self) -> Result<()> {
        self.task.await.context("the embedded execution client panicked")?
    }
}

/// Starts the client and returns once both ports are bound. It runs until `cancel` is cancelled; then everything it
/// started ends. Must be called inside a multi-threaded tokio runtime, as it executes blocks there.
pub async fn run(options: DevElOptions, cancel: CancellationToken) -> Result<Running> {
    // Loads the trusted setup beside the rest of the start, so that the first blob does not wait for it.
    let set_up = tokio::task::spawn_blocking(|| ethrex_crypto::kzg::verify_kzg_proof_batch(&[], &[], &[]));
    let genesis: Genesis =
        serde_json::from_value(options.genesis.clone()).context("the execution genesis is not one ethrex reads")?;
    let gas_limit = genesis.gas_limit;
    let mut store = Store::new("", EngineType::InMemory).context("opening the state in memory")?;
    store
        .add_initial_state(genesis)
        .await
        .context("writing the genesis state")?;
    // No peers means nothing to warm up for, and nothing that would be logged of performance is for our users.
    let settings = BlockchainOptions {
        perf_logs_enabled: false,
        ..BlockchainOptions::default()
    };
    let blockchain = Arc::new(Blockchain::new(store.clone(), settings));
    if options.wait_for_setup {
        let loaded = set_up.await.context("loading the trusted setup panicked")?;
        loaded.context("loading the trusted setup")?;
    }
    let mut refused = None;
    for _ in 0..PORT_ATTEMPTS {
        let (http, auth) = (choose(options.http)?, choose(options.auth)?);
        let parts = Parts {
            store: &store,
            blockchain: &blockchain,
            jwt: &options.jwt,
            gas_limit,
        };
        match bind(&parts, http, auth, &cancel).await {
            Ok(bound) => {
                let task = tokio::spawn(async move { bound.serve().await.context("serving JSON-RPC") });
                return Ok(Running { http, auth, task });
            }
            // Only ports chosen here may be chosen again.
            Err(error) if options.http.port() == 0 || options.auth.port() == 0 => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.context("no attempt was made to bind")?)
}

struct Parts<'a> {
    store: &'a Store,
    blockchain: &'a Arc<Blockchain>,
    jwt: &'a [u8; 32],
    gas_limit: u64,
}

async fn bind(parts: &Parts<'_>, http: SocketAddr, auth: SocketAddr, cancel: &CancellationToken) -> Result<BoundRpc> {
    let peerless = Peerless::new(parts.store, parts.blockchain, http, cancel).await?;
    let bound = bind_api(
        cancel.clone(),
        http,
        None,
        auth,
        parts.store.clone(),
        Arc::clone(parts.blockchain),
        bytes::Bytes::copy_from_slice(parts.jwt),
        peerless.node,
        peerless.record,
        peerless.syncer,
        peerless.peers,
        version(),
        None,
        parts.gas_limit,
        "ultramarine-dev-el".to_owned(),
        HashSet::from_iter(DEFAULT_HTTP_API.iter().copied()),
    )
    .await
    .map_err(|error| ListenError {
        service: match error.role {
            RpcRole::AuthRpc => Service::EngineApi,
            RpcRole::Http | RpcRole::Ws => Service::JsonRpc,
        },
        address: error.addr,
        source: error.source,
    })?;
    Ok(bound)
}

fn version() -> ClientVersion {
    let unknown = String::new;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    ClientVersion::new(
        "ultramarine-dev-el".to_owned(),
        version,
        unknown(),
        unknown(),
        unknown(),
        unknown(),
    )
}

/// The address itself, or one with a port that was free a moment ago.
fn choose(address: SocketAddr) -> Result<SocketAddr> {
    if address.port() != 0 {
        return Ok(address);
    }
    let listener =
        TcpListener::bind(address).with_context(|| format!("looking for a free port on {}", address.ip()))?;
    listener.local_addr().context("reading the port chosen")
}

/// Hash of the genesis block as the client reads the genesis; an error if it does not read it.
pub fn genesis_hash(genesis: &serde_json::Value) -> Result<[u8; 32]> {
    let genesis: Genesis = serde_json::from_value(genesis.clone())?;
    Ok(genesis.get_block().hash().0)
}
