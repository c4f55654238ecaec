//! This file knows how the stages of a block are given to HdrHistogram's tools.

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

type Stages = BTreeMap<String, Histogram<u64>>;

/// `GET /histograms`: `{"<stage>": "<base64 of an HdrHistogram V2 serialization, nanoseconds>"}`. With `format=hlog`
/// an HdrHistogram interval log, version 1.3: a line for each stage, its name as tag, in the compressed form. Of a
/// stage that waits for the client, `<stage>_client` is how long calls to it were open.
pub async fn histograms(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    query.only(&["format"])?;
    let stages = stages(&state)?;
    match query.text("format")? {
        None | Some("json") => as_json(stages).map(IntoResponse::into_response),
        Some("hlog") => {
            let log = as_interval_log(&stages, state.started.elapsed(), SystemTime::now())?;
            Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
        }
        Some(other) => Err(ApiError::bad_request(format!(
            "format is `{}`; there are json and hlog",
            quoted(other)
        ))),
    }
}

/// The distribution of every stage, and of the client's shares, since the node's start, in nanoseconds.
fn stages(state: &HttpState) -> Result<Stages, ApiError> {
    let mut stages = Stages::new();
    for (name, labels, histogram) in state.registry.histograms() {
        let stage = labels
            .into_iter()
            .find_map(|(label, value)| (label == "stage").then_some(value));
        let stage = match (name.as_str(), stage) {
            (STAGE_HISTOGRAM, Some(stage)) => stage,
            (CLIENT_SHARE_HISTOGRAM, Some(stage)) => stage + "_client",
            _ => continue,
        };
        match stages.get_mut(&stage) {
            None => {
                stages.insert(stage, histogram);
            }
            Some(merged) => merged
                .add(&histogram)
                .map_err(|error| ApiError::internal(error.to_string()))?,
        }
    }
    Ok(stages)
}

fn as_json(stages: Stages) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let encode = |histogram| {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&histogram, &mut bytes)
            .map_err(|error| unwritten(&error))?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let encoded = stages
        .into_iter()
        .map(|(stage, histogram)| encode(histogram).map(|text| (stage, text)));
    encoded.collect::<Result<_, _>>().map(Json)
}

fn as_interval_log(stages: &Stages, ran: Duration, now: SystemTime) -> Result<Vec<u8>, ApiError> {
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
    for (stage, histogram) in stages {
        writer
            .write_histogram(histogram, Duration::ZERO, ran, Tag::new(stage))
            .map_err(|error| unwritten(&error))?;
    }
    Ok(log)
}

fn unwritten(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::internal(format!("histogram cannot be encoded: {error}"))
}
