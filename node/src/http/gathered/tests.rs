//! Claims about slices that leave with one write.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;
use ultramarine_runtime::halt::{Halt, Reason};
use ultramarine_types::Height;
use ultramarine_types::limits::BLOB_BYTES;

use super::*;
use crate::http::seats::{CallerSeat, Patience, SeatLimits, SeatWork, Seats, WorkPermit};
use crate::http::server::{Guarded, ServerLimits, serve};
use crate::http::tests::{Memory, state_of};
use crate::http::wire::{HEAD_BYTES_MAX, Line};
use crate::http::{HttpState, router};

const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn pieces_are_one_buffer_whatever_is_taken_of_it() {
    for step in 1..12 {
        let mut gathered = Gathered::default();
        let mut all = Vec::new();
        for length in [3, 0, 1, 7, 5] {
            let piece: Vec<u8> = (0..length).map(|at| at * 16 + length).collect();
            all.extend_from_slice(&piece);
            gathered.push(piece.into());
        }
        let mut read = Vec::new();
        while gathered.has_remaining() {
            assert_eq!(gathered.remaining(), all.len() - read.len());
            let mut slices = [IoSlice::new(&[]); 2];
            let count = gathered.chunks_vectored(&mut slices);
            let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(all[read.len()..].starts_with(&seen), "{step}");
            assert!(seen.starts_with(gathered.chunk()) && !gathered.chunk().is_empty());
            let taken = step.min(seen.len());
            read.extend_from_slice(&seen[..taken]);
            gathered.advance(taken);
        }
        assert_eq!((read, gathered.chunk()), (all, &[][..]), "{step}");
    }
}

/// A socket that asks one question, and takes so many bytes in a write.
#[derive(Clone, Debug)]
struct Socket {
    each_max: usize,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    asked: bool,
    /// Of each write, where its slices began and their lengths.
    writes: Vec<Vec<(usize, usize)>>,
    bytes: Vec<u8>,
    /// No more is taken for now.
    is_shut: bool,
}

impl Socket {
    fn new(each_max: usize) -> Self {
        Self {
            each_max,
            seen: Arc::default(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.with(|seen| {
            if !std::mem::replace(&mut seen.asked, true) {
                into.put_slice(QUESTION);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let each_max = self.each_max;
        self.with(|seen| {
            if seen.is_shut {
                return Poll::Pending;
            }
            let slices = pieces.iter().map(|piece| (piece.as_ptr().addr(), piece.len()));
            seen.writes.push(slices.collect());
            let before = seen.bytes.len();
            for piece in pieces {
                let left = each_max - (seen.bytes.len() - before);
                seen.bytes.extend_from_slice(&piece[..piece.len().min(left)]);
            }
            seen.is_shut = before == 0 && each_max < HEAD_BYTES_MAX;
            Poll::Ready(Ok(seen.bytes.len() - before))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const LIMITS: SeatLimits = SeatLimits {
    seats_max: 8,
    downloads_max: 1,
    streams_max: 4,
};

fn seat() -> Arc<CallerSeat> {
    let seats = Seats::new(LIMITS, Patience::default());
    let entered = seats.enter(IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now());
    entered.expect("there is room").0
}

async fn answer(state: &HttpState, path: &str, kind: &str) -> Response<Body> {
    let request = Request::get(path)
        .header("accept", kind)
        .body(Body::empty())
        .expect("valid");
    let answered = router(state.clone(), &ServerLimits::default()).call(request).await;
    answered.expect("routers never fail")
}

fn guarded(answer: Response<Body>, seat: &Arc<CallerSeat>, place: Option<WorkPermit>) -> Response<Guarded> {
    let is_slices = is_slices(answer.headers());
    answer.map(|body| Guarded::new(body, is_slices, place, Arc::new(Line::new(seat.clone()))))
}

/// hyper gives the answer to the socket, as a connection of ours has it do.
fn serving(answer: Response<Guarded>, socket: &Socket) -> impl Future<Output = hyper::Result<()>> + use<> {
    let answer = Mutex::new(Some(answer));
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { Ok::<_, Infallible>(answer.expect("it is asked once")) }
    });
    let mut builder = http1::Builder::new();
    builder.half_close(true).max_buf_size(HEAD_BYTES_MAX);
    builder.serve_connection(socket.clone(), service)
}

#[tokio::test]
async fn six_blobs_leave_with_one_write_from_where_the_store_has_them() {
    let state = state_of(Memory::large(6));
    let (_, held) = state.source.decided_value(Height(1)).expect("held");
    let held: Vec<usize> = held.blobs.iter().map(|blob| blob.as_ptr().addr()).collect();
    for (kind, slices) in [("blobs", 1 + 6), ("blob_sidecars", 1 + 3 * 6)] {
        let answer = answer(&state, &format!("/eth/v1/beacon/{kind}/head"), OCTET_STREAM).await;
        let socket = Socket::new(usize::MAX);
        let served = serving(guarded(answer, &seat(), None), &socket).await;
        served.expect("the socket is well");
        let writes = socket.with(|seen| std::mem::take(&mut seen.writes));
        assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [slices], "{kind}");
        let blobs = writes[0].iter().filter(|(_, bytes)| *bytes == BLOB_BYTES);
        let from: Vec<usize> = blobs.map(|(at, _)| *at).collect();
        assert_eq!(from, held, "{kind}");
    }
}

#[tokio::test]
async fn an_answer_is_whole_however_little_is_taken_at_a_time() {
    // More pieces than are gathered at a time.
    let state = state_of(Memory::large(GATHERED_MAX + 2));
    for kind in ["blobs", "blob_sidecars"] {
        let path = format!("/eth/v1/beacon/{kind}/head");
        let whole = answer(&state, &path, OCTET_STREAM).await.into_body().collect().await;
        let whole = whole.expect("it ends").to_bytes();
        for each_max in [HEAD_BYTES_MAX, BLOB_BYTES + 1, 5_000_003, usize::MAX] {
            let socket = Socket::new(each_max);
            let answer = guarded(answer(&state, &path, OCTET_STREAM).await, &seat(), None);
            serving(answer, &socket).await.expect("the socket is well");
            socket.with(|seen| assert!(seen.bytes.ends_with(&whole), "{kind}, {each_max} at a time"));
            let head = socket.with(|seen| seen.bytes.len() - whole.len());
            assert!(head < 1000, "and nothing twice: {head}");
        }
    }
}

#[tokio::test]
async fn a_place_is_kept_until_the_last_slice_is_taken() {
    let (state, seat) = (state_of(Memory::large(6)), seat());
    let place = seat.begin(SeatWork::Download).expect("the first");
    let answer = answer(&state, "/eth/v1/beacon/blobs/head", OCTET_STREAM).await;
    let socket = Socket::new(1000);
    let mut serving = pin!(serving(guarded(answer, &seat, Some(place)), &socket));
    let mut context = Context::from_waker(Waker::noop());
    assert!(
        serving.as_mut().poll(&mut context).is_pending(),
        "the caller reads nothing"
    );
    assert_eq!(socket.with(|seen| seen.bytes.len()), 1000);
    assert!(seat.begin(SeatWork::Download).is_none(), "the slices wait");
    socket.with(|seen| seen.is_shut = false);
    assert!(serving.as_mut().poll(&mut context).is_ready());
    assert!(seat.begin(SeatWork::Download).is_some(), "all is sent");
}

#[tokio::test]
async fn text_is_made_one_piece_at_a_time() {
    let state = state_of(Memory::large(6));
    let answer = answer(&state, "/eth/v1/beacon/blobs/head", "application/json").await;
    let mut body = guarded(answer, &seat(), None).into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.expect("it does not fail").into_data().expect("no trailers");
        pieces.push(piece.remaining());
    }
    assert_eq!(pieces.len(), 6 + 2, "{pieces:?}");
}

/// A body of one piece, then an error.
struct Broken(u8);

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
        self.0 += 1;
        Poll::Ready(match self.0 {
            1 => Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"piece")))),
            2 => Some(Err(io::Error::other("broken"))),
            _ => None,
        })
    }
}

#[tokio::test]
async fn an_error_behind_pieces_is_told_behind_them() {
    let line = Arc::new(Line::new(seat()));
    let mut body = Guarded::new(Body::new(Broken(0)), true, None, line);
    let piece = body.frame().await.expect("one").expect("whole").into_data();
    assert_eq!(piece.expect("no trailers").chunk(), b"piece");
    let error = body.frame().await.expect("one more").expect_err("it broke");
    assert!(error.to_string().contains("broken"), "{error}");
    assert!(body.frame().await.is_none());
}

/// A node's server. It ends with the test.
struct Served {
    address: std::net::SocketAddr,
    halt: Halt,
}

impl Served {
    async fn start(state: HttpState, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, halt) = (listener.local_addr().expect("bound"), Halt::new());
        tokio::spawn(serve(listener, state, limits, halt.clone()));
        Self { address, halt }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.halt.stop(Reason::Asked);
    }
}

#[tokio::test]
async fn answers_of_blobs_follow_one_another_on_a_connection() {
    let state = state_of(Memory::large(6));
    let (_, held) = state.source.decided_value(Height(1)).expect("held");
    let whole: Vec<u8> = held.blobs.concat();
    let path = "/eth/v1/beacon/blobs/head";
    let asked = answer(&state, path, OCTET_STREAM).await;
    let tag = asked.headers()["etag"].to_str().expect("ASCII").to_owned();
    let served = Served::start(state, ServerLimits::default()).await;
    let plain = format!("{path} HTTP/1.1\r\nhost: localhost\r\naccept: {OCTET_STREAM}\r\n");
    let questions = [
        format!("GET {plain}\r\n"),
        format!("HEAD {plain}\r\n"),
        format!("GET {plain}if-none-match: {tag}\r\n\r\n"),
        format!("GET {plain}accept-encoding: gzip\r\n\r\n"),
        format!("GET {plain}connection: close\r\n\r\n"),
    ];
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let mut all = Vec::new();
    // At once: hyper has the next question before it has sent the last answer.
    stream.write_all(questions.concat().as_bytes()).await.expect("sends");
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    read.expect("it ends").expect("and is not reset");
    let mut rest = &all[..];
    for (status, has_body) in [(200, true), (200, false), (304, false), (200, true), (200, true)] {
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        let (head, behind) = rest.split_at(end);
        let head = String::from_utf8(head.to_vec()).expect("text").to_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(
            !head.contains("content-encoding") && !head.contains("chunked"),
            "{head}"
        );
        let body = if has_body { whole.len() } else { 0 };
        assert!(behind.len() >= body && behind[..body] == whole[..body], "{head}");
        if status == 200 {
            assert!(head.contains(&format!("content-length: {}", whole.len())), "{head}");
        }
        rest = &behind[body..];
    }
    assert!(rest.is_empty());
}

#[tokio::test]
async fn who_leaves_in_the_middle_gives_its_place_back() {
    let limits = ServerLimits {
        requests_max: 4,
        ..ServerLimits::default()
    };
    let served = Served::start(state_of(Memory::large(48)), limits).await;
    let question =
        format!("GET /eth/v1/beacon/blobs/head HTTP/1.1\r\nhost: localhost\r\naccept: {OCTET_STREAM}\r\n\r\n");
    let until = Instant::now() + Duration::from_secs(30);
    let mut begun = 0;
    while begun < 40 {
        assert!(Instant::now() < until, "{begun}: no place came back");
        let mut stream = TcpStream::connect(served.address).await.expect("it listens");
        stream.write_all(question.as_bytes()).await.expect("sends");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("answers");
        // A place comes back when the connection's end is seen, which may be after the next question.
        begun += usize::from(&start == b"HTTP/1.1 200");
    }
}
