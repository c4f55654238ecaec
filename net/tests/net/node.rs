//! A network tile in a thread, with the test playing core and store and a stub playing the verifier.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use ed25519_dalek::SigningKey;
use ultramarine_net::bounds::{SERVING_BYTES_PER_SECOND, WIRE_VERSIONS};
use ultramarine_net::versions::WireVersions;
use ultramarine_net::{
    Attestation, Attester, FullNodes, Identity, NetLinks, NetOptions, PeerBook, PeerConfig, endpoint, run,
};
use ultramarine_runtime::{Clock, Halt, IoMode, Reason, Receiver, Registry, Sender, TileContext, block_on_net, link};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::StoreRequest;
use ultramarine_types::verify::{Verdict, VerifyRequest};
use ultramarine_types::{
    Address, Assembly, Chain, ChainIdentity, Hash, Nanos, PeerId, PublicKey, Validator, ValidatorSet, fixtures,
};

use crate::fixture::{Lanes, PATIENCE, Shelf, params};

/// What a node of a test is.
#[derive(Clone)]
pub struct Setup {
    pub secret: u8,
    pub attested: bool,
    pub chain: ChainIdentity,
    pub versions: WireVersions,
    pub upgrades_hash: Hash,
    pub fork_schedule_hash: Hash,
    pub blobs_per_block: u32,
    pub listen: SocketAddr,
    pub peers: Vec<PeerConfig>,
    pub full_nodes: FullNodes,
    pub serving_bytes_per_second: u64,
    pub io: IoMode,
    /// The clock by which it is attested, in Unix seconds; `None`: the system's.
    pub wall: Option<Arc<std::sync::atomic::AtomicU64>>,
    /// While it is set, the lanes take jobs and answer none.
    pub lanes_hold: Arc<AtomicBool>,
}

impl Setup {
    pub fn new(secret: u8) -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        Self {
            secret,
            attested: true,
            chain: fixtures::CHAIN,
            versions: WIRE_VERSIONS,
            upgrades_hash: Hash::ZERO,
            fork_schedule_hash: Hash::ZERO,
            blobs_per_block: 6,
            listen,
            peers: Vec::new(),
            full_nodes: FullNodes::Any,
            serving_bytes_per_second: SERVING_BYTES_PER_SECOND,
            io: IoMode::Auto,
            wall: None,
            lanes_hold: Arc::default(),
        }
    }

    pub fn dials(mut self, node: &Node) -> Self {
        self.peers.push(PeerConfig {
            address: node.address.to_string(),
            peer: Some(node.peer),
        });
        self
    }
}

pub fn identity(secret: u8) -> Identity {
    Identity::from_secret(&[secret; 32])
}

fn validator_key(secret: u8) -> SigningKey {
    SigningKey::from_bytes(&[secret + 100; 32])
}

pub fn validator(secret: u8) -> Address {
    ultramarine_types::chain::address_of(&PublicKey(validator_key(secret).verifying_key().to_bytes()))
}

pub fn attestation(secret: u8) -> Attestation {
    attestation_of(secret, secret)
}

/// A validator's word for its node until a moment long past.
pub fn expired_attestation(secret: u8, expiry: u64) -> Attestation {
    let peer = identity(secret).peer();
    Attestation::sign(&validator_key(secret), &fixtures::CHAIN, &peer, expiry)
}

fn attester(secret: u8) -> Attester {
    Attester::new(validator_key(secret), fixtures::CHAIN, identity(secret).peer())
}

/// A validator's word for any node.
pub fn attestation_of(validator: u8, node: u8) -> Attestation {
    Attestation::sign(
        &validator_key(validator),
        &fixtures::CHAIN,
        &identity(node).peer(),
        u64::MAX,
    )
}

fn validators() -> Arc<ValidatorSet> {
    let key = |secret| PublicKey(validator_key(secret).verifying_key().to_bytes());
    let list = (1..=8)
        .map(|secret| Validator {
            public_key: key(secret),
            power: 1,
        })
        .collect();
    Arc::new(ValidatorSet::new(list).expect("eight validators are a set"))
}

pub struct Node {
    pub peer: PeerId,
    pub address: SocketAddr,
    pub shelf: Arc<Shelf>,
    pub registry: Arc<Registry>,
    /// Whom it shows as connected.
    pub book: PeerBook,
    commands: Sender<NetCommand>,
    events: Receiver<NetEvent>,
    puts: Receiver<StoreRequest>,
    clock: Clock,
    halt: Halt,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    pub fn start(setup: Setup) -> Self {
        let socket = endpoint::bind(setup.listen).expect("the port is free");
        let address = socket.local_addr().expect("bound");
        let identity = identity(setup.secret);
        let peer = identity.peer();
        let (commands, net_commands) = link("commands", 256).expect("a link");
        let (net_events, events) = link("events", 256).expect("a link");
        let (net_jobs, jobs) = link("jobs", 64).expect("a link");
        let (verdicts, net_verdicts) = link("verdicts", 64).expect("a link");
        let (net_store, puts) = link("store", 16).expect("a link");
        let book = PeerBook::default();
        let (shelf, registry, halt) = (Arc::new(Shelf::default()), Registry::new(), Halt::new());
        let options = NetOptions {
            socket,
            identity,
            attester: setup.attested.then(|| match setup.wall.clone() {
                Some(wall) => attester(setup.secret).by(move || wall.load(std::sync::atomic::Ordering::Relaxed)),
                None => attester(setup.secret),
            }),
            peers: setup.peers,
            full_nodes: setup.full_nodes,
            serving_bytes_per_second: setup.serving_bytes_per_second,
            chain: Chain {
                identity: setup.chain,
                params: params(setup.blobs_per_block),
            },
            validators: validators(),
            versions: setup.versions,
            upgrades_hash: setup.upgrades_hash,
            fork_schedule_hash: setup.fork_schedule_hash,
            io: setup.io.resolve().expect("some back end"),
            book: book.clone(),
        };
        let links = NetLinks {
            commands: net_commands,
            events: net_events,
            jobs: net_jobs,
            verdicts: net_verdicts,
            store: net_store,
            source: shelf.clone(),
        };
        let (net_halt, net_registry) = (halt.clone(), registry.clone());
        let net = std::thread::spawn(move || {
            let context = TileContext::new("net", &net_halt, &net_registry);
            block_on_net(options.io, |io| run(NetOptions { io, ..options }, links, context)).expect("the network runs");
        });
        let verifier_halt = halt.clone();
        let hold = setup.lanes_hold;
        let verifier = std::thread::spawn(move || verify(jobs, &verdicts, &verifier_halt, &hold));
        let clock = Clock::start();
        let threads = vec![net, verifier];
        Self {
            peer,
            address,
            shelf,
            registry,
            book,
            commands,
            events,
            puts,
            clock,
            halt,
            threads,
        }
    }

    pub fn tell(&self, command: NetCommand) {
        self.commands.send(command).expect("the network runs");
    }

    /// Waits for an event that `wanted` takes something from; others are passed over.
    pub fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let patience = self.clock.now() + Nanos::from(PATIENCE);
        while self.clock.now() < patience {
            if let Some(found) = self
                .events
                .recv_until(Some(patience), &self.clock)
                .and_then(&mut wanted)
            {
                return found;
            }
        }
        panic!("no {what} came");
    }

    pub fn expect_peer(&mut self, peer: PeerId) -> Option<Address> {
        self.expect("peer", |event| match event {
            NetEvent::PeerUp { peer: up, validator } if up == peer => Some(validator),
            _ => None,
        })
    }

    /// Waits for several peers, in whatever order they come.
    pub fn expect_peers(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        let mut missing: Vec<PeerId> = peers.into_iter().collect();
        while !missing.is_empty() {
            let up = self.expect("peer", |event| match event {
                NetEvent::PeerUp { peer, .. } => Some(peer),
                _ => None,
            });
            missing.retain(|peer| *peer != up);
        }
    }

    /// Waits for a whole value on its way to the store.
    pub fn expect_put(&mut self) -> (Assembly, ultramarine_types::storage::Tag) {
        let patience = self.clock.now() + Nanos::from(PATIENCE);
        while self.clock.now() < patience {
            match self.puts.recv_until(Some(patience), &self.clock) {
                Some(StoreRequest::Put { assembly, tag }) => return (assembly, tag),
                Some(other) => panic!("not a value: {other:?}"),
                None => {}
            }
        }
        panic!("no value came");
    }

    /// The next event that is here already.
    pub fn poll(&mut self) -> Option<NetEvent> {
        self.events.try_recv()
    }

    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> u64 {
        self.registry.counter(name, "", labels).get()
    }

    /// Waits until a counter has reached a value.
    pub fn expect_count(&self, name: &'static str, labels: &[(&'static str, &str)], least: u64) {
        let patience = Instant::now() + PATIENCE;
        while self.counter(name, labels) < least {
            assert!(
                Instant::now() < patience,
                "{name} stays at {}",
                self.counter(name, labels)
            );
            std::thread::yield_now();
        }
    }

    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.halt.stop(Reason::Asked);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a tile panicked");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn verify(mut requests: Receiver<VerifyRequest>, verdicts: &Sender<Verdict>, halt: &Halt, hold: &AtomicBool) {
    let (clock, mut lanes) = (Clock::start(), Lanes::default());
    while !halt.is_stopped() {
        let pause = Nanos::from_millis(20);
        if hold.load(Ordering::Relaxed) {
            std::thread::sleep(pause.as_duration());
            continue;
        }
        let said = match requests.recv_until(Some(clock.now() + pause), &clock) {
            None => continue,
            Some(VerifyRequest::Job(job)) => lanes.judge(&job),
            Some(VerifyRequest::Forget(key)) => {
                lanes.forget(key);
                continue;
            }
        };
        if said.into_iter().any(|verdict| verdicts.send(verdict).is_err()) {
            return;
        }
    }
}
