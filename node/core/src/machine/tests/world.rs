//! A small world for the core's own tests: four cores, an honest network, store and execution client each.
//!
//! Time is virtual. Everything takes a little of it; nothing is lost unless a test says so. The big simulator, with
//! faults and checkers, is the package `ultramarine-sim`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::canonical::{Canonical, sha256};
use ultramarine_types::execution::{Built, EngineCall, EngineReply, Executed, ParentBlock, PayloadStatus};
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferId, OfferKind, Recipients, SyncEnd, SyncWant};
use ultramarine_types::storage::{
    Blobs, Decided, LogCondition, LogEpoch, Recovered, RecoveredLog, StoreReply, StoreRequest, Tag,
};
use ultramarine_types::{
    Address, Assembly, BlobPart, ChainParams, ConsensusMessage, Evidence, ExecutionHeader, Hash, Height, KzgCommitment,
    KzgProof, Lsn, Machine, Nanos, Outbox, PeerId, Round, Validator, ValidatorSet, ValueId, ValueKey,
};

use crate::log::Record;
use crate::rules::{EMPTY_ROOT, GAS_PER_BLOB, PREV_RANDAO};
use crate::signing::Signer;
use crate::{Core, CoreConfig, Event, Input, Output, Stop};

pub const GENESIS: Hash = Hash([0x11; 32]);
const START_UNIX: u64 = 1_800_000_000;

pub fn seed(node: usize) -> [u8; 32] {
    [node as u8 + 1; 32]
}

pub fn peer_id(node: usize) -> PeerId {
    PeerId([node as u8; 32])
}

pub fn chain() -> ChainParams {
    ChainParams {
        chain_id: 7,
        execution_genesis_hash: GENESIS,
        blobs_per_block_max: 6,
        block_interval_ms: 100,
        blob_retention_heights_min: 1_000,
        gas_limit_min: 5_000,
        gas_limit_max: 60_000_000,
        prague_time: None,
    }
}

pub fn validators(count: usize) -> Arc<ValidatorSet> {
    let list = (0..count)
        .map(|node| Validator {
            public_key: Signer::new(&seed(node)).public_key(),
            power: 1,
        })
        .collect();
    Arc::new(ValidatorSet::new(list).unwrap())
}

/// The disk of one node: what survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub decided: BTreeMap<Height, (Decided, Assembly)>,
    pub undecided: BTreeMap<ValueKey, (Assembly, Tag)>,
    pub epoch: Option<LogEpoch>,
    pub records: Vec<Bytes>,
    pub evidence: Vec<Evidence>,
    pub silent_through: Height,
    /// Appended and not synced: lost in a crash.
    pub pending: Vec<(Lsn, Bytes)>,
}

/// The scripted execution client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    pub known: BTreeSet<Hash>,
    pub blocks: BTreeMap<Hash, u64>,
    pub executed: BTreeSet<Hash>,
    pub syncing: bool,
    /// Calls the block of this height invalid when it is to be imported.
    pub condemns: Option<Height>,
    /// Calls this block invalid when it is to be executed.
    pub rejects: Option<Hash>,
    pub blobs: usize,
}

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
                    condemns: None,
                    rejects: None,
                    blobs: 3,
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
            chain: ChainParams {
                blob_retention_heights_min: self.retention_min,
                ..chain()
            },
            validators: self.set.clone(),
            key,
            genesis_block: ParentBlock {
                hash: GENESIS,
                number: 0,
                timestamp: START_UNIX - 10,
            },
            retention: None,
            fresh_directory_listen: self.listen,
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

    fn recipients(&self, from: usize, to: Recipients) -> Vec<usize> {
        match to {
            Recipients::All => self.nodes[from].connected.iter().copied().collect(),
            Recipients::One(peer) => {
                let to = peer.0[0] as usize;
                self.nodes[from]
                    .connected
                    .iter()
                    .copied()
                    .filter(|other| *other == to)
                    .collect()
            }
        }
    }

    /// A peer offers a node a stream.
    pub fn offer(&mut self, from: usize, to: usize, assembly: Assembly, kind: OfferKind, decided: Option<Decided>) {
        self.sequence += 1;
        let offer = OfferId(self.sequence);
        let (key, init) = (assembly.key, assembly.init.clone());
        self.offers.insert(offer.0, (from, assembly));
        let certificate = decided.map(|decided| decided.certificate);
        self.deliver(
            to,
            1500,
            Input::Net(NetEvent::Offer {
                offer,
                peer: peer_id(from),
                key,
                init,
                kind,
                certificate,
            }),
        );
    }

    fn held(&self, node: usize, key: &ValueKey) -> Option<Assembly> {
        let disk = &self.nodes[node].disk;
        disk.undecided
            .get(key)
            .map(|(assembly, _)| assembly.clone())
            .or_else(|| {
                let (decided, assembly) = disk.decided.get(&key.height)?;
                (decided.certificate.value_id == key.id).then(|| assembly.clone())
            })
    }

    fn net(&mut self, from: usize, command: NetCommand) {
        match command {
            NetCommand::Send { to, message } => {
                self.assert_durable(from, &message);
                for to in self.recipients(from, to) {
                    let round = self.nodes[to].core.as_ref().and_then(Core::round);
                    if !(self.drop)(from, to, &message, round) {
                        let message = message.clone();
                        self.deliver(
                            to,
                            1000,
                            Input::Net(NetEvent::Message {
                                peer: peer_id(from),
                                message,
                            }),
                        );
                    }
                }
            }
            NetCommand::Status { to, status } => {
                for to in self.recipients(from, Recipients::One(to)) {
                    let status = status.clone();
                    self.deliver(
                        to,
                        1000,
                        Input::Net(NetEvent::Status {
                            peer: peer_id(from),
                            status,
                        }),
                    );
                }
            }
            NetCommand::Stream { key, to } => {
                let Some(assembly) = self.held(from, &key) else { return };
                for to in self.recipients(from, to) {
                    if !(self.lose_stream)(from, to, &key) {
                        self.offer(from, to, assembly.clone(), OfferKind::Proposal, None);
                    }
                }
            }
            NetCommand::Admit { offer, tag } => {
                let (_, assembly) = self.offers.remove(&offer.0).unwrap();
                let (life, at) = (self.nodes[from].life, self.now + Nanos::from_millis(2));
                self.schedule(
                    at,
                    Happening::Put {
                        to: from,
                        life,
                        assembly: Box::new(assembly),
                        tag,
                    },
                );
            }
            NetCommand::Refuse { offer, .. } => {
                self.offers.remove(&offer.0);
            }
            NetCommand::Fetch { key, peer } => {
                let holder = peer.0[0] as usize;
                if self.nodes[from].connected.contains(&holder)
                    && self.nodes[holder].core.is_some()
                    && let Some(assembly) = self.held(holder, &key)
                {
                    self.offer(holder, from, assembly, OfferKind::Proposal, None);
                }
            }
            NetCommand::Sync { peer, height, want } => {
                let server = peer.0[0] as usize;
                if !self.nodes[from].connected.contains(&server) {
                    return;
                }
                match self.nodes[server].disk.decided.get(&height).cloned() {
                    Some((decided, assembly)) if want == SyncWant::Package && height < self.pruned_below => {
                        let bare = Assembly {
                            blobs: Vec::new(),
                            ..assembly
                        };
                        self.offer(server, from, bare, OfferKind::MetadataOnly, Some(decided));
                    }
                    Some((decided, assembly)) if want == SyncWant::Package => {
                        self.offer(server, from, assembly, OfferKind::Full, Some(decided));
                    }
                    Some((decided, _)) => {
                        let end = SyncEnd::Certificate(decided.certificate);
                        self.deliver(from, 1500, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                    }
                    None => {
                        let end = SyncEnd::NotDecided { tip: self.head(server) };
                        self.deliver(from, 1500, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                    }
                }
            }
            NetCommand::Forget { .. } => {}
            NetCommand::Charge { peer, fault } => self.charges.push((from, peer.0[0] as usize, fault)),
        }
    }

    /// I8: what leaves was logged, and the log synced, before.
    fn assert_durable(&self, node: usize, message: &ConsensusMessage) {
        let record = match message {
            ConsensusMessage::Vote(vote) if vote.voter == self.address(node) => Record::Vote(vote.clone()),
            ConsensusMessage::Proposal(proposal) if proposal.proposer == self.address(node) => {
                Record::Proposal(proposal.clone())
            }
            _ => return,
        };
        let disk = &self.nodes[node].disk;
        assert!(
            disk.records.contains(&record.encode()),
            "node {node} sent {record:?} before it was durable"
        );
    }

    fn store(&mut self, node: usize, request: StoreRequest) {
        let (disk, micros, reply) = (&mut self.nodes[node].disk, 300, |reply| Input::Store(reply));
        match request {
            StoreRequest::Put { assembly, tag } => {
                let Assembly {
                    key,
                    init,
                    payload,
                    blobs,
                } = assembly.clone();
                let held = blobs.len() == init.metadata.commitments.len();
                let blobs = if held { Blobs::Held } else { Blobs::NeverHeld };
                disk.undecided.entry(key).or_insert((assembly, tag));
                self.deliver(
                    node,
                    micros,
                    reply(StoreReply::Stored {
                        key,
                        init,
                        payload,
                        tag,
                        blobs,
                    }),
                );
            }
            StoreRequest::LogAppend { lsn, record } => disk.pending.push((lsn, record)),
            StoreRequest::LogSync { lsn } => {
                let synced: Vec<_> = disk.pending.iter().take_while(|(at, _)| *at <= lsn).cloned().collect();
                disk.pending.drain(..synced.len());
                disk.records.extend(synced.into_iter().map(|(_, record)| record));
                self.deliver(node, micros, reply(StoreReply::LogDurable { lsn }));
            }
            StoreRequest::BeginEpoch { height } => {
                let generation = disk.epoch.map_or(1, |epoch| epoch.generation + 1);
                let epoch = LogEpoch { height, generation };
                assert_eq!(
                    disk.decided.keys().next_back().copied().unwrap_or_default().next(),
                    height
                );
                disk.epoch = Some(epoch);
                disk.records.clear();
                disk.pending.clear();
                self.deliver(node, micros, reply(StoreReply::EpochBegun(epoch)));
            }
            StoreRequest::Commit(decision) => {
                let height = decision.certificate.height;
                let key = ValueKey {
                    height,
                    id: decision.certificate.value_id,
                };
                let (assembly, _) = disk.undecided.remove(&key).expect("a decided value is stored");
                let held = assembly.blobs.len() == assembly.init.metadata.commitments.len();
                assert_eq!(held, decision.blobs == Blobs::Held, "I2");
                let decided = Decided {
                    certificate: decision.certificate,
                    init: decision.init,
                    blobs: decision.blobs,
                };
                disk.decided.insert(height, (decided, assembly));
                disk.undecided.retain(|key, _| key.height > height);
                self.deliver(node, micros, reply(StoreReply::Committed { height }));
            }
            StoreRequest::Load { height } => {
                let value = disk
                    .decided
                    .get(&height)
                    .map(|(decided, assembly)| (decided.clone(), assembly.payload.clone()));
                self.deliver(node, micros, reply(StoreReply::Loaded { height, value }));
            }
            StoreRequest::Evidence(evidence) => disk.evidence.extend(evidence),
            StoreRequest::Silence { through } => {
                disk.silent_through = disk.silent_through.max(through);
                self.deliver(node, micros, reply(StoreReply::Silenced { through }));
            }
            StoreRequest::Retire { blobs_below } => {
                self.deliver(node, micros, reply(StoreReply::Retired { blobs_below }));
            }
        }
    }

    fn engine(&mut self, node: usize, call: EngineCall) {
        let now = self.now;
        let client = &mut self.nodes[node].client;
        let reply = match call {
            EngineCall::Forkchoice { head, .. } => {
                let status = if client.syncing || !client.known.contains(&head) {
                    PayloadStatus::Syncing
                } else {
                    PayloadStatus::Valid { latest: Some(head) }
                };
                EngineReply::Forkchoice { head, status }
            }
            EngineCall::Build {
                height,
                round,
                parent,
                timestamp,
            } => {
                let blobs = client.blobs;
                let mut built = build(node, height, round, &parent, timestamp, blobs, now);
                client.know(&built.header);
                (self.spoil)(node, height, round, &mut built);
                self.nodes[node].builds.push((height, round));
                EngineReply::Built {
                    height,
                    round,
                    result: Ok(Box::new(built)),
                }
            }
            EngineCall::Execute { key, init, .. } => {
                let header = &init.metadata.header;
                let status = if client.rejects == Some(header.block_hash) {
                    PayloadStatus::Invalid {
                        latest: None,
                        reason: "bad state root".to_owned(),
                    }
                } else {
                    client.execute(header)
                };
                EngineReply::Executed {
                    key,
                    outcome: Executed::Answered(status),
                }
            }
            EngineCall::Inspect { key, .. } => EngineReply::Inspected { key, result: Ok(()) },
            EngineCall::Import { height, init, .. } => {
                let payload = if client.condemns == Some(height) {
                    PayloadStatus::Invalid {
                        latest: None,
                        reason: "bad state root".to_owned(),
                    }
                } else {
                    client.execute(&init.metadata.header)
                };
                EngineReply::Imported {
                    height,
                    forkchoice: payload.clone(),
                    payload,
                }
            }
            EngineCall::Newest => EngineReply::Newest {
                number: client.blocks.values().max().copied(),
            },
        };
        self.deliver(node, 3000, Input::Engine(reply));
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

impl Client {
    fn know(&mut self, header: &ExecutionHeader) {
        self.known.insert(header.block_hash);
        self.executed.insert(header.block_hash);
        self.blocks.insert(header.block_hash, header.number);
    }

    fn execute(&mut self, header: &ExecutionHeader) -> PayloadStatus {
        if self.syncing || !self.known.contains(&header.parent_hash) {
            return PayloadStatus::Syncing;
        }
        self.know(header);
        PayloadStatus::Valid {
            latest: Some(header.block_hash),
        }
    }

    /// A restart of an in-memory client.
    pub fn lose_everything(&mut self) {
        self.known = BTreeSet::from([GENESIS]);
        self.blocks = BTreeMap::from([(GENESIS, 0)]);
        self.executed.clear();
    }
}

/// A block that keeps every rule; the moment makes it unlike any other.
pub fn build(
    node: usize,
    height: Height,
    round: Round,
    parent: &ParentBlock,
    timestamp: u64,
    blobs: usize,
    now: Nanos,
) -> Built {
    let block_hash = Canonical::new("test/block")
        .u64(node as u64)
        .height(height)
        .round(round)
        .hash(&parent.hash)
        .u64(timestamp)
        .u64(now.0)
        .sha256();
    let payload = Bytes::from(block_hash.0.to_vec());
    let header = ExecutionHeader {
        parent_hash: parent.hash,
        fee_recipient: Address([9; 20]),
        state_root: block_hash,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        logs_bloom: [0; 256],
        number: parent.number + 1,
        gas_limit: 30_000_000,
        gas_used: 21_000,
        timestamp,
        extra_data: Vec::new(),
        prev_randao: PREV_RANDAO,
        base_fee_per_gas: Hash::ZERO,
        withdrawals_root: EMPTY_ROOT,
        blob_gas_used: blobs as u64 * GAS_PER_BLOB,
        excess_blob_gas: 0,
        parent_beacon_block_root: parent.hash,
        requests_hash: None,
        block_hash,
    };
    let blobs = (0..blobs)
        .map(|index| {
            let commitment = KzgCommitment([index as u8 + 1; 48]);
            let part = BlobPart {
                blob: Bytes::from_static(&[0; 8]),
                proofs: vec![KzgProof::ZERO],
            };
            (commitment, part)
        })
        .collect();
    let payload_hash = sha256(&payload);
    Built {
        header,
        payload,
        payload_hash,
        chunk_hashes: vec![payload_hash],
        blobs,
    }
}

pub fn address_of(node: usize) -> Address {
    Signer::new(&seed(node)).address()
}
