//! This file knows how a node's latencies are given to HdrHistogram's tools.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};

use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query::{Query, quoted};

/// The histogram whose `stage` label names a stage of a block.
pub const STAGE_HISTOGRAM: &str = "ultramarine_stage_seconds";
/// The client's share of those stages that wait for it, with the same label.
pub const CLIENT_SHARE_HISTOGRAM: &str = "ultramarine_stage_client_seconds";
/// Nanoseconds of the unit in which an interval log tells each interval's longest duration: milliseconds.
const NS_PER_MS: f64 = 1e6;

type Named = BTreeMap<String, Histogram<u64>>;

/// `GET /histograms`: `{"<stage>": "<base64 of an HdrHistogram V2 serialization, nanoseconds>"}`. With `format=hlog`
/// an HdrHistogram interval log, version 1.3: a line for each stage, its name as tag, in the compressed form. Of a
/// stage that waits for the client, `<stage>_client` is how long calls to it were open. With `of=all` every latency of
/// `/metrics`: `engine_call.engine_getPayloadV4` is `ultramarine_engine_call_seconds` of that method.
pub async fn histograms(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    query.only(&["format", "of"])?;
    let of_all = match query.text("of")? {
        None | Some("stages") => false,
        Some("all") => true,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "of is `{}`; there are stages and all",
                quoted(other)
            )));
        }
    };
    let named = named(&state, of_all)?;
    match query.text("format")? {
        None | Some("json") => as_json(named).map(IntoResponse::into_response),
        Some("hlog") => {
            let log = as_interval_log(&named, state.started.elapsed(), SystemTime::now())?;
            Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
        }
        Some(other) => Err(ApiError::bad_request(format!(
            "format is `{}`; there are json and hlog",
            quoted(other)
        ))),
    }
}

/// The distribution of every stage, and of the client's shares, since the node's start, in nanoseconds; or of every
/// latency.
fn named(state: &HttpState, of_all: bool) -> Result<Named, ApiError> {
    let mut named = Named::new();
    for (name, labels, histogram) in state.registry.histograms() {
        let stage = labels
            .iter()
            .find(|(label, _)| label == "stage")
            .map(|(_, stage)| stage);
        let name = match (name.as_str(), stage) {
            (STAGE_HISTOGRAM, Some(stage)) => stage.clone(),
            (CLIENT_SHARE_HISTOGRAM, Some(stage)) => format!("{stage}_client"),
            _ if of_all => short(&name, &labels),
            _ => continue,
        };
        match named.get_mut(&name) {
            None => {
                named.insert(name, histogram);
            }
            Some(merged) => merged
                .add(&histogram)
                .map_err(|error| ApiError::internal(error.to_string()))?,
        }
    }
    Ok(named)
}

/// A metric's name without what all have, and the values of its labels. A tag has no spaces, commas or line ends.
fn short(name: &str, labels: &[(String, String)]) -> String {
    let name = name.strip_prefix("ultramarine_").unwrap_or(name);
    let mut short = name.strip_suffix("_seconds").unwrap_or(name).to_owned();
    for (_, value) in labels {
        short.push('.');
        let is_plain = |letter: char| letter.is_ascii_graphic() && letter != ',';
        short.extend(value.chars().map(|letter| if is_plain(letter) { letter } else { '_' }));
    }
    short
}

fn as_json(named: Named) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let encode = |histogram| {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&histogram, &mut bytes)
            .map_err(|error| unwritten(&error))?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let encoded = named
        .into_iter()
        .map(|(name, histogram)| encode(histogram).map(|text| (name, text)));
    encoded.collect::<Result<_, _>>().map(Json)
}

fn as_interval_log(named: &Named, ran: Duration, now: SystemTime) -> Result<Vec<u8>, ApiError> {
    // A clock that was set has another beginning of the log, and the log is as long as ever.
    let started = now.checked_sub(ran).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[durations in nanoseconds, longest in milliseconds]")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut log, &mut serializer)
        .map_err(|error| unwritten(&error))?;
    for (name, histogram) in named {
        writer
            .write_histogram(histogram, Duration::ZERO, ran, Tag::new(name))
            .map_err(|error| unwritten(&error))?;
    }
    Ok(log)
}

fn unwritten(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::internal(format!("histogram cannot be encoded: {error}"))
}
