//! What people watch a node by: rules, alerts and dashboards, judged by Debian's Prometheus over a live network.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use ultramarine_node::metrics::reference;

use crate::harness::prometheus::{JOB, Prometheus, folder, program};
use crate::harness::{Devnet, Node, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn promtool_accepts_rules_and_alerts_and_every_alert_fires_when_it_should() {
    let Some(promtool) = program("promtool") else { return };
    for arguments in [
        &["check", "rules", "rules.yml", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(folder())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "promtool {arguments:?}: {text}");
    }
}

/// What `promtool check metrics` says of a node's numbers, line by line.
fn complaints(promtool: &Path, metrics: &str) -> Vec<String> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(metrics.as_bytes())
        .expect("it reads all before it speaks");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let mut said: Vec<String> = text.lines().map(str::to_owned).collect();
    if !output.status.success() {
        said.push(format!("it ended with {}", output.status));
    }
    said
}

#[test]
fn promtool_sees_a_bad_name_and_finds_none_among_ours() {
    let Some(promtool) = program("promtool") else { return };
    let bad = "# HELP bad_nanoseconds_count A text.\n# TYPE bad_nanoseconds_count gauge\nbad_nanoseconds_count 1\n";
    assert!(complaints(&promtool, bad).len() >= 2, "it looks");
    assert_eq!(complaints(&promtool, &reference::registry().render()), [""; 0]);
}

#[test]
fn what_every_rule_panel_and_alert_reads_gives_data_on_a_live_network() {
    let promtool = program("promtool");
    let Some(program) = program("prometheus") else { return };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let (dir, archive) = (temporary.path().join("net"), temporary.path().join("archive"));
    let archive = archive.to_str().expect("text");
    let devnet = Devnet::start(&dir, &["--separate-clients", "--archive", archive]);
    let prometheus = Prometheus::start(&program, &temporary.path().join("prometheus"), &devnet.nodes);
    devnet.wait_for_height(3, PATIENCE);
    the_reference_has_every_name(&devnet.nodes[0]);
    if let Some(promtool) = promtool {
        for node in &devnet.nodes {
            let metrics = node.text("/metrics").expect("it answers");
            assert_eq!(complaints(&promtool, &metrics), [""; 0]);
        }
    }

    let (recorded, alerts) = prometheus.rules();
    let mut expressions = dashboards();
    expressions.extend(recorded.into_iter().map(|(_, query)| query));
    expressions.extend(alerts.iter().map(|(_, query)| watched(query).to_owned()));
    let until = Instant::now() + PATIENCE;
    loop {
        let missing = without_data(&prometheus, &expressions);
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "no data for {missing:#?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let complaints = wait_for("evaluation of all rules", PATIENCE, || prometheus.complaints());
    assert_eq!(complaints, [""; 0], "each rule, and each alert whole, was evaluated");
}

/// Of an alert's expression, what is compared: that gives data while all is well.
fn watched(query: &str) -> &str {
    let comparisons = [" == ", " > ", " < "];
    let at = comparisons
        .iter()
        .filter_map(|comparison| query.rfind(comparison))
        .max();
    at.map_or(query, |at| &query[..at])
}

/// The expressions of all dashboards, as Grafana would fill them in.
fn dashboards() -> Vec<String> {
    let mut expressions = Vec::new();
    for entry in std::fs::read_dir(folder().join("../grafana")).expect("dashboards are in the tree") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            let targets = panel["targets"].as_array().into_iter().flatten();
            expressions.extend(targets.map(|target| {
                let expression = target["expr"].as_str().expect("an expression");
                let filled = expression.replace("$__rate_interval", "1m").replace("$job", JOB);
                filled.replace("$instance", ".*")
            }));
        }
    }
    expressions
}

/// Expressions that give no number, with what is wrong.
fn without_data<'a>(prometheus: &Prometheus, expressions: &'a [String]) -> Vec<(&'a str, String)> {
    let judged = expressions.iter().filter_map(|expression| {
        let why = match prometheus.query(expression) {
            Ok(numbers) if numbers.is_empty() => "nothing".to_owned(),
            Ok(numbers) if numbers.iter().all(|number| number.is_nan()) => "no number".to_owned(),
            Ok(_) => return None,
            Err(error) => error,
        };
        Some((expression.as_str(), why))
    });
    judged.collect()
}

/// Every name that a live node shows stands in the reference with its type.
fn the_reference_has_every_name(node: &Node) {
    let families = reference::registry().families();
    let known: BTreeMap<&str, &str> = families.iter().map(|family| (family.name, family.kind)).collect();
    let text = node.text("/metrics").expect("it answers");
    let mut count = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        assert_eq!(known.get(name), Some(&kind), "{name}");
        count += 1;
    }
    assert!(count > 50, "{text}");
}
