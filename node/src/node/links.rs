//! This file knows how the links of the table are made, and which tile gets which end.

use std::io;
use std::sync::Arc;

use ultramarine_engine::LaneClient;
use ultramarine_kzg_pipeline::lane::LaneClientEnd;
use ultramarine_net::NetLinks;
use ultramarine_runtime::bell::Bell;
use ultramarine_runtime::link::{link, link_on};
use ultramarine_runtime::topology::Topology;
use ultramarine_runtime::{Receiver, Registry, Sender};
use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::storage::{Source, StoreReply, StoreRequest};

use crate::tiles::core::CoreLinks;
use crate::topology;

/// Every end of every link, by the tile that holds it.
pub struct Links {
    /// The core's ends, all of whose receivers ring one bell.
    pub core: CoreLinks,
    pub net: NetLinks,
    pub store: StoreLinks,
    /// The ends of the execution client's driver.
    pub engine: EngineLinks,
    /// The uploader's end, if there is an archive.
    pub archive: Sender<StoreRequest>,
    /// The lanes' ends, one pair for each tile that has blobs verified.
    pub lanes: Vec<LaneClientEnd>,
}

/// What the store reads and writes.
pub struct StoreLinks {
    /// One queue for all askers: the core's log and commits, the network's assembled values, what is archived.
    pub requests: Receiver<StoreRequest>,
    /// Receipts for the core.
    pub replies: Sender<StoreReply>,
}

/// What the execution client's driver reads and writes.
pub struct EngineLinks {
    pub calls: Receiver<EngineCall>,
    pub replies: Sender<EngineReply>,
    /// To the lanes and back: every proof of our own bundle is verified.
    pub lanes: LaneClient,
}

/// The system has no descriptor left for a link.
#[derive(Debug, thiserror::Error)]
#[error("no descriptor for an eventfd: {0}; raise nofile with `ulimit -n` or LimitNOFILE=")]
pub struct NoDescriptor(#[from] io::Error);

impl Links {
    /// Makes the links of the table. Each shows its depth in `registry`; the network also reads from `source`.
    pub fn make(table: &Topology, registry: &Registry, source: Arc<dyn Source>) -> Result<Self, NoDescriptor> {
        let maker = Maker { table, registry };
        let bell = Arc::new(Bell::new()?);
        let (net_core, core_from_net) = maker.link_on(&bell, topology::NET_CORE);
        let (store_core, core_from_store) = maker.link_on(&bell, topology::STORE_CORE);
        let (engine_core, core_from_engine) = maker.link_on(&bell, topology::ENGINE_CORE);
        let (core_net, net_from_core) = maker.link(topology::CORE_NET)?;
        let (core_engine, engine_from_core) = maker.link(topology::CORE_ENGINE)?;
        let (to_store, store_requests) = maker.link(topology::TO_STORE)?;
        let (net_lanes, lanes_from_net) = maker.link(topology::NET_KZG)?;
        let (lanes_to_net, net_verdicts) = maker.link(topology::KZG_NET)?;
        let (engine_lanes, lanes_from_engine) = maker.link(topology::ENGINE_KZG)?;
        let (lanes_to_engine, engine_verdicts) = maker.link(topology::KZG_ENGINE)?;
        Ok(Self {
            archive: to_store.clone(),
            core: CoreLinks {
                bell,
                net: core_from_net,
                store: core_from_store,
                engine: core_from_engine,
                net_commands: core_net,
                store_requests: to_store.clone(),
                engine_calls: core_engine,
            },
            net: NetLinks {
                commands: net_from_core,
                events: net_core,
                jobs: net_lanes,
                verdicts: net_verdicts,
                store: to_store,
                source,
            },
            store: StoreLinks {
                requests: store_requests,
                replies: store_core,
            },
            engine: EngineLinks {
                calls: engine_from_core,
                replies: engine_core,
                lanes: LaneClient {
                    jobs: engine_lanes,
                    verdicts: engine_verdicts,
                },
            },
            lanes: vec![
                LaneClientEnd {
                    requests: lanes_from_net,
                    verdicts: lanes_to_net,
                },
                LaneClientEnd {
                    requests: lanes_from_engine,
                    verdicts: lanes_to_engine,
                },
            ],
        })
    }
}

/// Makes links as deep as the table says, and has their depth shown.
struct Maker<'a> {
    table: &'a Topology,
    registry: &'a Registry,
}

impl Maker<'_> {
    fn link<T: Send + 'static>(&self, name: &'static str) -> io::Result<(Sender<T>, Receiver<T>)> {
        let (sender, receiver) = link(name, self.depth(name))?;
        self.registry.watch_link(&receiver);
        Ok((sender, receiver))
    }

    fn link_on<T: Send + 'static>(&self, bell: &Arc<Bell>, name: &'static str) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = link_on(bell, name, self.depth(name));
        self.registry.watch_link(&receiver);
        (sender, receiver)
    }

    fn depth(&self, name: &str) -> usize {
        self.table.link(name).expect("the table has every link").depth
    }
}
