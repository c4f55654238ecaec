//! This file knows how the network runs: one thread owns all sockets, and links connect it to the other tiles.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use ultramarine_runtime::{Io, Receiver, Sender, TileContext};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Source, StoreRequest};
use ultramarine_types::verify::{Verdict, VerifyRequest};
use ultramarine_types::{Chain, Hash, ValidatorSet};

use crate::book::PeerBook;
use crate::connection::dial::{self, PeerConfig};
use crate::connection::endpoint::{self, EndpointError};
use crate::hub::{Hub, HubParts};
use crate::order::TaskOrder;
use crate::peers::identity::{Attester, Identity};
use crate::peers::listed::Listed;
use crate::peers::roster::FullNodes;
use crate::streaming::Input;
use crate::wire::hello::{Goodbye, Plans};
use crate::wire::versions::WireVersions;
use crate::{conductor, request, serve};

/// How long we wait at the end until all peers have our farewell.
const FAREWELL: Duration = Duration::from_millis(300);
/// Pause between two updates of the counters.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// What the network needs to know.
#[derive(Debug)]
pub struct NetOptions {
    /// Made by [`endpoint::bind`].
    pub socket: UdpSocket,
    pub identity: Identity,
    /// Signs our validator's attestations of the node's key; `None` for a full node.
    pub attester: Option<Attester>,
    /// Peers to keep connections to. They are the configured peers.
    pub peers: Vec<PeerConfig>,
    /// Which full nodes may be connected.
    pub full_nodes: FullNodes,
    /// Bytes of packages, and of what full nodes are sent, in a second, over all peers.
    pub serving_bytes_per_second: u64,
    pub chain: Chain,
    pub validators: Arc<ValidatorSet>,
    /// The versions of the wire that the node speaks: [`crate::bounds::WIRE_VERSIONS`], unless a test says otherwise.
    pub versions: WireVersions,
    /// Hash of the chain's list of upgrades. A peer that has another one is named in the log.
    pub upgrades_hash: Hash,
    /// Hash of the execution client's fork schedule, compared in the same way.
    pub fork_schedule_hash: Hash,
    /// Whether this tile runs on a ring.
    pub io: Io,
    /// Where the network shows who is connected.
    pub book: PeerBook,
}

/// The network's ends of its links.
#[derive(Debug)]
pub struct NetLinks {
    pub commands: Receiver<NetCommand>,
    pub events: Sender<NetEvent>,
    pub jobs: Sender<VerifyRequest>,
    /// From the verifier, for this tile's jobs.
    pub verdicts: Receiver<Verdict>,
    pub store: Sender<StoreRequest>,
    /// Read access to stored values.
    pub source: Arc<dyn Source>,
}

/// Runs the network until the node halts or the core is gone. Run it inside `ultramarine_runtime::block_on_net`.
pub async fn run(options: NetOptions, links: NetLinks, context: TileContext) -> Result<(), EndpointError> {
    let NetOptions {
        socket,
        identity,
        attester,
        peers,
        full_nodes,
        serving_bytes_per_second,
        chain,
        validators,
        versions,
        upgrades_hash,
        fork_schedule_hash,
        io,
        book,
    } = options;
    let NetLinks {
        commands,
        events,
        jobs,
        verdicts,
        store,
        source,
    } = links;
    let halt = context.halt.clone();
    let endpoint = endpoint::open(socket, &identity)?;
    let parts = HubParts {
        chain,
        validators,
        versions,
        plans: Plans {
            upgrades: upgrades_hash,
            fork_schedule: fork_schedule_hash,
        },
        identity,
        attester,
        full_nodes,
        listed: Listed::new(peers.iter().filter_map(|peer| peer.peer)),
        serving_bytes_per_second,
        io,
        book,
        context,
        source,
    };
    let hub = Rc::new(Hub::new(parts));

    let (for_events, for_jobs, for_store) = (hub.clone(), hub.clone(), hub.clone());
    let mut tasks = vec![
        hub.spawn(async move { for_events.events.pump(events).await }),
        hub.spawn(async move { for_jobs.jobs.pump(jobs).await }),
        hub.spawn(async move { for_store.store.pump(store).await }),
    ];
    // If one of these ended, the node would look alive and be deaf.
    let lasting = [
        hub.spawn_lasting("the timekeeper of streams", conductor::keep_time(hub.clone())),
        hub.spawn_lasting("the server of turns", keep_serving(hub.clone())),
        hub.spawn_lasting("the teller of statuses", tell_statuses(hub.clone())),
        hub.spawn_lasting("the counter of bytes", keep_count(hub.clone())),
        hub.spawn_lasting("the starter of tasks", take_orders(hub.clone())),
        hub.spawn_lasting("accepting connections", dial::accept(hub.clone(), endpoint.clone())),
    ];
    tasks.extend(
        peers
            .into_iter()
            .map(|peer| hub.spawn(dial::keep(hub.clone(), endpoint.clone(), peer))),
    );
    tokio::select! {
        () = take_commands(&hub, commands) => {}
        () = take_verdicts(&hub, verdicts) => {}
        () = halt.stopped() => {}
    }
    // From now on they may end.
    lasting.iter().for_each(AbortHandle::abort);
    endpoint.close(
        quinn::VarInt::from_u32(Goodbye::Going as u32),
        Goodbye::Going.to_string().as_bytes(),
    );
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    tasks.iter().for_each(AbortHandle::abort);
    Ok(())
}

async fn take_commands(hub: &Rc<Hub>, mut commands: Receiver<NetCommand>) {
    while let Some(command) = commands.recv().await {
        conductor::command(hub, command);
    }
}

async fn take_verdicts(hub: &Rc<Hub>, mut verdicts: Receiver<Verdict>) {
    while let Some(verdict) = verdicts.recv().await {
        conductor::feed(hub, Input::Verdict(verdict));
    }
}

/// Starts the tasks that the conductor orders; never ends.
async fn take_orders(hub: Rc<Hub>) {
    loop {
        match hub.orders.next().await {
            TaskOrder::Stream { key, receivers } => hub.spawn(serve::stream(hub.clone(), key, receivers)),
            TaskOrder::Parts {
                stream,
                switch,
                peer,
                key,
                missing,
            } => hub.spawn(request::parts(hub.clone(), stream, switch, peer, key, missing)),
            TaskOrder::Sync {
                peer,
                request,
                wants_blobs,
            } => hub.spawn(request::sync(hub.clone(), peer, request, wants_blobs)),
        };
    }
}

async fn keep_serving(hub: Rc<Hub>) {
    hub.serving.keep_time(&hub.context.clock).await;
}

async fn tell_statuses(hub: Rc<Hub>) {
    hub.tell_statuses().await;
}

/// Brings the counters up to date once a second; never ends.
async fn keep_count(hub: Rc<Hub>) {
    loop {
        tokio::time::sleep(COUNT_PAUSE).await;
        hub.count();
    }
}
