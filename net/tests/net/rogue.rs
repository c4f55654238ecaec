//! A peer that speaks QUIC and TLS correctly, and then says what it likes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::runtime::Runtime;
use ultramarine_net::bounds::WIRE_VERSIONS;
use ultramarine_net::frame::{FrameKind, read_frame};
use ultramarine_net::hello::{Goodbye, Hello, Plans};
use ultramarine_net::{Attestation, Identity, endpoint};

use ultramarine_types::{Hash, fixtures};

use crate::fixture::PATIENCE;
use crate::node::{Node, attestation, identity};

/// The identity that a rogue claims, and the address it comes from.
#[derive(Clone, Copy)]
pub struct Guise {
    pub secret: u8,
    /// Names the process in its `Hello`.
    pub instance: u64,
    pub attestation: Option<Attestation>,
    pub from: IpAddr,
}

impl Guise {
    /// A node that its validator attests.
    pub fn validator(secret: u8) -> Self {
        Self {
            attestation: Some(attestation(secret)),
            ..Self::full_node(secret)
        }
    }

    /// A node that nobody attests.
    pub fn full_node(secret: u8) -> Self {
        Self {
            secret,
            instance: 1,
            attestation: None,
            from: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            versions: WIRE_VERSIONS,
            chain: fixtures::CHAIN,
            plans: Plans {
                upgrades: Hash::ZERO,
                fork_schedule: Hash::ZERO,
            },
            instance: self.instance,
            attestation: self.attestation,
        }
    }
}

pub struct Rogue {
    pub runtime: Runtime,
    pub connection: quinn::Connection,
    control: Option<quinn::SendStream>,
    receive: quinn::RecvStream,
    _endpoint: quinn::Endpoint,
}

/// A runtime whose tasks run while the test does something else.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// An endpoint of a key on any port of an address. Call it inside a runtime.
pub fn endpoint_at(from: IpAddr, secret: u8) -> quinn::Endpoint {
    let socket = endpoint::bind(SocketAddr::new(from, 0)).expect("a port");
    endpoint::open(socket, &identity(secret)).expect("an endpoint")
}

/// Connects to a node and says hello.
async fn introduce(
    endpoint: &quinn::Endpoint,
    to: SocketAddr,
    guise: Guise,
) -> (quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    let connection = endpoint.connect(to, "x").expect("dials").await.expect("connects");
    let (mut control, receive) = connection.open_bi().await.expect("a stream");
    control.write_chunk(guise.hello().frame()).await.expect("written");
    (connection, control, receive)
}

/// Waits for a node to dial an endpoint, and says hello to it. The connection stands as long as this lives.
pub async fn answer(
    endpoint: &quinn::Endpoint,
    guise: Guise,
) -> (quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    let dialed = tokio::time::timeout(PATIENCE, endpoint.accept()).await;
    let incoming = dialed.expect("dialed").expect("the endpoint is open");
    let connection = incoming.await.expect("connects");
    let (mut control, receive) = connection.accept_bi().await.expect("a stream");
    control.write_chunk(guise.hello().frame()).await.expect("written");
    (connection, control, receive)
}

/// Many full nodes that one thread serves. Each is connected as long as this lives.
pub struct Crowd {
    pub runtime: Runtime,
    pub connections: Vec<quinn::Connection>,
    _endpoints: Vec<quinn::Endpoint>,
    _streams: Vec<(quinn::SendStream, quinn::RecvStream)>,
}

impl Crowd {
    /// Full nodes with these keys, each at an address.
    pub fn meet(node: &Node, nodes: impl IntoIterator<Item = (u16, IpAddr)>) -> Self {
        let runtime = runtime();
        let mut crowd = (Vec::new(), Vec::new(), Vec::new());
        runtime.block_on(async {
            for (key, from) in nodes {
                let socket = endpoint::bind(SocketAddr::new(from, 0)).expect("a port");
                let endpoint = endpoint::open(socket, &stranger(key)).expect("an endpoint");
                let (connection, send, receive) = introduce(&endpoint, node.address, Guise::full_node(0)).await;
                crowd.0.push(connection);
                crowd.1.push(endpoint);
                crowd.2.push((send, receive));
            }
        });
        let (connections, endpoints, streams) = crowd;
        Self {
            runtime,
            connections,
            _endpoints: endpoints,
            _streams: streams,
        }
    }

    /// Waits until so many are connected and no more.
    pub fn expect_connected(&self, count: usize) {
        let connected = || {
            let open = self.connections.iter().filter(|it| it.close_reason().is_none());
            open.count()
        };
        let patience = Instant::now() + PATIENCE;
        while connected() != count {
            assert!(Instant::now() < patience, "{} are connected", connected());
            std::thread::yield_now();
        }
    }
}

/// The identity of a full node that is nobody's.
pub fn stranger(key: u16) -> Identity {
    let mut secret = [77; 32];
    secret[..2].copy_from_slice(&key.to_le_bytes());
    Identity::from_secret(&secret)
}

impl Rogue {
    pub fn meet(node: &Node, secret: u8) -> Self {
        Self::meet_in(node, Guise::validator(secret))
    }

    /// Meets a node in a given guise.
    pub fn meet_in(node: &Node, guise: Guise) -> Self {
        let runtime = runtime();
        let inside = runtime.enter();
        let endpoint = endpoint_at(guise.from, guise.secret);
        let (connection, control, receive) = runtime.block_on(introduce(&endpoint, node.address, guise));
        drop(inside);
        Self {
            runtime,
            connection,
            control: Some(control),
            receive,
            _endpoint: endpoint,
        }
    }

    /// The node's first words.
    pub fn hello(&mut self) -> Hello {
        let read = read_frame(&mut self.receive, FrameKind::Hello);
        let body = self.runtime.block_on(read).expect("a frame").expect("a hello");
        Hello::parse(&body, WIRE_VERSIONS).expect("a hello of ours").0
    }

    pub fn say(&mut self, bytes: &[u8]) {
        let control = self.control.as_mut().expect("it was not taken");
        let _ = self.runtime.block_on(control.write_all(bytes));
    }

    /// The control stream, for a task of its own.
    pub fn take_control(&mut self) -> quinn::SendStream {
        self.control.take().expect("it was not taken")
    }

    pub fn stream(&self, bytes: &[u8]) {
        self.runtime.block_on(async {
            if let Ok(mut stream) = self.connection.open_uni().await {
                let _ = stream.write_all(bytes).await;
                let _ = stream.stopped().await;
            }
        });
    }

    /// Sends a request, and returns the stream of its answer.
    pub fn ask(&self, request: &[u8]) -> quinn::RecvStream {
        self.runtime.block_on(async {
            let (mut send, receive) = self.connection.open_bi().await.expect("a stream");
            send.write_all(request).await.expect("written");
            let _ = send.finish();
            receive
        })
    }

    /// How the node parted.
    pub fn farewell(&self) -> Option<Goodbye> {
        let closed = async { tokio::time::timeout(PATIENCE, self.connection.closed()).await };
        match self.runtime.block_on(closed).expect("the node parts") {
            quinn::ConnectionError::ApplicationClosed(close) => Goodbye::of_code(close.error_code.into_inner()),
            other => panic!("{other:?}"),
        }
    }
}
