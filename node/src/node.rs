//! This file knows how to put a whole node together: open the store, join tiles by links, run until told to stop.
//!
//! - `addresses`: those that the node must get before its first tile starts.
//! - `links`: every link of the table, and which tile gets which end.
//! - `options`: what each tile is told.
//! - `launch`: how each tile is started.
//! - `crew`: the tiles that run.

mod addresses;
mod crew;
mod launch;
mod links;
mod options;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ultramarine_runtime::affinity::cores;
use ultramarine_runtime::limits::{KernelLimits, raise_soft_limits};
use ultramarine_runtime::outlet;
use ultramarine_runtime::topology::Topology;
use ultramarine_runtime::{Clock, Halt, Io, IoMode, Reason, Registry};
use ultramarine_types::storage::Source;

use crate::archive::progress::ArchiveProgress;
use crate::archive::uploader::Uploader;
use crate::board::{Board, NodeIdentity};
use crate::catch_up;
use crate::config::Config;
use crate::control::{self, LogSwitch};
use crate::embedded::EmbeddedClient;
use crate::genesis::Genesis;
use crate::http::HttpState;
use crate::http::hosts::HostNames;
use crate::http::server::BeforeState;
use crate::keys::Keys;
use crate::metrics::{self, CoreMetrics};
use crate::node::crew::Crew;
pub(crate) use crate::node::crew::on_tokio;
use crate::node::links::Links;
use crate::node::options::{
    core_config, embedded_options, engine_options, expected_peers, http_limits, net_options, store_options,
    uploader_options,
};
use crate::opening::{self, DirectoryOpening};
use crate::signals::StopRequest;
use crate::tiles;
use crate::tiles::core::Audience;
use crate::tiles::height_line::HeightLine;
use crate::tiles::recorder::Recorder;
use crate::tiles::watchdog::Watchdog;
use crate::topology;

/// Everything a node is started with; all of it was checked.
#[derive(Debug)]
pub struct NodeOptions {
    pub config: Config,
    pub genesis: Genesis,
    /// The node's key and, for a validator, its signing key.
    pub keys: Keys,
    /// The execution client that the program has inside, if any.
    pub embedded: Option<EmbeddedClient>,
    /// By which an operator changes what is logged; `None`: nobody can.
    pub log: Option<LogSwitch>,
    /// By which SIGINT and SIGTERM end the node cleanly; `None`: they do not.
    pub stop: Option<StopRequest>,
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
    Tile { tile: &'static str, what: String },
}

/// Says what was being done when `why` went wrong.
fn start_error<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> NodeError {
    move |why| NodeError::Start {
        what,
        why: why.to_string(),
    }
}

/// Runs a node until it is told to stop (`Ok`) or must stop (`Err`).
pub fn run(mut options: NodeOptions) -> Result<(), NodeError> {
    let stop = options.stop.take();
    let surroundings = Surroundings::find(&options.config)?;
    let halt = Halt::new();
    let registry = Registry::process();
    outlet::count_losses(&registry);
    metrics::process::show(&registry);
    let table = topology::table(options.config.shape());
    let placement = table.place(&if options.config.node.pin { cores() } else { Vec::new() });
    let mut crew = Crew::new(halt.clone(), registry, placement);

    let outcome = build(&mut crew, &table, options, surroundings);
    if outcome.is_ok() {
        wait_for_the_end(&halt, stop);
        halt.stop(Reason::Asked);
    } else {
        halt.stop(Reason::NotStarted);
    }
    crew.join();
    outcome?;
    match halt.reason() {
        Some(Reason::Failed { tile, what }) => Err(NodeError::Tile { tile, what }),
        Some(Reason::Asked | Reason::NotStarted) | None => Ok(()),
    }
}

/// What the machine lets this process do.
struct Surroundings {
    io: Io,
    /// Limits that are too low, one line each.
    limits_low: Vec<String>,
}

impl Surroundings {
    /// Raises this process's limits, refuses those that are too low, and finds out how I/O is driven.
    fn find(config: &Config) -> Result<Self, NodeError> {
        raise_soft_limits();
        let limits = KernelLimits::read();
        limits
            .refusal()
            .map_or(Ok(()), Err)
            .map_err(start_error("looking at the limits of this process"))?;
        let io = config.node.io.resolve().map_err(start_error("io = \"uring\""))?;
        let shortfalls = limits.shortfalls(io, ultramarine_net::bounds::SOCKET_BUFFER_BYTES);
        for shortfall in &shortfalls {
            if shortfall.only_slower {
                tracing::info!("{shortfall}");
            } else {
                tracing::warn!("{shortfall}");
            }
        }
        Ok(Self {
            io,
            limits_low: shortfalls.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Opens what must be open, then starts every tile of the table. The core comes last: it asks the others.
fn build(crew: &mut Crew, table: &Topology, options: NodeOptions, surroundings: Surroundings) -> Result<(), NodeError> {
    let Surroundings { io, limits_low } = surroundings;
    let NodeOptions {
        config,
        genesis,
        keys,
        embedded,
        log,
        stop: _,
    } = options;
    let opening = DirectoryOpening::begin(Clock::start());
    show_opening(&crew.registry, &opening);
    // While the directory is opened, the node says how far that is. A directory that cannot be opened goes first: where
    // another node of it runs, its addresses are taken as well.
    let http_listener = addresses::listen_http(config.http.listen);
    let hosts = HostNames::new(&config.http.hosts, &config.node.name);
    let http = http_listener.map(|listener| {
        let before = BeforeState {
            opening: opening.clone(),
            hosts: hosts.clone(),
            registry: Arc::clone(&crew.registry),
        };
        launch::http(crew, listener, before, http_limits(&config.http))
    });
    let store_options = store_options(&config, &genesis, &crew.registry, opening.clone());
    let store = ultramarine_store::open(&config.node.data_dir, &store_options)
        .map_err(start_error("opening the data directory"))?;
    let give_http_state = http.map_err(start_error("listening for HTTP"))??;
    opening.end();
    ultramarine_store::scrub::start(&crew.halt, &store.view, config.store.scrub_bytes_per_second)
        .map_err(start_error("starting the store's check of itself"))?;
    let source: Arc<dyn Source> = store.view;
    if let Some(embedded) = config.engine.embedded {
        addresses::check_free(embedded).map_err(start_error("listening for the embedded execution client"))?;
    }
    let net_socket = addresses::bind_network(config.network.listen).map_err(start_error("listening for peers"))?;
    let recorder = open_recorder(&config)?;
    let board = board(&config, &genesis, &keys, source.as_ref());
    board.show_surroundings(config.node.io == IoMode::Auto && io == Io::Fallback, limits_low);
    show_catch_up(&crew.registry, &board);
    let links = Links::make(table, &crew.registry, Arc::clone(&source))
        .map_err(start_error("making the links between tiles"))?;

    if let Some(addresses) = config.engine.embedded {
        let client = embedded
            .ok_or("this build has none; set engine.embedded to false")
            .map_err(start_error("starting the embedded execution client"))?;
        let is_new = store.recovered.head.is_none() && keys.validator.is_some();
        launch::embedded(crew, client, embedded_options(&config, addresses, &genesis, is_new)?)?;
    }
    if let Some(archive) = &config.archive {
        let progress = ArchiveProgress::new(archive.address.to_string(), &crew.registry);
        board.show_archive(progress.clone());
        let options = uploader_options(&config, archive, &genesis);
        let uploader = Uploader::new(options, Arc::clone(&source), links.archive.clone(), progress);
        launch::archive(crew, uploader)?;
    }
    launch::lanes(crew, &config.node, links.lanes)?;
    launch::store(crew, io, store.state, links.store)?;
    let engine = engine_options(&config, &genesis, io, board.waiting().clone())?;
    launch::engine(crew, io, engine, links.engine)?;
    let net = net_options(&config, &genesis, &keys, net_socket, io);
    let http_state = HttpState::new(
        genesis.chain.clone(),
        source,
        Arc::clone(&board),
        Arc::clone(&crew.registry),
    )
    .show_peers(net.book.clone())
    .answer_to(hosts)
    .allow_origins(config.http.cors_origins.clone());
    let watchdog = Watchdog {
        registry: Arc::clone(&crew.registry),
        board: Arc::clone(&board),
        conditions: Arc::clone(&http_state.conditions),
        data_dir: config.node.data_dir.clone(),
    };
    // If the tile has ended, the node has been told to stop.
    let _ = give_http_state.send(http_state);
    launch::net(crew, io, net, links.net)?;
    if let Some(log) = log {
        control::start(&crew.halt, &config.node.data_dir, log);
    }
    tiles::watchdog::start(&crew.halt, watchdog).map_err(start_error("starting the watchdog"))?;
    let head = board.snapshot().height;
    let audience = Audience {
        board,
        metrics: CoreMetrics::new(&crew.registry).resume(head),
        recorder,
        line: HeightLine::new(crew.registry.stage_log()),
        said: tiles::core::SaidBefore::default(),
    };
    let core = core_config(&config, &genesis, &keys);
    launch::core(crew, core, store.recovered, links.core, audience)
}

/// Shows how long a data directory will take to open.
fn show_opening(registry: &Registry, opening: &DirectoryOpening) {
    let opening = opening.clone();
    opening::show(registry, move || {
        opening.status()?.seconds_left.map(|seconds| seconds as f64)
    });
}

/// Shows how long a node that lags will take, one that feeds its client, and one that restores damaged heights.
fn show_catch_up(registry: &Registry, board: &Arc<Board>) {
    let board = Arc::clone(board);
    catch_up::show(registry, move |kind| {
        let status = board.progress(kind, Clock::start().now())?;
        status.seconds_left.map(|seconds| seconds as f64)
    });
}

fn open_recorder(config: &Config) -> Result<Option<Recorder>, NodeError> {
    let open =
        |path: &Path| Recorder::open(path).map_err(|error| format!("{}: {error}; give a plain file", path.display()));
    let path = config.log.messages_file.as_deref();
    path.map(open)
        .transpose()
        .map_err(start_error("opening log.messages_file"))
}

/// The board, on which stands already what an earlier life decided.
fn board(config: &Config, genesis: &Genesis, keys: &Keys, source: &dyn Source) -> Arc<Board> {
    let board = Board::new(NodeIdentity {
        name: config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chain_id: genesis.chain.params.chain_id,
        genesis_hash: genesis.chain.identity,
        address: keys.address(),
        peer_id: keys.peer_id(),
        validators: genesis.validators.len(),
    });
    board.resume(source);
    board.expect_peers(expected_peers(config, genesis, keys.peer_id()));
    Arc::new(board)
}

/// Sleeps until a signal asks the node to stop or a tile has stopped it.
fn wait_for_the_end(halt: &Halt, stop: Option<StopRequest>) {
    on_tokio(async {
        let Some(stop) = stop else {
            return halt.stopped().await;
        };
        tokio::select! {
            why = stop.asked() => tracing::info!("{why}: stopping"),
            () = halt.stopped() => {}
        }
    });
}
