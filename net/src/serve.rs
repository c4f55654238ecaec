//! This file knows how stored values leave: streamed on the core's word, or as answers to peers' requests.
//!
//! The source is read on the blocking pool, because a first read checks checksums over the whole value and touches
//! pages that may be on disk; what is left for this core is handing slices to QUIC.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use ultramarine_runtime::Io;
use ultramarine_types::network::Fault;
use ultramarine_types::storage::Source;
use ultramarine_types::{Assembly, ValueKey};

use crate::bounds;
use crate::budgets::Spend;
use crate::cold::Cold;
use crate::delivery::{Outgoing, Patience, Undelivered};
use crate::frame::{Kind, ReadFault, frame, read_body, read_header};
use crate::hub::Hub;
use crate::link::Link;
use crate::message;
use crate::streaming::split::split;
use crate::sync;

/// Answers go behind proposals on a shared connection.
const ANSWER_PRIORITY: i32 = -1;

/// Streams a stored value to each receiver, one unidirectional stream each.
pub(crate) async fn stream(hub: Rc<Hub>, key: ValueKey, receivers: Vec<Rc<Link>>) {
    let Some(assembly) = whole(&hub, key).await else {
        tracing::warn!(%key, "asked to stream a value that is not held whole");
        return;
    };
    let pieces = split(&assembly, None);
    for link in receivers {
        add_stream(&hub, &link, pieces.clone());
    }
}

/// Begins a stream of a value to one receiver.
fn add_stream(hub: &Rc<Hub>, link: &Rc<Link>, pieces: Vec<Bytes>) {
    let bytes = bytes_of(&pieces);
    let (task_hub, task_link) = (hub.clone(), link.clone());
    let task = hub.spawn(async move {
        match write_value(&task_hub, &task_link, pieces).await {
            Ok(()) => task_hub.metrics.values_streamed.inc(),
            // It did not ask for the value: that it is slow is nobody's fault.
            Err(Undelivered::Gone | Undelivered::Slow) => {}
            Err(Undelivered::Stalled) => {
                task_hub.charge(
                    task_link.peer,
                    Fault::Withheld,
                    "it neither took a value nor refused it",
                    None,
                );
            }
        }
    });
    // A receiver reserves at most half of its room for one peer.
    let bytes_max = hub.limits.assembly_bytes() as u64 / 2;
    hub.metrics.bulk_dropped.add(link.add_bulk(task, bytes, bytes_max));
}

async fn write_value(hub: &Hub, link: &Link, pieces: Vec<Bytes>) -> Result<(), Undelivered> {
    let patience = patience(hub);
    Outgoing::open(&link.connection, patience)
        .await?
        .deliver(pieces, patience)
        .await
}

/// How long a peer may take for what is sent to it. By its own deadlines it has refused or read all of it by then.
fn patience(hub: &Hub) -> Patience {
    let thinks = 2 * bounds::OFFER_WAIT.as_duration();
    Patience {
        stall: bounds::WRITE_STALL,
        until: Instant::now() + thinks + hub.limits.sync_timeout().as_duration(),
    }
}

fn bytes_of(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Reads one request and answers it.
pub(crate) async fn request(hub: Rc<Hub>, link: Rc<Link>, send: quinn::SendStream, mut receive: quinn::RecvStream) {
    let outgoing = Outgoing::new(send);
    let pieces = match timeout(bounds::FIRST_FRAME, read_request(&mut receive)).await {
        Ok(Ok(request)) => {
            let Ok(_turn) = hub.serving.acquire().await else { return };
            answer(&hub, request).await
        }
        Ok(Err(ReadFault::Protocol(what))) => {
            hub.charge(link.peer, Fault::Protocol, what, None);
            return;
        }
        Err(_) | Ok(Err(ReadFault::Broken(_))) => return,
    };
    let bytes = bytes_of(&pieces);
    let bytes = bytes.max(bounds::REQUEST_BYTES_MIN);
    hub.spend(&link, Spend::Serving { bytes }).await;
    outgoing.set_priority(ANSWER_PRIORITY);
    match outgoing.deliver(pieces, patience(&hub)).await {
        Ok(()) => hub.metrics.requests_served.inc(),
        Err(Undelivered::Gone) => {}
        Err(why @ (Undelivered::Stalled | Undelivered::Slow)) => {
            hub.charge(
                link.peer,
                Fault::Withheld,
                &format!("an answer it asked for: {why}"),
                None,
            );
        }
    }
}

enum Request {
    Parts(message::PartsRequest),
    Value(message::ValueRequest),
}

async fn read_request(receive: &mut quinn::RecvStream) -> Result<Request, ReadFault> {
    let header = read_header(receive)
        .await?
        .ok_or_else(|| ReadFault::Broken("no request".into()))?;
    if !matches!(header.kind, Kind::PartsRequest | Kind::ValueRequest) {
        return Err(ReadFault::Protocol("a frame of this kind is no request"));
    }
    let body = read_body(receive, header).await?;
    let request = if header.kind == Kind::PartsRequest {
        message::read_parts_request(&body).map(Request::Parts)
    } else {
        message::read_value_request(&body).map(Request::Value)
    };
    request.map_err(|fault| ReadFault::Protocol(fault.0))
}

async fn answer(hub: &Rc<Hub>, request: Request) -> Vec<Bytes> {
    match request {
        Request::Parts(request) => match whole(hub, request.key).await {
            Some(assembly) => split(&assembly, request.missing.as_ref()),
            None => vec![frame(Kind::NotHeld, &[])],
        },
        Request::Value(request) => {
            let key = move |source: &dyn Source| {
                let decided = source.decided(request.height)?;
                Some(ValueKey {
                    height: request.height,
                    id: decided.certificate.value_id,
                })
            };
            let answer = on_source(hub, key, move |source| {
                sync::answer(source, request.height, request.want)
            })
            .await;
            let Some(answer) = answer else { return Vec::new() };
            if answer.alarm {
                hub.metrics.unavailable.inc();
                tracing::error!(height = %request.height, "a decided height cannot be served: its bytes are damaged or missing");
            }
            answer.pieces
        }
    }
}

/// A value with every blob its metadata commits to.
async fn whole(hub: &Rc<Hub>, key: ValueKey) -> Option<Assembly> {
    let assembly = on_source(hub, move |_| Some(key), move |source| source.value(&key))
        .await?
        .ok()?;
    (assembly.blobs.len() == assembly.init.metadata.commitments.len()).then_some(assembly)
}

/// Reads the source away from this core, the value named by `key` through the ring first if it is cold; `None` if the
/// read panicked.
async fn on_source<T: Send + 'static>(
    hub: &Hub,
    key: impl FnOnce(&dyn Source) -> Option<ValueKey> + Send + 'static,
    read: impl Fn(&dyn Source) -> T + Send + Sync + 'static,
) -> Option<T> {
    let (source, read) = (Arc::clone(&hub.source), Arc::new(read));
    let on_ring = hub.io == Io::Uring;
    let first = {
        let (source, read) = (source.clone(), read.clone());
        tokio::task::spawn_blocking(move || {
            let range = if on_ring {
                key(source.as_ref()).and_then(|key| source.on_disk(&key))
            } else {
                None
            };
            match range.as_ref().and_then(Cold::find) {
                Some(cold) => Err(cold),
                None => Ok(read(source.as_ref())),
            }
        })
    };
    match first.await.ok()? {
        Ok(read) => Some(read),
        Err(cold) => {
            cold.read(&hub.metrics.ring).await;
            tokio::task::spawn_blocking(move || read(source.as_ref())).await.ok()
        }
    }
}
