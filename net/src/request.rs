//! This file knows how to ask a peer for parts of a value, or for a decided height.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::timeout;
use ultramarine_runtime::affinity::spawn_blocking;
use ultramarine_types::network::{Fault, NetEvent, OfferId, SyncEnd};
use ultramarine_types::{PeerId, ValueKey};

use crate::conductor;
use crate::hub::Hub;
use crate::incoming::{self, STOPPED};
use crate::patience::{TimedOut, while_it_comes};
use crate::streaming::{Begin, Brings, Input, Missing};
use crate::switch::StreamSwitch;
use crate::wire::frame::{FrameKind, Part, ReadFault, read_blob, read_body, read_frame, read_header};
use crate::wire::message::{self, PartsRequest, ValueRequest, ValueWant};
use crate::wire::sync::{OpenedPackage, RawDecidedValue, Reply as Answered};

/// Asks `peer` for parts of a value and feeds the answer to the join under the name `stream`.
pub(crate) async fn parts(
    hub: Rc<Hub>,
    stream: OfferId,
    switch: Rc<StreamSwitch>,
    peer: PeerId,
    key: ValueKey,
    missing: Option<Missing>,
) {
    let frame = message::parts_request_frame(&PartsRequest { key, missing });
    // The join stops the stream if the answer does not begin in time.
    let begun = tokio::select! {
        biased;
        _ = switch.stopped() => return,
        begun = begin_parts(&hub, peer, frame) => begun,
    };
    match begun {
        Ok((init, receive)) => {
            conductor::feed(
                &hub,
                Input::Begin(Begin {
                    stream,
                    peer,
                    init,
                    brings: Brings::Proposal,
                }),
            );
            incoming::parts(&hub, peer, stream, &switch, receive).await;
        }
        Err(fault) => {
            if let ReadFault::Protocol(what) = fault {
                hub.charge(peer, Fault::Protocol, what, Some(key));
            }
            conductor::feed(&hub, Input::Gone { stream });
            hub.unregister(stream);
        }
    }
}

async fn begin_parts(
    hub: &Rc<Hub>,
    peer: PeerId,
    frame: Bytes,
) -> Result<(crate::streaming::CheckedInit, quinn::RecvStream), ReadFault> {
    let mut receive = ask(open_stream(hub, peer).await?, frame).await?;
    let header = read_header(&mut receive).await?.ok_or_else(|| broken("no answer"))?;
    match header.kind {
        FrameKind::Init => {
            let body = read_body(&mut receive, header).await?;
            let init = incoming::open_init(hub, &body).map_err(ReadFault::Protocol)?;
            Ok((init, receive))
        }
        FrameKind::NotHeld => Err(broken("not held")),
        _ => Err(ReadFault::Protocol("not an answer to a request for parts")),
    }
}

/// Asks `peer` for a decided height, and hands the answer to the core or the join.
pub(crate) async fn sync(hub: Rc<Hub>, peer: PeerId, request: ValueRequest, wants_blobs: bool) {
    let height = request.height;
    // One deadline covers all until a package is opened; from then on the join's deadlines do. The core charges for
    // silence: once for a stall, however many requests it broke.
    let wait = hub.limits.sync_timeout().as_duration();
    let Ok(opened) = timeout(wait, open_stream(&hub, peer)).await else {
        // The peer has as many questions of ours as it takes at one time. That is not its silence.
        let end = SyncEnd::NotAsked;
        return hub.events.push(NetEvent::SyncEnded { peer, height, end });
    };
    let asked = match opened {
        Ok(stream) => {
            let comes = || hub.session(&peer).map_or(0, |session| session.received_bytes());
            while_it_comes(wait, comes, open(&hub, peer, stream, &request)).await
        }
        Err(fault) => Ok(Err(fault)),
    };
    let end = match asked {
        Err(TimedOut { we_slept: true }) => SyncEnd::NotAsked,
        Err(TimedOut { we_slept: false }) | Ok(Err(ReadFault::Broken(_))) => SyncEnd::TimedOut,
        Ok(Err(ReadFault::Protocol(what))) => {
            hub.charge(peer, Fault::Package, what, None);
            SyncEnd::Unusable
        }
        Ok(Ok(Reply::Short(end))) => end,
        Ok(Ok(Reply::Package(mut opened, receive))) => {
            opened.is_full &= wants_blobs;
            return package(&hub, peer, *opened, request, receive).await;
        }
    };
    hub.events.push(NetEvent::SyncEnded { peer, height, end });
}

enum Reply {
    Short(SyncEnd),
    Package(Box<OpenedPackage>, quinn::RecvStream),
}

async fn open(hub: &Rc<Hub>, peer: PeerId, stream: BidiStream, request: &ValueRequest) -> Result<Reply, ReadFault> {
    let height = request.height;
    let mut receive = ask(stream, message::value_request_frame(request)).await?;
    let body = read_frame(&mut receive, FrameKind::ValueResponse)
        .await?
        .ok_or_else(|| broken("no answer"))?;
    let response = message::read_value_response(&body).map_err(|fault| ReadFault::Protocol(fault.0))?;
    let certificate = match Answered::of(response, request).map_err(ReadFault::Protocol)? {
        Answered::Short(end) => return Ok(Reply::Short(end)),
        Answered::Package(certificate) => certificate,
    };
    let value_bytes = read_frame(&mut receive, FrameKind::ValueBytes)
        .await?
        .ok_or_else(|| broken("no package"))?;
    let raw = RawDecidedValue {
        certificate,
        value_bytes,
    };
    // Up to 16 MiB are validated and copied: this must not hold up the thread that reads votes.
    let chain = hub.chain.clone();
    let open = spawn_blocking(move || raw.open(height, &chain)).await;
    let opened = open.map_err(|ended| match ended.try_into_panic() {
        // Our own fault: the node stops as if this task had panicked.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(ended) => broken(&ended.to_string()),
    })?;
    let opened = opened.map_err(|fault| {
        tracing::debug!(%peer, %height, %fault, "unusable package");
        ReadFault::Protocol("a sync package that cannot be used")
    })?;
    Ok(Reply::Package(Box::new(opened), receive))
}

/// Offers an opened package and, once it is admitted, feeds its lists, payload and blobs to the join.
async fn package(
    hub: &Rc<Hub>,
    peer: PeerId,
    opened: OpenedPackage,
    request: ValueRequest,
    mut receive: quinn::RecvStream,
) {
    let asked_for = match request.want {
        ValueWant::Package { blobs } => blobs,
        ValueWant::Certificate => None,
    };
    let (brings, blobs) = opened.brings(asked_for);
    let parts: Vec<Part> = opened.small_parts().collect();
    let init = opened.init;
    let stream = hub.name_stream();
    let switch = hub.register(stream);
    conductor::feed(
        hub,
        Input::Begin(Begin {
            stream,
            peer,
            init,
            brings,
        }),
    );
    if switch.started().await.is_err() {
        let _ = receive.stop(STOPPED);
        return;
    }
    for part in parts {
        match part {
            Part::List { kind, items } => conductor::feed(hub, Input::List { stream, kind, items }),
            Part::Chunk { index, bytes } => conductor::feed(hub, Input::Chunk { stream, index, bytes }),
            Part::Blob { .. } | Part::Fin => {}
        }
        // Each part is hashed: let other tasks run between parts.
        tokio::task::yield_now().await;
    }
    for index in blobs.iter() {
        if switch.started().await.is_err() {
            let _ = receive.stop(STOPPED);
            return;
        }
        let blob = tokio::select! {
            biased;
            _ = switch.stopped() => {
                let _ = receive.stop(STOPPED);
                return;
            }
            blob = read_blob(&mut receive, &hub.buffers) => blob,
        };
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        match blob {
            Ok(blob) => conductor::feed(hub, Input::Blob { stream, index, blob }),
            Err(_) => {
                conductor::feed(hub, Input::Gone { stream });
                return hub.unregister(stream);
            }
        }
        // A blob of a height that is restored is hashed here.
        tokio::task::yield_now().await;
    }
    conductor::feed(hub, Input::Fin { stream });
    hub.unregister(stream);
    if let Some(session) = hub.session(&peer) {
        session.has_served.set(true);
    }
}

type BidiStream = (quinn::SendStream, quinn::RecvStream);

/// Opens a stream to `peer`, once it allows one more.
async fn open_stream(hub: &Hub, peer: PeerId) -> Result<BidiStream, ReadFault> {
    let session = hub.session(&peer).ok_or_else(|| broken("not connected"))?;
    let opened = session.connection.open_bi().await;
    opened.map_err(|error| broken(&error.to_string()))
}

/// Writes one request to a stream.
async fn ask((mut send, receive): BidiStream, frame: Bytes) -> Result<quinn::RecvStream, ReadFault> {
    send.write_chunk(frame)
        .await
        .map_err(|error| broken(&error.to_string()))?;
    let _ = send.finish();
    Ok(receive)
}

fn broken(what: &str) -> ReadFault {
    ReadFault::Broken(what.to_owned())
}
