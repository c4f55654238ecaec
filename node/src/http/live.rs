//! This file knows what `/ultramarine/v1/live` answers: the node at this moment, for people who watch it.
//!
//! `ultramarine top` reads it by these types, and the page `/dashboard` by their names. Times are milliseconds with
//! their fractions, shares are of 1, and rates are per second.
//!
//! The answer is bounded: [`HEIGHTS_SHOWN_MAX`] heights, the peers that the roster admits, and reasons of one line. It
//! is made at most twice a second, whoever asks, and no tile that works on blocks waits for it.

mod gather;
mod history;
mod latency;
mod waterfall;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use ultramarine_runtime::Halt;

use crate::board::{Condition, NodeIdentity};
use crate::http::HttpState;
use crate::http::error::ApiError;
pub use history::{CounterSample, History};
use latency::LatencyMarks;

/// The URL.
pub const LIVE: &str = "/ultramarine/v1/live";
/// Newest heights in an answer.
pub const HEIGHTS_SHOWN_MAX: usize = 32;
/// An answer this young is given again.
const FRESH: Duration = Duration::from_millis(500);
/// How often the counters are looked at, so that the first answer has rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// The node at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Live {
    pub identity: NodeIdentity,
    pub unix_ms: u64,
    pub uptime_s: u64,
    /// Newest decided height.
    pub height: u64,
    /// Round at the height after it.
    pub round: u32,
    /// Highest height known to be decided: ours, one that a certificate proves, or that more than a third of the power
    /// claims.
    pub best_tip: u64,
    pub signing: Option<Condition>,
    /// The height that is being decided.
    pub current: LiveBlock,
    /// Newest decisions, newest last.
    pub heights: Vec<LiveBlock>,
    pub rates: LiveRates,
    pub tiles: Vec<LiveTile>,
    pub latency: LiveLatency,
    pub peers: Vec<LivePeer>,
    pub client: LiveClient,
    pub disk: LiveDisk,
    pub sync: LiveSync,
    /// What is not as it should be, worst first.
    pub conditions: Vec<LiveCondition>,
}

/// A height, with its waterfall.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveBlock {
    pub height: u64,
    pub round: u32,
    pub blobs: u32,
    /// Payload and blob bytes.
    pub bytes: u64,
    /// The validator that built it, or that may build it.
    pub proposer: String,
    /// How long ago the height began here; `None`: unknown.
    pub began_ms_ago: Option<f64>,
    /// Stages in the order in which a block passes them.
    pub spans: Vec<LiveSpan>,
}

/// A stage of a height, from its beginning.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveSpan {
    pub stage: String,
    /// After the height's beginning here; below zero if the others were faster.
    pub begin_ms: f64,
    /// `None`: it is under way.
    pub end_ms: Option<f64>,
}

impl LiveSpan {
    /// How long it took, or has taken up to `now_ms` after the height's beginning.
    pub fn took_ms(&self, now_ms: f64) -> f64 {
        (self.end_ms.unwrap_or(now_ms) - self.begin_ms).max(0.0)
    }
}

/// What a second brought, over the last `over_s` seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveRates {
    pub over_s: f64,
    pub heights: f64,
    pub blobs: f64,
    pub bytes: f64,
    pub received_bytes: f64,
    pub sent_bytes: f64,
}

/// A thread of the node, and the links that it takes from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveTile {
    pub tile: String,
    /// Share of the time in which it worked.
    pub busy: f64,
    /// Share of the time in which it could work and had no CPU.
    pub queued: f64,
    /// For how long it has had work and taken no turn.
    pub silent_s: u64,
    pub links: Vec<LiveLink>,
}

/// A link into a tile.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveLink {
    pub link: String,
    pub items: u64,
    pub capacity: u64,
    /// Items that found it full, since the start.
    pub refused: u64,
}

/// Distributions: counts since the start, whose differences between two answers make a heatmap, and quantiles.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveLatency {
    /// Upper bounds of the buckets; the last bucket has none.
    pub bounds_ms: Vec<f64>,
    pub stages: Vec<LiveDistribution>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveDistribution {
    pub stage: String,
    /// Since the start.
    pub count: u64,
    /// Of the last 5 to 10 minutes, as the quantiles; of all before that.
    #[serde(default)]
    pub recent_count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// One more than there are bounds.
    pub counts: Vec<u64>,
}

/// A peer that is connected.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LivePeer {
    pub peer: String,
    /// The validator that attests it.
    pub validator: Option<String>,
    /// `validator`, `listed` or `stranger`.
    pub class: String,
    pub address: String,
    /// Whether we dialed it.
    pub dialed: bool,
    pub round_trip_ms: f64,
    /// Points of its faults; it is banned at 100.
    pub score: u64,
    /// Newest height it says it has decided.
    pub tip: Option<u64>,
}

/// The execution client.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveClient {
    /// Whether it confirms our head; `None`: not known yet.
    pub gate: Option<Condition>,
    /// The call that it has not answered for long.
    pub waiting: Option<String>,
    /// Newest height it has imported.
    pub executed: u64,
    /// Decided heights that it has not imported.
    pub lag: u64,
    /// Its methods that were called since the start.
    pub calls: Vec<LiveDistribution>,
}

/// The data directory.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveDisk {
    /// Bytes on disk, by kind.
    pub kinds: Vec<LiveBytes>,
    /// What may still be written; `None`: not known.
    pub available: Option<u64>,
    /// Bytes that are stored anew in a second; `None`: too early to say.
    pub growth: Option<f64>,
    /// Seconds until the disk is full, as conditions and metrics have it; `None`: not known, or never.
    pub seconds_left: Option<u64>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveBytes {
    pub kind: String,
    pub bytes: u64,
}

/// How far the node is behind.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveSync {
    /// Heights that are decided and missing here.
    pub behind: u64,
    /// Seconds until there are none; `None`: not known, or there are none.
    pub seconds_left: Option<f64>,
}

/// Something that is not as it should be, as `/health` has it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveCondition {
    pub id: String,
    /// `critical` or `warning`.
    pub severity: String,
    pub what: String,
    /// What to do.
    pub action: String,
    pub since_unix_s: Option<u64>,
    /// Whether it tells of something that is over. Its words say how long ago that was.
    #[serde(default)]
    pub is_over: bool,
}

/// What answers are made of beside the board: past counters, and the newest answer.
#[derive(Debug, Default)]
pub struct LiveState {
    history: Mutex<History>,
    marks: Mutex<LatencyMarks>,
    newest: Mutex<Option<(Instant, Bytes)>>,
}

impl LiveState {
    fn newest(&self) -> Option<Bytes> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, answer) = newest.as_ref()?;
        (made.elapsed() < FRESH).then(|| answer.clone())
    }
}

/// `GET /ultramarine/v1/live`.
pub async fn live(State(state): State<HttpState>) -> Result<Response, ApiError> {
    let answer = match state.live.newest() {
        Some(newest) => newest,
        None => ApiError::off_core(move || make(&state)).await?,
    };
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((head, answer).into_response())
}

fn make(state: &HttpState) -> Result<Bytes, ApiError> {
    // Whoever waits here for another's answer takes that.
    let mut newest = state.live.newest.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((made, answer)) = newest.as_ref()
        && made.elapsed() < FRESH
    {
        return Ok(answer.clone());
    }
    let text = serde_json::to_vec(&gather::gather(state)).map_err(|error| ApiError::internal(error.to_string()))?;
    let answer = Bytes::from(text);
    *newest = Some((Instant::now(), answer.clone()));
    Ok(answer)
}

/// Looks at the counters until the node halts.
pub async fn sample(state: HttpState, halt: Halt) {
    let mut looks = tokio::time::interval(SAMPLE_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = halt.stopped() => return,
            _ = looks.tick() => {}
        }
        let state = state.clone();
        let looked = ApiError::off_core(move || {
            let sample = gather::sample(&state);
            let mut marks = state.live.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.look(&state.registry, sample.at);
            drop(marks);
            let mut history = state.live.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.push(sample);
            Ok(())
        });
        // A look that failed is logged, and the next one is taken all the same.
        let _ = looked.await;
    }
}

/// The state that [`HttpState`] begins with.
pub fn fresh() -> Arc<LiveState> {
    Arc::default()
}
