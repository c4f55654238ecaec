//! This file knows how to serve HTTP connections within bounds on their number, their time and their work.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tower::Service;
use ultramarine_runtime::Registry;
use ultramarine_runtime::halt::Halt;

use crate::http::beacon::events;
use crate::http::dashboard::DASHBOARD;
use crate::http::error::{self, ApiError};
use crate::http::gathered::{self, Gathered};
use crate::http::hosts::{self, HostNames};
use crate::http::live::{self, LIVE};
use crate::http::metrics::Metrics;
use crate::http::opening;
use crate::http::query::LongQuery;
use crate::http::seats::{CallerSeat, Full, Leave, Patience, Phase, SeatLimits, SeatWork, Seats, WorkPermit};
use crate::http::wire::{HEAD_BYTES_MAX, Line, Wire};
use crate::http::{HttpState, router};
use crate::opening::DirectoryOpening;

/// Connections kept open at one time. For each we hold its head, twice, and the piece of its answer under way: half a
/// megabyte at most, 128 MB in all.
const CONNECTIONS_MAX: usize = 256;
/// Streams of events at one time. Each holds one piece of text, and what hyper and the kernel buffer for it.
const STREAMS_MAX: usize = CONNECTIONS_MAX / 4;
/// When a caller that we had no room for should try again, in seconds.
const RETRY_AFTER_S: &str = "5";
/// What a node says of itself. It is short and made at once, so we never refuse it for want of room.
const ABOUT_US: [&str; 5] = ["/health", "/metrics", "/status", LIVE, DASHBOARD];
/// Pause after the system refused a connection (out of descriptors), and between two looks for a seat.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After our last word we read on for this long: if bytes are unread when a socket closes, our word is lost with them.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// After our last word we read at most this many bytes.
const PARTING_BYTES_MAX: usize = 1024 * 1024;

/// What callers may make us spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerLimits {
    /// Requests under way at one time, from their head to the last byte of their answer. Further ones get 503.
    /// What a node says of itself does not count.
    pub requests_max: usize,
    /// Time until an answer begins.
    pub timeout: Duration,
    /// Connections at one time.
    pub connections_max: usize,
    /// Streams of events at one time.
    pub streams_max: usize,
    /// How long a caller may take.
    pub patience: Patience,
}

impl Default for ServerLimits {
    /// The bounds that `default.toml` sets.
    fn default() -> Self {
        Self {
            requests_max: 32,
            timeout: Duration::from_secs(10),
            connections_max: CONNECTIONS_MAX,
            streams_max: STREAMS_MAX,
            patience: Patience::default(),
        }
    }
}

/// What is answered from, before there is a state.
#[derive(Clone)]
pub struct BeforeState {
    pub opening: DirectoryOpening,
    pub hosts: HostNames,
    pub registry: Arc<Registry>,
}

/// Answers requests until the node halts. Until its data directory is open, and `state` comes, it says how far that is.
/// Needs a tokio runtime with I/O and time.
pub async fn serve_from_the_start(
    listener: TcpListener,
    before: BeforeState,
    state: oneshot::Receiver<HttpState>,
    limits: ServerLimits,
    halt: Halt,
) {
    let BeforeState {
        opening,
        hosts,
        registry,
    } = before;
    let metrics = Arc::new(Metrics::new(&registry));
    let answers = Answers {
        router: opening::router(opening, registry),
        hosts,
        is_local: false,
    };
    let state = tokio::select! {
        () = halt.stopped() => return,
        never = accept(&listener, answers, &metrics, limits) => match never {},
        state = state => state,
    };
    // Without a state, its sender has failed, and stops the node.
    match state {
        Ok(state) => serve(listener, state, limits, halt).await,
        Err(_) => halt.stopped().await,
    }
}

/// Answers requests from this state until the node halts.
pub async fn serve(listener: TcpListener, state: HttpState, limits: ServerLimits, halt: Halt) {
    let metrics = Arc::new(Metrics::new(&state.registry));
    tokio::spawn(live::sample(state.clone(), halt.clone()));
    let answers = Answers {
        hosts: state.hosts.clone(),
        router: router(state, &limits),
        is_local: false,
    };
    tokio::select! {
        () = halt.stopped() => {}
        never = accept(&listener, answers, &metrics, limits) => match never {},
    }
}

/// Accepts connections, and answers them in this way. They end with this future.
async fn accept(listener: &TcpListener, answers: Answers, metrics: &Arc<Metrics>, limits: ServerLimits) -> Infallible {
    let mut connections = JoinSet::new();
    let seat_limits = SeatLimits {
        seats_max: limits.connections_max,
        downloads_max: limits.requests_max,
        streams_max: limits.streams_max,
    };
    let seats = Seats::new(seat_limits, limits.patience);
    let mut sweep = tokio::time::interval(limits.patience.sweep_interval());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            _ = sweep.tick() => {
                seats.sweep(Instant::now());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some((seat, leave)) = seat(&seats, peer.ip()).await else {
                    metrics.crowded();
                    tokio::spawn(refuse(stream));
                    continue;
                };
                let is_local = stream
                    .local_addr()
                    .is_ok_and(|address| address.ip().to_canonical().is_loopback());
                let answers = Answers {
                    is_local,
                    ..answers.clone()
                };
                connections.spawn(connection(stream, answers, Arc::clone(metrics), seat, leave));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gets a seat for a new caller. It waits while all others are at work. `None`: its address has its share.
async fn seat(seats: &Arc<Seats>, peer: IpAddr) -> Option<(Arc<CallerSeat>, oneshot::Receiver<Leave>)> {
    loop {
        match seats.enter(peer, Instant::now()) {
            Ok(taken) => return Some(taken),
            Err(Full::Address) => return None,
            Err(Full::All) => {
                seats.sweep(Instant::now());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells a caller why it gets no seat. A fresh socket can be written to, so this takes no time.
async fn refuse(stream: TcpStream) {
    if let Ok(Ok(())) = tokio::time::timeout(PARTING_TIME, stream.writable()).await {
        let words = "your address has as many connections as it may have, and all are at work; try again";
        say(&stream, StatusCode::SERVICE_UNAVAILABLE, words);
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Answers {
    router: Router,
    hosts: HostNames,
    /// Whether the connection ends at a loopback address.
    is_local: bool,
}

async fn connection(
    stream: TcpStream,
    answers: Answers,
    metrics: Arc<Metrics>,
    seat: Arc<CallerSeat>,
    leave: oneshot::Receiver<Leave>,
) {
    let line = Arc::new(Line::new(seat));
    let service = service_fn({
        let (line, metrics) = (line.clone(), metrics.clone());
        move |request: Request<hyper::body::Incoming>| {
            let query = line.begin();
            let (mut answers, metrics, line) = (answers.clone(), metrics.clone(), line.clone());
            async move {
                let began = Instant::now();
                let mut request = request.map(Body::new);
                if let Some(query) = query {
                    request.extensions_mut().insert(LongQuery(query));
                }
                let is_stream = request.uri().path() == events::URL;
                let (response, place) = answer(&mut answers, &line.seat, request).await;
                metrics.answered(&response, began.elapsed());
                line.send(is_stream && response.status() == StatusCode::OK);
                let is_slices = gathered::is_slices(response.headers());
                Ok::<_, Infallible>(response.map(|body| Guarded::new(body, is_slices, place, line)))
            }
        }
    });
    let mut serving = http1::Builder::new()
        // Our own timers know what each connection is doing.
        .header_read_timeout(None)
        // A caller may say that its request was the last and wait for the answer.
        .half_close(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Wire::new(stream, line.clone())), service);
    let left = tokio::select! {
        // Whatever goes wrong with one connection concerns its caller only.
        served = &mut serving => Err(served),
        left = leave => Ok(left),
    };
    let wire = serving.into_parts().io.into_inner();
    let has_refused = wire.has_refused();
    let mut stream = wire.into_stream();
    match left {
        Ok(Ok(leave)) => {
            metrics.sent_away(leave);
            send_away(&stream, leave);
        }
        // Our end of the seat is gone: there is nobody to tell.
        Ok(Err(_)) => {}
        Err(served) => {
            if served.is_err() && line.seat.phase() == Phase::Head && !has_refused {
                say(
                    &stream,
                    StatusCode::BAD_REQUEST,
                    "this is not a whole request of HTTP/1.1",
                );
            }
            line.seat.turn_to(Phase::Parting, Instant::now());
            part(&mut stream).await;
        }
    }
}

/// Ends a connection that took too long or whose seat is wanted.
fn send_away(stream: &TcpStream, leave: Leave) {
    match leave.phase {
        Phase::Head if leave.wanted => say(
            stream,
            StatusCode::SERVICE_UNAVAILABLE,
            "the request did not come at once, and its seat was wanted; try again",
        ),
        Phase::Head => say(
            stream,
            StatusCode::REQUEST_TIMEOUT,
            "the request's head did not come in time",
        ),
        // Half of an answer is worth nothing: the kernel need not keep what it still holds of it.
        Phase::Sending | Phase::Making => drop(stream.set_zero_linger()),
        Phase::Idle | Phase::Parting | Phase::Listening => {}
    }
}

/// Sends a last word where no answer is under way, if the caller can be reached.
fn say(stream: &TcpStream, status: StatusCode, words: &str) {
    let _ = stream.try_write(&error::raw(status, words));
    // If bytes are unread when a socket closes, the kernel resets the connection, and our word may be lost.
    let mut unread = [0; 4096];
    while matches!(stream.try_read(&mut unread), Ok(bytes) if bytes > 0) {}
}

/// Reads on for a while after the last word.
async fn part(stream: &mut TcpStream) {
    use tokio::io::AsyncWriteExt;
    let _ = stream.shutdown().await;
    let mut unread = [0; 4096];
    let reading = async {
        let mut all = 0;
        while let Ok(bytes @ 1..) = stream.read(&mut unread).await {
            all += bytes;
            if all > PARTING_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PARTING_TIME, reading).await;
}

/// Makes one request's answer, with the place that the answer holds until it is sent.
async fn answer(answers: &mut Answers, seat: &CallerSeat, request: Request<Body>) -> (Response, Option<WorkPermit>) {
    // A caller may send many requests at once on one connection. Others have their turn in between.
    tokio::task::yield_now().await;
    let headers = request.headers();
    let named = hosts::one_host(request.version(), headers)
        .and_then(|()| answers.hosts.check(answers.is_local, request.uri(), headers));
    if let Err(refusal) = named {
        return (refusal.into_response(), None);
    }
    let path = request.uri().path();
    let work = match path {
        events::URL => Some(SeatWork::Stream),
        _ => (!ABOUT_US.contains(&path)).then_some(SeatWork::Download),
    };
    let place = work.and_then(|work| seat.begin(work));
    if let (Some(work), None) = (work, &place) {
        return (refused(work), None);
    }
    match answers.router.call(request).await {
        Ok(response) => (response, place),
        Err(never) => match never {},
    }
}

/// Why there is no place for an answer.
fn refused(work: SeatWork) -> Response {
    let error = ApiError::unavailable(match work {
        SeatWork::Download => "too many requests at one time; try again",
        SeatWork::Stream => "too many streams of events at one time; try again, or ask for the head now and then",
    });
    ([(RETRY_AFTER, RETRY_AFTER_S)], error).into_response()
}

/// A body that keeps its place until it is sent or dropped.
pub(super) struct Guarded {
    body: Body,
    /// Whether its pieces are handed on together.
    is_slices: bool,
    /// What came behind pieces that were gathered: the end, or what is no piece.
    behind: Option<Option<Result<Frame<Bytes>, axum::Error>>>,
    _place: Option<WorkPermit>,
    line: Arc<Line>,
}

impl Guarded {
    pub(super) fn new(body: Body, is_slices: bool, place: Option<WorkPermit>, line: Arc<Line>) -> Self {
        Self {
            body,
            is_slices,
            behind: None,
            _place: place,
            line,
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.behind.take() {
            Some(behind) => Poll::Ready(behind),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.line.made();
    }
}

impl HttpBody for Guarded {
    type Data = Gathered;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let mut gathered = Gathered::default();
        loop {
            match this.poll_piece(context) {
                Poll::Ready(Some(Ok(frame))) if this.is_slices && frame.is_data() => {
                    gathered.push(frame.into_data().unwrap_or_default());
                    if gathered.is_full() {
                        break;
                    }
                }
                Poll::Ready(behind) if gathered.has_remaining() => {
                    this.behind = Some(behind);
                    break;
                }
                Poll::Pending if gathered.has_remaining() => break,
                other => {
                    if matches!(other, Poll::Ready(Some(Ok(_)))) {
                        this.line.more();
                    }
                    let whole = |frame: Frame<Bytes>| frame.map_data(Gathered::from);
                    return other.map(|ready| ready.map(|frame| frame.map(whole)));
                }
            }
        }
        this.line.more();
        Poll::Ready(Some(Ok(Frame::data(gathered))))
    }

    /// Never early for slices: the place is kept until hyper asks behind the last of them, when they are sent.
    fn is_end_stream(&self) -> bool {
        !self.is_slices && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
