//! What a node logs, where to, and how that is changed while it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::network::Network;
use crate::harness::{Node, Process, fail, succeed, ultramarine, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
const LOST: &str = "ultramarine_log_file_lines_lost_total";

fn start(home: &Path, stderr: &Path, flags: &[&str]) -> Process {
    let mut command = ultramarine(["start", "--home"]);
    let stderr = File::create(stderr).expect("the folder is writable");
    command.arg(home).args(flags).stdout(Stdio::null()).stderr(stderr);
    Process(command.spawn().expect("the binary runs"))
}

/// The lines of a file, each as JSON.
fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("it is there");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn a_log_is_json_in_a_file_that_rotates_and_its_filter_changes_while_the_node_runs() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 200);
    let node = &network.nodes[0];
    let (home, stderr) = (node.home.to_str().expect("text"), temporary.path().join("stderr"));
    let file = node.home.join("logs/node.log");
    // An earlier life has nearly filled the file.
    let filler = format!(
        "{}\n",
        serde_json::json!({ "level": "INFO", "message": "x".repeat(950) })
    );
    fs::create_dir(file.parent().expect("a folder")).expect("the home is writable");
    fs::write(&file, filler.repeat(960_000 / filler.len())).expect("there is room");
    let refused = fail(["log-level", "--home", home, "debug"]);
    assert!(refused.contains("no node runs"), "{refused}");
    let flags = [
        "--log-format",
        "json",
        "--set",
        "log.file=logs/node.log",
        "--set",
        "log.file_mb=1",
        "--set",
        "log.files=2",
    ];
    let _process = start(&node.home, &stderr, &flags);
    node.wait_for_height(6, PATIENCE);

    // One line a height, with numbers as numbers, in both places.
    for lines in [objects(&stderr), objects(&file)] {
        for height in 1..=5 {
            let of_height = |line: &&Value| line["message"] == "decided" && line["height"] == height;
            let [line] = &lines.iter().filter(of_height).collect::<Vec<_>>()[..] else {
                panic!("height {height} has one line: {lines:?}");
            };
            assert_eq!((&line["level"], &line["round"]), (&"INFO".into(), &0.into()), "{line}");
            // The import too, unless the next round began before it.
            for stage in ["build_ms", "persist_ms", "vote_ms", "commit_ms"] {
                assert!(line[stage].as_f64().is_some_and(|ms| ms < 60_000.0), "{stage}: {line}");
            }
            assert!(
                line["blobs"].is_u64() && line["bytes"].is_u64() && line["proposer"].is_string(),
                "{line}"
            );
        }
        let has_import = |line: &Value| line["import_ms"].as_f64().is_some_and(|ms| ms < 60_000.0);
        assert!(
            lines.iter().any(has_import),
            "no import was in time for its line: {lines:?}"
        );
    }

    assert_eq!(succeed(["log-level", "--home", home]).trim(), "the node logs info");
    let refused = fail(["log-level", "--home", home, "ultramarine_net=loud"]);
    assert!(refused.contains("ultramarine_net=loud"), "{refused}");
    assert!(!objects(&file).iter().any(|line| line["level"] == "DEBUG"));
    // Much, and it goes round.
    let said = succeed(["log-level", "--home", home, "trace"]);
    assert_eq!(said.trim(), "the node logs trace");
    let old = node.home.join("logs/node.log.1");
    wait_for("second log file", PATIENCE, || old.exists().then_some(()));
    succeed(["log-level", "--home", home, "info"]);
    let bytes: u64 = fs::read_dir(file.parent().expect("a folder"))
        .expect("it is there")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .sum();
    assert!(bytes <= 2_000_000 + 100_000, "{bytes}");
    assert!(objects(&old).iter().any(|line| line["level"] == "DEBUG"));

    // The folder goes, and comes back with the next line.
    fs::remove_dir_all(file.parent().expect("a folder")).expect("it is there");
    node.wait_for_height(node.height().expect("it answers") + 2, PATIENCE);
    wait_for("log file in a new folder", PATIENCE, || file.exists().then_some(()));
    assert_eq!(node.metric(LOST), Some(0.0));
}

/// Stages that a validator goes through with a block with blobs of its own, and with another's.
const OF_ITS_OWN: [&str; 5] = ["build", "persist", "vote", "commit", "import"];
const OF_ANOTHER: [&str; 7] = ["stream", "verify", "persist", "execute", "vote", "commit", "import"];

/// The lines of decided heights with blobs in the log of a node, field by field.
fn heights(node: &Node, is_json: bool) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(node.home.with_extension("log")).expect("it is there");
    // The newest line may be half written.
    let ended = text.rfind('\n').map_or("", |end| &text[..end]);
    let is_height = |line: &&str| match is_json {
        true => serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] == "decided"),
        false => line.contains(": decided height="),
    };
    let whole = ended.lines().filter(is_height);
    let fields = |line: &str| -> BTreeMap<String, String> {
        if is_json {
            let object: BTreeMap<String, Value> = serde_json::from_str(line).expect(line);
            let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return object.into_iter().map(|(name, value)| (name, plain(value))).collect();
        }
        let (_, after) = line
            .split_once(" decided ")
            .unwrap_or_else(|| panic!("no line of a height: {line}"));
        let pairs = after.split(' ').filter_map(|field| field.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    // On a busy machine a height may come decided, and has no vote then; or the next round begins before its import.
    let is_whole = |fields: &BTreeMap<String, String>| {
        fields["blobs"] != "0" && ["vote_ms", "import_ms"].iter().all(|stage| fields.contains_key(*stage))
    };
    whole.map(fields).filter(is_whole).collect()
}

/// The height in one line, and whether the node built it. Everything that the line must have is there.
fn read_height(line: &BTreeMap<String, String>) -> (u64, bool) {
    let number = |name: &str| -> f64 {
        let text = line.get(name).unwrap_or_else(|| panic!("no {name}: {line:?}"));
        text.parse()
            .unwrap_or_else(|error| panic!("{name} is {text}, {error}: {line:?}"))
    };
    let is_own = line.contains_key("build_ms");
    let stages = if is_own { &OF_ITS_OWN[..] } else { &OF_ANOTHER };
    for stage in stages {
        let ms = number(&format!("{stage}_ms"));
        assert!((0.0..60_000.0).contains(&ms), "{stage}: {line:?}");
    }
    let shown = line.keys().filter(|name| name.ends_with("_ms")).count();
    assert_eq!(shown, stages.len(), "stages that did not happen here: {line:?}");
    assert!(number("bytes") >= number("blobs") * 131_072.0, "{line:?}");
    number("round");
    assert!(line["proposer"].starts_with("0x"), "{line:?}");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a height")]
    let height = number("height") as u64;
    (height, is_own)
}

#[test]
fn the_line_of_a_height_has_every_stage_of_it_in_json_and_in_text() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 500);
    let is_json = |id: usize| id < 2;
    let format = |id| if is_json(id) { "json" } else { "text" };
    let _processes: Vec<Process> = (0..4)
        .map(|id| network.start(id, &["--log-format", format(id)]))
        .collect();
    let _load = network.load(0..4);
    for node in &network.nodes {
        let both = || {
            let read: Vec<(u64, bool)> = heights(node, is_json(node.id)).iter().map(read_height).collect();
            let of = |wanted: bool| read.iter().filter(|(_, is_own)| *is_own == wanted).count();
            assert!(
                read.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "one line a height: {read:?}"
            );
            (of(true) >= 2 && of(false) >= 3).then_some(())
        };
        wait_for("lines of own and of others' blocks with blobs", PATIENCE, both);
    }
}

#[test]
fn what_is_said_past_the_log_is_json_where_the_log_is() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 200);
    let node = &network.nodes[0];
    let stderr = temporary.path().join("stderr");
    fs::write(node.home.join("logs"), "").expect("there is room");
    let flags = ["--log-format", "json", "--set", "log.file=logs/node.log"];
    let _process = start(&node.home, &stderr, &flags);
    node.wait_for_height(2, PATIENCE);
    let levels = |path: &Path, part: &str| -> Vec<String> {
        let lines = objects(path);
        let found = lines
            .iter()
            .filter(|line| line["message"].as_str().is_some_and(|text| text.contains(part)));
        found
            .map(|line| line["level"].as_str().expect("a level").to_owned())
            .collect()
    };
    assert_eq!(levels(&stderr, "cannot write the log file"), ["WARN"]);
    // Another one finds the home taken, and says so as its last word.
    let last = temporary.path().join("last");
    let mut second = start(&node.home, &last, &["--log-format", "json"]);
    second.0.wait().expect("it ends");
    let all = levels(&last, "");
    assert!(
        all.len() > 1 && all.last().is_some_and(|level| level == "ERROR"),
        "{all:?}"
    );
    assert_eq!(levels(&last, "in use by another process"), ["ERROR"]);
    // One that never comes to log says all that is wrong in JSON too.
    let flags = [
        "--set",
        "log.format=json",
        "--set",
        "node.io=sometimes",
        "--set",
        "node.lanes=no",
    ];
    let mut third = start(&node.home, &last, &flags);
    third.0.wait().expect("it ends");
    assert_eq!(levels(&last, "sometimes"), ["ERROR"], "{:?}", objects(&last));
    assert_eq!(levels(&last, "node.lanes"), ["ERROR"], "{:?}", objects(&last));
}

#[test]
fn a_log_file_that_cannot_be_written_is_told_once_and_stops_no_node() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 200);
    let node = &network.nodes[0];
    let stderr = temporary.path().join("stderr");
    // A plain file where the folder should be.
    fs::write(node.home.join("logs"), "").expect("there is room");
    let _process = start(&node.home, &stderr, &["--set", "log.file=logs/node.log"]);
    node.wait_for_height(4, PATIENCE);
    let lost = node.metric(LOST).expect("it is counted");
    assert!(lost >= 4.0, "{lost}");
    let said = fs::read_to_string(&stderr).expect("it is there");
    assert_eq!(said.matches("cannot write the log file").count(), 1, "{said}");
    fs::remove_file(node.home.join("logs")).expect("it is there");
    node.wait_for_height(node.height().expect("it answers") + 2, PATIENCE);
    let written = fs::read_to_string(node.home.join("logs/node.log")).expect("it is written again");
    assert!(written.contains("decided"), "{written}");
    let said = fs::read_to_string(&stderr).expect("it is there");
    assert_eq!(said.matches("is written again").count(), 1, "{said}");
}
