//! This file knows a whole network in one thread: nodes, their disks and execution clients, the links between them, one
//! clock, and one plan of what happens next.
//!
//! ```text
//!             ┌────────── World: EventQueue<Event>, one simulated clock ────────┐
//!   Node ×n   │  Core ◀─ Input ── Tell, DiskDone, EngineDone, Wake              │
//!             │   └─ Output ─▶ Net ─▶ Join, frames ─▶ Network ─▶ other nodes    │
//!             │                Store ─▶ Disk     Engine ─▶ ScriptedEl           │
//!             └─────────────────── every deed passes the Checks ────────────────┘
//! ```
//!
//! The machines are the real ones (`ultramarine_core::Core`, `ultramarine_net::streaming::Join`,
//! `ultramarine_kzg_pipeline::foreman::Foreman`, the store's log format); only tiles are replaced.

mod drive;
mod engine;
mod event;
pub mod inject;
pub mod life;
mod net;
mod store;
pub mod verify;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ultramarine_core::io::{Event as CoreEvent, Output};
use ultramarine_core::{Core, Stop};
use ultramarine_kzg_pipeline::foreman::Policy;
use ultramarine_net::message::ValueWant;
use ultramarine_net::streaming::{Join, JoinConfig};
use ultramarine_net::{AnswerPatience, Bans, Budgets, Guest, PeerOrigin, Roster, Statuses};
use ultramarine_types::canonical::{Canonical, sha256};
use ultramarine_types::chain::{Validator, address_of};
use ultramarine_types::network::{Fault, OfferId};
use ultramarine_types::{Address, Chain, Height, Init, Nanos, Outbox, PeerId, PublicKey, ValidatorSet, ValueKey};

pub(crate) use self::event::{Event, Step};
use self::verify::Foreman;
use crate::adversaries::{Adversary, Past};
use crate::checks::Checks;
use crate::clock::NodeClock;
use crate::config::RunConfig;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::engine::ScriptedEl;
use crate::network::Network;
use crate::queue::EventQueue;
use crate::trace::Trace;
use crate::uplink::Uplink;
use crate::wire::{SimFrame, StreamId};

/// A stream of parts on its way in.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub peer: usize,
    /// Its sender cannot afford it yet.
    pub is_unpaid: bool,
    /// The join reads it.
    pub started: bool,
    /// The join reads nothing more for a while.
    pub paused: bool,
    /// What arrived before that, or meanwhile, with the bytes that each frame had.
    pub waiting: VecDeque<(SimFrame, usize)>,
    /// Whether it is the answer to a request for a decided height.
    pub is_package: bool,
    /// Positions of the blobs that come behind a package.
    pub follow: VecDeque<usize>,
    /// Bytes read of which the sender does not know.
    pub read_bytes: u64,
}

/// A request for a decided height.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    /// Who was asked.
    pub peer: usize,
    pub height: Height,
    pub want: ValueWant,
    /// If not, whatever comes is offered as a package without blobs.
    pub wants_blobs: bool,
    pub patience: AnswerPatience,
}

/// Full nodes that are to have a value once validators have it.
#[derive(Clone, Debug)]
pub(crate) struct Later {
    pub key: ValueKey,
    pub full_nodes: Vec<usize>,
    /// Streams to validators.
    pub before: Vec<(usize, StreamId)>,
    /// When they wait no longer.
    pub from: Nanos,
    /// When none of them is sent the value any more.
    pub until: Nanos,
}

/// One node: a process that comes and goes, and what outlives it.
pub struct Node {
    /// Its name on the network.
    pub peer: PeerId,
    /// Its validator address, if it is one.
    pub address: Option<Address>,
    /// The running core, `None` between a crash and a start.
    pub core: Option<Core>,
    pub life: u32,
    pub clock: NodeClock,
    pub disk: Disk,
    pub el: ScriptedEl,
    /// Why it stopped itself, if it did and is still down.
    pub stopped: Option<Stop>,
    pub(crate) key: Option<SigningKey>,
    pub(crate) seed: [u8; 32],
    pub(crate) outbox: Outbox<Output>,
    pub(crate) wake_at: Option<Nanos>,
    pub(crate) wakes: (Nanos, u32),
    pub(crate) join: Join,
    pub(crate) join_wake_at: Option<Nanos>,
    pub(crate) foreman: Foreman,
    pub(crate) lanes_lie_until: Nanos,
    /// Values about which its lanes have lied: nothing may be known of them for a while.
    pub(crate) lied_about: BTreeSet<ValueKey>,
    pub(crate) streams: BTreeMap<StreamId, Incoming>,
    pub(crate) syncs: BTreeMap<StreamId, Sync>,
    /// What the core was asked about and has not answered.
    pub(crate) offers: BTreeMap<OfferId, Arc<Init>>,
    /// Peers that it is connected to, and who stands behind each.
    pub(crate) sees: BTreeMap<usize, PeerOrigin>,
    /// What it sends.
    pub(crate) uplink: Uplink,
    /// When its line has brought in all that has reached it.
    pub(crate) line_in_free_at: Nanos,
    /// When the next message of a peer may be read.
    pub(crate) reads_from: BTreeMap<usize, Nanos>,
    /// What its peers may make it spend.
    pub(crate) budgets: Budgets,
    /// What it remembers of its peers' faults.
    pub(crate) bans: Bans,
    /// Bytes that have come from each peer.
    pub(crate) came_bytes: BTreeMap<usize, u64>,
    /// Gives places to peers.
    pub(crate) roster: Roster,
    /// Peers that have a place.
    pub(crate) guests: BTreeMap<usize, Guest>,
    /// Statuses of peers that its core hears later.
    pub(crate) statuses: Statuses,
    /// When the next of these is due.
    pub(crate) statuses_due: Option<Nanos>,
    /// Values that full nodes wait for.
    pub(crate) later: Vec<Later>,
    /// Streams to full nodes that asked for nothing.
    pub(crate) to_full_nodes: Vec<(usize, StreamId)>,
    /// Nobody starts it again.
    pub(crate) is_gone: bool,
    /// From when and until when its process stands still.
    pub(crate) stands_from: Nanos,
    pub(crate) stands_until: Nanos,
    /// Messages to it in events up to this number were verified with an earlier one.
    pub(crate) verified_through: u64,
    pub(crate) fuse: Option<u32>,
    pub(crate) forkchoice_until: Nanos,
    pub(crate) adversary: Option<Box<dyn Adversary>>,
    pub(crate) adversary_dice: Dice,
    pub(crate) deeds: BTreeMap<&'static str, u64>,
}

impl Node {
    /// Whether it follows the protocol.
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none()
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.core.is_some()
    }

    /// Streams to full nodes that are under way unasked.
    pub(crate) fn full_node_streams(&mut self) -> usize {
        let uplink = &self.uplink;
        self.to_full_nodes
            .retain(|(peer, stream)| uplink.is_sending(*peer, *stream));
        self.to_full_nodes.len()
    }

    /// Its newest decided height.
    pub fn head(&self) -> Height {
        self.disk.head()
    }
}

/// Something a script may wait for.
#[derive(Clone, Debug)]
pub enum WorldNotice {
    /// A core hears a status.
    Status {
        node: usize,
        peer: usize,
    },
    /// A core said something.
    Core {
        node: usize,
        event: Box<CoreEvent>,
    },
    Blob {
        from: usize,
        to: usize,
        index: usize,
    },
    /// A value is whole and durable on a node's disk.
    Stored {
        node: usize,
        key: ValueKey,
    },
    /// A value is to be streamed.
    Stream {
        node: usize,
        key: ValueKey,
    },
    /// Parts of a value are asked for, as they were lost or never came, or a decided height.
    Fetch {
        node: usize,
        height: Height,
    },
    /// A node charges a peer.
    Charge {
        node: usize,
        peer: usize,
        fault: Fault,
    },
    /// A consensus message of the node's own leaves.
    Sent {
        node: usize,
        message: Box<ultramarine_types::ConsensusMessage>,
    },
}

/// A whole network. See the file's words.
pub struct World {
    pub now: Nanos,
    /// The nodes: validators first.
    pub nodes: Vec<Node>,
    pub network: Network,
    pub checks: Checks,
    pub trace: Trace,
    /// What the run is made of.
    pub config: RunConfig,
    pub chain: Chain,
    pub(crate) past: Past,
    pub validators: Arc<ValidatorSet>,
    /// What happened in the newest step.
    pub notices: Vec<WorldNotice>,
    /// Faults made by the driver, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Frames that a script keeps from arriving: `(from, to)` is asked for each.
    #[allow(clippy::type_complexity, reason = "one use")]
    pub filter: Option<Box<dyn Fn(usize, usize, &SimFrame) -> bool + Send>>,
    pub(crate) queue: EventQueue<Event>,
    /// Numbers of planned events that bring each node a message.
    pub(crate) under_way: Vec<BTreeSet<u64>>,
    names: BTreeMap<PeerId, usize>,
    pub(crate) dialing: BTreeSet<(usize, usize)>,
    /// The event that brought the newest status of one node to another.
    pub(crate) statuses_come: BTreeMap<(usize, usize), u64>,
    pub(crate) next_stream: u64,
    pub(crate) faults_over: bool,
    /// When progress was looked at last.
    pub(crate) watched_at: Nanos,
    pub(crate) dice: Dice,
    pub(crate) verify_dice: Dice,
    pub(crate) rot_dice: Dice,
    pub(crate) line_dice: Dice,
    pub(crate) pause_dice: Dice,
    pub(crate) events: u64,
    /// The number of the event that happens.
    pub(crate) happening: u64,
}

impl World {
    /// A network whose processes are about to start.
    pub fn new(config: RunConfig) -> Self {
        let mut clock_dice = Dice::of(config.seed, "clocks");
        let keys: Vec<([u8; 32], SigningKey)> = (0..config.nodes())
            .map(|node| {
                let seed = Canonical::new("ultramarine/sim/key/1").u64(node as u64).sha256().0;
                (seed, SigningKey::from_bytes(&seed))
            })
            .collect();
        let public = |key: &SigningKey| PublicKey(key.verifying_key().to_bytes());
        let list = keys[..config.validators]
            .iter()
            .map(|(_, key)| Validator {
                public_key: public(key),
                power: 1,
            })
            .collect();
        let validators = Arc::new(ValidatorSet::new(list).expect("simulated validators are distinct and have power"));
        let salted = |salt: &str| {
            let salt = Canonical::new(salt).u64(config.seed).sha256();
            Chain::new(config.chain.clone(), &validators, &salt)
        };
        let chain = salted("ultramarine/sim/chain/2");
        let past_chain = salted("ultramarine/sim/past/2");
        let past = Past {
            voting_chain: config.voting_chain(&past_chain.identity),
            attesting_chain: config.attesting_chain(&past_chain.identity),
            chain: past_chain,
            validators: Arc::clone(&validators),
            keys: keys[..config.validators]
                .iter()
                .map(|(_, key)| (address_of(&public(key)), key.clone()))
                .collect(),
        };
        let nodes = keys
            .into_iter()
            .enumerate()
            .map(|(node, (seed, key))| {
                let adversary = config
                    .adversaries
                    .iter()
                    .find(|(position, _)| *position == node)
                    .map(|(_, kind)| *kind);
                let skew = clock_dice.between(0, 2 * config.skew_ppm_max);
                Node {
                    peer: PeerId(sha256(&public(&key).0).0),
                    address: (node < config.validators).then(|| address_of(&public(&key))),
                    core: None,
                    life: 0,
                    clock: NodeClock {
                        started: Nanos::ZERO,
                        rate: 1_000_000 + skew - config.skew_ppm_max,
                        offset_ns: (clock_dice.between(0, 1_000_000_000) as i64) - 500_000_000,
                        stands_at: None,
                    },
                    disk: Disk::new(config.seed, node),
                    el: ScriptedEl::new(config.seed, node, config.blobs_range),
                    stopped: None,
                    key: (node < config.validators).then_some(key),
                    seed,
                    outbox: Outbox::new(),
                    wake_at: None,
                    wakes: (Nanos::ZERO, 0),
                    join: Join::new(JoinConfig {
                        limits: config.chain.limits(),
                    }),
                    join_wake_at: None,
                    foreman: Foreman::new(Policy::default()),
                    lanes_lie_until: Nanos::ZERO,
                    lied_about: BTreeSet::new(),
                    streams: BTreeMap::new(),
                    syncs: BTreeMap::new(),
                    offers: BTreeMap::new(),
                    sees: BTreeMap::new(),
                    uplink: config.uplink(node),
                    line_in_free_at: Nanos::ZERO,
                    reads_from: BTreeMap::new(),
                    budgets: Budgets::default(),
                    bans: Bans::default(),
                    came_bytes: BTreeMap::new(),
                    roster: config.roster(),
                    guests: BTreeMap::new(),
                    statuses: config.statuses(),
                    statuses_due: None,
                    later: Vec::new(),
                    to_full_nodes: Vec::new(),
                    is_gone: false,
                    stands_from: Nanos::ZERO,
                    stands_until: Nanos::ZERO,
                    verified_through: 0,
                    fuse: None,
                    forkchoice_until: Nanos::ZERO,
                    adversary: adversary.map(crate::adversaries::AdversaryKind::adversary),
                    adversary_dice: Dice::of(config.seed, &format!("adversary {node}")),
                    deeds: BTreeMap::new(),
                }
            })
            .collect();
        let mut world = Self {
            now: Nanos::from_millis(10_000),
            nodes,
            network: Network::new(config.seed, config.nodes(), config.weather, config.lines.clone()),
            checks: Checks::default(),
            trace: Trace::new(config.shown),
            chain,
            past,
            validators,
            notices: Vec::new(),
            faults: BTreeMap::new(),
            filter: None,
            queue: EventQueue::new(),
            under_way: vec![BTreeSet::new(); config.nodes()],
            names: BTreeMap::new(),
            dialing: BTreeSet::new(),
            statuses_come: BTreeMap::new(),
            next_stream: 1,
            faults_over: false,
            watched_at: Nanos::ZERO,
            dice: Dice::of(config.seed, "world"),
            verify_dice: Dice::of(config.seed, "verify"),
            rot_dice: Dice::of(config.seed, "rot"),
            line_dice: Dice::of(config.seed, "line"),
            pause_dice: Dice::of(config.seed, "pauses"),
            events: 0,
            happening: 0,
            config,
        };
        world.names = world
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.peer, index))
            .collect();
        // The same node whose log may be damaged, and only where nobody else is faulty.
        world.nodes[0].disk.may_lose_log = world.config.is_power_honest();
        for node in 0..world.nodes.len() {
            let at = world.now + world.dice.millis(0, 300);
            world.queue.plan(at, Event::Start { node });
            for other in node + 1..world.nodes.len() {
                world.dial(node, other, 1, 300);
            }
        }
        if let Some(every) = world.config.fault_every {
            let at = world.now + Nanos::from_millis(1500) + every;
            world.queue.plan(at, Event::Fault);
        }
        world.plan_rot();
        world
    }

    /// The node with an address.
    pub fn node_of(&self, address: &Address) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.address.as_ref() == Some(address))
    }

    pub fn honest(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_honest())
    }

    /// Events that have happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lowest head of all honest nodes.
    pub fn lowest_head(&self) -> Height {
        self.honest().map(|(_, node)| node.head()).min().unwrap_or_default()
    }

    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn note(&mut self, node: usize, checked: crate::checks::CheckOutcome) {
        // An adversary owes nothing to anybody.
        if self.nodes[node].is_honest() {
            self.checks.note(self.now, node, checked);
        }
    }

    pub(crate) fn peer_index(&self, peer: &PeerId) -> Option<usize> {
        self.names.get(peer).copied()
    }

    pub(crate) fn stream_id(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId(self.next_stream)
    }
}
