//! This file knows the bytes of one connection: it tells its seat what moves, and mends two things in hyper.
//!
//! - hyper takes URLs of at most 65,534 bytes, and the names of all blobs of the largest block need more. So we keep
//!   the query of a long request line apart, and hyper sees the line without it.
//! - hyper refuses bytes that are no HTTP with an answer without a body. Our answer has one, in the shape of all our
//!   refusals.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http::error;
use crate::http::seats::{CallerSeat, Phase};

/// Bytes of a request line, and of all headers together. The largest query has 1024 versioned hashes in 92 kB.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
// A query names all blobs of the largest block: 66 characters and a comma each.
const _: () = assert!(HEAD_BYTES_MAX > 67 * ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize);
/// hyper gets longer request lines without their query.
const LONG_LINE_BYTES: usize = 16 * 1024;
/// Bytes read at a time while we look for a request line.
const CHUNK_BYTES: usize = 8 * 1024;

/// What a connection shares with the service that answers on it.
#[derive(Debug)]
pub struct Line {
    pub seat: Arc<CallerSeat>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The query of the request under way, if we kept it apart.
    query: Option<String>,
    /// The whole answer was handed to hyper.
    is_made: bool,
    /// The answer under way is a stream, which has pauses.
    is_stream: bool,
    /// Answers that are done.
    answers: u64,
}

impl Line {
    /// The line of a new connection.
    pub fn new(seat: Arc<CallerSeat>) -> Self {
        Self {
            seat,
            state: Mutex::default(),
        }
    }

    /// A request's head is whole. Returns its query, if we kept that apart.
    pub fn begin(&self) -> Option<String> {
        self.seat.turn_to(Phase::Making, Instant::now());
        self.with(|state| {
            (state.is_made, state.is_stream) = (false, false);
            state.query.take()
        })
    }

    /// The answer begins to be sent.
    pub fn send(&self, is_stream: bool) {
        self.with(|state| state.is_stream = is_stream);
        self.seat.turn_to(Phase::Sending, Instant::now());
    }

    /// A piece of the answer was handed to hyper.
    pub fn more(&self) {
        if self.seat.phase() == Phase::Listening {
            self.seat.turn_to(Phase::Sending, Instant::now());
        }
    }

    /// The whole answer is made.
    pub fn made(&self) {
        self.with(|state| state.is_made = true);
    }

    /// The kernel has all that was made.
    fn flushed(&self) {
        let (is_done, is_stream) = self.with(|state| (std::mem::take(&mut state.is_made), state.is_stream));
        if is_done {
            self.with(|state| state.answers += 1);
            self.seat.turn_to(Phase::Idle, Instant::now());
        } else if is_stream && self.seat.phase() == Phase::Sending {
            self.seat.turn_to(Phase::Listening, Instant::now());
        }
    }

    fn answers(&self) -> u64 {
        self.with(|state| state.answers)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A caller's socket as hyper sees it.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
    reading: Reading,
    /// Bytes that we read. hyper has those before `given`.
    held: Vec<u8>,
    given: usize,
    /// How many answers were done when we last looked for a request line.
    answers: u64,
    /// Whether the request line has more bytes than any may have.
    is_long: bool,
    refused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// A request line, held until it is whole.
    Line,
    /// Headers and bodies, which pass as they come.
    Rest,
}

impl Wire {
    /// Wraps a new connection.
    pub fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self {
            stream,
            line,
            reading: Reading::Line,
            held: Vec::new(),
            given: 0,
            answers: 0,
            is_long: false,
            refused: false,
        }
    }

    /// Whether we refused a request here, because it was no HTTP.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// The socket, when hyper is done with it.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Keeps the query of a long request line apart. Leaves alone whatever does not look like a request line.
    fn keep_query_apart(&mut self, line_bytes: usize) {
        if line_bytes < LONG_LINE_BYTES {
            return;
        }
        let line = &self.held[..line_bytes];
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        let Some(mark) = target.iter().position(|byte| *byte == b'?') else {
            return;
        };
        let query = &target[mark + 1..];
        if target.first() != Some(&b'/') || !query.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return;
        }
        let query = String::from_utf8_lossy(query).into_owned();
        let mut short = [method, &target[..mark], version].join(&b' ');
        short.extend_from_slice(&self.held[line_bytes..]);
        self.held = short;
        self.line.with(|state| state.query = Some(query));
    }

    /// Answers in place of hyper, which would send a status alone.
    fn refuse(&mut self, words: &[u8]) {
        if std::mem::replace(&mut self.refused, true) {
            return;
        }
        // "HTTP/1.1 431 …"
        let status = words.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
        let status = match status {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if self.is_long => StatusCode::URI_TOO_LONG,
            Some(status) => status,
            None => StatusCode::BAD_REQUEST,
        };
        // Nothing else is under way, so the kernel has room for these few bytes.
        let _ = self.stream.try_write(&error::raw(status, reason(status)));
    }
}

/// What is wrong with a request that hyper does not take.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::URI_TOO_LONG => "the URL is too long: a path has at most 65,534 bytes, a request line 131,072",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too large: it has at most 131,072 bytes and 100 headers"
        }
        _ => "this is not a request of HTTP/1.1",
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let answers = this.line.answers();
            if answers != this.answers {
                // If the next request came with the last one, hyper has its beginning already. What we see then looks
                // like no request line, and is left alone.
                (this.answers, this.reading, this.is_long) = (answers, Reading::Line, false);
            }
            if matches!(
                this.line.seat.phase(),
                Phase::Making | Phase::Sending | Phase::Listening
            ) {
                this.reading = Reading::Rest;
            }
            if this.reading == Reading::Rest {
                if this.given == this.held.len() {
                    let before = into.filled().len();
                    ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
                    if into.filled().len() > before {
                        this.line.seat.heard(Instant::now());
                    }
                    return Poll::Ready(Ok(()));
                }
                let bytes = into.remaining().min(this.held.len() - this.given);
                into.put_slice(&this.held[this.given..this.given + bytes]);
                this.given += bytes;
                if this.given == this.held.len() {
                    (this.held, this.given) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; CHUNK_BYTES];
            let mut chunk = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            let chunk = chunk.filled();
            if chunk.is_empty() {
                // The end: hyper judges what there is.
                this.reading = Reading::Rest;
                continue;
            }
            this.line.seat.heard(Instant::now());
            // Empty lines may stand before a request.
            let empty = chunk
                .iter()
                .take_while(|byte| this.held.is_empty() && matches!(byte, b'\r' | b'\n'));
            let empty = empty.count();
            let searched = this.held.len();
            this.held.extend_from_slice(&chunk[empty..]);
            let newline = this.held[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = newline {
                this.keep_query_apart(searched + at);
                this.reading = Reading::Rest;
            } else if this.held.len() > HEAD_BYTES_MAX {
                this.is_long = true;
                this.reading = Reading::Rest;
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if matches!(this.line.seat.phase(), Phase::Idle | Phase::Head) {
            this.refuse(pieces.first().map(|piece| &**piece).unwrap_or_default());
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let bytes = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, pieces))?;
        this.line.seat.took(bytes, Instant::now());
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back, and hyper flushes when its own buffer is empty.
        self.line.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
