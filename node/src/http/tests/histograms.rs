//! Claims about the histograms that tools read.

use std::process::Command;
use std::time::Duration;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::foreign;
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

/// Every latency that a node can show, in both forms, with what `/metrics` counts of it.
#[tokio::test]
async fn all_latencies_of_the_metrics_are_there_in_both_forms() {
    let state = HttpState {
        registry: crate::metrics::reference::registry(),
        ..state(1)
    };
    let odd = [("method", "a, b\nc")];
    state.registry.histogram("ultramarine_engine_call_seconds", "", &odd);
    for (name, labels, _) in state.registry.histograms() {
        let labels: Vec<(&'static str, &str)> = labels
            .iter()
            .map(|(label, value)| (&*label.clone().leak(), value.as_str()))
            .collect();
        let name: &'static str = name.leak();
        let fine = ["engine_call", "http_answer", "stage", "stage_client", "store_commit"];
        let histogram = if fine.iter().any(|fine| name == format!("ultramarine_{fine}_seconds")) {
            state.registry.histogram(name, "", &labels)
        } else {
            state.registry.coarse_histogram(name, "", &labels)
        };
        for ms in 1..=40 {
            histogram.record(Nanos::from_millis(ms));
        }
    }
    let all = state.registry.histograms();
    let (_, json) = ask(&state, "/histograms?of=all").await;
    let json = json.as_object().expect("an object");
    assert_eq!(json.len(), all.len(), "each has a name of its own: {:?}", json.keys());
    for name in [
        "vote",
        "commit_client",
        "engine_call.a__b_c",
        "http_answer",
        "kzg_open.kzg-0",
        "store_commit",
        "tile_turn.core",
    ] {
        assert!(json.contains_key(name), "{name}: {:?}", json.keys());
    }
    let (status, log) = ask_text(&state, "/histograms?of=all&format=hlog").await;
    assert_eq!(status, StatusCode::OK);
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(line) = entry.expect("an interval log") else {
            continue;
        };
        let tag = line.tag().expect("it has a tag").as_str();
        let decode = |text: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
            let read = hdrhistogram::serialization::Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice());
            read.expect("V2")
        };
        let compressed = decode(line.encoded_histogram());
        assert_eq!(compressed, decode(json[tag].as_str().expect("text")), "{tag}");
        assert_eq!(compressed.len(), 40, "{tag}");
        tags.push(tag.to_owned());
    }
    assert_eq!(tags, json.keys().cloned().collect::<Vec<_>>());
    if let Some(read) = read_by_others(&log) {
        assert_eq!(read.len(), tags.len());
        assert!(read.iter().all(|line| line["alone"]["count"] == 40), "{read:?}");
    }
    let (_, stages) = ask(&state, "/histograms?of=stages").await;
    let shown = stages.as_object().expect("an object").len();
    assert!(0 < shown && shown < tags.len(), "stages alone: {stages}");
    let (status, refused) = ask(&state, "/histograms?of=none").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        refused["message"].as_str().is_some_and(|text| text.contains("`none`")),
        "{refused}"
    );
}

/// The percentiles that `read_hlog.py` asks for.
const PERCENTILES: [f64; 7] = [0.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0];

/// What the Python port of HdrHistogram reads of a log, one object a line; `None`: there is none here.
fn read_by_others(log: &str) -> Option<Vec<Value>> {
    let what = "an interval log before HdrHistogram's own code";
    let python = foreign::program("python", what)?;
    let has_port = Command::new(&python).args(["-c", "import hdrh"]).output();
    if !has_port.is_ok_and(|asked| asked.status.success()) {
        foreign::lacking(what, &format!("{} has no hdrhistogram", python.display()));
        return None;
    }
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("stages.hlog");
    std::fs::write(&path, log).expect("there is room");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/tests/read_hlog.py");
    let read = Command::new(python).arg(script).arg(path).output().expect("it starts");
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}\n{log}");
    let text = String::from_utf8(read.stdout).expect("text");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect(),
    )
}

#[tokio::test]
async fn an_interval_log_says_to_hdrhistograms_own_code_what_the_node_says_elsewhere() {
    let mut state = state(1);
    let hour = Duration::from_secs(3_600);
    state.started = std::time::Instant::now()
        .checked_sub(hour)
        .expect("the clock counts further back");
    // From less than the smallest unit to more than the longest time that is told apart. Of so many, every percentile
    // asked for lies nearer to the count above than to the one below: some readers round there, and others go up.
    for (name, stage, factor) in [
        (STAGE_HISTOGRAM, "build", 1.0),
        (STAGE_HISTOGRAM, "commit", 7.3),
        (CLIENT_SHARE_HISTOGRAM, "build", 0.4),
    ] {
        let histogram = state.registry.histogram(name, "help", &[("stage", stage)]);
        for step in 0..2_003_u32 {
            let ns = 300.0 * 1.01_f64.powi(step.try_into().expect("small")) * factor;
            histogram.record(Nanos((ns as u64).min(200_000_000_000)));
        }
    }
    let (_, log) = ask_text(&state, "/histograms?format=hlog").await;
    let (_, json) = ask(&state, "/histograms").await;
    let (_, metrics) = ask_text(&state, "/metrics").await;
    let Some(read) = read_by_others(&log) else { return };
    let tags: Vec<&str> = read.iter().filter_map(|line| line["tag"].as_str()).collect();
    assert_eq!(tags, ["build", "build_client", "commit"]);
    for line in &read {
        let tag = line["tag"].as_str().expect("text");
        assert_eq!(line["in_log"], line["alone"], "{tag}");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(json[tag].as_str().expect("base64"))
            .expect("base64");
        let ours: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .expect("V2");
        assert_eq!(line["in_log"]["count"], ours.len(), "{tag}");
        let values = PERCENTILES.map(|percentile| ours.value_at_percentile(percentile));
        assert_eq!(line["in_log"]["values"], serde_json::json!(values), "{tag}");
        assert_eq!(line["in_log"]["max"], ours.max(), "{tag}");
        let mean = line["in_log"]["mean"].as_f64().expect("a number");
        assert!(
            (mean / ours.mean() - 1.0).abs() < 0.001,
            "{tag}: {mean}, {}",
            ours.mean()
        );
        let (name, stage) = match tag.strip_suffix("_client") {
            Some(stage) => (CLIENT_SHARE_HISTOGRAM, stage),
            None => (STAGE_HISTOGRAM, tag),
        };
        let counted = format!("\n{name}_count{{stage=\"{stage}\"}} {}\n", line["in_log"]["count"]);
        assert!(metrics.contains(&counted), "no {counted:?} in {metrics}");
        // The interval is the node's life.
        let [start_ms, end_ms] = ["start_ms", "end_ms"].map(|name| line[name].as_f64().expect("a number"));
        let now_s = ultramarine_runtime::Clock::unix_ns() as f64 / 1e9;
        let ran_s = state.started.elapsed().as_secs_f64();
        assert!(
            (now_s - ran_s - 60.0..now_s - ran_s + 0.01).contains(&(start_ms / 1e3)),
            "{line}"
        );
        assert!((3_600_000.0..3_660_000.0).contains(&(end_ms - start_ms)), "{line}");
    }
}
