//! This file knows how to put a whole node together: open the store, join tiles by links, run until told to stop.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ultramarine_core::{Core, CoreConfig};
use ultramarine_engine::{Endpoint, EngineOptions, LaneClient, Waiting};
use ultramarine_kzg_pipeline::lane::{LaneClientEnd, LaneOptions, Lanes};
use ultramarine_kzg_pipeline::verifier;
use ultramarine_net::{Attester, NetLinks, NetOptions, PeerConfig};
use ultramarine_runtime::affinity::cores;
use ultramarine_runtime::bell::Bell;
use ultramarine_runtime::limits::{KernelLimits, raise_soft_limits};
use ultramarine_runtime::link::{link, link_on};
use ultramarine_runtime::outlet;
use ultramarine_runtime::topology::{Placement, Topology};
use ultramarine_runtime::{Halt, Io, JoinHandle, Reason, Receiver, Registry, Sender, Tile, TileContext, block_on_net};
use ultramarine_store::StoreOptions;
use ultramarine_types::Nanos;
use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::limits::Limits;
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Source, StoreReply, StoreRequest};
use ultramarine_types::verify::{Verdict, VerifyJob};

use crate::board::{Board, Identity};
use crate::config::{Config, EmbeddedEngine, EngineEndpoint};
use crate::embedded::{EmbeddedClient, EmbeddedOptions};
use crate::genesis::Genesis;
use crate::http::{self, HttpState};
use crate::keys::Keys;
use crate::metrics::CoreMetrics;
use crate::signals::{self, Signals};
use crate::tiles;
use crate::tiles::core::{Audience, CoreLinks};
use crate::tiles::recorder::Recorder;
use crate::topology;

/// How long a tile may take to end after the halt; what has not ended then is abandoned with the process.
const JOIN_WAIT: Duration = Duration::from_secs(3);
/// How long all of them together may take: service managers kill what has not ended ten seconds after they asked.
const JOIN_WAIT_ALL: Duration = Duration::from_secs(6);
/// Verified blobs remembered, by challenge, commitment and proof: two of the largest blocks.
const MEMO_CLAIMS: usize = 2 * ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize;
/// How long a validator on an empty or doubtful directory listens before it signs.
const LISTEN: Nanos = Nanos::from_millis(3_000);

/// Everything a node is started with; all of it was checked.
#[derive(Debug)]
pub struct NodeOptions {
    /// Settings.
    pub config: Config,
    /// The chain.
    pub genesis: Genesis,
    /// The node's key and, for a validator, its signing key.
    pub keys: Keys,
    /// The execution client that the program has inside, if any.
    pub embedded: Option<EmbeddedClient>,
    /// Whether SIGINT and SIGTERM end the node cleanly.
    pub handle_signals: bool,
}

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Something the node needs could not be had.
    #[error("{what}: {why}")]
    Start {
        /// What was being done.
        what: &'static str,
        /// What went wrong, and what to do.
        why: String,
    },
    /// A tile failed and took the node down with it.
    #[error("{tile} stopped the node: {what}")]
    Tile {
        /// Which.
        tile: &'static str,
        /// Its reason.
        what: String,
    },
}

fn start_error(what: &'static str) -> impl FnOnce(String) -> NodeError {
    move |why| NodeError::Start { what, why }
}

/// Runs a node until it is told to stop (`Ok`) or must stop (`Err`).
pub fn run(options: NodeOptions) -> Result<(), NodeError> {
    let NodeOptions {
        config,
        genesis,
        keys,
        embedded,
        handle_signals,
    } = options;
    if handle_signals {
        signals::keep_ignored()
            .map_err(|error| error.to_string())
            .map_err(start_error("taking over signals"))?;
    }
    raise_soft_limits();
    let limits = KernelLimits::read();
    limits
        .refusal()
        .map_or(Ok(()), Err)
        .map_err(start_error("looking at the limits of this process"))?;
    let io = config
        .node
        .io
        .resolve()
        .map_err(|refusal| refusal.to_string())
        .map_err(start_error("io = \"uring\""))?;
    for shortfall in limits.shortfalls(io) {
        if shortfall.only_slower {
            tracing::info!("{shortfall}");
        } else {
            tracing::warn!("{shortfall}");
        }
    }

    let halt = Halt::new();
    let registry = Registry::process();
    outlet::count_losses(&registry);
    let table = topology::table(config.node.lanes, config.engine.embedded.is_some());
    let placement = table.place(&if config.node.pin { cores() } else { Vec::new() });
    let mut crew = Crew {
        halt: halt.clone(),
        registry: Arc::clone(&registry),
        placement,
        tiles: Vec::new(),
    };

    let outcome = build(&mut crew, &table, &config, &genesis, &keys, embedded, io);
    if outcome.is_ok() {
        wait_for_the_end(&halt, handle_signals);
    }
    halt.stop(Reason::Asked);
    crew.join();
    outcome?;
    match halt.reason() {
        Some(Reason::Failed { tile, what }) => Err(NodeError::Tile { tile, what }),
        Some(Reason::Asked) | None => Ok(()),
    }
}

/// Opens what must be open, then starts every tile of the table.
fn build(
    crew: &mut Crew,
    table: &Topology,
    config: &Config,
    genesis: &Genesis,
    keys: &Keys,
    embedded: Option<EmbeddedClient>,
    io: Io,
) -> Result<(), NodeError> {
    let limits = Limits::of(&genesis.params);
    let store_options = StoreOptions::new(
        limits,
        genesis.params.chain_id,
        genesis.hash,
        Arc::clone(&crew.registry),
    );
    let store = ultramarine_store::open(&config.node.data_dir, &store_options)
        .map_err(|error| error.to_string())
        .map_err(start_error("opening the data directory"))?;
    let source: Arc<dyn Source> = store.reader;

    let http_listener = listen_tcp(config.http.listen).map_err(start_error("listening for HTTP"))?;
    if let Some(embedded) = config.engine.embedded {
        check_free(embedded).map_err(start_error("listening for the embedded execution client"))?;
    }
    let net_socket = ultramarine_net::endpoint::bind(config.network.listen)
        .map_err(|error| in_use(config.network.listen, "network.listen", &error))
        .map_err(start_error("listening for peers"))?;
    let recorder = config
        .log
        .messages_file
        .as_deref()
        .map(|path| Recorder::open(path).map_err(|error| format!("{}: {error}; give a plain file", path.display())))
        .transpose()
        .map_err(start_error("opening log.messages_file"))?;

    let board = Arc::new(Board::new(Identity {
        name: config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chain_id: genesis.params.chain_id,
        genesis_hash: genesis.hash,
        address: keys.address(),
        peer_id: keys.peer_id(),
        validators: genesis.validators.len(),
    }));
    board.resume(source.as_ref());

    let links = Links::make(table, &crew.registry).map_err(start_error("making the links between tiles"))?;

    let is_new = store.recovered.head.is_none() && keys.validator.is_some();
    start_embedded(crew, embedded, config, genesis, is_new)?;

    let Links {
        bell,
        net_core,
        store_core,
        engine_core,
        core_net,
        core_engine,
        store_requests,
        net_lane,
        engine_lane,
    } = links;
    let lane_clients = vec![
        LaneClientEnd {
            jobs: net_lane.jobs.1,
            verdicts: net_lane.verdicts.0,
        },
        LaneClientEnd {
            jobs: engine_lane.jobs.1,
            verdicts: engine_lane.verdicts.0,
        },
    ];
    let lanes = Lanes::new(
        lane_clients,
        verifier(config.node.verifier, MEMO_CLAIMS),
        LaneOptions::default(),
    );
    for name in &topology::LANES[..config.node.lanes] {
        let lanes = Arc::clone(&lanes);
        crew.spawn(name, move |ctx| lanes.run(&ctx))?;
    }

    let (state, requests, replies) = (store.state, store_requests.1, store_core.0);
    crew.spawn(topology::STORE, move |ctx| {
        ultramarine_store::tile::run(ctx, state, io, requests, replies)
    })?;

    let engine = engine_options(config, genesis, io, board.waiting().clone())?;
    let (calls, replies) = (core_engine.1, engine_core.0);
    let lane_client = LaneClient {
        jobs: engine_lane.jobs.0,
        verdicts: engine_lane.verdicts.1,
    };
    crew.spawn(topology::ENGINE, move |ctx| {
        block_on_net(io, |io| async move {
            let pulse = ctx.pulse.clone();
            let work = ultramarine_engine::run(EngineOptions { io, ..engine }, calls, replies, lane_client, ctx);
            pulse.beside(work).await
        })
    })?;

    let http_state = HttpState::new(Arc::clone(&source), Arc::clone(&board), Arc::clone(&crew.registry));
    let http_limits = http::server::Limits {
        requests_max: config.http.requests_max,
        timeout: config.http.timeout,
        ..http::server::Limits::default()
    };
    crew.spawn(topology::HTTP, move |ctx| {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::from_std(http_listener).map_err(|error| error.to_string())?;
            let work = http::serve(listener, http_state, http_limits, ctx.halt.clone());
            ctx.pulse.beside(work).await
        })
    })?;

    let net = net_options(config, genesis, keys, net_socket, io);
    let net_links = NetLinks {
        commands: core_net.1,
        events: net_core.0,
        jobs: net_lane.jobs.0,
        verdicts: net_lane.verdicts.1,
        store: store_requests.0.clone(),
        source,
    };
    crew.spawn(topology::NET, move |ctx| {
        block_on_net(io, |io| async move {
            let pulse = ctx.pulse.clone();
            let work = ultramarine_net::run(NetOptions { io, ..net }, net_links, ctx);
            pulse.beside(work).await
        })
    })?;

    let core = Core::new(core_config(config, genesis, keys));
    let core_links = CoreLinks {
        bell,
        net: net_core.1,
        store: store_core.1,
        engine: engine_core.1,
        net_commands: core_net.0,
        store_requests: store_requests.0,
        engine_calls: core_engine.0,
    };
    let board_watched = Arc::clone(&board);
    let audience = Audience {
        board,
        metrics: CoreMetrics::new(&crew.registry),
        recorder,
        said: tiles::core::Said::default(),
    };
    tiles::watchdog::start(&crew.halt, &crew.registry, &board_watched).map_err(start_error("starting the watchdog"))?;
    let recovered = store.recovered;
    crew.spawn(topology::CORE, move |ctx| {
        tiles::core::run(&ctx, core, recovered, core_links, audience)
    })
}

/// `is_new`: a validator has decided nothing yet, so the chain may begin when its client can take blobs.
fn start_embedded(
    crew: &mut Crew,
    client: Option<EmbeddedClient>,
    config: &Config,
    genesis: &Genesis,
    is_new: bool,
) -> Result<(), NodeError> {
    let Some(embedded) = config.engine.embedded else {
        return Ok(());
    };
    let client = client
        .ok_or_else(|| "this build has none; set engine.embedded to false".to_owned())
        .map_err(start_error("starting the embedded execution client"))?;
    let secret = ultramarine_engine::Secret::read(&config.engine.jwt_secret)
        .map_err(|error| error.to_string())
        .map_err(start_error("reading the JWT secret"))?;
    let options = EmbeddedOptions {
        genesis: genesis.execution.as_ref().clone(),
        http: embedded.http,
        auth: embedded.auth,
        jwt: *secret.as_bytes(),
        wait_for_setup: is_new,
    };
    crew.spawn(topology::EMBEDDED_EL, move |ctx| (client.run)(&ctx, options))
}

fn engine_options(config: &Config, genesis: &Genesis, io: Io, waiting: Waiting) -> Result<EngineOptions, NodeError> {
    let endpoint = match &config.engine.endpoint {
        EngineEndpoint::Http(url) => {
            let secret = ultramarine_engine::Secret::read(&config.engine.jwt_secret)
                .map_err(|error| error.to_string())
                .map_err(start_error("reading the JWT secret"))?;
            Endpoint::Http {
                url: url.clone(),
                secret,
            }
        }
        EngineEndpoint::Ipc(path) => Endpoint::Ipc { path: path.clone() },
    };
    Ok(EngineOptions {
        endpoint,
        io,
        timeout: config.engine.timeout_on(&Limits::of(&genesis.params)),
        waiting,
        build_wait: config.engine.build_wait,
        fee_recipient: config.engine.fee_recipient,
        chain_id: genesis.params.chain_id,
        genesis_hash: genesis.params.execution_genesis_hash,
        prague_time: genesis.params.prague_time,
        limits: Limits::of(&genesis.params),
    })
}

fn net_options(config: &Config, genesis: &Genesis, keys: &Keys, socket: UdpSocket, io: Io) -> NetOptions {
    let identity = ultramarine_net::Identity::from_secret(&keys.node.to_bytes());
    let attester = keys.validator.as_ref().map(|validator| {
        Attester::new(
            validator.clone(),
            genesis.params.chain_id,
            genesis.hash,
            identity.peer(),
        )
    });
    let peers = if config.network.peers.is_empty() {
        &genesis.peers
    } else {
        &config.network.peers
    };
    let peers = peers
        .iter()
        .filter(|peer| peer.peer_id != Some(identity.peer()))
        .map(|peer| PeerConfig {
            address: peer.host_port.to_string(),
            peer: peer.peer_id,
        })
        .collect();
    NetOptions {
        socket,
        identity,
        attester,
        peers,
        chain: genesis.params.clone(),
        validators: Arc::clone(&genesis.validators),
        genesis_hash: genesis.hash,
        io,
    }
}

fn core_config(config: &Config, genesis: &Genesis, keys: &Keys) -> CoreConfig {
    CoreConfig {
        chain: genesis.params.clone(),
        validators: Arc::clone(&genesis.validators),
        key: keys.validator.as_ref().map(|key| key.to_bytes()),
        genesis_block: genesis.genesis_block,
        retention: config.retention.blobs_heights,
        fresh_directory_listen: LISTEN,
    }
}

/// Every link of the table; each pair is split between the two tiles it joins.
struct Links {
    bell: Arc<Bell>,
    net_core: Pair<NetEvent>,
    store_core: Pair<StoreReply>,
    engine_core: Pair<EngineReply>,
    core_net: Pair<NetCommand>,
    core_engine: Pair<EngineCall>,
    /// One queue for both who ask: the core's log and commits, the network's assembled values.
    store_requests: Pair<StoreRequest>,
    net_lane: LaneLinks,
    engine_lane: LaneLinks,
}

type Pair<T> = (Sender<T>, Receiver<T>);

/// One client's way to the lanes and back.
struct LaneLinks {
    jobs: Pair<VerifyJob>,
    verdicts: Pair<Verdict>,
}

impl Links {
    /// Makes the links of the table.
    fn make(table: &Topology, registry: &Registry) -> Result<Self, String> {
        let describe = |error: std::io::Error| {
            format!("no descriptor for an eventfd: {error}; raise nofile with `ulimit -n` or LimitNOFILE=")
        };
        let depth = |name| table.link(name).expect("the table has every link").depth;
        let bell = Arc::new(Bell::new().map_err(describe)?);
        let lane = |jobs, verdicts| {
            Ok::<_, std::io::Error>(LaneLinks {
                jobs: link(jobs, depth(jobs))?,
                verdicts: link(verdicts, depth(verdicts))?,
            })
        };
        let links = Self {
            net_core: link_on(&bell, topology::NET_CORE, depth(topology::NET_CORE)),
            store_core: link_on(&bell, topology::STORE_CORE, depth(topology::STORE_CORE)),
            engine_core: link_on(&bell, topology::ENGINE_CORE, depth(topology::ENGINE_CORE)),
            bell,
            core_net: link(topology::CORE_NET, depth(topology::CORE_NET)).map_err(describe)?,
            core_engine: link(topology::CORE_ENGINE, depth(topology::CORE_ENGINE)).map_err(describe)?,
            store_requests: link(topology::TO_STORE, depth(topology::TO_STORE)).map_err(describe)?,
            net_lane: lane(topology::NET_KZG, topology::KZG_NET).map_err(describe)?,
            engine_lane: lane(topology::ENGINE_KZG, topology::KZG_ENGINE).map_err(describe)?,
        };
        registry.watch_link(&links.net_core.1);
        registry.watch_link(&links.store_core.1);
        registry.watch_link(&links.engine_core.1);
        registry.watch_link(&links.core_net.1);
        registry.watch_link(&links.core_engine.1);
        registry.watch_link(&links.store_requests.1);
        for lane in [&links.net_lane, &links.engine_lane] {
            registry.watch_link(&lane.jobs.1);
            registry.watch_link(&lane.verdicts.1);
        }
        Ok(links)
    }
}

/// The running tiles.
#[derive(Debug)]
pub struct Crew {
    /// Stops them all.
    pub halt: Halt,
    /// Where their metrics go.
    pub registry: Arc<Registry>,
    placement: Placement,
    tiles: Vec<JoinHandle>,
}

impl Crew {
    /// Starts a tile in its seat.
    pub fn spawn(
        &mut self,
        name: &'static str,
        work: impl FnOnce(TileContext) -> Result<(), String> + Send + 'static,
    ) -> Result<(), NodeError> {
        let seat = self.placement.seat(name);
        let tile = Tile::spawn(&self.registry, name, seat, &self.halt, work).map_err(|error| NodeError::Start {
            what: "starting a tile",
            why: format!(
                "{name}: {error}; if no thread is to be had, allow more with `ulimit -u`, TasksMax= in the unit, or the \
                 container's limit on processes"
            ),
        })?;
        self.tiles.push(tile);
        Ok(())
    }

    fn join(self) {
        let until = Instant::now() + JOIN_WAIT_ALL;
        // Last started, first joined: the core stops asking before those it asks are gone.
        for tile in self.tiles.into_iter().rev() {
            let name = tile.name();
            let wait = JOIN_WAIT.min(until.saturating_duration_since(Instant::now()));
            if tile.join_within(wait).is_err() {
                tracing::warn!(tile = name, "did not end in time and was left behind");
            }
        }
    }
}

/// Runs a future on a current-thread tokio of its own: for tiles that are neither storage nor network.
pub fn on_tokio<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs three descriptors, and the limits were checked at start");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Sleeps until a signal asks the node to stop or a tile has stopped it.
fn wait_for_the_end(halt: &Halt, handle_signals: bool) {
    on_tokio(async {
        if !handle_signals {
            return halt.stopped().await;
        }
        let Ok(mut signals) = Signals::listen() else {
            tracing::warn!("signals cannot be caught; the first that comes will end this process at once");
            return halt.stopped().await;
        };
        tokio::select! {
            why = signals.asked() => tracing::info!("{why}: stopping"),
            () = halt.stopped() => {}
        }
        signals.let_another_end_it();
    });
}

fn listen_tcp(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| in_use(address, "http.listen", &error))?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    Ok(listener)
}

/// Says early, and by our settings' names, that the client will not get an address: it names flags of its own.
fn check_free(embedded: EmbeddedEngine) -> Result<(), String> {
    let addresses = [
        (embedded.http, "engine.embedded_http"),
        (embedded.auth, "engine.embedded_auth"),
    ];
    for (address, key) in addresses {
        std::net::TcpListener::bind(address).map_err(|error| in_use(address, key, &error))?;
    }
    Ok(())
}

fn in_use(address: SocketAddr, key: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another process; stop it, or choose another port with {key}")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine; correct {key}")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{address} may not be bound by this user; choose a port above 1023 with {key}")
        }
        _ => format!("{address}: {error}; see {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_of_the_embedded_client_is_named_by_its_setting() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let taken = held.local_addr().expect("bound");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let refused = |http, auth| check_free(EmbeddedEngine { http, auth }).expect_err("taken");
        let about_http = refused(taken, any);
        assert!(
            about_http.contains(&taken.to_string()) && about_http.contains("engine.embedded_http"),
            "{about_http}"
        );
        assert!(refused(any, taken).contains("engine.embedded_auth"));
        assert_eq!(check_free(EmbeddedEngine { http: any, auth: any }), Ok(()));
    }
}
