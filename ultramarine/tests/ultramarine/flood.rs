//! Peers that fill the places of a large block with garbage, before a real node with real lanes.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use ultramarine_kzg_pipeline::fresh;
use ultramarine_net::bounds::UNJUDGED_PER_STREAM_MAX;
use ultramarine_net::frame::{FrameKind, Header};
use ultramarine_net::hello::Goodbye;
use ultramarine_net::streaming::split::split;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::Home;
use ultramarine_node::keys::Keys;
use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{
    Address, Assembly, ExecutionHeader, Height, Init, Lists, Round, Signature, ValueMetadata, fixtures, sidecar, sign,
};

use crate::harness::network::{Network, charges, on_loopback};
use crate::harness::rogue::{Guise, Rogue, runtime};
use crate::harness::{Node, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
const BLOBS: u32 = 128;
const PAYLOAD_BYTES: usize = 100_000;
/// Where blocks come from: two of each place. A node that stands at height 1 takes these and no others.
const PLACES: [(Height, Round); 4] = [
    (Height(1), Round(0)),
    (Height(1), Round(1)),
    (Height(2), Round(0)),
    (Height(2), Round(1)),
];
/// In the order of their addresses: three propose, one relays their blocks, two flood each second block. The last one
/// is the node.
const VALIDATORS: usize = 3 + 1 + 2 * PLACES.len() + 1;
/// How often the node is asked whether the block is whole.
const LOOK: Duration = Duration::from_millis(4);

const JOINED: &str = "ultramarine_net_values_joined_total";
const WRONG_PARTS: &str = "ultramarine_net_faults_total{fault=\"part\"}";

/// A real node without an execution client, of a chain all of whose other validators are ours to play.
struct Scene {
    runtime: Arc<Runtime>,
    genesis: Genesis,
    /// In the order of their addresses.
    keys: Vec<Keys>,
    node: Node,
    address: SocketAddr,
}

impl Scene {
    fn validator(&self, index: usize) -> Guise {
        let keys = &self.keys[index];
        Guise::validator(&self.genesis, &keys.node, keys.validator.as_ref().expect("a validator"))
    }

    fn meet(&self, guise: &Guise) -> Rogue {
        Rogue::meet(&self.runtime, self.address, &self.genesis, guise)
    }

    fn count(&self, series: &str) -> f64 {
        self.node.metric(series).expect("the node answers")
    }

    /// A block of its elected proposer. `number` makes it another.
    fn block(&self, place: (Height, Round), number: u64) -> Assembly {
        let (Genesis { chain, validators, .. }, (height, round)) = (&self.genesis, place);
        let coefficient = |blob: u32, index: u8| {
            let words = [
                &height.0.to_le_bytes()[..],
                &round.0.to_le_bytes(),
                &number.to_le_bytes(),
            ];
            sha256(&[&words.concat()[..], &blob.to_le_bytes(), &[index]].concat()).0
        };
        let blobs: Vec<_> = (0..BLOBS)
            .map(|blob| fresh::make(&[0, 1, 2, 3].map(|index| coefficient(blob, index))))
            .collect();
        let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
        let bound = blobs.iter().map(|made| (made.blob.as_slice(), made.commitment));
        let lists = Lists::of(&payload, bound, blobs.iter().map(|made| made.proof).collect());
        let proposer: Address = *validators.proposer(height, round);
        let metadata = ValueMetadata {
            chain: chain.identity,
            origin_proposer: proposer,
            origin_proposer_index: validators.index_of(&proposer).expect("a member"),
            origin_round: round,
            validator_set_hash: validators.hash(),
            header: ExecutionHeader {
                timestamp: chain.params.genesis_time + height.0,
                ..fixtures::header(height.0)
            },
            ..fixtures::metadata(height.0, &payload, &lists)
        };
        let keys = self.keys.iter().find(|keys| keys.address() == Some(proposer));
        let key: &SigningKey = keys.and_then(|keys| keys.validator.as_ref()).expect("its key");
        let signed = |bytes: &[u8]| Signature(key.sign(bytes).to_bytes());
        let root = sidecar::header(&metadata, chain.params.genesis_time).root();
        let init = Init {
            signature: signed(&sign::init(&chain.identity, &metadata.id())),
            header_signature: signed(&sign::sidecar_header(&chain.identity, &root)),
            metadata,
        };
        let blobs = blobs.into_iter().map(|made| made.blob.into()).collect();
        fixtures::assembly(init, lists, payload, blobs)
    }

    /// Streams a block to the node. All of the attack comes between its first blob and its second: no order is worse.
    /// How long it takes until the node has the whole block, all of it verified.
    fn whole_after(
        &self,
        relay: &Rogue,
        block: &Assembly,
        attack: impl Future<Output = ()> + Send + 'static,
    ) -> Duration {
        let joined = self.count(JOINED);
        let mut pieces = split(block, None);
        let mut rest = pieces.split_off(pieces.len() - 1 - 2 * (BLOBS as usize - 1));
        let connection = relay.connection.clone();
        let start = Instant::now();
        self.runtime.spawn(async move {
            let mut stream = connection.open_uni().await.expect("a stream");
            stream.write_all_chunks(&mut pieces).await.expect("written");
            attack.await;
            stream
                .write_all_chunks(&mut rest)
                .await
                .expect("the node takes all of it");
            let _ = stream.finish();
            let _ = stream.stopped().await;
        });
        while self.count(JOINED) == joined {
            assert!(start.elapsed() < PATIENCE, "the block is never whole");
            std::thread::sleep(LOOK);
        }
        start.elapsed()
    }
}

/// Brings garbage for every place of a block, by as many streams as that takes. Hangs up once the node reads none of
/// them any more.
async fn flood(connection: quinn::Connection, mut head: Vec<Bytes>) {
    // `Init` and four lists.
    head.truncate(5);
    let garbage = Bytes::from(vec![0xee; BLOB_BYTES]);
    let mut streams = JoinSet::new();
    for first in (0..BLOBS as usize).step_by(UNJUDGED_PER_STREAM_MAX) {
        let mut pieces = head.clone();
        for index in first..first + UNJUDGED_PER_STREAM_MAX {
            let kind = FrameKind::Blob;
            let body_bytes = 2 + BLOB_BYTES;
            pieces.push(Bytes::copy_from_slice(&Header { kind, body_bytes }.bytes()));
            pieces.push(Bytes::copy_from_slice(&(index as u16).to_le_bytes()));
            pieces.push(garbage.clone());
        }
        let connection = connection.clone();
        streams.spawn(async move {
            let Ok(mut stream) = connection.open_uni().await else {
                return;
            };
            let _ = stream.write_all_chunks(&mut pieces).await;
            // It is not finished, so the node ends it.
            let _ = stream.stopped().await;
        });
    }
    streams.join_all().await;
    connection.close((Goodbye::Going as u32).into(), b"");
}

/// The chain's homes, and the running node of the last validator.
fn scene(network: &Network) -> Scene {
    let homes: Vec<Home> = network
        .nodes
        .iter()
        .map(|node| Home::open(&node.home).expect("a home"))
        .collect();
    let mut nodes: Vec<(Keys, usize)> = homes.iter().map(|home| home.keys().expect("keys")).zip(0..).collect();
    nodes.sort_by_key(|(keys, _)| keys.address());
    let last = nodes.last().expect("some").1;
    Scene {
        runtime: runtime(),
        genesis: Genesis::load(&homes[0]).expect("a genesis"),
        keys: nodes.into_iter().map(|(keys, _)| keys).collect(),
        node: network.nodes[last].clone(),
        address: network.addresses[last].quic,
    }
}

/// The middle of a few.
fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn garbage_from_three_peers_delays_no_block_of_a_real_node_and_all_three_pay() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("net");
    let network = Network::with_blobs(&dir, on_loopback(VALIDATORS), 1000, BLOBS);
    let scene = scene(&network);
    // Nothing is judged without an execution client: all that is measured is the way of the bytes.
    let engine = format!("http://{}", network.addresses[scene.node.id].engine_auth);
    let _process = network.start(scene.node.id, &["--engine", &engine]);
    wait_for("answer of the node", PATIENCE, || scene.node.status());
    let relay = scene.meet(&scene.validator(3));

    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    let mut hashed = 0.0;
    for (trial, place) in PLACES.into_iter().enumerate() {
        let blocks = [0, 1].map(|number| scene.block(place, number));
        quiet.push(scene.whole_after(&relay, &blocks[0], async {}));

        let guises = [
            scene.validator(4 + 2 * trial),
            scene.validator(5 + 2 * trial),
            Guise::full_node(IpAddr::from([127, 0, 1, trial as u8 + 1])),
        ];
        let rogues = guises.each_ref().map(|guise| scene.meet(guise));
        let before = scene.count(WRONG_PARTS);
        let head = split(&blocks[1], None);
        let attack = rogues
            .each_ref()
            .map(|rogue| flood(rogue.connection.clone(), head.clone()));
        let attack = async { drop(JoinSet::from_iter(attack).join_all().await) };
        flooded.push(scene.whole_after(&relay, &blocks[1], attack));
        for guise in &guises {
            // Whether they hung up or the node parted, each has paid.
            wait_for("charge of each", PATIENCE, || {
                let charges = charges(&scene.node, &guise.peer());
                charges.iter().any(|line| line.contains("part")).then_some(())
            });
        }
        hashed += scene.count(WRONG_PARTS) - before;
    }
    // No place was lost: nobody was asked for a part again, and the sender of the blocks was not charged.
    assert_eq!(relay.heard().parts_requests, 0);
    assert_eq!(charges(&scene.node, &scene.validator(3).peer()), [""; 0]);
    let of_each = |times: &[Duration]| {
        let times = times.iter().map(|time| format!("{} ms", time.as_millis()));
        times.collect::<Vec<_>>().join(", ")
    };
    let best = |times: &[Duration]| times.iter().min().expect("some").as_secs_f64();
    let ratio = (
        median(&flooded).as_secs_f64() / median(&quiet).as_secs_f64(),
        best(&flooded) / best(&quiet),
    );
    // Past libtest, which swallows what tests that pass say.
    let _ = writeln!(
        std::io::stdout(),
        "a block of {BLOBS} blobs is whole after: quiet {}; flooded {}; ratio of the medians {:.2}, of the best {:.2}; \
         {hashed} parts of garbage were hashed before their senders were cut off",
        of_each(&quiet),
        of_each(&flooded),
        ratio.0,
        ratio.1,
    );
}
