//! This file knows how to accept HTTP connections within bounds on their number, their time and their work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;
use ultramarine_runtime::halt::Halt;

use crate::http::metrics::Metrics;
use crate::http::{HttpState, router};

/// Connections kept open at one time; further callers wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How long a caller may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live. It bounds how long a slow reader holds the segments it reads from.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of request line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long accepting pauses after the system refused it (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What callers may make us spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests worked on at one time; further ones get 503.
    pub requests_max: usize,
    /// Time until an answer begins.
    pub timeout: Duration,
}

impl Default for Limits {
    /// As in `default.toml`.
    fn default() -> Self {
        Self {
            requests_max: 32,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Answers requests until the node halts. Needs a tokio runtime with I/O and time.
pub async fn serve(listener: TcpListener, state: HttpState, limits: Limits, halt: Halt) -> Result<(), String> {
    let metrics = Arc::new(Metrics::new(&state.registry));
    let router = router(state, &limits);
    let requests = Arc::new(Semaphore::new(limits.requests_max));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = halt.stopped() => return Ok(()),
            accepted = accept(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = connection(stream, router.clone(), requests.clone(), metrics.clone(), permit);
                let halt = halt.clone();
                tokio::spawn(async move {
                    tokio::select! { () = halt.stopped() => {}, () = connection => {} }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections
        .clone()
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    stream: TcpStream,
    router: Router,
    requests: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    permit: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (mut router, requests, metrics) = (router.clone(), requests.clone(), metrics.clone());
        async move {
            let began = Instant::now();
            let response = answer(&mut router, &requests, request.map(Body::new)).await;
            metrics.answered(response.status(), began.elapsed());
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong with one connection concerns its caller only, who sees it closed.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serving).await;
    drop(permit);
}

/// One request's answer. The permit stays with the body, so that sending counts as work too.
async fn answer(router: &mut Router, requests: &Arc<Semaphore>, request: Request<Body>) -> Response {
    let Ok(permit) = requests.clone().try_acquire_owned() else {
        let body = json!({ "code": 503, "message": "too many requests at one time; try again" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    };
    match router.call(request).await {
        Ok(response) => response.map(|body| Body::new(Guarded { body, _permit: permit })),
        Err(never) => match never {},
    }
}

/// A body that holds its request's permit until it is sent or dropped.
struct Guarded {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Guarded {
    type Data = hyper::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
