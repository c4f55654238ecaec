//! A block with as many blobs as a chain may allow goes through the real data path: it is stored, streamed over QUIC,
//! verified on real lanes and stored again. The test plays both cores.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use ed25519_dalek::SigningKey;
use ultramarine_kzg_pipeline::{BackEnd, LaneClientEnd, LaneOptions, Lanes, measure, verifier};
use ultramarine_net::{Attester, FullNodes, Identity, NetLinks, NetOptions, PeerBook, PeerConfig, endpoint};
use ultramarine_runtime::{
    Clock, Halt, Io, IoMode, Reason, Receiver, Registry, Sender, TileContext, block_on_net, link,
};
use ultramarine_store::StoreOptions;
use ultramarine_types::limits::{BLOBS_PER_BLOCK_MAX, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{NetCommand, NetEvent, Recipients};
use ultramarine_types::storage::{Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{
    Assembly, Chain, ChainParams, ExecutionHeader, Hash, Init, Lists, Nanos, PublicKey, Signature, Validator,
    ValidatorSet, ValueMetadata, chain, fixtures,
};

use crate::harness::turn::Turn;

/// Longest wait for anything: the whole block takes seconds on a busy machine.
const PATIENCE: Nanos = Nanos::from_millis(120_000);
/// Distinct blobs; the block repeats them.
const DISTINCT: usize = 64;
const PAYLOAD_BYTES: usize = 3 * PAYLOAD_CHUNK_BYTES + 17;

fn this_chain() -> Chain {
    let params = ChainParams {
        chain_id: 77,
        execution_genesis_hash: Hash::ZERO,
        blobs_per_block_max: BLOBS_PER_BLOCK_MAX,
        block_interval_ms: 1000,
        blob_retention_heights_min: 10,
        gas_limit_min: 0,
        gas_limit_max: u64::MAX,
        genesis_time: 0,
        prague_time: None,
    };
    Chain::new(params, &validators(), &Hash([8; 32]))
}

fn validator_key(node: u8) -> SigningKey {
    SigningKey::from_bytes(&[node + 100; 32])
}

/// The tiles of the data path of one node, and the core's ends of their links.
struct Node {
    commands: Sender<NetCommand>,
    events: Receiver<NetEvent>,
    requests: Sender<StoreRequest>,
    replies: Receiver<StoreReply>,
    source: Arc<dyn Source>,
    registry: Arc<Registry>,
    clock: Clock,
    halt: Halt,
    tiles: Vec<JoinHandle<()>>,
    dial: PeerConfig,
}

impl Node {
    fn start(id: u8, folder: &Path, io: Io, peers: Vec<PeerConfig>) -> Self {
        let (halt, registry) = (Halt::new(), Registry::new());
        let socket = endpoint::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let identity = Identity::from_secret(&[id; 32]);
        let dial = PeerConfig {
            address: socket.local_addr().expect("bound").to_string(),
            peer: Some(identity.peer()),
        };
        let chain = this_chain();
        let options = StoreOptions::new(chain.params.limits(), chain.identity, Arc::clone(&registry));
        let opened = ultramarine_store::open(folder, &options).expect("an empty folder");
        let (commands, net_commands) = link("core-net", 64).expect("a link");
        let (net_events, events) = link("net-core", 1024).expect("a link");
        let (net_lanes, requests_of_lanes) = link("net-lane", 64).expect("a link");
        let (verdicts, net_verdicts) = link("lane-net", 64).expect("a link");
        let (requests, store_requests) = link("store", 64).expect("a link");
        let (store_replies, replies) = link("store-core", 64).expect("a link");
        let net_options = NetOptions {
            socket,
            attester: Some(Attester::new(validator_key(id), chain.identity, identity.peer())),
            identity,
            peers,
            full_nodes: FullNodes::Any,
            serving_bytes_per_second: ultramarine_net::bounds::SERVING_BYTES_PER_SECOND,
            chain,
            validators: validators(),
            versions: ultramarine_net::bounds::WIRE_VERSIONS,
            upgrades_hash: Hash::ZERO,
            fork_schedule_hash: Hash::ZERO,
            io,
            book: PeerBook::default(),
        };
        let net_links = NetLinks {
            commands: net_commands,
            events: net_events,
            jobs: net_lanes,
            verdicts: net_verdicts,
            store: requests.clone(),
            source: opened.view.clone(),
        };
        let lanes = Lanes::new(
            vec![LaneClientEnd {
                requests: requests_of_lanes,
                verdicts,
            }],
            verifier(BackEnd::Fast),
            LaneOptions::default(),
        );
        let tile = |name: &'static str, body: Box<dyn FnOnce(TileContext) -> Result<(), String> + Send>| {
            let (halt, registry) = (halt.clone(), Arc::clone(&registry));
            std::thread::spawn(move || {
                body(TileContext::new(name, &halt, &registry)).expect("it runs until it is stopped")
            })
        };
        let state = opened.state;
        let tiles = vec![
            tile(
                "net",
                Box::new(move |ctx| {
                    block_on_net(io, |io| {
                        ultramarine_net::run(NetOptions { io, ..net_options }, net_links, ctx)
                    })
                    .map_err(|error| error.to_string())
                }),
            ),
            tile(
                "lane-0",
                Box::new(move |ctx| lanes.run(&ctx).map_err(|error| error.to_string())),
            ),
            tile(
                "store",
                Box::new(move |ctx| {
                    ultramarine_store::tile::run(ctx, state, io, store_requests, store_replies)
                        .map_err(|error| error.to_string())
                }),
            ),
        ];
        Self {
            commands,
            events,
            requests,
            replies,
            source: opened.view,
            registry,
            clock: Clock::start(),
            halt,
            tiles,
            dial,
        }
    }

    fn hear<T>(&mut self, what: &str, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let until = self.clock.now() + PATIENCE;
        while self.clock.now() < until {
            if let Some(found) = self.events.recv_until(Some(until), &self.clock).and_then(&mut wanted) {
                return found;
            }
        }
        panic!("no {what} came");
    }

    fn stored(&mut self) -> (Tag, Blobs) {
        let until = self.clock.now() + PATIENCE;
        while self.clock.now() < until {
            match self.replies.recv_until(Some(until), &self.clock) {
                Some(StoreReply::Stored { tag, blobs, .. }) => return (tag, blobs),
                Some(other) => panic!("not stored: {other:?}"),
                None => {}
            }
        }
        panic!("nothing was stored");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.halt.stop(Reason::Asked);
        for tile in self.tiles.drain(..) {
            let ended = tile.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a tile panicked");
        }
    }
}

fn validators() -> Arc<ValidatorSet> {
    let list = (1..=4)
        .map(|node| Validator {
            public_key: PublicKey(validator_key(node).verifying_key().to_bytes()),
            power: 1,
        })
        .collect();
    Arc::new(ValidatorSet::new(list).expect("four are a set"))
}

/// A block of real blobs with true proofs.
fn block() -> Assembly {
    let samples = measure::samples(DISTINCT);
    let contents: Vec<bytes::Bytes> = samples
        .iter()
        .map(|sample| bytes::Bytes::copy_from_slice(&sample.blob))
        .collect();
    let count = BLOBS_PER_BLOCK_MAX as usize;
    let payload: bytes::Bytes = (0..PAYLOAD_BYTES).map(|index| ((index * 31) >> 3) as u8).collect();
    let places = || (0..count).map(|index| index % DISTINCT);
    let lists = Lists::of(
        &payload,
        places().map(|sample| (&contents[sample][..], samples[sample].commitment)),
        places().map(|sample| samples[sample].proof).collect(),
    );
    let metadata = ValueMetadata {
        chain: this_chain().identity,
        origin_proposer: chain::address_of(&PublicKey(validator_key(1).verifying_key().to_bytes())),
        validator_set_hash: validators().hash(),
        header: ExecutionHeader {
            blob_gas_used: u64::from(BLOBS_PER_BLOCK_MAX) * 131_072,
            block_hash: Hash([9; 32]),
            ..fixtures::header(1)
        },
        ..fixtures::metadata(1, &payload, &lists)
    };
    let init = Init {
        metadata,
        // The cores check signatures, and the test plays them.
        signature: Signature([5; 64]),
        header_signature: Signature([6; 64]),
    };
    let blobs = places().map(|sample| contents[sample].clone()).collect();
    fixtures::assembly(init, lists, payload, blobs)
}

/// What all lanes together counted under this name and label.
fn counted(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn travels(io: Io) {
    let _turn = Turn::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let mut proposer = Node::start(1, &folder.path().join("1"), io, Vec::new());
    let mut peer = Node::start(2, &folder.path().join("2"), io, vec![proposer.dial.clone()]);
    let block = block();
    let key = block.key;
    let put = StoreRequest::Put {
        assembly: block.clone(),
        tag: Tag::Proposed,
    };
    proposer.requests.send(put).expect("the store runs");
    assert_eq!(proposer.stored(), (Tag::Proposed, Blobs::Held));
    proposer.hear("peer", |event| matches!(event, NetEvent::PeerUp { .. }).then_some(()));
    let stream = NetCommand::Stream {
        key,
        to: Recipients::All,
    };
    proposer.commands.send(stream).expect("the network runs");

    let offer = peer.hear("offer", |event| match event {
        NetEvent::Offer {
            offer, key: offered, ..
        } if offered == key => Some(offer),
        _ => None,
    });
    let admit = NetCommand::Admit {
        offer,
        tag: Tag::Streamed,
    };
    peer.commands.send(admit).expect("the network runs");
    let (lists, payload) = peer.hear("payload", |event| match event {
        NetEvent::Payload {
            key: of,
            lists,
            payload,
        } if of == key => Some((lists, payload)),
        _ => None,
    });
    assert!(
        payload == block.payload && lists == block.lists,
        "lists and payload are told of before the block is whole"
    );
    assert_eq!(peer.stored(), (Tag::Streamed, Blobs::Held));

    let metrics = peer.registry.render();
    let right = counted(&metrics, "ultramarine_kzg_blobs_total", "digest=\"right\"");
    assert_eq!(right, u64::from(BLOBS_PER_BLOCK_MAX), "every blob was hashed");
    let holds = counted(&metrics, "ultramarine_kzg_values_total", "outcome=\"holds\"");
    assert_eq!(holds, 1, "all of them were verified together");
    let read = peer.source.value(&key).expect("it is stored");
    assert!(read.payload == block.payload && read.init == block.init && read.lists == block.lists);
    assert_eq!(read.blobs.len(), block.blobs.len());
    for (index, (read, sent)) in read.blobs.iter().zip(&block.blobs).enumerate() {
        assert!(read == sent, "blob {index} differs");
    }
}

#[test]
fn a_block_of_1024_blobs_is_streamed_verified_and_stored() {
    assert_eq!(BLOBS_PER_BLOCK_MAX, 1024);
    travels(IoMode::Auto.resolve().expect("some back end"));
}

#[test]
fn and_on_the_fallback() {
    travels(Io::Fallback);
}
