//! This file knows how to speak JSON-RPC over a Unix socket, on the ring where there is one.
//!
//! Clients write one JSON value per answer and mark its end only by its last brace, so the end is found by counting
//! brackets. Each connection carries one call at a time; calls that overlap use connections of their own.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ultramarine_runtime::{Io, RingOps};

/// Idle connections kept: as many as calls of different kinds overlap.
const IDLE_MAX: usize = 8;
/// Bytes asked for in one read.
const READ_BYTES: usize = 256 * 1024;

/// The socket of a client, and the connections to it that are free.
#[derive(Debug)]
pub struct IpcClient {
    path: PathBuf,
    io: Io,
    ring: RingOps,
    answer_bytes_max: usize,
    idle: RefCell<Vec<Connection>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The socket is not there, or nobody listens.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the exchange over {} broke off: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer is larger than any that makes sense.
    #[error("the answer is above {max} bytes")]
    Oversize {
        /// The bound.
        max: usize,
    },
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
        }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends one call and reads its answer.
    pub async fn exchange(&self, body: &Bytes) -> Result<Bytes, IpcError> {
        // As over HTTP: calls may safely be repeated, so a kept connection that fails is replaced once.
        let kept = self.idle.borrow_mut().pop();
        if let Some(mut kept) = kept {
            match self.call(&mut kept, body).await {
                Ok(answer) => {
                    self.keep(kept);
                    return Ok(answer);
                }
                Err(IpcError::Broken { source, .. }) => {
                    tracing::debug!(
                        "a kept connection to {} failed, trying a fresh one: {source}",
                        self.path.display()
                    );
                    self.idle.borrow_mut().clear();
                }
                Err(error @ (IpcError::Connect { .. } | IpcError::Oversize { .. })) => return Err(error),
            }
        }
        let connect = |source| IpcError::Connect {
            path: self.path.clone(),
            source,
        };
        let mut fresh = Connection::open(&self.path, self.io).await.map_err(connect)?;
        let answer = self.call(&mut fresh, body).await?;
        self.keep(fresh);
        Ok(answer)
    }

    async fn call(&self, connection: &mut Connection, body: &Bytes) -> Result<Bytes, IpcError> {
        let broken = |source| IpcError::Broken {
            path: self.path.clone(),
            source,
        };
        connection.write(body, &self.ring).await.map_err(broken)?;
        connection
            .write(&Bytes::from_static(b"\n"), &self.ring)
            .await
            .map_err(broken)?;
        let mut answer = Vec::new();
        let mut value = ValueEnd::default();
        loop {
            let before = answer.len();
            let count = connection.read(&mut answer, &self.ring).await.map_err(broken)?;
            if count == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if answer.len() > self.answer_bytes_max {
                return Err(IpcError::Oversize {
                    max: self.answer_bytes_max,
                });
            }
            if let Some(end) = value.find(&answer[before..]) {
                answer.truncate(before + end);
                return Ok(answer.into());
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
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
    async fn open(path: &Path, io: Io) -> io::Result<Self> {
        match io {
            Io::Uring => tokio_uring::net::UnixStream::connect(path).await.map(Self::Ring),
            Io::Fallback => tokio::net::UnixStream::connect(path).await.map(Self::Epoll),
        }
    }

    async fn write(&mut self, bytes: &Bytes, ring: &RingOps) -> io::Result<()> {
        match self {
            Self::Ring(stream) => {
                ring.inc();
                stream.write_all(bytes.to_vec()).await.0
            }
            Self::Epoll(stream) => stream.write_all(bytes).await,
        }
    }

    /// Appends what has arrived, at most [`READ_BYTES`]; zero at the end of the stream.
    async fn read(&mut self, into: &mut Vec<u8>, ring: &RingOps) -> io::Result<usize> {
        match self {
            Self::Ring(stream) => {
                ring.inc();
                // The kernel writes into a buffer it owns meanwhile, so bytes take one copy to the answer.
                let (count, buffer) = stream.read(Vec::with_capacity(READ_BYTES)).await;
                let count = count?;
                into.extend_from_slice(buffer.get(..count).unwrap_or(&buffer));
                Ok(count)
            }
            Self::Epoll(stream) => {
                into.reserve(READ_BYTES);
                stream.read_buf(into).await
            }
        }
    }
}

/// Finds the end of one JSON object or array in bytes that arrive piece by piece.
#[derive(Debug, Default)]
struct ValueEnd {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl ValueEnd {
    /// Position behind the last byte of the value within `piece`, if it ends there.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (index, byte) in piece.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ultramarine_runtime::{IoMode, Registry, block_on_net};

    #[test]
    fn the_end_of_a_value_is_found_wherever_the_pieces_are_cut() {
        let value = br#"{"a":"}\"]{","b":[{},[1]],"c":"\\"}"#;
        for cut in 0..value.len() {
            let mut end = ValueEnd::default();
            assert_eq!(end.find(&value[..cut]), None, "cut at {cut}");
            assert_eq!(
                end.find(&[&value[cut..], b"\n{".as_slice()].concat()),
                Some(value.len() - cut),
                "cut at {cut}"
            );
        }
    }

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
