//! This file knows a connection's life: first hellos, then the control stream, value streams and requests until it
//! ends.

pub mod bulk;
pub mod dial;
pub mod endpoint;
pub mod queue;
pub mod session;

use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};
use ultramarine_runtime::Clock;
use ultramarine_types::PeerId;
use ultramarine_types::network::{Fault, NetEvent};

use crate::bounds;
use crate::connection::session::{Session, SessionParts, close, close_saying};
use crate::hub::{Hub, Unaffordable};
use crate::incoming;
use crate::peers::budgets::Spend;
use crate::peers::identity;
use crate::peers::identity::Attester;
use crate::peers::origin::Site;
use crate::serve;
use crate::watched::Bound;
use crate::wire::frame::{FrameKind, ReadFault, read_body, read_frame, read_header};
use crate::wire::hello::{ExpectedHello, Goodbye, Hello};
use crate::wire::lapse::{Lapse, Utc};
use crate::wire::message;

/// The control stream's bytes go before all others on the connection.
const CONTROL_PRIORITY: i32 = 100;

/// Why two nodes parted before their hellos were done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Parting {
    /// We parted, for this reason.
    #[error("{0}")]
    Ours(Goodbye),
    /// The other end parted and says why. It may lie.
    #[error("the other end says: {0}")]
    Theirs(Goodbye),
    /// The peer's attestation has expired by our clock.
    #[error(
        "its validator's attestation of the node key expired at {}, and our clock says {}: one of the two clocks is \
         wrong",
        Utc(.0.expiry), Utc(.0.clock)
    )]
    Lapsed(Lapse),
    /// Our attestation has expired by the peer's clock.
    #[error(
        "the other end says: the attestation of our node key, signed just now, expired at {}, and its clock says {}: \
         one of the two clocks is wrong; ours says {}",
        Utc(.0.expiry), Utc(.0.clock), Utc(unix_seconds())
    )]
    TheyLapsed(Lapse),
}

impl Parting {
    /// Whether both are the same apart from their times.
    pub fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Lapsed(_), Self::Lapsed(_)) | (Self::TheyLapsed(_), Self::TheyLapsed(_)) => true,
            _ => self == other,
        }
    }

    /// Whether the operator of a node that is dialed should know: only people can mend it.
    pub const fn is_for_operators(self) -> bool {
        matches!(
            self,
            Self::Lapsed(_)
                | Self::Ours(Goodbye::Version | Goodbye::Chain | Goodbye::OldFormat)
                | Self::Theirs(Goodbye::Unlisted | Goodbye::NoFullNodes)
        )
    }

    /// Whether nodes that start and stop bring it about.
    pub const fn is_usual(self) -> bool {
        matches!(
            self,
            Self::Ours(Goodbye::Silent) | Self::Theirs(Goodbye::Going | Goodbye::Silent)
        )
    }
}

struct Unfit {
    why: Goodbye,
    lapse: Option<Lapse>,
}

impl From<Goodbye> for Unfit {
    fn from(why: Goodbye) -> Self {
        Self { why, lapse: None }
    }
}

fn unix_seconds() -> u64 {
    Clock::unix_ns() / 1_000_000_000
}

/// A connection whose hellos are done.
pub(crate) struct Met {
    session: Rc<Session>,
    send: quinn::SendStream,
    receive: BufReader<quinn::RecvStream>,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Dialed {
        /// The peer that must answer, if its key is configured.
        wanted: Option<PeerId>,
    },
    Accepted {
        /// Where its handshake came from. A connection may move later, but its new address is not proven.
        site: Site,
    },
}

/// Exchanges hellos with the other end until `deadline`. If that fails, closes the connection.
pub(crate) async fn meet(
    hub: &Rc<Hub>,
    connection: quinn::Connection,
    side: Side,
    deadline: Instant,
) -> Result<Met, Parting> {
    let met = timeout_at(deadline, exchange(hub, &connection, side)).await;
    met.unwrap_or(Err(Goodbye::Silent.into())).map_err(|unfit| {
        let theirs = closed_by_peer(&connection);
        let their_lapse = lapse_by_peer(&connection);
        match unfit.lapse {
            Some(lapse) => close_saying(&connection, unfit.why, &lapse.text()),
            None => close(&connection, unfit.why),
        }
        match (theirs, unfit.lapse) {
            // What we know ourselves comes before what the peer says.
            (Some(theirs), None) if unfit.why == Goodbye::Silent => {
                their_lapse.map_or(Parting::Theirs(theirs), Parting::TheyLapsed)
            }
            (_, Some(lapse)) => Parting::Lapsed(lapse),
            (_, None) => Parting::Ours(unfit.why),
        }
    })
}

/// Serves a connection until it ends. Returns the reason the peer gave, if the peer ended it.
pub(crate) async fn live(hub: Rc<Hub>, met: Met) -> Option<Goodbye> {
    let Met { session, send, receive } = met;
    let connection = session.connection.clone();
    let address = connection.remote_address();
    match session.validator {
        Some(validator) => {
            tracing::info!(peer = %session.peer, %validator, %address, wire = session.version, "connected");
        }
        None => tracing::info!(peer = %session.peer, %address, wire = session.version, "connected to a full node"),
    }
    if let Some(what) = hub.plans.difference(&session.plans) {
        tracing::warn!(
            peer = %session.peer, %address,
            "{what} is not ours: update this node or the peer's before the first of these changes is due"
        );
    }
    let _until_closed = [
        hub.spawn(write_control(session.clone(), send)),
        hub.spawn(read_control(hub.clone(), session.clone(), receive)),
        hub.spawn(accept_values(hub.clone(), session.clone())),
        hub.spawn(accept_requests(hub.clone(), session.clone())),
    ]
    .map(Bound);
    let error = connection.closed().await;
    session.count(&hub.metrics);
    hub.release(&session);
    let theirs = closed_by_peer(&connection);
    let why = theirs.map_or_else(|| error.to_string(), |reason| reason.to_string());
    tracing::info!(peer = %session.peer, "disconnected: {why}");
    theirs
}

/// The reason the peer gave, if it closed.
fn closed_by_peer(connection: &quinn::Connection) -> Option<Goodbye> {
    match connection.close_reason()? {
        quinn::ConnectionError::ApplicationClosed(close) => Goodbye::of_code(close.error_code.into_inner()),
        _ => None,
    }
}

/// The two times, if the peer closed because our attestation has expired by its clock.
fn lapse_by_peer(connection: &quinn::Connection) -> Option<Lapse> {
    match connection.close_reason()? {
        quinn::ConnectionError::ApplicationClosed(close)
            if Goodbye::of_code(close.error_code.into_inner()) == Some(Goodbye::Expired) =>
        {
            Lapse::parse(&close.reason)
        }
        _ => None,
    }
}

async fn exchange(hub: &Rc<Hub>, connection: &quinn::Connection, side: Side) -> Result<Met, Unfit> {
    let (dialed, wanted, site) = match side {
        Side::Dialed { wanted } => (true, wanted, Site::of(connection.remote_address().ip())),
        Side::Accepted { site } => (false, None, site),
    };
    let peer = identity::peer_of(connection).ok_or(Goodbye::Protocol)?;
    if peer == hub.identity.peer() {
        return Err(Goodbye::Myself.into());
    }
    if wanted.is_some_and(|wanted| wanted != peer) {
        return Err(Goodbye::Stranger.into());
    }
    let stream = if dialed {
        connection.open_bi().await
    } else {
        connection.accept_bi().await
    };
    let (mut send, receive) = stream.map_err(|_| Goodbye::Silent)?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let mut receive = BufReader::with_capacity(16 * 1024, receive);
    let ours = Hello {
        versions: hub.versions,
        chain: hub.chain.identity,
        plans: hub.plans,
        instance: hub.instance,
        attestation: hub.attester.as_ref().map(Attester::attest),
    };
    send.write_chunk(ours.frame()).await.map_err(|_| Goodbye::Silent)?;
    let body = match read_frame(&mut receive, FrameKind::Hello).await {
        Ok(Some(body)) => body,
        Ok(None) | Err(ReadFault::Broken(_)) => return Err(Goodbye::Silent.into()),
        Err(ReadFault::Protocol(_)) => return Err(Goodbye::Protocol.into()),
    };
    let (theirs, version) = Hello::parse(&body, hub.versions)?;
    let expected = ExpectedHello {
        chain: hub.chain.identity,
        validators: &hub.validators,
        unix_seconds: unix_seconds(),
    };
    let validator = theirs.check(&peer, &expected).map_err(|why| Unfit {
        why,
        lapse: theirs
            .attestation
            .filter(|_| why == Goodbye::Expired)
            .map(|attestation| Lapse {
                expiry: attestation.expiry,
                clock: expected.unix_seconds,
            }),
    })?;
    let parts = SessionParts {
        peer,
        validator,
        is_listed: hub.listed.borrow().has(&peer),
        since: hub.now(),
        connection: connection.clone(),
        dialed,
        instance: theirs.instance,
        version,
        plans: theirs.plans,
        site,
        limits: hub.limits,
    };
    let session = Rc::new(Session::new(parts));
    hub.adopt(&session)?;
    Ok(Met { session, send, receive })
}

async fn write_control(session: Rc<Session>, mut send: quinn::SendStream) {
    loop {
        let mut frames = session.next_messages().await;
        if send.write_all_chunks(&mut frames).await.is_err() {
            // A connection without a control stream is of no use.
            return session.close(Goodbye::Protocol);
        }
    }
}

async fn read_control(hub: Rc<Hub>, session: Rc<Session>, mut receive: BufReader<quinn::RecvStream>) {
    loop {
        // A peer may be quiet, but must complete a frame that it has begun.
        if matches!(receive.fill_buf().await, Err(_) | Ok([])) {
            return session.close(Goodbye::Protocol);
        }
        let Ok(event) = timeout(bounds::CONTROL_FRAME, read_event(&session, &mut receive)).await else {
            hub.charge(
                session.peer,
                Fault::Withheld,
                "a control frame did not end in time",
                None,
            );
            return session.close(Goodbye::Protocol);
        };
        match event {
            Ok(event) => {
                hub.metrics.messages_received.inc();
                // If there are too many messages, or our core is behind, we do not read on and the peer waits. That is
                // no fault: flow control settles it.
                if hub.spend(&session, Spend::Message).await == Err(Unaffordable) {
                    return;
                }
                hub.events.has_room(session.lane()).await;
                hub.hear(&session, event);
            }
            Err(ReadFault::Protocol(what)) => {
                hub.charge(session.peer, Fault::Protocol, what, None);
                return session.close(Goodbye::Protocol);
            }
            Err(ReadFault::Broken(_)) => return session.close(Goodbye::Protocol),
        }
    }
}

async fn read_event(session: &Session, receive: &mut BufReader<quinn::RecvStream>) -> Result<NetEvent, ReadFault> {
    let header = read_header(receive)
        .await?
        .ok_or_else(|| ReadFault::Broken("control stream ended".into()))?;
    if !matches!(header.kind, FrameKind::Message | FrameKind::Status | FrameKind::Hearing) {
        return Err(ReadFault::Protocol(
            "a frame of this kind may not come on the control stream",
        ));
    }
    let body = read_body(receive, header).await?;
    let peer = session.peer;
    let event = match header.kind {
        FrameKind::Message => message::read_message(&body).map(|message| NetEvent::Message { peer, message }),
        FrameKind::Hearing => message::read_hearing(&body).map(|hearing| NetEvent::Hearing { peer, hearing }),
        _ => message::read_status(&body).map(|status| NetEvent::Status { peer, status }),
    };
    event.map_err(|fault| ReadFault::Protocol(fault.0))
}

async fn accept_values(hub: Rc<Hub>, session: Rc<Session>) {
    while let Ok(receive) = session.connection.accept_uni().await {
        hub.spawn(incoming::value(hub.clone(), session.clone(), receive));
    }
}

async fn accept_requests(hub: Rc<Hub>, session: Rc<Session>) {
    while let Ok((send, receive)) = session.connection.accept_bi().await {
        hub.spawn(serve::request(hub.clone(), session.clone(), send, receive));
    }
}
