//! Claims about the histograms that tools read.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::http::histograms::{CLIENT_SHARE_HISTOGRAM, STAGE_HISTOGRAM};

#[tokio::test]
async fn histograms_survive_the_wire_stage_by_stage() {
    let state = state(1);
    for (stage, ms) in [("build", 5), ("vote", 70)] {
        let histogram = state.registry.histogram(STAGE_HISTOGRAM, "help", &[("stage", stage)]);
        histogram.record(Nanos::from_millis(ms));
    }
    let share = state
        .registry
        .histogram(CLIENT_SHARE_HISTOGRAM, "help", &[("stage", "build")]);
    share.record(Nanos::from_millis(3));
    state
        .registry
        .histogram("ultramarine_other_seconds", "help", &[("stage", "build")])
        .record(Nanos::from_millis(1));
    let (_, json) = ask(&state, "/histograms").await;
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(3));
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(json["vote"].as_str().expect("base64"))
        .expect("base64");
    let vote: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .expect("V2");
    assert_eq!(vote.len(), 1);
    assert!(vote.equivalent(vote.max(), 70_000_000), "{}", vote.max());
    let (status, text) = ask_text(&state, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("ultramarine_stage_seconds_bucket"), "{text}");

    let (status, log) = ask_text(&state, "/histograms?format=hlog").await;
    assert_eq!(status, StatusCode::OK);
    let lines: Vec<_> = IntervalLogIterator::new(log.as_bytes())
        .map(|entry| entry.expect("an interval log"))
        .filter_map(|entry| match entry {
            LogEntry::Interval(line) => Some(line),
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
        })
        .collect();
    let tags: Vec<_> = lines.iter().filter_map(|line| Some(line.tag()?.as_str())).collect();
    assert_eq!(tags, ["build", "build_client", "vote"]);
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(lines[2].encoded_histogram())
        .expect("base64");
    let compressed: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .expect("V2, compressed");
    assert_eq!(compressed, vote);
    let (status, refused) = ask(&state, "/histograms?format=xml").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        refused["message"].as_str().is_some_and(|text| text.contains("`xml`")),
        "{refused}"
    );
}
