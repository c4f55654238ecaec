//! This file knows the ways to reach an execution client, and makes one call over either.

use std::path::PathBuf;

use bytes::Bytes;
use hyper::StatusCode;
use ultramarine_runtime::{Clock, Io, RingOps};

use super::call::CallError;
use super::http::{HttpClient, UrlError};
use super::ipc::IpcClient;
use super::jwt::Secret;

/// Where an execution client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// Its authenticated HTTP port.
    Http {
        /// `http://host:port`.
        url: String,
        /// The secret shared with it.
        secret: Secret,
    },
    /// Its Unix socket; whoever may open it is trusted.
    Ipc {
        /// The socket's path.
        path: PathBuf,
    },
}

/// A way to one execution client.
#[derive(Debug)]
pub enum Transport {
    /// HTTP with a fresh token for each call.
    Http {
        /// Connections.
        client: HttpClient,
        /// Signs the tokens.
        secret: Secret,
    },
    /// Unix socket.
    Ipc(IpcClient),
}

impl Transport {
    /// The way to `endpoint`; connects when first used.
    pub fn new(endpoint: &Endpoint, io: Io, ring: RingOps, answer_bytes_max: usize) -> Result<Self, UrlError> {
        Ok(match endpoint {
            Endpoint::Http { url, secret } => Self::Http {
                client: HttpClient::new(url, answer_bytes_max)?,
                secret: secret.clone(),
            },
            Endpoint::Ipc { path } => Self::Ipc(IpcClient::new(path, io, ring, answer_bytes_max)),
        })
    }

    /// For messages: where the client is.
    pub fn place(&self) -> String {
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
                let answer = client.post(body.clone(), Some(&token)).await?;
                match answer.status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        Err(CallError::Unauthorized(format!("HTTP {}", answer.status)))
                    }
                    // Some clients answer an error of the call with 4xx and say in the body what it is.
                    _ if answer.body.first() == Some(&b'{') => Ok(answer.body),
                    status => Err(CallError::Status(status)),
                }
            }
            Self::Ipc(client) => Ok(client.exchange(body).await?),
        }
    }
}
