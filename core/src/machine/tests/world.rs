//! A small world for the core's own tests: four cores, an honest network, store and execution client each.
//!
//! Time is virtual. Everything takes a little of it; nothing is lost unless a test says so. The big simulator, with
//! faults and checkers, is the package `ultramarine-sim`.

mod client;
mod disk;
mod genesis;
mod network;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use ultramarine_types::execution::{Built, ParentBlock};
use ultramarine_types::network::{Fault, NetEvent};
use ultramarine_types::storage::{LogCondition, Recovered, RecoveredLog, StoreRequest, Tag};
use ultramarine_types::{
    Address, Assembly, Chain, ChainParams, ConsensusMessage, Height, Machine, Nanos, Nonce, Outbox, Round,
    ValidatorSet, ValueId, ValueKey,
};

pub use self::client::{Client, build};
pub use self::disk::Disk;
use self::genesis::START_UNIX;
pub use self::genesis::{GENESIS, GENESIS_TIME, address_of, chain, peer_id, seed, validators};
use crate::signing::Signer;
use crate::{Core, CoreConfig, Event, Input, Output, Stop};

pub struct Node {
    pub core: Option<Core>,
    pub disk: Disk,
    pub client: Client,
    pub life: u64,
    pub connected: BTreeSet<usize>,
    pub events: Vec<Event>,
    pub stopped: Option<Stop>,
    pub builds: Vec<(Height, Round)>,
}

enum Happening {
    Deliver {
        to: usize,
        life: u64,
        input: Box<Input>,
    },
    Put {
        to: usize,
        life: u64,
        assembly: Box<Assembly>,
        tag: Tag,
    },
    Wake {
        to: usize,
        life: u64,
        at: Nanos,
    },
    Clock,
}

type Loss = Box<dyn Fn(usize, usize, &ValueKey) -> bool>;
type Spoil = Box<dyn Fn(usize, Height, Round, &mut Built)>;
type Filter = Box<dyn Fn(usize, usize, &ConsensusMessage, Option<Round>) -> bool>;

pub struct World {
    pub nodes: Vec<Node>,
    pub now: Nanos,
    queue: BinaryHeap<Reverse<(Nanos, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    offers: BTreeMap<u64, (usize, Assembly)>,
    set: Arc<ValidatorSet>,
    pub drop: Filter,
    /// Whether a proposer's stream to somebody is lost.
    pub lose_stream: Loss,
    /// Spoils the block a node builds.
    pub spoil: Spoil,
    /// Whom nodes charged, and for what.
    pub charges: Vec<(usize, usize, Fault)>,
    /// What the log of a node is found to be at its next start.
    pub log_condition: LogCondition,
    /// Everything ever signed and sent: node, height, round, kind.
    pub signed: BTreeMap<(usize, Height, Round, &'static str), Option<ValueId>>,
    pub listen: Nanos,
    /// Heights for which everybody must keep blobs.
    pub retention_min: u64,
    /// Blobs below this height are gone at every server.
    pub pruned_below: Height,
    /// How often something happened without time moving.
    idle: (Nanos, u64),
    pub full_nodes: BTreeSet<usize>,
    /// Pairs that never connect, the lower first.
    pub missing: BTreeSet<(usize, usize)>,
}

impl World {
    pub fn new(count: usize) -> Self {
        Self::with_full_nodes(count, 0)
    }

    /// Validators first, then full nodes.
    pub fn with_full_nodes(validators_count: usize, full: usize) -> Self {
        let nodes = (0..validators_count + full)
            .map(|_| Node {
                core: None,
                disk: Disk::default(),
                client: Client {
                    known: BTreeSet::from([GENESIS]),
                    blocks: BTreeMap::from([(GENESIS, 0)]),
                    executed: BTreeSet::new(),
                    syncing: false,
                    accepts: false,
                    nameless: false,
                    condemns: None,
                    rejects: None,
                    rejects_height: None,
                    blobs: 3,
                    build_micros: 3000,
                },
                life: 0,
                connected: BTreeSet::new(),
                events: Vec::new(),
                stopped: None,
                builds: Vec::new(),
            })
            .collect();
        let mut world = Self {
            nodes,
            now: Nanos::ZERO,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            offers: BTreeMap::new(),
            set: validators(validators_count),
            drop: Box::new(|_, _, _, _| false),
            lose_stream: Box::new(|_, _, _| false),
            spoil: Box::new(|_, _, _, _| {}),
            charges: Vec::new(),
            log_condition: LogCondition::Whole,
            signed: BTreeMap::new(),
            listen: Nanos::from_millis(50),
            retention_min: 1_000,
            pruned_below: Height(0),
            idle: (Nanos::ZERO, 0),
            full_nodes: (validators_count..validators_count + full).collect(),
            missing: BTreeSet::new(),
        };
        world.schedule(Nanos::from_millis(1000), Happening::Clock);
        world
    }

    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    pub fn start(&mut self, node: usize) {
        let key = (!self.full_nodes.contains(&node)).then(|| seed(node));
        let config = CoreConfig {
            chain: Chain {
                params: ChainParams {
                    blob_retention_heights_min: self.retention_min,
                    ..chain().params
                },
                ..chain()
            },
            validators: self.set.clone(),
            key,
            genesis_block: ParentBlock {
                hash: GENESIS,
                number: 0,
                timestamp: GENESIS_TIME,
            },
            retention: None,
            fresh_directory_listen: self.listen,
            nonce: Nonce([self.nodes[node].life as u8; 32]),
            #[cfg(feature = "planted")]
            planted: None,
        };
        let disk = &self.nodes[node].disk;
        let log = disk.epoch.map(|epoch| RecoveredLog {
            epoch,
            condition: self.log_condition,
            records: if self.log_condition == LogCondition::Whole {
                disk.records.clone()
            } else {
                Vec::new()
            },
        });
        let recovered = Recovered {
            head: disk.decided.last_key_value().map(|(_, (decided, _))| decided.clone()),
            log,
            undecided: disk.undecided.values().cloned().collect(),
            oldest_blobs: Height(1),
            silent_through: disk.silent_through,
            rebuilt_through: disk.rebuilt_through,
        };
        self.nodes[node].core = Some(Core::new(config));
        self.input(
            node,
            Input::WallClock {
                unix_ns: self.unix_ns(),
            },
        );
        self.input(node, Input::Boot(Box::new(recovered)));
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].core.is_some() {
                self.connect(node, other);
            }
        }
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        if self.missing.contains(&(a.min(b), a.max(b))) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            if self.nodes[to].connected.insert(from) {
                let validator = (!self.full_nodes.contains(&from)).then(|| self.address(from));
                self.deliver(
                    to,
                    1000,
                    Input::Net(NetEvent::PeerUp {
                        peer: peer_id(from),
                        validator,
                    }),
                );
            }
        }
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.nodes[to].connected.remove(&from) {
                self.deliver(to, 0, Input::Net(NetEvent::PeerDown { peer: peer_id(from) }));
            }
        }
    }

    /// kill -9: the core is gone, so is everything not synced.
    pub fn crash(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            self.disconnect(node, other);
        }
        let dead = &mut self.nodes[node];
        dead.core = None;
        dead.life += 1;
        dead.disk.pending.clear();
    }

    pub fn address(&self, node: usize) -> Address {
        Signer::new(&seed(node)).address()
    }

    pub fn node_of(&self, address: &Address) -> usize {
        (0..self.nodes.len())
            .find(|node| self.address(*node) == *address)
            .unwrap()
    }

    pub fn head(&self, node: usize) -> Height {
        self.nodes[node]
            .disk
            .decided
            .keys()
            .next_back()
            .copied()
            .unwrap_or(Height(0))
    }

    fn unix_ns(&self) -> u64 {
        START_UNIX * 1_000_000_000 + self.now.0
    }

    fn schedule(&mut self, at: Nanos, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    fn deliver(&mut self, to: usize, micros: u64, input: Input) {
        let (life, at) = (self.nodes[to].life, self.now + Nanos(micros * 1000));
        self.schedule(
            at,
            Happening::Deliver {
                to,
                life,
                input: Box::new(input),
            },
        );
    }

    /// Runs until `done` or for so long.
    pub fn run(&mut self, limit: Nanos, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while let Some(Reverse((at, sequence))) = self.queue.pop() {
            if done(self) {
                self.queue.push(Reverse((at, sequence)));
                return true;
            }
            if at > until {
                self.queue.push(Reverse((at, sequence)));
                self.now = until;
                return false;
            }
            self.now = at;
            match self.happenings.remove(&sequence).unwrap() {
                Happening::Deliver { to, life, input } if self.alive(to, life) => self.input(to, *input),
                Happening::Put {
                    to,
                    life,
                    assembly,
                    tag,
                } if self.alive(to, life) => {
                    self.store(
                        to,
                        StoreRequest::Put {
                            assembly: *assembly,
                            tag,
                        },
                    );
                }
                Happening::Wake { to, life, at } if self.alive(to, life) => {
                    let core = self.nodes[to].core.as_mut().unwrap();
                    if core.deadline().is_some_and(|due| due <= at) {
                        let mut out = Outbox::new();
                        core.wake(self.now, &mut out);
                        self.carry(to, out);
                    }
                }
                Happening::Clock => {
                    for node in 0..self.nodes.len() {
                        if self.nodes[node].core.is_some() {
                            let unix_ns = self.unix_ns();
                            self.input(node, Input::WallClock { unix_ns });
                        }
                    }
                    self.schedule(self.now + Nanos::from_millis(1000), Happening::Clock);
                }
                Happening::Deliver { .. } | Happening::Put { .. } | Happening::Wake { .. } => {}
            }
        }
        false
    }

    fn alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].core.is_some() && self.nodes[node].life == life
    }

    fn input(&mut self, node: usize, input: Input) {
        let mut out = Outbox::new();
        let now = self.now;
        self.nodes[node].core.as_mut().unwrap().handle(now, input, &mut out);
        self.carry(node, out);
    }

    fn carry(&mut self, node: usize, mut out: Outbox<Output>) {
        if let Some(core) = &self.nodes[node].core {
            core.check_whole();
        }
        while let Some(output) = out.pop() {
            match output {
                Output::Net(command) => self.net(node, command),
                Output::Store(request) => self.store(node, request),
                Output::Engine(call) => self.engine(node, call),
                Output::Event(event) => {
                    if let Event::Signed {
                        height,
                        round,
                        kind,
                        value_id,
                    } = &event
                    {
                        let before = self.signed.insert((node, *height, *round, kind), *value_id);
                        assert!(
                            before.is_none_or(|before| before == *value_id),
                            "node {node} signed two things: {kind} at {height}/{round}: {before:?} and {value_id:?}"
                        );
                    }
                    self.nodes[node].events.push(event);
                }
                Output::Stop(stop) => self.nodes[node].stopped = Some(stop),
            }
        }
        let life = self.nodes[node].life;
        if let Some(due) = self.nodes[node].core.as_ref().and_then(Core::deadline) {
            let at = due.max(self.now);
            let idle = if self.idle.0 == self.now { self.idle.1 + 1 } else { 0 };
            self.idle = (self.now, idle);
            assert!(idle < 10_000, "node {node} spins: {:?}", self.nodes[node].core);
            self.schedule(at, Happening::Wake { to: node, life, at });
        }
    }

    /// All nodes that decided a height decided the same, up to the lowest head of `nodes`.
    pub fn assert_agreement(&self) {
        let mut decided: BTreeMap<Height, ValueId> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (height, (entry, _)) in &node.disk.decided {
                let id = *decided.entry(*height).or_insert(entry.certificate.value_id);
                assert_eq!(
                    id, entry.certificate.value_id,
                    "node {index} decided otherwise at {height}"
                );
            }
        }
    }

    /// Hands a node an input out of turn.
    pub fn tell(&mut self, node: usize, input: Input) {
        self.input(node, input);
    }

    pub fn assert_nobody_stopped(&self) {
        assert_eq!(self.charges, [], "all are honest");
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.stopped, None, "node {index} stopped");
        }
    }

    pub fn all_at(&self, height: u64) -> bool {
        (0..self.nodes.len()).all(|node| self.head(node) >= Height(height))
    }
}
