//! This file knows how stored values leave: streamed at the core's command, or as answers to peers' requests.
//!
//! The blocking pool reads the source: a read checks checksums over all that it takes, and touches pages that may be on
//! disk. This thread only hands slices to QUIC.

pub mod answers;
mod cold;
mod delivery;
mod held;
pub mod queue;
pub mod reply;
pub mod serving;
pub mod turns;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rand::seq::SliceRandom;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use ultramarine_runtime::Io;
use ultramarine_runtime::affinity::spawn_blocking;
use ultramarine_types::ValueKey;
use ultramarine_types::network::Fault;
use ultramarine_types::storage::Source;

use crate::bounds;
use crate::connection::session::Session;
use crate::hub::{Hub, Unaffordable};
use crate::peers::budgets::Spend;
use crate::serve::answers::AnswerClass;
use crate::serve::cold::Cold;
use crate::serve::delivery::{Deadlines, Outgoing, Undelivered};
use crate::serve::held::{Need, Places};
use crate::serve::reply::PeerRequest;
use crate::wire::frame::{ReadFault, read_body, read_header};

/// Answers go behind proposals on a shared connection.
const ANSWER_PRIORITY: i32 = -1;

/// Streams a stored value to each receiver, on one unidirectional stream each. Validators come first and all at once,
/// because they vote on it. Full nodes come after them, a few at a time, with the bandwidth that is left. A full node
/// that gets no stream asks for the value when it is decided. One that says that it is behind gets none: it would have
/// to refuse it, and its line has better to bring.
pub(crate) async fn stream(hub: Rc<Hub>, key: ValueKey, receivers: Vec<Rc<Session>>) {
    let Some(pieces) = whole(&hub, key).await else {
        tracing::warn!(%key, "asked to stream a value that is not held whole");
        return;
    };
    let (validators, mut full_nodes): (Vec<_>, Vec<_>) =
        receivers.into_iter().partition(|session| session.validator.is_some());
    let (working, mut all_done) = mpsc::channel::<Infallible>(1);
    for session in validators {
        let round = hub.serving.begin_round(hub.now());
        add_stream(
            &hub,
            &session,
            pieces.clone(),
            deadlines(&hub),
            (round, working.clone()),
        );
    }
    drop(working);
    full_nodes.retain(|session| !hub.is_behind(&session.peer, key.height));
    // Others each time, and no more than there is time for.
    full_nodes.shuffle(&mut rand::rng());
    full_nodes.truncate(bounds::FULL_NODES_PER_VALUE_MAX);
    // A validator that does not read may keep full nodes from the value for one round at most. A full node that has no
    // turn after as long again is better served by what is decided by then.
    let round = hub.limits.propose_timeout().as_duration();
    let begun = Instant::now();
    let _ = timeout_at(begun + round, all_done.recv()).await;
    for session in full_nodes {
        let turn = hub.full_node_streams.clone().acquire_owned();
        let Ok(Ok(turn)) = timeout_at(begun + 2 * round, turn).await else {
            return;
        };
        // As long as the next one waits for its turn: a slow reader keeps the others from one value only.
        let deadlines = Deadlines {
            until: Instant::now() + 2 * round,
            ..deadlines(&hub)
        };
        add_stream(&hub, &session, pieces.clone(), deadlines, turn);
    }
}

/// Begins a stream of a value to one receiver. `until_done` is dropped when the stream ends, in whatever way.
fn add_stream(
    hub: &Rc<Hub>,
    session: &Rc<Session>,
    pieces: Vec<Bytes>,
    deadlines: Deadlines,
    until_done: impl Sized + 'static,
) {
    let bytes = bytes_of(&pieces);
    let (task_hub, task_session) = (hub.clone(), session.clone());
    let task = hub.spawn(async move {
        let _until_done = until_done;
        match write_value(&task_hub, &task_session, pieces, deadlines).await {
            Ok(()) => task_hub.metrics.values_streamed.inc(),
            // The peer did not ask for the value: it may be slow.
            Err(Undelivered::Gone | Undelivered::Slow) => {}
            Err(Undelivered::Stalled) => {
                task_hub.charge(
                    task_session.peer,
                    Fault::Withheld,
                    "it neither took a value nor refused it",
                    None,
                );
            }
        }
    });
    // A receiver reserves at most half of its room for us.
    let bytes_max = hub.limits.assembly_bytes() as u64 / 2;
    hub.metrics.bulk_dropped.add(session.add_bulk(task, bytes, bytes_max));
}

async fn write_value(
    hub: &Hub,
    session: &Session,
    pieces: Vec<Bytes>,
    deadlines: Deadlines,
) -> Result<(), Undelivered> {
    let outgoing = Outgoing::open(&session.connection, deadlines).await?;
    match session.validator {
        Some(_) => outgoing.deliver(pieces, deadlines).await,
        None => outgoing.deliver_in_turn(hub, session, pieces, deadlines).await,
    }
}

/// How long a peer may take for what we send. By its own deadlines it has refused or read all of it by then.
fn deadlines(hub: &Hub) -> Deadlines {
    let thinks = 2 * bounds::OFFER_WAIT.as_duration();
    Deadlines {
        stall: bounds::WRITE_STALL,
        until: Instant::now() + thinks + hub.limits.sync_timeout().as_duration(),
    }
}

fn bytes_of(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Reads one request and answers it. The peer pays before we read the source: first a little for the question, then for
/// the largest answer that it may get.
pub(crate) async fn request(
    hub: Rc<Hub>,
    session: Rc<Session>,
    send: quinn::SendStream,
    mut receive: quinn::RecvStream,
) {
    let outgoing = Outgoing::new(send);
    let request = match timeout(bounds::FIRST_FRAME, read_request(&hub, &mut receive)).await {
        Ok(Ok(request)) => request,
        Ok(Err(ReadFault::Protocol(what))) => {
            hub.charge(session.peer, Fault::Protocol, what, None);
            return;
        }
        Err(_) | Ok(Err(ReadFault::Broken(_))) => return,
    };
    let question = bounds::REQUEST_BYTES_MIN;
    if hub.spend(&session, Spend::Serving { bytes: question }).await == Err(Unaffordable) {
        return;
    }
    let class = request.class(hub.source.head());
    let Some(bytes) = hub.turns.during(&session, class, weigh(&hub, &request)).await else {
        return;
    };
    // Held until the peer has all of the answer. So what waits for one peer, and what it owes, is bounded, however many
    // requests it makes.
    let answers = session.answers(class);
    let Ok(_bytes) = answers.bytes.acquire_many(permits(bytes).min(answers.permits)).await else {
        return;
    };
    let rest = bytes.saturating_sub(question);
    if hub.spend(&session, Spend::Serving { bytes: rest }).await == Err(Unaffordable) {
        return;
    }
    let pieces = match hub.turns.during(&session, class, answer(&hub, request)).await {
        Some(Ok(pieces)) => pieces,
        Some(Err(what)) => {
            hub.charge(session.peer, Fault::Protocol, what, None);
            return;
        }
        None => return,
    };
    outgoing.set_priority(ANSWER_PRIORITY);
    let delivered = if class == AnswerClass::Repair && session.validator.is_some() {
        // A round may wait for it.
        let _round = hub.serving.begin_round(hub.now());
        outgoing.deliver(pieces, deadlines(&hub)).await
    } else {
        outgoing.deliver_in_turn(&hub, &session, pieces, deadlines(&hub)).await
    };
    match delivered {
        Ok(()) => hub.metrics.requests_served.inc(),
        Err(Undelivered::Gone) => {}
        Err(why @ (Undelivered::Stalled | Undelivered::Slow)) => {
            hub.charge(
                session.peer,
                Fault::Withheld,
                &format!("an answer it asked for: {why}"),
                None,
            );
        }
    }
}

async fn read_request(hub: &Hub, receive: &mut quinn::RecvStream) -> Result<PeerRequest, ReadFault> {
    let header = read_header(receive)
        .await?
        .ok_or_else(|| ReadFault::Broken("no request".into()))?;
    if !PeerRequest::is(header.kind) {
        return Err(ReadFault::Protocol("a frame of this kind is no request"));
    }
    let body = read_body(receive, header).await?;
    PeerRequest::read(header.kind, &body, &hub.limits).map_err(ReadFault::Protocol)
}

/// The bytes that an answer takes from the source, by what the index knows.
async fn weigh(hub: &Hub, request: &PeerRequest) -> u64 {
    let (source, request) = (Arc::clone(&hub.source), request.clone());
    spawn_blocking(move || request.weigh(source.as_ref()))
        .await
        .unwrap_or(0)
}

/// Permits that `bytes` take. A certificate takes none: the number of open requests bounds certificates.
fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(bounds::ANSWER_PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// Pieces to send; an error if the peer asked for parts that it must know the value does not have.
async fn answer(hub: &Rc<Hub>, request: PeerRequest) -> Result<Vec<Bytes>, &'static str> {
    let request = Arc::new(request);
    let places = {
        let request = Arc::clone(&request);
        move |source: &dyn Source| request.places(source)
    };
    let read = {
        let request = Arc::clone(&request);
        move |source: &dyn Source| request.answer(source)
    };
    let Some(answer) = on_source(hub, places, read).await else {
        return Ok(Vec::new());
    };
    let answer = answer?;
    if let PeerRequest::Value(request) = request.as_ref()
        && answer.alarm
    {
        hub.metrics.unavailable.inc();
        tracing::error!(
            height = %request.height,
            "a decided height cannot be served: its bytes are damaged or missing"
        );
    }
    Ok(answer.pieces)
}

/// The frames of a value, if we hold all of it.
async fn whole(hub: &Rc<Hub>, key: ValueKey) -> Option<Vec<Bytes>> {
    let places = move |source: &dyn Source| Need::of_value(key).places(source);
    on_source(hub, places, move |source| reply::stream(source, &key)).await?
}

/// Reads the source on the blocking pool. What is cold of the places that the read will touch is brought into memory
/// first: through the ring, or without a ring on the thread that reads the source. `None` if the read panicked.
async fn on_source<T: Send + 'static>(
    hub: &Hub,
    places: impl FnOnce(&dyn Source) -> Option<Places> + Send + 'static,
    read: impl Fn(&dyn Source) -> T + Send + Sync + 'static,
) -> Option<T> {
    let (source, read) = (Arc::clone(&hub.source), Arc::new(read));
    let on_ring = hub.io == Io::Uring;
    let first = {
        let (source, read) = (source.clone(), read.clone());
        spawn_blocking(move || {
            let cold = places(source.as_ref()).as_ref().and_then(Cold::find);
            if on_ring && let Some(cold) = cold {
                return Err(cold);
            }
            if let Some(cold) = cold {
                cold.read_here();
            }
            Ok(read(source.as_ref()))
        })
    };
    match first.await.ok()? {
        Ok(read) => Some(read),
        Err(cold) => {
            cold.read(&hub.metrics.ring).await;
            spawn_blocking(move || read(source.as_ref())).await.ok()
        }
    }
}
