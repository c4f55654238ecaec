//! A peer of real nodes that is no node: it speaks QUIC and TLS as they do, remembers what it is sent, and says what it
//! likes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::runtime::Runtime;
use ultramarine_net::bounds::{WIRE_VERSIONS, WRITE_STALL};
use ultramarine_net::frame::{FrameKind, read_body, read_frame, read_header};
use ultramarine_net::hello::{Goodbye, Hello, Plans};
use ultramarine_net::message::{
    ValueRequest, ValueResponse, ValueWant, read_message, read_status, read_value_request, value_request_frame,
    value_response_frame,
};
use ultramarine_net::{Attestation, Identity, endpoint};
use ultramarine_node::genesis::Genesis;
use ultramarine_types::network::Status;
use ultramarine_types::{ConsensusMessage, Height, PeerId};

/// Longest wait for an answer from a node.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any stream or answer of a test has.
const STREAM_BYTES_MAX: usize = 64 << 20;

/// Who a rogue is, and where it comes from.
#[derive(Clone)]
pub struct Guise {
    /// Its network key.
    pub node: SigningKey,
    pub attestation: Option<Attestation>,
    pub from: IpAddr,
}

impl Guise {
    /// A node that nobody attests, with a key that follows from its address.
    pub fn full_node(from: IpAddr) -> Self {
        let mut secret = [0x66; 32];
        let text = from.to_string();
        secret[..text.len()].copy_from_slice(text.as_bytes());
        Self {
            node: SigningKey::from_bytes(&secret),
            attestation: None,
            from,
        }
    }

    /// A node that a validator attests for this chain.
    pub fn validator(genesis: &Genesis, node: &SigningKey, validator: &SigningKey) -> Self {
        let peer = PeerId(node.verifying_key().to_bytes());
        Self {
            node: node.clone(),
            attestation: Some(Attestation::sign(validator, &genesis.chain.identity, &peer, u64::MAX)),
            from: IpAddr::from([127, 0, 0, 1]),
        }
    }

    /// Its name, as logs have it.
    pub fn peer(&self) -> String {
        PeerId(self.node.verifying_key().to_bytes()).to_string()
    }
}

/// The words with which a node of this chain begins.
pub fn hello(genesis: &Genesis, attestation: Option<Attestation>) -> Hello {
    Hello {
        versions: WIRE_VERSIONS,
        chain: genesis.chain.identity,
        plans: Plans {
            upgrades: genesis.upgrades_hash,
            fork_schedule: genesis.fork_schedule_hash,
        },
        instance: 1,
        attestation,
    }
}

/// What a rogue was sent.
#[derive(Default)]
pub struct Heard {
    pub messages: Vec<ConsensusMessage>,
    pub status: Option<Status>,
    /// Streams of values, whole.
    pub streams: Vec<Bytes>,
    /// How many requests came for parts of a value.
    pub parts_requests: usize,
    /// How many requests for a height were answered with a package.
    pub packages_sent: usize,
}

/// Packages by height, as a node answered them.
pub type Packages = BTreeMap<Height, Bytes>;

pub struct Rogue {
    runtime: Arc<Runtime>,
    pub connection: quinn::Connection,
    control: quinn::SendStream,
    heard: Arc<Mutex<Heard>>,
    _endpoint: quinn::Endpoint,
}

/// Threads for rogues.
pub fn runtime() -> Arc<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Arc::new(builder.worker_threads(1).enable_all().build().expect("a runtime"))
}

impl Rogue {
    /// Meets a node as one of its chain does.
    pub fn meet(runtime: &Arc<Runtime>, node: SocketAddr, genesis: &Genesis, guise: &Guise) -> Self {
        Self::meet_saying(
            runtime,
            node,
            guise,
            &hello(genesis, guise.attestation),
            Packages::new(),
        )
    }

    /// Meets a node with these words, and answers its requests for heights with these packages.
    pub fn meet_saying(
        runtime: &Arc<Runtime>,
        node: SocketAddr,
        guise: &Guise,
        hello: &Hello,
        packages: Packages,
    ) -> Self {
        let _inside = runtime.enter();
        let endpoint = open(guise);
        let met = async { tokio::time::timeout(PATIENCE, greet(&endpoint, node, hello)).await };
        let met = runtime.block_on(met).expect("it is met in time");
        let (connection, control, receive) = met.expect("it is met");
        let heard = Arc::new(Mutex::new(Heard::default()));
        runtime.spawn(listen(receive, heard.clone()));
        runtime.spawn(take_streams(connection.clone(), heard.clone()));
        runtime.spawn(answer(connection.clone(), packages, heard.clone()));
        Self {
            runtime: runtime.clone(),
            connection,
            control,
            heard,
            _endpoint: endpoint,
        }
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no panic")
    }

    /// Says something on the control stream. The node may have parted.
    pub fn say(&mut self, frame: &[u8]) {
        let said = async { tokio::time::timeout(PATIENCE, self.control.write_all(frame)).await };
        let _ = self.runtime.block_on(said).expect("it is taken in time");
    }

    /// Sends bytes as a stream of a value. The node may have parted, or refuse it.
    pub fn stream(&self, bytes: &[u8]) {
        let sent = async {
            let Ok(mut stream) = self.connection.open_uni().await else {
                return;
            };
            let _ = stream.write_all(bytes).await;
            let _ = stream.finish();
            let _ = stream.stopped().await;
        };
        let sent = async { tokio::time::timeout(WRITE_STALL, sent).await };
        self.runtime.block_on(sent).expect("it is taken or refused in time");
    }

    /// Asks for the package of a height with all its blobs. The whole answer, as it comes.
    pub fn package(&self, height: Height) -> Bytes {
        let blobs = None;
        let request = value_request_frame(&ValueRequest {
            height,
            want: ValueWant::Package { blobs },
        });
        let asked = async {
            let (mut send, mut receive) = self.connection.open_bi().await.expect("a stream");
            send.write_chunk(request).await.expect("written");
            let _ = send.finish();
            receive.read_to_end(STREAM_BYTES_MAX).await.expect("an answer")
        };
        let asked = async { tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time") };
        self.runtime.block_on(asked).into()
    }

    /// How the node parted.
    pub fn farewell(&self) -> Option<Goodbye> {
        let closed = async { tokio::time::timeout(PATIENCE, self.connection.closed()).await };
        match self.runtime.block_on(closed).expect("the node parts in time") {
            quinn::ConnectionError::ApplicationClosed(close) => Goodbye::of_code(close.error_code.into_inner()),
            other => panic!("{other:?}"),
        }
    }
}

/// A port of a rogue's. A runtime must be entered.
pub fn open(guise: &Guise) -> quinn::Endpoint {
    let socket = endpoint::bind(SocketAddr::new(guise.from, 0)).expect("a port");
    endpoint::open(socket, &Identity::from_secret(guise.node.as_bytes())).expect("an endpoint")
}

/// Connects to a node and says these words. `None` if it parts before they are said.
pub async fn greet(
    endpoint: &quinn::Endpoint,
    node: SocketAddr,
    hello: &Hello,
) -> Option<(quinn::Connection, quinn::SendStream, quinn::RecvStream)> {
    let connection = endpoint.connect(node, "x").ok()?.await.ok()?;
    let (mut control, receive) = connection.open_bi().await.ok()?;
    control.write_chunk(hello.frame()).await.ok()?;
    Some((connection, control, receive))
}

/// Reads the control stream.
async fn listen(mut receive: quinn::RecvStream, heard: Arc<Mutex<Heard>>) {
    if !matches!(read_frame(&mut receive, FrameKind::Hello).await, Ok(Some(_))) {
        return;
    }
    while let Ok(Some(header)) = read_header(&mut receive).await {
        let Ok(body) = read_body(&mut receive, header).await else {
            return;
        };
        let mut heard = heard.lock().expect("no panic");
        match header.kind {
            FrameKind::Message => heard.messages.push(read_message(&body).expect("a node's message")),
            FrameKind::Status => heard.status = Some(read_status(&body).expect("a node's status")),
            FrameKind::Hearing => {}
            other => panic!("{other:?} on a control stream"),
        }
    }
}

async fn take_streams(connection: quinn::Connection, heard: Arc<Mutex<Heard>>) {
    while let Ok(mut receive) = connection.accept_uni().await {
        let heard = heard.clone();
        tokio::spawn(async move {
            if let Ok(bytes) = receive.read_to_end(STREAM_BYTES_MAX).await {
                heard.lock().expect("no panic").streams.push(bytes.into());
            }
        });
    }
}

/// Answers requests for heights with packages. A request for parts is counted, and gets no part.
async fn answer(connection: quinn::Connection, packages: Packages, heard: Arc<Mutex<Heard>>) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let Ok(Some(header)) = read_header(&mut receive).await else {
            continue;
        };
        let Ok(body) = read_body(&mut receive, header).await else {
            continue;
        };
        let package = match header.kind {
            FrameKind::ValueRequest => {
                let asked = read_value_request(&body).expect("a node's request");
                let wants_it = matches!(asked.want, ValueWant::Package { .. });
                packages.get(&asked.height).filter(|_| wants_it).cloned()
            }
            _ => {
                heard.lock().expect("no panic").parts_requests += 1;
                continue;
            }
        };
        let is_there = package.is_some();
        let answer = package.unwrap_or_else(|| value_response_frame(&ValueResponse::Unavailable));
        if send.write_chunk(answer).await.is_ok() {
            heard.lock().expect("no panic").packages_sent += usize::from(is_there);
        }
        let _ = send.finish();
    }
}
