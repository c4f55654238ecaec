//! This file knows how to speak JSON-RPC over a Unix socket, on the ring where there is one.
//!
//! Clients write one JSON value for each answer, and nothing but its last brace marks its end ([`ValueEnd`]). Each
//! connection carries one call at a time. Calls that overlap use connections of their own.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_uring::buf::BoundedBuf;
use ultramarine_runtime::{Io, RingOps};

use crate::foreign::quoted;
use crate::value_end::{PieceScan, ValueEnd};

/// Idle connections kept: as many as calls of different kinds overlap.
const IDLE_MAX: usize = 8;
/// Bytes asked for in one read.
const READ_BYTES: usize = 256 * 1024;
/// A larger answer gets, at once, as much room as the largest answer so far: a growing buffer is copied again and
/// again.
const LARGE: usize = 4 * READ_BYTES;

// An answer that gets room for the largest has been read at least once.
const _: () = assert!(READ_BYTES < LARGE);

/// The socket of a client, and the connections to it that are free.
#[derive(Debug)]
pub struct IpcClient {
    path: PathBuf,
    io: Io,
    ring: RingOps,
    answer_bytes_max: usize,
    idle: RefCell<Vec<Connection>>,
    /// Bytes of the largest answer so far.
    largest: Cell<usize>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The socket is not there, or nobody listens.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The exchange broke off.
    #[error("the exchange over {} broke off: {source}", path.display())]
    Broken { path: PathBuf, source: io::Error },
    /// The answer is larger than any answer to our calls can be.
    #[error("the answer is above {max} bytes")]
    Oversize { max: usize },
    /// Whatever answers does not speak JSON-RPC.
    #[error("the answer is no JSON object: {0}")]
    Foreign(String),
}

impl IpcClient {
    /// A client of the socket at `path`. `io` says whether this runs inside tokio-uring; `ring` counts its operations.
    pub fn new(path: &Path, io: Io, ring: RingOps, answer_bytes_max: usize) -> Self {
        Self {
            path: path.to_owned(),
            io,
            ring,
            answer_bytes_max,
            idle: RefCell::new(Vec::new()),
            largest: Cell::new(0),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends one call and reads its answer.
    pub async fn exchange(&self, body: &Bytes) -> Result<Bytes, IpcError> {
        // As over HTTP: all calls may safely be repeated, so if a kept connection fails, we try a fresh one.
        let kept = self.idle.borrow_mut().pop();
        if let Some(mut kept) = kept {
            match self.call(&mut kept, body).await {
                Ok(answer) => return Ok(self.finish(kept, answer)),
                Err(IpcError::Broken { source, .. }) => {
                    tracing::debug!(
                        "a kept connection to {} failed, trying a fresh one: {source}",
                        self.path.display()
                    );
                    self.idle.borrow_mut().clear();
                }
                Err(error @ (IpcError::Connect { .. } | IpcError::Oversize { .. } | IpcError::Foreign(_))) => {
                    return Err(error);
                }
            }
        }
        let connect = |source| IpcError::Connect {
            path: self.path.clone(),
            source,
        };
        let mut fresh = Connection::open(&self.path, self.io).await.map_err(connect)?;
        let answer = self.call(&mut fresh, body).await?;
        Ok(self.finish(fresh, answer))
    }

    async fn call(&self, connection: &mut Connection, body: &Bytes) -> Result<Whole, IpcError> {
        let broken = |source| IpcError::Broken {
            path: self.path.clone(),
            source,
        };
        connection.write_line(body, &self.ring).await.map_err(broken)?;
        let mut bytes = Vec::new();
        let mut value = ValueEnd::default();
        loop {
            let before = bytes.len();
            if before >= LARGE && before < self.largest.get() {
                // The last read asks for room behind the end.
                bytes.reserve(self.largest.get() - before + READ_BYTES);
            }
            let count = connection.read(&mut bytes, &self.ring).await.map_err(broken)?;
            if count == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if bytes.len() > self.answer_bytes_max {
                return Err(IpcError::Oversize {
                    max: self.answer_bytes_max,
                });
            }
            match value.find(&bytes[before..]) {
                PieceScan::More => {}
                PieceScan::End(end) => {
                    let end = before + end;
                    return Ok(Whole { bytes, end });
                }
                PieceScan::NoValue => return Err(IpcError::Foreign(quoted(&bytes))),
            }
        }
    }

    /// Cuts the answer out. Keeps the connection, unless something follows that nobody asked for.
    fn finish(&self, connection: Connection, whole: Whole) -> Bytes {
        let Whole { mut bytes, end } = whole;
        self.largest.set(self.largest.get().max(end));
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX && bytes[end..].trim_ascii().is_empty() {
            idle.push(connection);
        }
        bytes.truncate(end);
        bytes.into()
    }
}

/// The bytes read until an answer was whole, and where in them the answer ends.
struct Whole {
    bytes: Vec<u8>,
    end: usize,
}

/// One connection, on whichever reactor this thread runs.
enum Connection {
    Ring(tokio_uring::net::UnixStream),
    Epoll(tokio::net::UnixStream),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring(_) => "Connection::Ring",
            Self::Epoll(_) => "Connection::Epoll",
        })
    }
}

impl Connection {
    /// Connects at once or not at all: the ring would wait for a full queue of connections, and a wait that we give up
    /// stays with the kernel.
    async fn open(path: &Path, io: Io) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?;
        match io {
            Io::Uring => {
                let stream = stream.into_std()?;
                // The ring waits for us, but not on a socket that refuses to block.
                stream.set_nonblocking(false)?;
                Ok(Self::Ring(tokio_uring::net::UnixStream::from_std(stream)))
            }
            Io::Fallback => Ok(Self::Epoll(stream)),
        }
    }

    async fn write_line(&mut self, bytes: &Bytes, ring: &RingOps) -> io::Result<()> {
        let mut line = Vec::with_capacity(bytes.len() + 1);
        line.extend_from_slice(bytes);
        line.push(b'\n');
        match self {
            Self::Ring(stream) => {
                ring.inc();
                stream.write_all(line).await.0
            }
            Self::Epoll(stream) => stream.write_all(&line).await,
        }
    }

    /// Appends what has arrived, as far as there is room: [`READ_BYTES`] or more. Returns how many bytes; zero at the
    /// end of the stream.
    async fn read(&mut self, into: &mut Vec<u8>, ring: &RingOps) -> io::Result<usize> {
        into.reserve(READ_BYTES);
        match self {
            Self::Ring(stream) => {
                ring.inc();
                // The kernel owns the buffer meanwhile.
                let buffer = std::mem::take(into);
                let free = buffer.len()..buffer.capacity();
                let (count, buffer) = stream.read(buffer.slice(free)).await;
                *into = buffer.into_inner();
                count
            }
            Self::Epoll(stream) => stream.read_buf(into).await,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // If a call was given up, the kernel keeps what it submitted, and the socket, until it answers. A socket that
        // is shut down answers at once.
        if let Self::Ring(stream) = self {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_runtime::{IoMode, Registry, block_on_net};

    use super::*;

    #[test]
    fn calls_over_a_socket_are_answered_on_either_reactor() {
        let both = [Io::Fallback, IoMode::Auto.resolve().expect("auto never fails")];
        for (index, io) in both.into_iter().enumerate() {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join(format!("{index}.ipc"));
            let registry = Registry::new();
            let ring = RingOps::new(&registry, "net");
            block_on_net(io, |_| async {
                let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
                tokio::spawn(async move {
                    // Two calls on the first connection, which then closes under the client's feet.
                    for calls in [2, 1] {
                        let (stream, _) = listener.accept().await.expect("a connection");
                        let mut stream = tokio::io::BufStream::new(stream);
                        for _ in 0..calls {
                            let mut line = String::new();
                            tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line)
                                .await
                                .expect("a line");
                            let answer = format!("{{\"echo\":{}}}\n", line.trim());
                            stream.write_all(answer.as_bytes()).await.expect("written");
                            stream.flush().await.expect("flushed");
                        }
                    }
                });
                let client = IpcClient::new(&path, io, ring.clone(), 1000);
                for call in 0..3 {
                    let body = Bytes::from(format!("[{call}]"));
                    let answer = client.exchange(&body).await.expect("an answer");
                    assert_eq!(answer, format!("{{\"echo\":[{call}]}}"));
                }
            });
            assert_eq!(ring.get() > 0, io == Io::Uring, "only the ring counts");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let registry = Registry::new();
        let path = Path::new("/nonexistent/el.ipc");
        let client = IpcClient::new(path, Io::Fallback, RingOps::new(&registry, "net"), 10);
        let error = client
            .exchange(&Bytes::from_static(b"{}"))
            .await
            .expect_err("no socket")
            .to_string();
        assert!(error.contains("/nonexistent/el.ipc"), "{error}");
    }
}
