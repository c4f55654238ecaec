//! This file knows the two ways to reach an execution client, and makes one call over either.

use std::path::PathBuf;

use bytes::Bytes;
use ultramarine_runtime::{Clock, Io, RingOps};

use crate::call::{self, CallError};
use crate::http::{HttpClient, UrlError};
use crate::ipc::IpcClient;
use crate::jwt::Secret;

/// Where an execution client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// Its authenticated HTTP port.
    Http {
        url: String,
        /// The secret shared with it.
        secret: Secret,
    },
    /// Its Unix socket. There is no token: the file's permissions say who may call.
    Ipc { path: PathBuf },
}

/// A way to one execution client.
#[derive(Debug)]
pub enum Transport {
    /// HTTP with a fresh token for each call.
    Http {
        client: HttpClient,
        secret: Secret,
    },
    Ipc(IpcClient),
}

impl Transport {
    /// A way to `endpoint`, which connects when it is first used.
    pub fn new(endpoint: &Endpoint, io: Io, ring: RingOps, answer_bytes_max: usize) -> Result<Self, UrlError> {
        Ok(match endpoint {
            Endpoint::Http { url, secret } => Self::Http {
                client: HttpClient::new(url, answer_bytes_max)?,
                secret: secret.clone(),
            },
            Endpoint::Ipc { path } => Self::Ipc(IpcClient::new(path, io, ring, answer_bytes_max)),
        })
    }

    /// Where the client is, for messages.
    pub fn address(&self) -> String {
        match self {
            Self::Http { client, .. } => format!("http://{}", client.authority()),
            Self::Ipc(client) => client.path().display().to_string(),
        }
    }

    /// Sends one JSON-RPC request and returns the answer's bytes.
    pub async fn exchange(&self, body: &Bytes) -> Result<Bytes, CallError> {
        match self {
            Self::Http { client, secret } => {
                let token = secret.token(Clock::unix_ns() / 1_000_000_000);
                call::json_of(client.post(body.clone(), Some(&token)).await?)
            }
            Self::Ipc(client) => Ok(client.exchange(body).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use ultramarine_runtime::{IoMode, Registry, block_on_net};

    use super::*;

    /// What a peer does instead of answering.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Peer {
        /// Reads, and says nothing.
        Mute,
        /// Says a part of an answer.
        Half,
        /// Does not even read.
        Deaf,
        /// Does not take the connection.
        Absent,
    }

    const PEERS: [Peer; 4] = [Peer::Mute, Peer::Half, Peer::Deaf, Peer::Absent];
    const CALLS: usize = 40;

    async fn play(peer: Peer, mut stream: impl AsyncRead + AsyncWrite + Unpin, over: Rc<Cell<bool>>) {
        if peer == Peer::Half {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":")
                .await;
        }
        while peer == Peer::Deaf && !over.get() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut bytes = [0; 65536];
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    }

    /// Peers of one kind behind a socket and a port, and the way to them.
    async fn way_to(peer: Peer, over: &Rc<Cell<bool>>, path: &std::path::Path, is_ipc: bool) -> Endpoint {
        let over = Rc::clone(over);
        if is_ipc {
            let listener = tokio::net::UnixListener::bind(path).expect("a socket");
            tokio::task::spawn_local(async move {
                while peer == Peer::Absent && !over.get() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(play(peer, stream, Rc::clone(&over)));
                }
            });
            return Endpoint::Ipc { path: path.to_owned() };
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::task::spawn_local(async move {
            while peer == Peer::Absent && !over.get() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(play(peer, stream, Rc::clone(&over)));
            }
        });
        let secret = Secret::new([1; 32]);
        Endpoint::Http { url, secret }
    }

    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").expect("it is there").count()
    }

    async fn give_up_many(io: Io, peer: Peer, is_ipc: bool) {
        let directory = tempfile::tempdir().expect("a directory");
        let over = Rc::new(Cell::new(false));
        let endpoint = way_to(peer, &over, &directory.path().join("el.ipc"), is_ipc).await;
        let ring = RingOps::new(&Registry::new(), "engine");
        let transport = Transport::new(&endpoint, io, ring, 1_000_000).expect("a way");
        // More than fits the buffers between, so that a write waits too.
        let body = Bytes::from(vec![b' '; 4 * 1024 * 1024]);
        let before = descriptors();
        for _ in 0..CALLS {
            let given_up = tokio::time::timeout(Duration::from_millis(5), transport.exchange(&body)).await;
            // A socket whose queue is full refuses at once.
            assert!(!matches!(given_up, Ok(Ok(_))), "{io:?}, {peer:?}");
        }
        // Ours are closed. A peer that reads sees it and closes its own; one that does not still holds one a call.
        let theirs = if peer == Peer::Deaf { CALLS } else { 0 };
        let until = Instant::now() + Duration::from_secs(20);
        while descriptors() > before + theirs + 4 {
            let now = descriptors();
            assert!(
                Instant::now() < until,
                "{io:?}, {peer:?}, socket {is_ipc}: {before} descriptors grew to {now}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        over.set(true);
    }

    /// In a process of its own, see below.
    #[test]
    #[ignore = "counts the process's descriptors: `a_call_that_is_given_up_keeps_no_descriptor` runs it"]
    fn descriptors_over_many_calls() {
        for io in [Io::Fallback, IoMode::Auto.resolve().expect("auto never fails")] {
            for peer in PEERS {
                for is_ipc in [true, false] {
                    block_on_net(io, |io| give_up_many(io, peer, is_ipc));
                }
            }
        }
    }

    #[test]
    fn a_call_that_is_given_up_keeps_no_descriptor() {
        // Other tests open and close their own in this process.
        let outcome = std::process::Command::new(std::env::current_exe().expect("it runs"))
            .args(["--exact", "transport::tests::descriptors_over_many_calls", "--ignored"])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success() && text.contains("1 passed"), "{text}");
    }
}
