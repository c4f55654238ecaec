//! This file knows how to read the parts of one stream from the wire into the join.

use std::rc::Rc;

use tokio::time::timeout;
use ultramarine_types::PeerId;
use ultramarine_types::network::{Fault, OfferId};

use crate::connection::session::Session;
use crate::hub::{Hub, Unaffordable};
use crate::peers::budgets::Spend;
use crate::streaming::{Begin, Brings, CheckedInit, Input};
use crate::switch::StreamSwitch;
use crate::wire::frame::{FrameKind, Part, ReadFault, read_frame, read_part};
use crate::wire::message;
use crate::{bounds, conductor};

/// QUIC's error code for a stream that we stop reading. It tells the peer only to stop sending.
pub(crate) const STOPPED: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Reads a value that a peer streams to us.
pub(crate) async fn value(hub: Rc<Hub>, session: Rc<Session>, mut receive: quinn::RecvStream) {
    let peer = session.peer;
    if hub.spend(&session, Spend::Stream).await == Err(Unaffordable) {
        return;
    }
    let first = timeout(bounds::FIRST_FRAME, read_frame(&mut receive, FrameKind::Init)).await;
    let init = match first {
        Ok(Ok(Some(body))) => open_init(&hub, &body),
        Ok(Err(ReadFault::Protocol(what))) => Err(what),
        // A stream that brought nothing in time cost us nothing.
        Err(_) | Ok(Ok(None) | Err(ReadFault::Broken(_))) => {
            let _ = receive.stop(STOPPED);
            return;
        }
    };
    match init {
        Ok(init) => {
            let stream = hub.name_stream();
            let switch = hub.register(stream);
            conductor::feed(
                &hub,
                Input::Begin(Begin {
                    stream,
                    peer,
                    init,
                    brings: Brings::Proposal,
                }),
            );
            parts(&hub, peer, stream, &switch, receive).await;
        }
        Err(what) => {
            hub.charge(peer, Fault::Protocol, what, None);
            let _ = receive.stop(STOPPED);
        }
    }
}

/// Decodes an `Init` and checks its shape.
pub(crate) fn open_init(hub: &Hub, body: &rkyv::util::AlignedVec) -> Result<CheckedInit, &'static str> {
    let init = message::read_init(body).map_err(|fault| fault.0)?;
    CheckedInit::check(init, &hub.chain).map_err(|fault| {
        tracing::debug!(%fault, "an Init of illegal shape");
        "an Init of illegal shape"
    })
}

/// Reads the parts behind an `Init` once the join starts the stream, until the join stops it or the stream ends.
pub(crate) async fn parts(
    hub: &Rc<Hub>,
    peer: PeerId,
    stream: OfferId,
    switch: &StreamSwitch,
    mut receive: quinn::RecvStream,
) {
    loop {
        // A pause of the join makes the sender wait: its bytes stay in QUIC's window.
        if switch.started().await.is_err() {
            let _ = receive.stop(STOPPED);
            return;
        }
        let part = tokio::select! {
            biased;
            _ = switch.stopped() => {
                let _ = receive.stop(STOPPED);
                return;
            }
            part = read_part(&mut receive, &hub.buffers) => part,
        };
        match part {
            Ok(Part::List { kind, items }) => conductor::feed(hub, Input::List { stream, kind, items }),
            Ok(Part::Chunk { index, bytes }) => conductor::feed(hub, Input::Chunk { stream, index, bytes }),
            Ok(Part::Blob { index, blob }) => conductor::feed(hub, Input::Blob { stream, index, blob }),
            Ok(Part::Fin) => {
                conductor::feed(hub, Input::Fin { stream });
                break;
            }
            Err(fault) => {
                if let ReadFault::Protocol(what) = fault {
                    hub.charge(peer, Fault::Protocol, what, None);
                    let _ = receive.stop(STOPPED);
                }
                conductor::feed(hub, Input::Gone { stream });
                break;
            }
        }
        // Reading from QUIC's buffer never waits, and each part is copied or hashed: let other tasks run between parts.
        tokio::task::yield_now().await;
    }
    hub.unregister(stream);
}
