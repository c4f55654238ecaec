//! Hostile full nodes: each connects to every node of a chain, and does all at once what an address allows.
//!
//! - It claims tips that rise, and to hold each value that is proposed. It refuses heights just before the asker gives
//!   up, and never answers for parts.
//! - It pulls packages without end, over all requests that a connection lets it open.
//! - It sends statuses as fast as they are read.
//! - One kind also comes under further keys, which pull nothing and so have all that a stranger may spend. They ask the
//!   proposer for each value's head, bring garbage for all its places to everybody else, hang up, and come back under
//!   a fresh key.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use ultramarine_net::bounds::{REQUESTS_PER_PEER_MAX, UNI_STREAMS_MAX, UNJUDGED_PER_STREAM_MAX};
use ultramarine_net::frame::{FrameKind, Header, frame, read_body, read_frame, read_header};
use ultramarine_net::hello::{Goodbye, Hello};
use ultramarine_net::message::{
    PartsRequest, ValueRequest, ValueResponse, ValueWant, parts_request_frame, read_message, status_frame,
    value_request_frame, value_response_frame,
};
use ultramarine_node::genesis::Genesis;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::Status;
use ultramarine_types::{ConsensusMessage, Height, ValueKey, fixtures};

use super::rogue::{Guise, greet, hello, open};

/// How far its tips are above the chain: beyond what blobs are kept for.
const AHEAD: u64 = 1_000_000;
/// How long before its time is up a question is refused.
const EARLY: Duration = Duration::from_millis(60);
/// Pause between two tries to be let in.
const AGAIN: Duration = Duration::from_millis(100);
/// How long garbage may take until its bringer hangs up.
const GARBAGE: Duration = Duration::from_millis(500);
/// `Init` and the lists.
const HEAD_FRAMES: usize = 5;

/// What a stranger has done so far.
#[derive(Default)]
pub struct Deeds {
    pub statuses: AtomicU64,
    pub package_bytes: AtomicU64,
    pub late_refusals: AtomicU64,
    pub parts_unserved: AtomicU64,
    pub garbage_blobs: AtomicU64,
    pub keys: AtomicU64,
}

impl Deeds {
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// The first frames of a value, and the node that gave them away.
#[derive(Clone)]
struct Head {
    from: SocketAddr,
    frames: Vec<Bytes>,
}

/// One stranger. It goes on until it is dropped.
pub struct Stranger {
    pub deeds: Arc<Deeds>,
    /// Dropped with it, so that all its tasks end.
    _tasks: JoinSet<()>,
}

/// What its tasks share.
struct Shared {
    genesis: Genesis,
    from: IpAddr,
    /// Which of the strangers it is: each has keys of its own.
    number: usize,
    blobs: usize,
    deeds: Arc<Deeds>,
    heads: watch::Sender<Option<Head>>,
    /// The newest value that was proposed.
    proposed: watch::Sender<Option<ValueKey>>,
}

impl Stranger {
    /// Comes from this address to all these nodes.
    pub fn new(
        runtime: &Runtime,
        nodes: &[SocketAddr],
        genesis: &Genesis,
        (number, from): (usize, IpAddr),
        brings_garbage: bool,
    ) -> Self {
        let deeds = Arc::<Deeds>::default();
        let shared = Arc::new(Shared {
            genesis: genesis.clone(),
            from,
            number,
            blobs: genesis.chain.params.blobs_per_block_max as usize,
            deeds: deeds.clone(),
            heads: watch::Sender::new(None),
            proposed: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        for node in nodes {
            let _ = tasks.spawn_on(shared.clone().pester(*node), runtime.handle());
            if brings_garbage {
                let _ = tasks.spawn_on(shared.clone().spoil(*node), runtime.handle());
            }
        }
        Self { deeds, _tasks: tasks }
    }
}

impl Shared {
    /// Meets one node again and again, always under one key.
    async fn pester(self: Arc<Self>, node: SocketAddr) {
        loop {
            if let Some((connection, control, receive)) = self.meet(node, &self.number.to_string()).await {
                let mut tasks = JoinSet::new();
                tasks.spawn(self.clone().send_statuses(control));
                tasks.spawn(self.clone().listen(None, receive));
                tasks.spawn(self.clone().answer(connection.clone()));
                tasks.spawn(take_streams(connection.clone()));
                let tip = Arc::new(AtomicU64::new(1));
                for first in 0..u64::from(REQUESTS_PER_PEER_MAX) {
                    tasks.spawn(self.clone().pull(connection.clone(), tip.clone(), first));
                }
                connection.closed().await;
            }
            sleep(AGAIN).await;
        }
    }

    /// Brings garbage to one node again and again, each time under a fresh key.
    async fn spoil(self: Arc<Self>, node: SocketAddr) {
        for key in 0u64.. {
            let name = format!("{} {} {key}", self.number, node.port());
            if let Some((connection, _control, receive)) = self.meet(node, &name).await {
                let mut tasks = JoinSet::new();
                tasks.spawn(self.clone().listen(Some((node, connection.clone())), receive));
                tasks.spawn(self.clone().answer(connection.clone()));
                tasks.spawn(take_streams(connection.clone()));
                self.bring_garbage(node, &connection).await;
                connection.close((Goodbye::Going as u32).into(), b"");
            }
            sleep(AGAIN).await;
        }
    }

    /// Connects under a key of this name, if the node takes it in.
    async fn meet(
        &self,
        node: SocketAddr,
        name: &str,
    ) -> Option<(quinn::Connection, quinn::SendStream, quinn::RecvStream)> {
        let mut secret = [0x77; 32];
        secret[..name.len()].copy_from_slice(name.as_bytes());
        let guise = Guise {
            node: SigningKey::from_bytes(&secret),
            ..Guise::full_node(self.from)
        };
        let endpoint = open(&guise);
        let words: Hello = hello(&self.genesis, None);
        let met = timeout(Duration::from_secs(5), greet(&endpoint, node, &words))
            .await
            .ok()??;
        Deeds::add(&self.deeds.keys, 1);
        Some(met)
    }

    async fn send_statuses(self: Arc<Self>, mut control: quinn::SendStream) {
        for rise in 0.. {
            let proposed = *self.proposed.borrow();
            let status = match proposed.filter(|_| rise % 2 == 0) {
                Some(key) => Status {
                    holds: vec![key.id],
                    ..fixtures::status(key.height.prev())
                },
                None => fixtures::status(Height(AHEAD + rise)),
            };
            if control.write_chunk(status_frame(&status)).await.is_err() {
                return;
            }
            Deeds::add(&self.deeds.statuses, 1);
        }
    }

    /// Reads the control stream, and asks whom it names for the head of each value that is proposed.
    async fn listen(self: Arc<Self>, heads: Option<(SocketAddr, quinn::Connection)>, mut receive: quinn::RecvStream) {
        if !matches!(read_frame(&mut receive, FrameKind::Hello).await, Ok(Some(_))) {
            return;
        }
        while let Ok(Some(header)) = read_header(&mut receive).await {
            let Ok(body) = read_body(&mut receive, header).await else {
                return;
            };
            if header.kind != FrameKind::Message {
                continue;
            }
            if let Ok(ConsensusMessage::Proposal(proposal)) = read_message(&body) {
                let key = ValueKey {
                    height: proposal.height,
                    id: proposal.value_id,
                };
                self.proposed.send_replace(Some(key));
                if let Some((node, connection)) = heads.clone() {
                    tokio::spawn(self.clone().take_head(node, connection, key));
                }
            }
        }
    }

    /// Asks for a value, and reads no more of the answer than its head.
    async fn take_head(self: Arc<Self>, from: SocketAddr, connection: quinn::Connection, key: ValueKey) {
        let Ok((mut send, mut receive)) = connection.open_bi().await else {
            return;
        };
        let request = parts_request_frame(&PartsRequest { key, missing: None });
        if send.write_chunk(request).await.is_err() {
            return;
        }
        let _ = send.finish();
        let mut frames = Vec::new();
        while frames.len() < HEAD_FRAMES {
            let Ok(Some(header)) = read_header(&mut receive).await else {
                return;
            };
            let Ok(body) = read_body(&mut receive, header).await else {
                return;
            };
            if !matches!(header.kind, FrameKind::Init | FrameKind::List) {
                return;
            }
            frames.push(frame(header.kind, &body));
        }
        let _ = receive.stop(0u32.into());
        self.heads.send_replace(Some(Head { from, frames }));
    }

    /// Garbage for every place of the next value that somebody else gives away.
    async fn bring_garbage(&self, node: SocketAddr, connection: &quinn::Connection) {
        let mut heads = self.heads.subscribe();
        heads.mark_unchanged();
        let head = loop {
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return },
                _ = connection.closed() => return,
            }
            let head = heads.borrow_and_update().clone();
            if let Some(head) = head.filter(|head| head.from != node) {
                break head;
            }
        };
        let garbage = Bytes::from(vec![0xee; BLOB_BYTES]);
        let mut streams = JoinSet::new();
        for first in (0..self.blobs)
            .step_by(UNJUDGED_PER_STREAM_MAX)
            .take(UNI_STREAMS_MAX as usize)
        {
            let mut pieces = head.frames.clone();
            for index in first..self.blobs.min(first + UNJUDGED_PER_STREAM_MAX) {
                let (kind, body_bytes) = (FrameKind::Blob, 2 + BLOB_BYTES);
                pieces.push(Bytes::copy_from_slice(&Header { kind, body_bytes }.bytes()));
                pieces.push(Bytes::copy_from_slice(&(index as u16).to_le_bytes()));
                pieces.push(garbage.clone());
                Deeds::add(&self.deeds.garbage_blobs, 1);
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
        let _ = timeout(GARBAGE, streams.join_all()).await;
    }

    /// Refuses heights as late as it may, and never answers for parts.
    async fn answer(self: Arc<Self>, connection: quinn::Connection) {
        let late = self.genesis.chain.params.limits().sync_timeout().as_duration() - EARLY;
        let mut unserved = Vec::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let Ok(Some(header)) = read_header(&mut receive).await else {
                continue;
            };
            if header.kind == FrameKind::ValueRequest {
                let deeds = self.deeds.clone();
                tokio::spawn(async move {
                    sleep(late).await;
                    Deeds::add(&deeds.late_refusals, 1);
                    let _ = send
                        .write_chunk(value_response_frame(&ValueResponse::Unavailable))
                        .await;
                    let _ = send.finish();
                });
            } else {
                Deeds::add(&self.deeds.parts_unserved, 1);
                unserved.push((send, receive));
            }
        }
    }

    /// Asks for one package after the other.
    async fn pull(self: Arc<Self>, connection: quinn::Connection, tip: Arc<AtomicU64>, first: u64) {
        for number in first.. {
            let height = Height(1 + number % tip.load(Ordering::Relaxed));
            let want = ValueWant::Package { blobs: None };
            let Ok((mut send, mut receive)) = connection.open_bi().await else {
                return;
            };
            if send
                .write_chunk(value_request_frame(&ValueRequest { height, want }))
                .await
                .is_err()
            {
                return;
            }
            let _ = send.finish();
            let mut bytes = 0;
            while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                bytes += chunk.bytes.len() as u64;
            }
            // Not an answer of a few words: so there may be a height above.
            if bytes > 1000 {
                tip.fetch_max(height.0 + 1, Ordering::Relaxed);
            }
            Deeds::add(&self.deeds.package_bytes, bytes);
        }
    }
}

/// Takes every value that is sent unasked.
async fn take_streams(connection: quinn::Connection) {
    while let Ok(mut receive) = connection.accept_uni().await {
        tokio::spawn(async move { while let Ok(Some(_)) = receive.read_chunk(usize::MAX, true).await {} });
    }
}
