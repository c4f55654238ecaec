//! This file knows every URL a node answers. All are read-only.
//!
//! ```text
//!   /metrics                                Prometheus text
//!   /health                                 200 when ready, 503 with reasons; every condition, and what to do
//!   /status                                 the board, as JSON
//!   /histograms                             stages of a block, HdrHistogram V2 in base64, nanoseconds
//!   /histograms?format=hlog                 the same as an interval log, for HdrHistogram's tools
//!   /histograms?of=all                      every latency of /metrics, in either form
//!   /eth/v1/beacon/blob_sidecars/{block}    blobs with commitments, proofs, signed headers
//!   /eth/v1/beacon/blobs/{block}            blobs alone
//!   /eth/v1/beacon/genesis                  when slot 0 begins
//!   /eth/v1/config/spec                     length of a slot, blobs per block, forks
//!   /eth/v1/beacon/headers[/{block}]        the header under which a block's blobs are served
//!   /eth/v1/events?topics=head,…            what is decided, as it is decided (server-sent events)
//!   /eth/v1/node/version                    name and version of this program
//!   /eth/v1/node/{syncing,health,identity,peer_count}    how far it is, and who it is
//!   /dashboard                              a page that shows the live view
//!   /ultramarine/v1/live                    all that `ultramarine top` and /dashboard show
//!   /eth/v1/node/peers[/{peer id}]          who is connected
//!   /ultramarine/v1/blobs/{versioned hash}  where a blob is
//!   /ultramarine/v1/decided?from=A&to=B     what was decided at every height
//!   /ultramarine/v1/value/{height}          all that proves one decision, but payload and blobs
//!   /ultramarine/v1/evidence?from=A&to=B    what convicts validators
//!   /ultramarine/v1/evidence/{height}/{validator}    a false value with its lists and the blob
//!   /ultramarine/v1/blob_status/{height}    what became of a height's blobs, and since when
//!   /ultramarine/v1/store                   what the store holds: heights by state, bytes by kind
//! ```
//!
//! Blob bytes come from the store's map, and become JSON one blob at a time. So a request holds one blob's text in
//! memory, however many blobs it asks for.
//!
//! What a caller can make us spend is bounded:
//! - Connections, requests at a time, header and body bytes, and time have ceilings ([`server`]).
//! - One address gets a share of connections and requests, so that others have room ([`seats`]).
//! - `/health`, `/metrics`, `/status` and the live view do not count as requests, so no download can delay them.
//!
//! While the data directory is being opened, a node says how far it is and refuses all else ([`opening`]).
//!
//! Every refusal is JSON ([`error`]), also the refusal of bytes that are no HTTP ([`wire`]).

pub mod beacon;
pub mod block;
pub mod body;
mod dashboard;
pub mod decided;
pub mod error;
pub mod evidence;
mod gathered;
pub mod histograms;
pub mod hosts;
pub mod index;
pub mod live;
mod metrics;
mod opening;
pub mod query;
pub mod seats;
pub mod server;
pub mod spec;
pub mod status;
pub mod store;
#[cfg(test)]
mod tests;
pub mod value;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use ultramarine_net::PeerBook;
use ultramarine_runtime::metrics::Registry;
use ultramarine_types::Chain;
use ultramarine_types::storage::Source;

use crate::board::Board;
use crate::conditions::Conditions;
use crate::http::beacon::{CONSENSUS_FINALIZED, CONSENSUS_VERSION, EXECUTION_OPTIMISTIC};
use crate::http::body::OCTET_STREAM;
use crate::http::error::ApiError;
use crate::http::hosts::HostNames;
use crate::http::index::BlobIndex;
use crate::http::server::ServerLimits;

/// Requests have no use for a body.
const BODY_BYTES_MAX: usize = 1024;

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub struct HttpState {
    pub chain: Chain,
    /// Decided blocks and blobs.
    pub source: Arc<dyn Source>,
    pub board: Arc<Board>,
    pub registry: Arc<Registry>,
    /// What is wrong, and since when.
    pub conditions: Arc<Conditions>,
    /// Who is connected.
    peers: PeerBook,
    /// By which names this node answers.
    hosts: HostNames,
    /// Origins whose pages may read answers; `*` is every one.
    origins: Arc<[HeaderValue]>,
    /// How often a stream of events says something.
    keep_alive: Duration,
    /// When this process began to answer.
    started: Instant,
    live: Arc<live::LiveState>,
    index: Arc<Mutex<BlobIndex>>,
    /// Held by whoever reads a step for the index. Nobody reads with the index itself in hand.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl HttpState {
    pub fn new(chain: Chain, source: Arc<dyn Source>, board: Arc<Board>, registry: Arc<Registry>) -> Self {
        let conditions = Arc::new(Conditions::new(
            chain.params.clone(),
            Arc::clone(&board),
            Arc::clone(&source),
            &registry,
        ));
        Self {
            chain,
            source,
            board,
            registry,
            conditions,
            peers: PeerBook::default(),
            hosts: HostNames::default(),
            origins: Arc::default(),
            keep_alive: beacon::events::KEEP_ALIVE,
            started: Instant::now(),
            live: live::fresh(),
            index: Arc::default(),
            reading: Arc::default(),
        }
    }

    /// Shows who is connected.
    pub fn show_peers(self, peers: PeerBook) -> Self {
        Self { peers, ..self }
    }

    /// Answers by these names.
    pub fn answer_to(self, hosts: HostNames) -> Self {
        Self { hosts, ..self }
    }

    /// Lets pages of these origins read answers.
    pub fn allow_origins(self, origins: Vec<HeaderValue>) -> Self {
        Self {
            origins: origins.into(),
            ..self
        }
    }

    /// Asks the index of recent blobs and roots. What it lacks is read from the store, a step at a time, until the
    /// answer is found, or all that it covers is read. Whoever waits for a step holds nothing that others want.
    async fn find_recent<T>(&self, ask: impl Fn(&BlobIndex) -> Option<T>) -> Result<Option<T>, ApiError> {
        loop {
            let head = self.source.head();
            {
                let index = self.index();
                let found = if index.is_current(head) { ask(&index) } else { None };
                if found.is_some() || index.next_step(head).is_none() {
                    return Ok(found);
                }
            }
            let reading = Arc::clone(&self.reading).lock_owned().await;
            let this = self.clone();
            ApiError::off_core(move || {
                let step = this.index().next_step(head);
                if let Some(step) = step {
                    let read = step.read(this.source.as_ref(), this.chain.params.genesis_time);
                    this.index().take(read);
                }
                drop(reading);
                Ok(())
            })
            .await?;
        }
    }

    /// The index, for a look at it or a change of it in memory.
    fn index(&self) -> MutexGuard<'_, BlobIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub use metrics::register_metrics;
pub use server::serve_from_the_start;

/// All routes, with limits on body and time.
pub fn router(state: HttpState, limits: &ServerLimits) -> Router {
    let timeout: Duration = limits.timeout;
    Router::new()
        .route("/metrics", get(status::metrics))
        .route("/health", get(status::health))
        .route("/status", get(status::status))
        .route("/histograms", get(histograms::histograms))
        .route("/eth/v1/beacon/blob_sidecars/{block}", get(beacon::sidecars))
        .route("/eth/v1/beacon/blobs/{block}", get(beacon::blobs))
        .route("/eth/v1/beacon/genesis", get(spec::genesis))
        .route("/eth/v1/config/spec", get(spec::spec))
        .route("/eth/v1/beacon/headers", get(beacon::headers::headers))
        .route("/eth/v1/beacon/headers/{block}", get(beacon::headers::header))
        .route(beacon::events::URL, get(beacon::events::events))
        .route("/eth/v1/node/version", get(beacon::node::version))
        .route("/eth/v1/node/syncing", get(beacon::node::syncing))
        .route("/eth/v1/node/health", get(beacon::node::health))
        .route("/eth/v1/node/identity", get(beacon::node::identity))
        .route("/eth/v1/node/peer_count", get(beacon::node::peer_count))
        .route(dashboard::DASHBOARD, get(dashboard::dashboard))
        .route(live::LIVE, get(live::live))
        .route("/eth/v1/node/peers", get(beacon::peers::peers))
        .route("/eth/v1/node/peers/{peer}", get(beacon::peers::peer))
        .route("/ultramarine/v1/blobs/{versioned_hash}", get(decided::locate_blob))
        .route("/ultramarine/v1/decided", get(decided::decided))
        .route("/ultramarine/v1/value/{height}", get(value::value))
        .route("/ultramarine/v1/evidence", get(evidence::evidence))
        .route(
            "/ultramarine/v1/evidence/{height}/{validator}",
            get(evidence::false_value),
        )
        .route("/ultramarine/v1/blob_status/{height}", get(store::blob_status))
        .route("/ultramarine/v1/store", get(store::store))
        .fallback(|| async { ApiError::not_found("no such URL; see README.md for those that exist") })
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, timeout))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(map_response(async |response: Response| error::in_json(response)))
        .layer(compression())
        .layer(cross_origin(state.origins.iter().cloned()))
        .with_state(state)
}

/// Text is compressed for whoever asks for it. SSZ is not: blobs have little to squeeze out, and leave uncopied.
fn compression() -> CompressionLayer<impl Predicate> {
    let predicate = DefaultPredicate::new().and(NotForContentType::const_new(OCTET_STREAM));
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(predicate)
}

/// Lets pages of these origins read every answer (Fetch standard, "CORS protocol").
fn cross_origin(origins: impl Iterator<Item = HeaderValue>) -> CorsLayer {
    let origins: Vec<_> = origins.collect();
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins)
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([ACCEPT, IF_NONE_MATCH])
        .expose_headers([ETAG, CONSENSUS_VERSION, CONSENSUS_FINALIZED, EXECUTION_OPTIMISTIC])
}
